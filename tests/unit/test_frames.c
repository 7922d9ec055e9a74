/* SPDX-License-Identifier: MIT */
/* Native and Python frames in one stack: model_frames(). */
#include "model_test.h"
#include "report/names_priv.h"

#define LIB      "/usr/lib/libpython3.11.so.1.0"
#define GREENLET "/x/_greenlet.cpython-311-x86_64-linux-gnu.so"

enum {
	LOOP = 0x100,
	CALL = 0x200,
	WAIT = 0x300,
	MAIN = 0x400,
	NAMELESS = 0x500,
	COLD = 0x600,
	LIBC = 0x100000
};

struct given {
	const uint64_t *frames;
	size_t n;
	const uint64_t *py;
	size_t n_py;
	unsigned flags;
};

/* Task 1 waits once, with stack s, whose id is 900. */
static struct model *waiting_with(struct tb *tb, const struct rec_stack *s)
{
	tb_raw(tb, REC_K_STACK, TB_EPOCH, s);
	tb_stacks(tb, 1, 900, 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_futex_wait(tb, 1, 0x1000, 2 * MS, 0);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_exit(tb, 1, 0);
	return load(tb, NULL);
}

/* A trace with that one stack; its frames' names, "p:" before Python's, joined by " < ". */
static const char *merged(const struct given *g)
{
	static char out[4096];
	struct tb *tb = tb_new();
	struct rec_stack s = {.id = 900,
	                      .kind = STACK_USER,
	                      .space = 1,
	                      .flags = g->flags,
	                      .frames = {g->frames, g->n},
	                      .py = {g->py, g->n_py}};
	struct rec_pycode c[3] = {{.id = 1,
	                           .name = tb_string(tb, "f"),
	                           .file = tb_string(tb, "/a.py"),
	                           .first_line = 1},
	                          {.id = 2,
	                           .name = tb_string(tb, "Klasse.größe"),
	                           .file = tb_string(tb, "/b.py"),
	                           .first_line = 5},
	                          {.id = 3,
	                           .name = tb_string(tb, "<module>"),
	                           .file = tb_string(tb, "/a.py"),
	                           .first_line = 1}};
	struct frame f[64];
	struct model *m;
	size_t n, len = 0;

	tb_task(tb, 1, "python3");
	tb_map(tb, 1, 0x1000000, 0x1010000, 0, LIB);
	tb_map(tb, 1, 0x2000000, 0x2010000, 0, "/usr/lib/libc.so.6");
	tb_map(tb, 1, 0x3000000, 0x3010000, 0, GREENLET);
	tb_symbol(tb, GREENLET, 0x100, "begin", 4, 0);
	tb_symbol(tb, LIB, LOOP, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, LIB, COLD, "_PyEval_EvalFrameDefault.cold", 4, 0);
	tb_symbol(tb, LIB, CALL, "PyObject_Vectorcall", 4, 0);
	tb_symbol(tb, LIB, CALL, "_PyObject_VectorcallTstate", 4, 1);
	tb_symbol(tb, LIB, WAIT, "lock_acquire", 4, 0);
	tb_symbol(tb, LIB, MAIN, "Py_BytesMain", 4, 0);
	tb_symbol(tb, "/usr/lib/libc.so.6", 0x100, "futex_wait", 4, 0);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c[i]);
	m = waiting_with(tb, &s);
	n = model_frames(m, 900, f, ARRAY_LEN(f));
	out[0] = 0;
	for (size_t i = 0; i < n; i++) {
		len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%s%s", i ? " < " : "",
		                        f[i].kind == FRAME_PYTHON    ? "p:"
		                        : f[i].kind == FRAME_INLINED ? "i:"
		                                                     : "",
		                        f[i].name ? f[i].name : "?");
		if (f[i].kind == FRAME_PYTHON)
			len += (size_t)snprintf(out + len, sizeof(out) - len, ":%u", f[i].line);
	}
	cr_expect_eq(model_frames(m, 900, f, 2), n < 2 ? n : 2, "no more than there is room for");
	cr_expect_eq(model_frames(m, 901, f, 2), 0);
	model_free(m);
	return out;
}

