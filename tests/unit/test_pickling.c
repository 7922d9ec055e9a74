/* SPDX-License-Identifier: MIT */
/* CPU time that goes into pickling, by samples whose stacks are known. */
#include "report_test.h"

#define LIB    "/usr/lib/libpython3.11.so.1.0"
#define MODULE "/usr/lib/lib-dynload/_pickle.cpython-311-x86_64-linux-gnu.so"

enum { LOOP = 0x100, DUMP = 0x200, LOAD = 0x300, INSIDE = 0x400 };

static const struct {
	const char *name, *file;
} codes[] = {
        {"<module>", "/home/me/app.py"},
        {"ForkingPickler.dumps", "/usr/lib/python3.11/multiprocessing/reduction.py"},
        {"_ConnectionBase.recv", "/usr/lib/python3.11/multiprocessing/connection.py"},
        {"_Pickler.save_list", "/usr/lib/python3.11/pickle.py"},
        {"load_config", "/home/me/app.py"},
        {"save_all", "/home/me/app.py"},
};

/* A stack of the evaluation loop below `native` (0 = none), with that code on top of <module>. */
static void stack(struct tb *tb, uint32_t id, uint64_t native, uint64_t code)
{
	static uint64_t all_frames[12][2], all_py[12][2]; /* the builder keeps pointers */
	uint64_t *frames = all_frames[id], *py = all_py[id];
	struct rec_stack s = {.id = id,
	                      .kind = STACK_USER,
	                      .space = 1,
	                      .flags = STACK_F_PY,
	                      .frames = {frames + !native, 2 - !native},
	                      .py = {py + (code == 1), 2 - (code == 1)}};

	frames[0] = native;
	frames[1] = 0x1000000 + LOOP;
	py[0] = PY_FRAME(code, 7, 0);
	py[1] = PY_FRAME(1, 9, 1);
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	tb_sample(tb, 1, id * MS, id, 0);
}

static struct tb *pickler(const char *freq)
{
	static struct rec_stack bare = {.id = 9, .kind = STACK_USER, .space = 1};
	static const uint64_t frame = 0x1000000 + DUMP;
	struct tb *tb = tb_new();

	tb_task(tb, 1, "python3");
	tb_map(tb, 1, 0x1000000, 0x1010000, 0, LIB);
	tb_map(tb, 1, 0x2000000, 0x2010000, 0, MODULE);
	tb_symbol(tb, LIB, LOOP, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, LIB, DUMP, "qsort", 4, 0);
	tb_symbol(tb, LIB, INSIDE, "_pickle_Pickler_dump", 4, 0);
	tb_symbol(tb, MODULE, DUMP, "save_long", 4, 0);
	tb_symbol(tb, MODULE, LOAD, "_pickle_loads", 4, 0);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct rec_pycode c = {.id = i + 1,
		                       .name = tb_string(tb, codes[i].name),
		                       .file = tb_string(tb, codes[i].file),
		                       .first_line = 1};

		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
	}
	tb_run(tb, 1, 0, 20 * MS);
	stack(tb, 1, 0x2000000 + DUMP, 1);
	stack(tb, 2, 0x2000000 + LOAD, 1);
	stack(tb, 3, 0, 2);
	stack(tb, 4, 0, 3);
	stack(tb, 5, 0, 4);
	stack(tb, 6, 0, 5); /* loads something, but no pickle */
	stack(tb, 7, 0x1000000 + DUMP, 1);
	stack(tb, 8, 0, 6);
	stack(tb, 11, 0x1000000 + INSIDE, 1); /* an interpreter with the module inside */
	bare.frames = (struct rec_array){&frame, 1};
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &bare);
	tb_sample(tb, 1, 9 * MS, 9, 0);   /* no Python here */
	tb_sample(tb, 1, 10 * MS, 4, 10); /* reads what it is to load */
	tb_exit(tb, 1, 0);
	if (freq)
		tb_meta(tb, META_FREQ, freq);
	return tb;
}

Test(pickling, samples_by_direction)
{
	struct model *m = loaded(pickler("100"));
	struct report_opts o = {.width = 120};
	char *text = text_of(m, &o);
	json_t *doc = json_of(m);

	cr_expect_eq(num(doc, "pickling.samples"), 10);
	cr_expect_eq(num(doc, "pickling.pickling_samples"), 6);
	cr_expect_eq(num(doc, "pickling.dumps_ns"), 40 * MS);
	cr_expect_eq(num(doc, "pickling.loads_ns"), 20 * MS);
	cr_expect_eq(num(doc, "pickling.cpu_ns"), 60 * MS);
	cr_expect_eq(json_array_size(at(doc, "pickling.processes")), 1);
	cr_expect(strstr(text, "\npickling         about 60 ms of CPU, 60.0 % of what Python used"),
	          "%s", text);
	free(text);
	json_decref(doc);
	model_free(m);
}

Test(pickling, null_without_samples)
{
	static const char *const freqs[] = {NULL, "0", "no number", "99999999999999999999"};

	for (size_t i = 0; i < ARRAY_LEN(freqs); i++) {
		struct model *m = loaded(pickler(freqs[i]));
		json_t *doc = json_of(m);

		cr_expect(json_is_null(at(doc, "pickling")));
		json_decref(doc);
		model_free(m);
	}
}
