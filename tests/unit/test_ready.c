/* SPDX-License-Identifier: MIT */
/* When a new Python process began with work of its own, by stacks whose meaning is known. */
#include "report_test.h"

#define LIB   "/usr/lib/python3.11/"
#define CHILD 2
#define BORN  (10 * MS)

enum {
	MODULE = 1,
	POPEN,
	BOOTSTRAP,
	WORK,
	IMPORT,
	JSON,
	PREPARE,
	WORKER,
	FIRST,
	INNER,
	SET,
	RUN,
	CODES
};

static const struct {
	const char *name, *file;
} codes[CODES] = {
        [MODULE] = {"<module>", "/home/me/app.py"},
        [POPEN] = {"Popen._launch", LIB "multiprocessing/popen_fork.py"},
        [BOOTSTRAP] = {"BaseProcess._bootstrap", LIB "multiprocessing/process.py"},
        [WORK] = {"work", "/usr/lib/python3.11/site-packages/mine/work.py"},
        [IMPORT] = {"_find_and_load", "<frozen importlib._bootstrap>"},
        [JSON] = {"dumps", LIB "json/__init__.py"},
        [PREPARE] = {"_fixup_main_from_path", LIB "multiprocessing/spawn.py"},
        [WORKER] = {"worker", LIB "multiprocessing/pool.py"},
        [FIRST] = {"Thread._bootstrap", LIB "threading.py"},
        [INNER] = {"Thread._bootstrap_inner", LIB "threading.py"},
        [SET] = {"Event.set", LIB "threading.py"},
        [RUN] = {"Thread.run", LIB "threading.py"},
};

/* A parent that makes at 10 ms a child, which runs on a CPU of its own from 11 ms to 60. */
static struct tb *makes(bool thread)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
	tb_run(tb, 1, 0, 80 * MS);
	if (thread)
		tb_thread(tb, CHILD, 1, "app", BORN);
	else
		tb_fork(tb, CHILD, 1, "app", BORN);
	tb_on(tb, CHILD, 1);
	tb_run(tb, CHILD, 11 * MS, 60 * MS);
	for (size_t i = 1; i < CODES; i++) {
		struct rec_pycode c = {.id = i,
		                       .name = tb_string(tb, codes[i].name),
		                       .file = tb_string(tb, codes[i].file),
		                       .first_line = 1};

		tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
	}
	return tb;
}

static struct tb *forks(void)
{
	return makes(false);
}

/* The child is looked at: its frames, innermost first, below them the parent's. */
static void look_at(struct tb *tb, uint64_t t, const unsigned *f, size_t n, bool thread)
{
	static uint64_t py[64][8]; /* the builder keeps pointers */
	static uint32_t id;
	struct rec_stack s = {.kind = STACK_USER, .flags = STACK_F_PY};
	struct rec_touch look = {.task = CHILD, .what = TOUCH_LOOK};

	id = id % 63 + 1;
	for (size_t i = 0; i < n; i++)
		py[id][i] = PY_FRAME(f[i], 7, 0);
	py[id][n] = PY_FRAME(thread ? FIRST : MODULE, 9, 1);
	s.space = thread ? 1 : CHILD;
	s.id = look.ustack = id;
	s.py = (struct rec_array){py[id], n + 1};
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	tb_raw(tb, REC_K_TOUCH, TB_EPOCH + t, &look);
}

#define LOOK_AT(thread, t, ...)                                         \
	do {                                                            \
		static const unsigned f_[] = {__VA_ARGS__};             \
		look_at(tb, t, f_, sizeof(f_) / sizeof(f_[0]), thread); \
	} while (0)
#define LOOK(t, ...)        LOOK_AT(false, t, __VA_ARGS__)
#define LOOK_THREAD(t, ...) LOOK_AT(true, t, __VA_ARGS__)

/* Takes the builder. Since the child's creation; UINT64_MAX = unknown. */
static uint64_t ready_of(struct tb *tb, uint64_t *off)
{
	struct model_opts o = {.flags = MODEL_SLICES};
	struct model *m = tb_load(tb, &o);
	struct report r = {0};
	struct err err = {0};
	const struct spawn_row *s;
	uint64_t ready;

	cr_assert(m);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	s = report_spawn(&r, CHILD);
	cr_assert(s);
	ready = s->ready_ns;
	if (off)
		*off = s->ready_off_ns;
	report_release(&r);
	model_free(m);
	tb_free(tb);
	return ready;
}

Test(ready, between_the_last_that_starts_and_the_first_of_its_own)
{
	struct tb *tb = forks();
	uint64_t off;

	LOOK(11200 * US, POPEN);
	LOOK(12000 * US, BOOTSTRAP, POPEN);
	LOOK(12100 * US, JSON, WORK, BOOTSTRAP, POPEN);
	LOOK(13000 * US, POPEN);
	cr_expect_eq(ready_of(tb, &off), 2050 * US);
	cr_expect_eq(off, 50 * US);
}

