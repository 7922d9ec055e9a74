/* SPDX-License-Identifier: MIT */
/* CPython's locks by what its library made of them. */
#include "analyze/capacity_priv.h"
#include "locks_test.h"
#include "report.h"

#define PYTHON  "/usr/lib/libpython3.11.so.1.0"
#define LIB     "/usr/lib/python3.11/"
#define DYNLOAD LIB "lib-dynload/"
#define BASE    0x2000000
#define SEM     0x10000

enum { LOOP = 0x100, SEM_WAIT = 0x200, NATIVE = 0x300, MAX_CODES = 4 };

struct code {
	const char *name, *file;
};

/* Innermost first; below them all is the program's work(), which a thread of threading runs. */
static const struct {
	const char *want, *native;
	struct code codes[MAX_CODES];
} waits[] = {
        {"lock", NULL, {{0}}},
        {"lock", "lock_PyThread_acquire_lock", {{0}}},
        {"RLock", "rlock_acquire", {{0}}},
        {"RLock", "_thread_RLock_acquire_impl", {{0}}},
        {"queue", "_queue_SimpleQueue_get_impl", {{0}}},
        {"condition", NULL, {{"Condition.wait", LIB "threading.py"}}},
        {"condition", "rlock_acquire", {{"Condition.__enter__", LIB "threading.py"}}},
        {"condition",
         NULL,
         {{"Condition.wait", LIB "threading.py"}, {"Condition.wait_for", LIB "threading.py"}}},
        {"event",
         "lock_PyThread_acquire_lock",
         {{"Condition.wait", LIB "threading.py"}, {"Event.wait", LIB "threading.py"}}},
        {"event", NULL, {{"wait", LIB "threading.py"}, {"wait", LIB "threading.py"}}}, /* 3.8 */
        {"semaphore", NULL, {{"wait", LIB "threading.py"}, {"acquire", LIB "threading.py"}}},
        {"barrier",
         NULL,
         {{"wait", LIB "threading.py"},
          {"wait_for", LIB "threading.py"},
          {"_wait", LIB "threading.py"},
          {"wait", LIB "threading.py"}}},
        {"barrier",
         NULL,
         {{"Condition.__enter__", LIB "threading.py"}, {"Barrier.wait", LIB "threading.py"}}},
        {"queue", NULL, {{"wait", LIB "threading.py"}, {"get", LIB "queue.py"}}},
        {"queue", NULL, {{"Queue.put", LIB "queue.py"}}},
        {"queue", NULL, {{"_worker", LIB "concurrent/futures/thread.py"}}},
        {"future",
         NULL,
         {{"Condition.wait", LIB "threading.py"},
          {"Future.result", LIB "concurrent/futures/_base.py"}}},
        {"thread start",
         NULL,
         {{"Condition.wait", LIB "threading.py"},
          {"Event.wait", LIB "threading.py"},
          {"Thread.start", LIB "threading.py"}}},
        {"import lock", NULL, {{"_ModuleLock.acquire", "<frozen importlib._bootstrap>"}}},
        /* The program's own, though of those names. */
        {"lock", NULL, {{"get", "/home/me/myqueue.py"}}},
        {"lock", NULL, {{"Thread.join", "/home/me/mythreading.py"}}},
        {"lock", NULL, {{"wait", "/home/me/app.py"}, {"wait", LIB "threading.py"}}},
};

static void add_code(struct tb *tb, const struct code *code, uint64_t id)
{
	struct rec_pycode c = {.id = id,
	                       .name = tb_string(tb, code->name),
	                       .file = tb_string(tb, code->file),
	                       .first_line = 1};

	tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &c);
}

