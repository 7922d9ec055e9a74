/* SPDX-License-Identifier: MIT */
/* What Python's threads are for, which the kernel knows by one name. */
#include "report_test.h"
#include "report/names_priv.h"

#define CODE      0x400000
#define LIBPYTHON "/usr/lib/libpython3.11.so.1.0"
#define LIB       "/usr/lib/python3.11/"

static const struct {
	const char *name, *file;
} codes[] = {
        {"Thread.run", LIB "threading.py"},
        {"Thread._bootstrap_inner", LIB "threading.py"},
        {"Thread._bootstrap", LIB "threading.py"},
        {"Pool._handle_tasks", LIB "multiprocessing/pool.py"},
        {"Reader.run", "/home/me/app.py"},
        {"load", "/home/me/app.py"},
        {"<module>", "/home/me/app.py"},
};
enum { RUN = 1, INNER, BOOTSTRAP, TASKS, READER, LOAD, MODULE };

/* Of threads 2 to 5; the main thread's comes first. */
static const uint64_t stacks[][5] = {
        {PY_FRAME(LOAD, 1, 0), PY_FRAME(MODULE, 2, 1)},
        {PY_FRAME(LOAD, 1, 0), PY_FRAME(TASKS, 2, 0), PY_FRAME(RUN, 3, 0), PY_FRAME(INNER, 4, 0),
         PY_FRAME(BOOTSTRAP, 5, 1)},
        {PY_FRAME(LOAD, 1, 0), PY_FRAME(READER, 2, 0), PY_FRAME(INNER, 4, 0),
         PY_FRAME(BOOTSTRAP, 5, 1)},
        /* Still within the library; or begun by other means. */
        {PY_FRAME(RUN, 3, 0), PY_FRAME(INNER, 4, 0), PY_FRAME(BOOTSTRAP, 5, 1)},
        {PY_FRAME(LOAD, 1, 1)},
};

static struct model *python(void)
{
	static const uint64_t native = CODE + 0x100;
	static const size_t depth[] = {2, 5, 4, 3, 1};
	struct tb *tb = tb_program(5, "python3", "python3");

	tb_map(tb, 1, CODE, CODE + 0x10000, 0, LIBPYTHON);
	tb_symbol(tb, LIBPYTHON, 0x100, "_PyEval_EvalFrameDefault", 4, 0);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct rec_pycode c = {.id = i + 1,
		                       .name = tb_string(tb, codes[i].name),
		                       .file = tb_string(tb, codes[i].file),
		                       .first_line = 1};

		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
	}
	for (uint32_t i = 0; i < ARRAY_LEN(stacks); i++) {
		struct rec_stack s = {.id = 900 + i,
		                      .kind = STACK_USER,
		                      .space = 1,
		                      .flags = STACK_F_PY,
		                      .frames = {&native, 1},
		                      .py = {stacks[i], depth[i]}};

		tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
		tb_stacks(tb, i + 1, 900 + i, 0);
		tb_run(tb, i + 1, 0, (i + 1) * MS);
		tb_call(tb, i + 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 20 * MS, 0);
		tb_run(tb, i + 1, 20 * MS, 21 * MS);
		tb_exit(tb, i + 1, 0);
	}
	return with_slices(tb);
}

Test(jobs, by_the_outermost_function)
{
	struct model *m = python();
	struct jobs j;

	cr_assert_eq(jobs_init(&j, m), 0);
	cr_expect_eq(job_of(&j, 1), NULL, "the main thread is for all");
	cr_assert(job_of(&j, 2) && job_of(&j, 3));
	cr_expect_str_eq(job_of(&j, 2), "_handle_tasks");
	cr_expect_str_eq(job_of(&j, 3), "Reader");
	cr_expect_eq(job_of(&j, 4), NULL);
	cr_expect_eq(job_of(&j, 5), NULL);
	jobs_release(&j);
	model_free(m);
}

/* Rows of one name are told apart; what is not known is not said, and null. */
Test(jobs, in_the_report)
{
	struct model *m = python();
	struct report_opts o = {.width = 120};
	char *text = text_of(m, &o);
	struct report r = {0};
	struct err err = {0};
	json_t *doc, *tasks;
	size_t n = 0;
	FILE *out;

	cr_expect(strstr(text, "\npython3 1002       _handle_tasks "), "%s", text);
	free(text);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	out = open_memstream(&text, &n);
	cr_assert_eq(report_json(&r, NULL, out, &err), 0, "%s", err.msg);
	fclose(out);
	doc = json_loads(text, 0, NULL);
	tasks = json_object_get(doc, "tasks");
	cr_expect_str_eq(
	        json_string_value(json_object_get(json_array_get(tasks, 2), "python_function")),
	        "Reader");
	cr_expect(json_is_null(json_object_get(json_array_get(tasks, 4), "python_function")));
	json_decref(doc);
	free(text);
	report_release(&r);
	model_free(m);
}