/* The parent's own functions are on every stack of the child. */
Test(ready, frames_of_the_parent_are_not_its_own)
{
	struct tb *tb = forks();

	LOOK(11200 * US, POPEN);
	LOOK(12000 * US, JSON, BOOTSTRAP, POPEN);
	LOOK(13000 * US, BOOTSTRAP, POPEN);
	cr_expect_eq(ready_of(tb, NULL), SPAWN_UNKNOWN);
}

/* After os.fork() it goes on where its parent was. */
Test(ready, a_bare_fork_begins_at_once)
{
	struct tb *tb = forks();
	uint64_t off;

	LOOK(11080 * US, JSON);
	cr_expect_eq(ready_of(tb, &off), 1040 * US);
	cr_expect_eq(off, 40 * US);
}

Test(ready, importing_its_modules_is_not_its_work)
{
	struct tb *tb = forks();

	LOOK(13000 * US, WORK, IMPORT, BOOTSTRAP, POPEN);
	LOOK(14000 * US, WORK, PREPARE, BOOTSTRAP, POPEN);
	LOOK(14060 * US, WORK, BOOTSTRAP, POPEN);
	cr_expect_eq(ready_of(tb, NULL), 4030 * US);
}

Test(ready, a_worker_of_a_pool_has_begun)
{
	struct tb *tb = forks();

	LOOK(14000 * US, BOOTSTRAP, POPEN);
	LOOK(14060 * US, WORKER, BOOTSTRAP, POPEN);
	cr_expect_eq(ready_of(tb, NULL), 4030 * US);
}

/* First seen at work long after. */
Test(ready, too_wide_is_unknown)
{
	struct tb *tb = forks();

	LOOK(11200 * US, POPEN);
	LOOK(50000 * US, WORK, BOOTSTRAP, POPEN);
	cr_expect_eq(ready_of(tb, NULL), SPAWN_UNKNOWN);
}

Test(ready, how_well_it_is_known)
{
	struct tb *tb = forks();
	uint64_t off;

	LOOK(30000 * US, BOOTSTRAP, POPEN);
	LOOK(40000 * US, WORK, BOOTSTRAP, POPEN);
	cr_expect_eq(ready_of(tb, &off), 25000 * US);
	cr_expect_eq(off, 5000 * US);
}

Test(ready, a_thread_begins_with_what_run_calls)
{
	struct tb *tb = makes(true);
	uint64_t off;

	LOOK_THREAD(11020 * US, INNER);
	LOOK_THREAD(11040 * US, SET, INNER);
	LOOK_THREAD(11060 * US, RUN, INNER);
	LOOK_THREAD(11080 * US, JSON, RUN, INNER);
	cr_expect_eq(ready_of(tb, &off), 1070 * US);
	cr_expect_eq(off, 10 * US);
}

Test(ready, a_thread_with_a_run_of_its_own)
{
	struct tb *tb = makes(true);

	LOOK_THREAD(11040 * US, SET, INNER);
	LOOK_THREAD(11060 * US, WORK, INNER);
	cr_expect_eq(ready_of(tb, NULL), 1050 * US);
}

/* It waits for the GIL before it has a frame. */
Test(ready, a_thread_that_waits_for_the_gil)
{
	static uint64_t native[1] = {0x1234};
	struct rec_stack s = {.id = 90, .kind = STACK_USER, .space = 1, .frames = {native, 1}};
	struct tb *tb = makes(true);
	uint64_t off;

	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	tb_stacks(tb, CHILD, 90, 0);
	tb_futex_wait(tb, CHILD, 0x2000, 63 * MS, 1); /* from 60 ms on */
	tb_run(tb, CHILD, 63 * MS, 70 * MS);
	LOOK_THREAD(64000 * US, WORK, RUN, INNER);
	cr_expect_eq(ready_of(tb, &off), 52 * MS);
	cr_expect_eq(off, 2 * MS);
}

/* What a library made for itself, as numpy does, waits for work until the program ends: it had
 * begun with its first run. */
Test(ready, a_library_s_thread_is_none_of_python_s)
{
	static uint64_t native[1] = {0x1234};
	struct rec_stack s = {.id = 90, .kind = STACK_USER, .space = 1, .frames = {native, 1}};
	struct rec_touch look = {.task = CHILD, .what = TOUCH_LOOK, .ustack = 90};
	struct tb *tb = makes(true);
	uint64_t off;

	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	tb_stacks(tb, CHILD, 90, 0);
	tb_futex_wait(tb, CHILD, 0x2000, 70 * MS, 1); /* from 60 ms on */
	tb_run(tb, CHILD, 70 * MS, 71 * MS);
	tb_raw(tb, REC_K_TOUCH, TB_EPOCH + 70900 * US, &look);
	tb_exit(tb, CHILD, 0);
	cr_expect_eq(ready_of(tb, &off), SPAWN_UNKNOWN);
	cr_expect_eq(off, SPAWN_UNKNOWN);
}