/* The i-th wait's stack, as id. */
static uint32_t stack_of(struct tb *tb, size_t i)
{
	static uint64_t all_frames[ARRAY_LEN(waits)][3], all_py[ARRAY_LEN(waits)][MAX_CODES + 2];
	static const struct code outer[] = {{"work", "/home/me/app.py"},
	                                    {"Thread.run", LIB "threading.py"}};
	uint64_t *frames = all_frames[i], *py = all_py[i], code = 1 + i * (MAX_CODES + 2);
	struct rec_stack s = {.id = i + 1, .kind = STACK_USER, .space = 1, .flags = STACK_F_PY};
	size_t n = 0, n_py = 0;

	frames[n++] = BASE + SEM_WAIT;
	if (waits[i].native) {
		tb_symbol(tb, PYTHON, NATIVE + 16 * i, waits[i].native, 4, 0);
		frames[n++] = BASE + NATIVE + 16 * i;
	}
	frames[n++] = BASE + LOOP;
	for (; n_py < MAX_CODES && waits[i].codes[n_py].name; n_py++)
		add_code(tb, &waits[i].codes[n_py], code + n_py);
	for (size_t k = 0; k < ARRAY_LEN(outer); k++)
		add_code(tb, &outer[k], code + n_py++);
	for (size_t k = 0; k < n_py; k++)
		py[k] = PY_FRAME(code + k, 7, k + 1 == n_py);
	s.frames = (struct rec_array){frames, (uint32_t)n};
	s.py = (struct rec_array){py, (uint32_t)n_py};
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	return (uint32_t)i + 1;
}

/* Task 2 waits at each of them, until task 1 lets it go. */
static struct tb *all_waits(void)
{
	struct tb *tb = tb_program(2, "python3", "worker");

	tb_map(tb, 1, BASE, BASE + 0x10000, 0, PYTHON);
	tb_symbol(tb, PYTHON, LOOP, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, PYTHON, SEM_WAIT, "sem_wait", 4, 0);
	tb_run(tb, 1, 0, 1000 * MS);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		uint64_t t = i * 5 * MS;

		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, stack_of(tb, i), 0);
		tb_futex(tb, 2, SEM + 64 * i, TB_FUTEX_BITSET, 0, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	return tb;
}

Test(pykinds, by_the_librarys_frames)
{
	struct built b = build_waits(all_waits());
	char text[48];

	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		const struct lock *l = lock_of_wait(&b, 2, i);

		cr_expect_eq(l->kind, LOCK_SEMAPHORE, "what it is made of, %zu", i);
		cr_expect_str_eq(l->py_kind ? l->py_kind : "", waits[i].want, "wait %zu", i);
	}
	cr_expect_str_eq(lock_kind_text(lock_of_wait(&b, 2, 0), text, sizeof(text)), "Python lock");
	built_free(&b);
}

static size_t index_of(const char *want)
{
	size_t i = 0;

	while (strcmp(waits[i].want, want))
		i++;
	return i;
}

/* Threads 3 to 5 wait twice at a word of their own: first for thread 2, then, if turns, for each
 * other as well. */
static struct built three_wait(const char *kind, bool turns)
{
	struct tb *tb = tb_program(5, "python3", "worker");
	uint32_t stack;

	tb_map(tb, 1, BASE, BASE + 0x10000, 0, PYTHON);
	tb_symbol(tb, PYTHON, LOOP, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, PYTHON, SEM_WAIT, "sem_wait", 4, 0);
	stack = stack_of(tb, index_of(kind));
	tb_run(tb, 1, 0, 80 * MS);
	tb_run(tb, 2, 0, 80 * MS);
	for (uint32_t id = 5; id >= 3; id--) {
		uint64_t t = 20 * MS, first = (27 + id) * MS, until = (85 - 5 * id) * MS;

		tb_run(tb, id, 0, t);
		tb_stacks(tb, id, stack, 0);
		tb_futex(tb, id, SEM + 64 * id, TB_FUTEX_BITSET, 0, 0, first, 2);
		tb_run(tb, id, first, first + 2 * MS);
		tb_futex(tb, id, SEM + 64 * id, TB_FUTEX_BITSET, 0, 0, until,
		         turns && id < 5 ? id + 1 : 2);
		tb_run(tb, id, until, until + 7 * MS);
	}
	tb_stop(tb, 80 * MS);
	return build_waits(tb);
}

/* Of each wait's own lock nobody is the holder; but who lets go of the semaphore waits for it, too.
 */
Test(pykinds, a_semaphore_is_one_lock)
{
	struct built b = three_wait("semaphore", true);
	uint32_t head = lock_of_wait(&b, 3, 0)->family;

	cr_assert_neq(head, 0);
	for (uint32_t id = 3; id <= 5; id++)
		cr_expect_eq(lock_of_wait(&b, id, 0)->family, head);
	cr_expect_eq(b.w->locks.v[head - 1].family_n, 3);
	built_free(&b);
}