#define AT(off) (0x1000000 + (off))
#define WAITING 0x2000100, AT(WAIT)
#define MERGED(flags_) \
	merged(&(struct given){frames, ARRAY_LEN(frames), py, ARRAY_LEN(py), STACK_F_PY | (flags_)})

/* main calls f in Python, f calls C, which calls the method, which waits. */
static const uint64_t py[] = {PY_FRAME(2, 7, 1), PY_FRAME(1, 3, 0), PY_FRAME(3, 9, 1)};

Test(frames, runs_take_the_place_of_the_loop)
{
	static const uint64_t frames[] = {WAITING, AT(LOOP), AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(
	        MERGED(0),
	        "futex_wait < lock_acquire < p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < "
	        "PyObject_Vectorcall < p:f:3 < p:<module>:9 < Py_BytesMain");
}

/* It was begun by what main called, which has nothing to do with its own two functions. */
Test(frames, loops_beyond_a_greenlet_are_none_of_its_own)
{
	static const uint64_t frames[] = {WAITING,   AT(LOOP), AT(CALL), AT(LOOP),
	                                  0x3000100, AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(
	        MERGED(0),
	        "futex_wait < lock_acquire < p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < "
	        "PyObject_Vectorcall < p:f:3 < p:<module>:9 < begin < "
	        "i:_PyObject_VectorcallTstate < PyObject_Vectorcall < _PyEval_EvalFrameDefault < "
	        "Py_BytesMain");
}

/* It is about to go on in another one. */
Test(frames, a_greenlet_that_switches)
{
	static const uint64_t frames[] = {0x3000100, AT(LOOP), AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(MERGED(0), "begin < p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < "
	                            "PyObject_Vectorcall < p:f:3 < p:<module>:9 < Py_BytesMain");
}

Test(frames, parts_that_the_compiler_split_off)
{
	static const uint64_t frames[] = {WAITING, AT(COLD), AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect(strstr(MERGED(0), "lock_acquire < p:Klasse.größe:7 < i:"));
}

/* Stripped: the cold part has no name, but there is a run for it. */
Test(frames, a_loop_without_a_name)
{
	static const uint64_t frames[] = {WAITING, AT(NAMELESS), AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(
	        MERGED(0),
	        "futex_wait < lock_acquire < p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < "
	        "PyObject_Vectorcall < p:f:3 < p:<module>:9 < Py_BytesMain");
}

Test(frames, nothing_is_lost_when_the_native_stack_ends_early)
{
	static const uint64_t frames[] = {WAITING, AT(LOOP)};
	static const uint64_t none[] = {0x2000100};

	cr_expect_str_eq(MERGED(0),
	                 "futex_wait < lock_acquire < p:Klasse.größe:7 < p:f:3 < p:<module>:9");
	cr_expect_str_eq(merged(&(struct given){none, 1, py, ARRAY_LEN(py), STACK_F_PY}),
	                 "futex_wait < p:Klasse.größe:7 < p:f:3 < p:<module>:9");
	cr_expect_str_eq(merged(&(struct given){none, 0, py, ARRAY_LEN(py), STACK_F_PY}),
	                 "p:Klasse.größe:7 < p:f:3 < p:<module>:9");
}

/* A sample in the loop's first instructions: its function has no frame yet. */
Test(frames, a_loop_that_has_just_been_entered)
{
	static const uint64_t frames[] = {AT(LOOP), AT(CALL), AT(LOOP),
	                                  AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(
	        MERGED(0),
	        "_PyEval_EvalFrameDefault < i:_PyObject_VectorcallTstate < PyObject_Vectorcall < "
	        "p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < PyObject_Vectorcall < p:f:3 < "
	        "p:<module>:9 < Py_BytesMain");
}

/* Cut at the limit: the inner frames are there, the outer loops keep their own name. */
Test(frames, python_frames_that_were_cut)
{
	static const uint64_t frames[] = {WAITING,  AT(LOOP), AT(CALL), AT(LOOP),
	                                  AT(CALL), AT(LOOP), AT(MAIN)};

	cr_expect_str_eq(
	        MERGED(STACK_F_PY_PART),
	        "futex_wait < lock_acquire < p:Klasse.größe:7 < i:_PyObject_VectorcallTstate < "
	        "PyObject_Vectorcall < p:f:3 < p:<module>:9 < i:_PyObject_VectorcallTstate < "
	        "PyObject_Vectorcall < _PyEval_EvalFrameDefault < Py_BytesMain");
}

Test(frames, code_objects_that_are_not_known)
{
	static const uint64_t frames[] = {WAITING, AT(LOOP)};
	static const uint64_t unknown[] = {PY_FRAME(0, 0, 0), PY_FRAME(77, 4, 0),
	                                   PY_FRAME(UINT32_MAX, 4, 1)};

	cr_expect_str_eq(merged(&(struct given){frames, ARRAY_LEN(frames), unknown, 3, STACK_F_PY}),
	                 "futex_wait < lock_acquire < p:?:0 < p:?:4 < p:?:4");
}

struct py_code {
	const char *name, *file;
};

/* Where a wait on that stack of Python functions is said to be; code ids count from 1. */
static void expect_where(const struct py_code *codes, size_t n_codes, const uint64_t *stack,
                         size_t n, const char *want)
{
	struct rec_stack s = {
	        .id = 900, .kind = STACK_USER, .space = 1, .flags = STACK_F_PY, .py = {stack, n}};
	struct tb *tb = tb_new();
	char where[256];
	struct model *m;

	tb_task(tb, 1, "python3");
	for (size_t i = 0; i < n_codes; i++) {
		struct rec_pycode c = {.id = i + 1,
		                       .name = tb_string(tb, codes[i].name),
		                       .file = tb_string(tb, codes[i].file),
		                       .first_line = 1};

		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
	}
	m = waiting_with(tb, &s);
	cr_expect(where_text(where, sizeof(where), m, 900, 0));
	cr_expect_str_eq(where, want);
	model_free(m);
}

/* What waits in Python's own library leads to the line of the program that called for it. */
Test(frames, a_librarys_wait_is_its_callers)
{
	static const uint64_t stack[] = {PY_FRAME(3, 9, 0), PY_FRAME(2, 7, 0), PY_FRAME(2, 8, 0),
	                                 PY_FRAME(1, 3, 1)};
	static const struct py_code codes[] = {
	        {"own", "/app/work.py"},
	        {"Queue.get", "/usr/lib/python3.11/queue.py"},
	        {"Condition.wait", "/usr/lib/python3.11/threading.py"},
	};

	expect_where(codes, ARRAY_LEN(codes), stack, ARRAY_LEN(stack),
	             "queue.py:7 Queue.get ← work.py:3 own");
}

/* A forked worker's own part of its stack begins where multiprocessing begins it. */
Test(frames, a_forked_worker_has_no_line_of_its_parents)
{
	static const uint64_t stack[] = {PY_FRAME(1, 9, 0), PY_FRAME(2, 7, 0), PY_FRAME(3, 3, 1)};
	static const struct py_code codes[] = {
	        {"get", "/usr/lib/python3.11/multiprocessing/queues.py"},
	        {"BaseProcess._bootstrap", "/usr/lib/python3.11/multiprocessing/process.py"},
	        {"main", "/app/main.py"},
	};

	expect_where(codes, ARRAY_LEN(codes), stack, ARRAY_LEN(stack), "queues.py:9 get");
}

/* Who began with it says more than a function's own frames once more. */
Test(frames, a_function_that_calls_itself_is_named_once)
{
	static const uint64_t stack[] = {PY_FRAME(2, 5, 0), PY_FRAME(2, 7, 0), PY_FRAME(2, 7, 0),
	                                 PY_FRAME(1, 3, 1)};
	static const struct py_code codes[] = {{"main", "/app/tree.py"}, {"walk", "/app/tree.py"}};

	expect_where(codes, ARRAY_LEN(codes), stack, ARRAY_LEN(stack), "tree.py:5 walk ← :3 main");
}

/* Which of several functions of a name it is, a place need not say; what is no parameter it keeps.
 */
Test(frames, a_place_has_no_parameters)
{
	static const char app[] = "/home/me/app";
	uint64_t frames[] = {0x400100, 0x400200};
	struct rec_stack s = {
	        .id = 900, .kind = STACK_USER, .space = 1, .frames = {frames, ARRAY_LEN(frames)}};
	struct tb *tb = tb_new();
	char where[256];
	struct model *m;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, 0x400000, 0x410000, 0, app);
	tb_symbol(tb, app, 0x100, "Calls::help(Value*, Handle const&, Arguments*)", 4, 0);
	tb_symbol(tb, app, 0x200, "ns::F::operator()(int) const", 4, 0);
	m = waiting_with(tb, &s);
	cr_expect(where_text(where, sizeof(where), m, 900, 0));
	cr_expect_str_eq(where, "Calls::help ← ns::F::operator()");
	model_free(m);
}

static char *text_of(const struct model *m)
{
	struct report_opts o = {.width = 100};
	struct report r = {0};
	struct err err = {0};
	size_t n = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &n);

	cr_assert(out);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	cr_expect_eq(report_text(&r, &o, out, &err), 0, "%s", err.msg);
	fclose(out);
	report_release(&r);
	return text;
}

/* … and in a stack, with how often. */
Test(frames, a_recursion_is_one_frame)
{
	enum { APP_AT = 0x400000, LIBC_AT = 0x800000 };

	static const char app[] = "/home/me/app", libc[] = "/usr/lib/libc.so.6";
	static const uint64_t frames[] = {LIBC_AT + 0x100, APP_AT + 0x100, APP_AT + 0x100,
	                                  APP_AT + 0x100, APP_AT + 0x200};
	struct tb *tb = tb_new();
	struct model *m;
	char *text;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, APP_AT, APP_AT + 0x10000, 0, app);
	tb_map(tb, 1, LIBC_AT, LIBC_AT + 0x10000, 0, libc);
	tb_symbol(tb, app, 0x100, "walk", 4, 0);
	tb_symbol(tb, app, 0x200, "work", 4, 0);
	tb_symbol(tb, libc, 0x100, "pthread_mutex_lock", 4, 0);
	for (uint64_t t = 0; t < 100 * MS; t += 20 * MS) {
		tb_run(tb, 1, t, t + MS);
		tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, ARRAY_LEN(frames)), 0);
		tb_futex_wait(tb, 1, 0x1000, t + 20 * MS, 0);
	}
	tb_run(tb, 1, 100 * MS, 101 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	text = text_of(m);
	cr_expect(strstr(text, "    work → walk × 3 → pthread_mutex_lock\n"), "%s", text);
	free(text);
	model_free(m);
}

/* io_uring's workers: what they do for the program is the kernel's. */
Test(frames, a_worker_of_the_kernels_has_its_stack)
{
	static const char *const name[] = {"folio_wait_bit", "ext4_sync_file", "io_wq_worker",
	                                   "ret_from_fork"};
	static const uint64_t nowhere[] = {0};
	uint64_t frames[ARRAY_LEN(name)];
	struct tb *tb = tb_new();
	uint32_t user, kernel;
	struct model *m;
	char *text;

	tb_task(tb, 1, "iou-wrk");
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		frames[i] = 0xffffffff81000000 + 0x100 * i;
		tb_symbol(tb, "[kernel]", frames[i], name[i], 4, 0);
	}
	user = tb_stack(tb, STACK_USER, 1, nowhere, 1);
	kernel = tb_stack(tb, STACK_KERNEL, 0, frames, ARRAY_LEN(frames));
	for (uint64_t t = 0; t < 100 * MS; t += 20 * MS) {
		tb_run(tb, 1, t, t + MS);
		tb_stacks(tb, 1, user, kernel);
		tb_block(tb, 1, SW_F_IOWAIT, 2, t + 20 * MS, 0);
	}
	tb_run(tb, 1, 100 * MS, 101 * MS);
	tb_exit(tb, 1, 0);
	m = load(tb, NULL);
	text = text_of(m);
	cr_expect(strstr(text, "    io_wq_worker → ext4_sync_file → folio_wait_bit\n"), "%s", text);
	free(text);
	model_free(m);
}