/* Who waits for the GIL is a thread of Python's. */
Test(ready, a_thread_that_came_and_went_and_waited_for_the_gil)
{
	static uint64_t native[1] = {0x1234};
	struct rec_stack s = {.id = 90, .kind = STACK_USER, .space = 1, .frames = {native, 1}};
	struct tb *tb = makes(true);
	uint64_t off;

	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	tb_stacks(tb, CHILD, 90, 0);
	tb_futex_wait(tb, CHILD, 0x1048, 70 * MS, 1);
	tb_run(tb, CHILD, 70 * MS, 71 * MS);
	tb_exit(tb, CHILD, 0);
	cr_expect_eq(ready_of(tb, &off), 55500 * US);
	cr_expect_eq(off, 5500 * US);
}

/* Nobody looked: but it cannot have begun after its end. */
Test(ready, a_thread_that_came_and_went)
{
	struct tb *tb = tb_new();
	uint64_t off;

	tb_task(tb, 1, "app");
	tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
	tb_run(tb, 1, 0, 80 * MS);
	tb_thread(tb, CHILD, 1, "app", BORN);
	tb_on(tb, CHILD, 1);
	tb_run(tb, CHILD, 10020 * US, 10100 * US);
	tb_exit(tb, CHILD, 0);
	cr_expect_eq(ready_of(tb, &off), 60 * US);
	cr_expect_eq(off, 40 * US);
}

/* It was there from its first turn on, at the earliest. */
Test(ready, a_thread_seen_late)
{
	struct tb *tb = makes(true);
	uint64_t off;

	LOOK_THREAD(11100 * US, WORK, RUN, INNER);
	cr_expect_eq(ready_of(tb, &off), 1050 * US);
	cr_expect_eq(off, 50 * US);
}

Test(ready, other_programs_begin_with_their_first_wait)
{
	struct tb *tb = tb_new();
	uint64_t off;

	tb_task(tb, 1, "sh");
	tb_run(tb, 1, 0, 80 * MS);
	tb_fork(tb, CHILD, 1, "sh", BORN);
	tb_on(tb, CHILD, 1);
	tb_run(tb, CHILD, 11 * MS, 12 * MS);
	tb_call(tb, CHILD, TB_NR_nanosleep, 0, FD_UNKNOWN, 13 * MS, 0);
	tb_run(tb, CHILD, 13 * MS, 30 * MS);
	tb_exec(tb, CHILD, 20 * MS, "/bin/sleep", "sleep");
	tb_call(tb, CHILD, TB_NR_nanosleep, 0, FD_UNKNOWN, 40 * MS, 0);
	tb_run(tb, CHILD, 40 * MS, 41 * MS);
	tb_exit(tb, CHILD, 0);
	cr_expect_eq(ready_of(tb, &off), 20 * MS, "the wait after its exec");
	cr_expect_eq(off, SPAWN_UNKNOWN);
}

/* A thread of another program computes before it waits for the first time: it had begun long ago.
 */
Test(ready, a_first_wait_says_nothing_of_a_thread)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 80 * MS);
	tb_thread(tb, CHILD, 1, "app", BORN);
	tb_on(tb, CHILD, 1);
	tb_run(tb, CHILD, 11 * MS, 60 * MS);
	tb_futex_wait(tb, CHILD, 0x2000, 70 * MS, 1);
	tb_run(tb, CHILD, 70 * MS, 71 * MS);
	tb_exit(tb, CHILD, 0);
	cr_expect_eq(ready_of(tb, NULL), SPAWN_UNKNOWN);
}

/* Stacks that do not exist, of tasks that do not exist, at any time. */
Test(ready, hostile_looks)
{
	struct tb *tb = forks();
	static const struct rec_touch looks[] = {
	        {.task = CHILD, .what = TOUCH_LOOK, .ustack = 999},
	        {.task = CHILD, .what = TOUCH_LOOK, .ustack = UINT64_MAX},
	        {.task = 77, .what = TOUCH_LOOK, .ustack = 1, .bytes = UINT64_MAX},
	        {.task = CHILD, .what = UINT64_MAX, .ustack = 1},
	};

	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		tb_raw(tb, REC_K_TOUCH, TB_EPOCH + 12 * MS, &looks[i]);
		tb_raw(tb, REC_K_TOUCH, UINT64_MAX - i, &looks[i]);
		tb_raw(tb, REC_K_TOUCH, i, &looks[i]);
	}
	ready_of(tb, NULL);
}