/* A signal is given by who does not wait for it. */
Test(pykinds, a_semaphore_that_signals_is_none)
{
	struct built b = three_wait("semaphore", false);

	cr_expect_eq(lock_of_wait(&b, 3, 0)->family, 0);
	built_free(&b);
	/* Work comes in the same way: of a queue nobody knows what it is. */
	b = three_wait("queue", true);
	cr_expect_eq(lock_of_wait(&b, 3, 0)->family, 0);
	cr_expect_neq(lock_of_wait(&b, 3, 0)->pool, 0);
	built_free(&b);
	b = three_wait("queue", false);
	cr_expect_eq(lock_of_wait(&b, 3, 0)->pool, 0);
	built_free(&b);
}

/* Where half of the run is waited at a queue for those who wait there, too, that is told. */
Test(pykinds, a_pool_that_is_too_small)
{
	struct built b = three_wait("queue", true);
	struct report r = {.m = b.m, .w = b.w, .wall_ns = 80 * MS};

	pools_say(&r);
	cr_expect(strstr(r.next_step, ": 3 tasks waited there for 129 ms in all"), "%s",
	          r.next_step);
	r = (struct report){.m = b.m, .w = b.w, .wall_ns = 260 * MS};
	pools_say(&r);
	cr_expect_str_empty(r.next_step);
	built_free(&b);
	b = three_wait("queue", false);
	r = (struct report){.m = b.m, .w = b.w, .wall_ns = 80 * MS};
	pools_say(&r);
	cr_expect_str_empty(r.next_step);
	built_free(&b);
}

static bool is_held(const char *kind)
{
	return strstr(kind, "ock") || !strcmp(kind, "semaphore");
}

/* On the critical path as in the account: who lets another go at a queue or the like does his work,
 * and holds nothing. */
Test(pykinds, on_the_critical_path)
{
	const struct analyze_opts opts = {.task = "worker"};

	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		const struct model_opts window = {.since_ns = i * 5 * MS,
		                                  .until_ns = i * 5 * MS + 4 * MS,
		                                  .flags = MODEL_SLICES};
		struct model *m = load(all_waits(), &window);
		struct report r = {0};
		struct err err = {0};
		bool seen = false;

		cr_assert_eq(report_build_opts(&r, m, &opts, &err), 0, "%s", err.msg);
		for (size_t k = 0; k < r.path.n; k++) {
			const struct path_row *p = &r.path.v[k];

			if (p->task != 1 || !p->lock)
				continue;
			seen = true;
			cr_expect_eq(p->cause, is_held(waits[i].want) ? CAUSE_LOCK : CAUSE_SERIAL,
			             "%s: %s", waits[i].want, cause_key((enum cause)p->cause));
		}
		cr_expect(seen, "%s", waits[i].want);
		report_release(&r);
		model_free(m);
	}
}

/* What C code waits for is no lock of Python's. */
Test(pykinds, native_semaphores_keep_their_kind)
{
	struct lock l = {.kind = LOCK_SEMAPHORE};
	char text[48];

	cr_expect_str_eq(lock_kind_text(&l, text, sizeof(text)), "semaphore");
	l.py = true;
	cr_expect_str_eq(lock_kind_text(&l, text, sizeof(text)), "Python semaphore");
}

/* By the program's function; else by what of the library says most. */
static const struct {
	const char *want, *native, *module;
	struct code codes[MAX_CODES];
} places[] = {
        {"waited for in work (app.py:7)",
         "_queue_SimpleQueue_get",
         DYNLOAD "_queue.cpython-311-x86_64-linux-gnu.so",
         {{"work", "/home/me/app.py"}, {"Thread.run", LIB "threading.py"}}},
        {"waited for in _worker (thread.py:7)",
         "_queue_SimpleQueue_get",
         DYNLOAD "_queue.cpython-311-x86_64-linux-gnu.so",
         {{"_worker", LIB "concurrent/futures/thread.py"}, {"Thread.run", LIB "threading.py"}}},
        {"waited for in Queue._feed (queues.py:7)",
         NULL,
         NULL,
         {{"Condition.wait", LIB "threading.py"},
          {"Queue._feed", LIB "multiprocessing/queues.py"},
          {"Thread.run", LIB "threading.py"}}},
        {"waited for in main (app.py:7)",
         NULL,
         NULL,
         {{"Condition.wait", LIB "threading.py"},
          {"Future.result", LIB "concurrent/futures/_base.py"},
          {"main", "/home/me/app.py"}}},
        {"waited for in main (app.py:7)",
         NULL,
         NULL,
         {{"BaseEventLoop.run", LIB "asyncio/base_events.py"}, {"main", "/home/me/app.py"}}},
        {"waited for in run (own.py:7)", NULL, NULL, {{"run", "/home/me/asyncio/own.py"}}},
        {"waited for in wait_here (fast.cpython-311.so)",
         "wait_here",
         "/home/me/fast.cpython-311.so",
         {{"work", "/home/me/app.py"}}},
        {"waited for in Condition.wait (threading.py:7)",
         NULL,
         NULL,
         {{"Condition.wait", LIB "threading.py"}, {"Thread.run", LIB "threading.py"}}},
        {"waited for in SimpleQueue.get (queues.py:7)",
         NULL,
         NULL,
         {{"SimpleQueue.get", LIB "multiprocessing/queues.py"},
          {"spawn_main", LIB "multiprocessing/spawn.py"},
          {"<module>", "<string>"}}},
        {"waited for in <module> (<string>:7)",
         NULL,
         NULL,
         {{"Condition.wait", LIB "threading.py"}, {"<module>", "<string>"}}},
};

static uint32_t stack_of_place(struct tb *tb, size_t i)
{
	static uint64_t all_frames[ARRAY_LEN(places)][3], all_py[ARRAY_LEN(places)][MAX_CODES];
	uint64_t *frames = all_frames[i], *py = all_py[i], own = 2 * BASE + i * 0x1000;
	struct rec_stack s = {.id = i + 1, .kind = STACK_USER, .space = 1, .flags = STACK_F_PY};
	size_t n = 0, n_py = 0;

	frames[n++] = BASE + SEM_WAIT;
	if (places[i].native) {
		tb_map(tb, 1, own, own + 0x1000, 0x1000 * i, places[i].module);
		tb_symbol(tb, places[i].module, 0x1000 * i + NATIVE, places[i].native, 4, 0);
		frames[n++] = own + NATIVE;
	}
	frames[n++] = BASE + LOOP;
	for (; n_py < MAX_CODES && places[i].codes[n_py].name; n_py++)
		add_code(tb, &places[i].codes[n_py], 1 + i * MAX_CODES + n_py);
	for (size_t k = 0; k < n_py; k++)
		py[k] = PY_FRAME(1 + i * MAX_CODES + k, 7, k + 1 == n_py);
	s.frames = (struct rec_array){frames, (uint32_t)n};
	s.py = (struct rec_array){py, (uint32_t)n_py};
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &s);
	return (uint32_t)i + 1;
}

Test(pykinds, named_by_what_says_most)
{
	struct tb *tb = tb_program(2, "python3", "worker");
	struct built b;

	tb_map(tb, 1, BASE, BASE + 0x10000, 0, PYTHON);
	tb_symbol(tb, PYTHON, LOOP, "_PyEval_EvalFrameDefault", 4, 0);
	tb_symbol(tb, PYTHON, SEM_WAIT, "sem_wait", 4, 0);
	tb_run(tb, 1, 0, 1000 * MS);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		uint64_t t = i * 5 * MS;

		tb_run(tb, 2, t, t + MS);
		tb_stacks(tb, 2, stack_of_place(tb, i), 0);
		tb_futex(tb, 2, SEM + 64 * i, TB_FUTEX_BITSET, 0, 0, t + 3 * MS, 1);
		tb_run(tb, 2, t + 3 * MS, t + 4 * MS);
		tb_preempt(tb, 2);
	}
	b = build_waits(tb);
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		cr_expect_str_eq(lock_of_wait(&b, 2, i)->name, places[i].want);
	built_free(&b);
}
