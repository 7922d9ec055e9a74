/* SPDX-License-Identifier: MIT */
/* Critical path, deadlocks and who waits for whom at the end, on programs built in memory. */
#include "causes_test.h"
#include "tb_priv.h"

/* --- critical path --- */

struct piece {
	uint64_t end_us;
	uint32_t task;
	char state;
	enum cause cause;
};

static void expect_path(const struct built *b, const struct piece *want, size_t n)
{
	for (size_t i = 0; b->r.path.n != n && i < b->r.path.n; i++)
		cr_log_warn("%llu %u %c %s", b->r.path.v[i].end_ns - TB_EPOCH, b->r.path.v[i].task,
		            b->r.path.v[i].state, cause_key(b->r.path.v[i].cause));
	cr_assert_eq(b->r.path.n, n, "%zu pieces", b->r.path.n);
	for (size_t i = 0; i < n; i++) {
		const struct path_row *p = &b->r.path.v[i];

		cr_expect_eq(p->end_ns, TB_EPOCH + want[i].end_us * US,
		             "piece %zu ends at %" PRIu64, i, (uint64_t)(p->end_ns - TB_EPOCH));
		cr_expect_eq(p->task, want[i].task, "piece %zu", i);
		cr_expect_eq(p->state, want[i].state, "piece %zu", i);
		cr_expect_eq(p->cause, want[i].cause, "piece %zu is %s", i, cause_key(p->cause));
	}
}

Test(path, through_joins_locks_and_disk)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},  {1001, 3, 'R', CAUSE_WORK},
	        {11000, 3, 'R', CAUSE_LOCK}, {16000, 3, 'B', CAUSE_IO},
	        {21000, 3, 'R', CAUSE_LOCK}, {31000, 2, 'R', CAUSE_WORK},
	        {32000, 1, 'R', CAUSE_WORK},
	};
	struct tb *tb = two_workers(31 * MS);
	struct built b;

	tb_owner(tb, 2, 3);
	tb_run(tb, 2, 1 * MS, 1 * MS + US);
	tb_futex_wait(tb, 2, MUTEX, 21 * MS, 3);
	tb_run(tb, 2, 21 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 11 * MS);
	tb_call(tb, 3, TB_NR_fsync, 3, FD_FILE, 16 * MS, 0);
	tb_run(tb, 3, 16 * MS, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	expect_path(&b, want, 7);
	cr_expect_eq(b.r.path.v[2].lock, 1);
	drop(&b);
}

/* Who is joined first may be done before: it is the other one that the end waited for. */
Test(path, through_the_longer_of_two)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},
	        {31000, 3, 'R', CAUSE_WORK},
	        {32000, 1, 'R', CAUSE_WORK},
	};
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_thread(tb, id, 1, "worker", 1 * MS);
		tb_on(tb, id, id);
		tb_run(tb, id, 1 * MS, id == 2 ? 26 * MS : 31 * MS);
		tb_exit(tb, id, 0);
	}
	tb_join(tb, 1, 2, 26 * MS);
	tb_run(tb, 1, 26 * MS, 26 * MS + US);
	tb_join(tb, 1, 3, 31 * MS);
	tb_run(tb, 1, 31 * MS, 32 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_path(&b, want, 3);
	drop(&b);
}

/* As only a damaged recording says: two that made each other, and became ready later. */
Test(path, tasks_that_made_each_other, .timeout = 20)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_exit(tb, 1, 0);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_fork(tb, id, id - 1, "child", 1 * MS);
		tb_on(tb, id, id);
		tb_run(tb, id, 3 * MS, 10 * MS);
		tb_exit(tb, id, 0);
	}
	for (size_t i = 0; i < tb->items.n; i++) {
		if (tb->items.v[i].kind == REC_K_TASK && tb->items.v[i].task.id == 2)
			tb->items.v[i].task.parent = 3;
		if (tb->items.v[i].kind == REC_K_SWITCH)
			tb->items.v[i].sw.delay = MS; /* ready at 2 ms, made at 1 */
	}
	b = build(tb);
	cr_assert_gt(b.r.path.n, 0);
	cr_expect_eq(b.r.path.v[b.r.path.n - 1].end_ns, TB_EPOCH + 10 * MS);
	drop(&b);
}

/* 1 reads what 2 needs longer for than 1 sleeps between: the sleep is not what is waited for. */
Test(path, through_the_slowest_stage)
{
	struct tb *tb = tb_new();
	uint64_t decodes = 0;
	struct built b;

	tb_task(tb, 1, "fetch");
	tb_fork(tb, 2, 1, "decode", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 1, 0, US);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t t = i * 6 * MS;

		tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, t + MS, 0);
		tb_run(tb, 1, t + MS, t + MS + US);
		/* The pipe is full until it is read again. */
		if (i < 9) {
			tb_call(tb, 1, TB_NR_write, 4, FD_PIPE, t + 6 * MS, 2);
			tb_run(tb, 1, t + 6 * MS, t + 6 * MS + US);
		}
	}
	tb_run(tb, 2, 0, 60 * MS);
	tb_exit(tb, 2, 0);
	tb_call(tb, 1, TB_NR_wait4, (uint64_t)-1, FD_UNKNOWN, 60 * MS, 2);
	tb_run(tb, 1, 60 * MS, 61 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	for (size_t i = 0; i < b.r.path.n; i++)
		if (b.r.path.v[i].task == 2 && b.r.path.v[i].state == 'R')
			decodes += b.r.path.v[i].end_ns - b.r.path.v[i].start_ns;
	cr_expect_geq(decodes, 59 * MS);
	drop(&b);
}

/* Whoever waited when the process ended goes last, but nothing waited for it. */
Test(path, not_through_those_killed_waiting)
{
	static const struct piece want[] = {
	        {20000, 1, 'R', CAUSE_WORK},
	        {21000, 2, 'R', CAUSE_WORK},
	};
	struct tb *tb = tb_program(2, "main", "pool");
	struct built b;

	tb_wakes_by(tb, 1, tb_site(tb, TB_NR_exit_group, 0, 0, 0, FD_UNKNOWN), 0);
	tb_run(tb, 1, 0, 20 * MS);
	tb_run(tb, 2, 0, 1 * MS);
	tb_futex(tb, 2, COND, TB_FUTEX_BITSET, 0, 0, 20 * MS, 1);
	tb_run(tb, 2, 20 * MS, 21 * MS);
	tb_exit(tb, 2, 9);
	tb_exit(tb, 1, 0);
	b = build(tb);
	expect_path(&b, want, 2);
	drop(&b);
}

/* A worker ends the process (as in Go, where any thread may run main): main, asleep, and a clock,
 * that ran a moment ago, are taken along. Who waits for the process waits for the worker. */
Test(path, through_who_called_exit_group)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},  {3000, 2, 'R', CAUSE_WORK},
	        {20000, 3, 'R', CAUSE_WORK}, {22000, 3, 'B', CAUSE_CHILD},
	        {24000, 1, 'R', CAUSE_WORK},
	};
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "shell");
	tb_run(tb, 1, 0, 1 * MS);
	tb_fork(tb, 2, 1, "main", 1 * MS);
	tb_thread(tb, 3, 2, "worker", 3 * MS);
	tb_thread(tb, 4, 2, "clock", 3 * MS);
	for (uint32_t id = 2; id <= 4; id++)
		tb_on(tb, id, id);
	tb_call(tb, 1, TB_NR_wait4, (uint64_t)-1, FD_UNKNOWN, 22 * MS, 4);
	tb_run(tb, 1, 22 * MS, 24 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 1 * MS, 4 * MS);
	tb_futex(tb, 2, COND, TB_FUTEX_BITSET, 0, 0, 20 * MS, 3);
	tb_run(tb, 2, 20 * MS, 21 * MS);
	tb_exit(tb, 2, 0);
	tb_wakes_by(tb, 3, tb_site(tb, TB_NR_exit_group, 0, 0, 0, FD_UNKNOWN), 0);
	tb_run(tb, 3, 3 * MS, 20 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 4, 3 * MS, 4 * MS);
	tb_call(tb, 4, TB_NR_nanosleep, 0, FD_UNKNOWN, 20 * MS, 3);
	tb_run(tb, 4, 20 * MS, 22 * MS);
	tb_exit(tb, 4, 0);
	b = build(tb);
	cr_expect_eq(waits_ender(b.r.w, 2), 3);
	cr_expect_eq(waits_ender(b.r.w, 1), 0);
	expect_path(&b, want, 5);
	cr_expect_eq(b.r.path_of, 0);
	drop(&b);
}

/* Attached to a server: its main thread waits for signals, a worker does what there is to do. */
Test(path, of_the_busiest_where_main_has_nothing_to_do)
{
	for (int busy = 0; busy < 2; busy++) {
		struct tb *tb = tb_new_attach();
		struct built b;

		tb_attached(tb, 1, 1, "main", TASK_F_ON_CPU, 0, -1, 0, 0);
		tb_run(tb, 1, 0, 1 * MS);
		tb_call(tb, 1, TB_NR_epoll_wait, 3, FD_UNKNOWN, busy ? 70 * MS : TB_NEVER, 0);
		tb_attached(tb, 2, 1, "idle", 0, 1, TB_NR_epoll_wait, 4, 0);
		tb_attached(tb, 3, 1, "worker", TASK_F_ON_CPU, 0, -1, 0, 0);
		tb_on(tb, 3, 1);
		tb_run(tb, 3, 0, 30 * MS);
		tb_call(tb, 3, TB_NR_epoll_wait, 5, FD_UNKNOWN, 60 * MS, 0);
		tb_run(tb, 3, 60 * MS, 100 * MS);
		if (busy) /* main has a third of that to do */
			tb_run(tb, 1, 70 * MS, 95 * MS);
		tb_stop(tb, 100 * MS);
		b = build(tb);
		cr_expect_eq(b.r.path_of, busy ? 0 : 3);
		cr_assert_gt(b.r.path.n, 0);
		cr_expect_eq(b.r.path.v[0].task, busy ? 1 : 3);
		drop(&b);
	}
}

/* The one that ends last was born late: before that, the path is its creator's. */
Test(path, through_a_fork)
{
	static const struct piece want[] = {
	        {10000, 1, 'R', CAUSE_WORK},
	        {12000, 2, 'Q', CAUSE_CPU_SHORTAGE},
	        {30000, 2, 'R', CAUSE_WORK},
	};
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 20 * MS);
	tb_exit(tb, 1, 0);
	tb_fork(tb, 2, 1, "child", 10 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 12 * MS, 30 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	expect_path(&b, want, 3);
	drop(&b);
}

/* It looks every 10 ms whether it is to stop; main tells it so when the worker is done. */
static struct built with_a_housekeeper(uint64_t done)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 1 * MS);
	tb_thread(tb, 3, 1, "house", 1 * MS);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	tb_run(tb, 2, 1 * MS, done);
	tb_exit(tb, 2, 0);
	for (uint64_t t = 1; t <= 41; t += 10) {
		tb_run(tb, 3, t * MS, t * MS + 20 * US);
		if (t < 41)
			tb_call(tb, 3, TB_NR_nanosleep, 0, FD_UNKNOWN, (t + 10) * MS, 0);
	}
	tb_exit(tb, 3, 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, done);
	tb_run(tb, 1, done, done + 5 * US);
	tb_join(tb, 1, 3, 41 * MS + 20 * US);
	tb_run(tb, 1, 41 * MS + 20 * US, 42 * MS);
	tb_exit(tb, 1, 0);
	return build(tb);
}

/* Of its sleeps only that counts which lasts while it is waited for. */
Test(path, not_through_the_sleeps_of_a_housekeeper)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},  {36000, 2, 'R', CAUSE_WORK},
	        {36005, 1, 'R', CAUSE_WORK}, {41000, 3, 'B', CAUSE_SLEEP},
	        {41020, 3, 'R', CAUSE_WORK}, {42000, 1, 'R', CAUSE_WORK},
	};
	struct built b = with_a_housekeeper(36 * MS);

	expect_path(&b, want, 6);
	drop(&b);
}

/* Main begins to wait while it runs. */
Test(path, not_through_the_sleeps_before_a_housekeeper_was_awake)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},  {31000, 2, 'R', CAUSE_WORK},
	        {31020, 3, 'R', CAUSE_WORK}, {41000, 3, 'B', CAUSE_SLEEP},
	        {41020, 3, 'R', CAUSE_WORK}, {42000, 1, 'R', CAUSE_WORK},
	};
	struct built b = with_a_housekeeper(31 * MS + 10 * US);

	expect_path(&b, want, 6);
	drop(&b);
}

/* Who was joined lets main go on before it is gone itself: the end is main's all the same. */
Test(path, not_from_who_was_joined_and_went_late)
{
	static const struct piece want[] = {
	        {1000, 1, 'R', CAUSE_WORK},  {21000, 2, 'R', CAUSE_WORK},
	        {22000, 1, 'R', CAUSE_WORK}, {30000, 2, 'Q', CAUSE_CPU_SHORTAGE},
	        {30010, 2, 'R', CAUSE_WORK},
	};
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 1 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, 21 * MS);
	tb_run(tb, 1, 21 * MS, 22 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 1 * MS, 22 * MS);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 30 * MS, 30 * MS + 10 * US);
	tb_exit(tb, 2, 0);
	b = build(tb);
	expect_path(&b, want, 5);
	drop(&b);
}

/* The last that is known of main is that it runs; the recording ends a little later. */
Test(path, goes_on_to_the_end)
{
	struct rec_end end = {.task = 1, .run = 19 * MS, .flags = CNT_F_ON_CPU | CNT_F_ALIVE};
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_no_end(tb, 1);
	tb_run(tb, 1, 0, 19 * MS);
	tb_run(tb, 2, 0, 20 * MS);
	tb_raw(tb, REC_K_END, TB_EPOCH + 19 * MS, &end);
	tb_stop(tb, 20 * MS);
	b = build(tb);
	cr_assert_gt(b.r.path.n, 0);
	cr_expect_eq(b.r.path.v[b.r.path.n - 1].task, 1);
	cr_expect_eq(b.r.path.v[b.r.path.n - 1].state, 'R');
	cr_expect_eq(b.r.path.v[b.r.path.n - 1].end_ns, TB_EPOCH + 20 * MS);
	drop(&b);
}

Test(path, of_one_task)
{
	const struct analyze_opts by_name = {.task = "beta"}, by_tid = {.task = "1003"},
	                          nobody = {.task = "gamma"};
	const struct analyze_opts *both[] = {&by_name, &by_tid};
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct report r;
	struct err err = {0};
	struct model *m;
	struct tb *tb;

	for (size_t i = 0; i < 2; i++) {
		struct built b;

		b = build_opts(producer(), both[i]);
		cr_assert_gt(b.r.path.n, 0);
		cr_expect_eq(b.r.path.v[b.r.path.n - 1].task, 3);
		cr_expect_eq(b.r.path.v[b.r.path.n - 1].end_ns, TB_EPOCH + 32 * MS);
		drop(&b);
	}
	tb = producer();
	m = tb_load(tb, &opts);
	cr_expect_eq(report_build_opts(&r, m, &nobody, &err), -2);
	cr_expect_eq(err.status, MT_EXIT_USAGE);
	model_free(m);
	tb_free(tb);
}

/* --- deadlocks --- */

/* alpha has one lock and wants the other, beta the other way round; main joins alpha. */
static struct tb *abba(void)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "alpha", 1 * MS);
	tb_thread(tb, 3, 1, "beta", 1 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, TB_NEVER);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_on(tb, id, id);
		tb_run(tb, id, 1 * MS, (1 + id) * MS);
		tb_owner(tb, id, id == 2 ? 3 : 2);
		tb_futex_wait(tb, id, id == 2 ? MUTEX : COOL, TB_NEVER, 0);
	}
	tb_stop(tb, 200 * MS);
	return tb;
}

Test(deadlock, abba)
{
	struct built b = build(abba());
	const struct deadlock *d;

	cr_assert_eq(b.r.deadlocks.n, 1);
	d = &b.r.deadlocks.v[0];
	cr_assert_eq(d->edges.n, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct deadlock_edge *e = &d->edges.v[i], *o = &d->edges.v[1 - i];

		cr_expect_neq(e->task, 1, "main is behind it, not in it");
		cr_expect_eq(e->holds, o->waits_for);
		cr_expect_neq(e->holds, e->waits_for);
		cr_expect_eq(e->since_ns, TB_EPOCH + (1 + e->task) * MS);
		cr_expect_not(e->before);
	}
	expect_verdict(&b, VERDICT_SERIALIZED, "DEADLOCK of 2 tasks: ");
	cr_expect_geq(of_cause(&b, CAUSE_LOCK), 390 * MS);
	drop(&b);
}

/* Who waited when it was attached to may have done so for long; and what ends a recording comes a
 * little after it was told to stop. */
Test(deadlock, that_was_there_before)
{
	struct rec_mark stopping = {.what = MARK_STOPPING};
	struct report_opts o = {.width = 100};
	struct tb *tb = tb_new_attach();
	struct err err = {0};
	char *text = NULL;
	struct built b;
	size_t n = 0;
	FILE *out;

	for (uint32_t id = 1; id <= 2; id++)
		tb_attached(tb, id, 1, "waits", 0, 1, TB_NR_futex, id == 1 ? MUTEX : COOL, 128);
	tb_holds(tb, 1, 1, COOL, HOLD_WITH_BLOCK);
	tb_holds(tb, 2, 1, MUTEX, HOLD_WITH_BLOCK);
	tb_raw(tb, REC_K_MARK, TB_EPOCH + 170 * MS, &stopping);
	tb_stop(tb, 200 * MS);
	b = build(tb);
	cr_assert_eq(b.r.deadlocks.n, 1);
	cr_expect(b.r.deadlocks.v[0].edges.v[0].before);
	out = open_memstream(&text, &n);
	cr_assert_eq(report_text(&b.r, &o, out, &err), 0);
	fclose(out);
	cr_expect(strstr(text, " since more than 170 ms before the"), "%s", text);
	free(text);
	drop(&b);
}

static const struct graph_row *row_of(const struct built *b, uint32_t task)
{
	for (size_t i = 0; i < b->r.graph.n; i++)
		if (b->r.graph.v[i].task == task)
			return &b->r.graph.v[i];
	cr_assert_fail("task %u is not in the graph", task);
	return NULL;
}

/* Each looks around once in a while: the wait is one, from when it first began, at the place where
 * that is known. */
Test(deadlock, of_those_who_look_around)
{
	static const uint64_t frames[] = {0x401000, 0x402000};
	struct tb *tb = tb_program(3, "main", "worker");
	struct built b;
	uint32_t stack;

	stack = tb_stack(tb, STACK_USER, 1, frames, 2);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, TB_NEVER);
	for (uint32_t id = 2; id <= 3; id++) {
		uint64_t t = 10 * id * MS, at = id == 2 ? MUTEX : COOL;

		tb_run(tb, id, 0, t);
		tb_owner(tb, id, id == 2 ? 3 : 2);
		tb_futex(tb, id, at, TB_FUTEX_WAIT, 2, 1, t + 50 * MS, 0);
		tb_run(tb, id, t + 50 * MS, t + 50 * MS + 20 * US);
		tb_stacks(tb, id, stack, 0);
		tb_futex(tb, id, at, TB_FUTEX_WAIT, 2, 1, TB_NEVER, 0);
	}
	tb_stop(tb, 200 * MS);
	b = build(tb);
	cr_assert_eq(b.r.deadlocks.n, 1);
	for (size_t i = 0; i < 2; i++) {
		const struct deadlock_edge *e = &b.r.deadlocks.v[0].edges.v[i];

		cr_expect_eq(e->since_ns, TB_EPOCH + 10 * e->task * MS);
		cr_expect_eq(e->ustack, stack);
		cr_expect_eq(row_of(&b, e->task)->since_ns, e->since_ns);
	}
	drop(&b);
}

Test(deadlock, of_one_task_with_itself)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_owner(tb, 1, 1);
	tb_futex_wait(tb, 1, MUTEX, TB_NEVER, 0);
	tb_stop(tb, 100 * MS);
	b = build(tb);
	cr_assert_eq(b.r.deadlocks.n, 1);
	cr_expect_eq(b.r.deadlocks.v[0].edges.n, 1);
	cr_expect(strstr(b.r.headline, "DEADLOCK of 1 task:"));
	drop(&b);
}

/* Who waits at the end for somebody who runs is in no deadlock. */
Test(deadlock, none_where_somebody_runs)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 21 * MS);
	tb_run(tb, 3, 1 * MS, 1 * MS + US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, TB_NEVER, 0);
	tb_stop(tb, 21 * MS);
	b = build(tb);
	cr_expect_eq(b.r.deadlocks.n, 0);
	drop(&b);
}

/* Semaphores have no owner word: who has them was found in memory at the end. */
Test(deadlock, of_locks_whose_holders_were_found)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "alpha", 0);
	tb_thread(tb, 3, 1, "beta", 0);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, TB_NEVER);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 1 * MS);
		tb_futex(tb, id, id == 2 ? SEM : COOL, TB_FUTEX_BITSET, 0, 0, TB_NEVER, 0);
		tb_holds(tb, id, 1, id == 2 ? COOL : SEM, HOLD_WITH_BLOCK);
	}
	tb_stop(tb, 100 * MS);
	b = build(tb);
	cr_assert_eq(b.r.deadlocks.n, 1);
	cr_expect_eq(b.r.deadlocks.v[0].edges.n, 2);
	cr_expect_eq(b.r.deadlocks.v[0].edges.v[0].evidence, EVIDENCE_FOUND);
	drop(&b);
}

/* --- who waits for whom at the end --- */

static char *graph_page(const struct built *b, const struct report_opts *o)
{
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_graph_text(&b->r, o, out, &err), 0);
	fclose(out);
	return text;
}

static char *graph_text(const struct built *b)
{
	return graph_page(b, NULL);
}

/* The same page, character for character, where the terminal shows no UTF-8. */
Test(graph, in_ascii)
{
	struct tb *tb = abba();
	struct built b;
	char *text, *ascii;
	size_t columns = 0;

	tb_rename(tb, 1, 1 * MS, "a→b…");
	b = build(tb);
	text = graph_text(&b);
	ascii = graph_page(&b, &(struct report_opts){.ascii = true});
	for (const char *p = text; *p; p++)
		columns += (*p & 0xc0) != 0x80;
	cr_expect(strlen(text) > columns, "nothing to replace: %s", text);
	cr_expect_eq(strlen(ascii), columns, "%s", ascii);
	cr_expect(strstr(ascii, "a>b~ (1001)"), "%s", ascii);
	for (const char *p = ascii; *p; p++)
		cr_assert(!(*p & 0x80), "%s", ascii);
	free(text);
	free(ascii);
	drop(&b);
}

Test(graph, of_a_deadlock_and_who_is_behind_it)
{
	struct built b = build(abba());
	char *text = graph_text(&b);

	cr_expect_eq(b.r.graph.n, 3);
	cr_expect_eq(row_of(&b, 1)->waits_for, 2);
	cr_expect_eq(row_of(&b, 1)->deadlock, 0);
	cr_expect_eq(row_of(&b, 2)->waits_for, 3);
	cr_expect_eq(row_of(&b, 2)->evidence, EVIDENCE_OWNER);
	cr_expect_eq(row_of(&b, 2)->deadlock, 1);
	cr_expect_eq(row_of(&b, 3)->since_ns, TB_EPOCH + 4 * MS);
	cr_expect(!row_of(&b, 3)->before);
	cr_expect_eq(strncmp(text, "DEADLOCK of 2 tasks\n", 20), 0, "%s", text);
	cr_expect(strstr(text, "\n    main (1001)  waits for join of alpha, 199 ms"), "%s", text);
	free(text);
	drop(&b);
}

/* Those who have ended wait for nobody. */
Test(graph, of_those_who_live)
{
	struct tb *tb = tb_program(2, "main", "worker");
	struct built b;

	tb_run(tb, 1, 0, 20 * MS);
	tb_run(tb, 2, 0, 10 * MS);
	tb_exit(tb, 2, 0);
	tb_stop(tb, 20 * MS);
	b = build(tb);
	cr_assert_eq(b.r.graph.n, 1);
	cr_expect_eq(b.r.graph.v[0].task, 1);
	cr_expect_eq(b.r.graph.v[0].state, 'R');
	drop(&b);
}

/* A child of a process with threads: who has the lock is not in it. */
static char *text_of_child(uint64_t timeout, bool thread)
{
	struct tb *tb = tb_new();
	struct built b;
	char *text;

	tb_task(tb, 1, "parent");
	tb_run(tb, 1, 0, 1 * MS);
	tb_call_with(tb, 1, TB_NR_poll, 0, 1, FD_UNKNOWN, TB_NEVER, 0);
	tb_fork(tb, 2, 1, "child", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 1 * MS);
	tb_futex(tb, 2, SEM, TB_FUTEX_BITSET, 0, timeout, TB_NEVER, 0);
	if (thread) {
		tb_thread(tb, 3, 2, "child", 0);
		tb_on(tb, 3, 2);
		tb_run(tb, 3, 0, 100 * MS);
	}
	tb_stop(tb, 100 * MS);
	b = build(tb);
	text = graph_text(&b);
	drop(&b);
	return text;
}

Test(graph, nobody_is_left_to_wake_it)
{
	char *text = text_of_child(0, false);

	cr_expect_eq(strncmp(text, "only a signal can wake child (1002): its one thread", 50), 0,
	             "%s", text);
	free(text);
	text = text_of_child(0x7fff, false);
	cr_expect(!strstr(text, "only a signal"), "%s", text);
	free(text);
	text = text_of_child(0, true);
	cr_expect(!strstr(text, "only a signal"), "%s", text);
	free(text);
}

/* Two hundred idle threads are one line; who runs and who waits for him come first. */
Test(graph, like_ones_are_one_line)
{
	struct tb *tb = tb_new();
	struct built b;
	char *text;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_call_with(tb, 1, TB_NR_poll, 0, 1, FD_UNKNOWN, TB_NEVER, 0);
	for (uint32_t id = 2; id < 202; id++) {
		tb_thread(tb, id, 1, "idle", 0);
		tb_on(tb, id, id);
		tb_run(tb, id, 0, 1 * MS);
		tb_futex(tb, id, COND, TB_FUTEX_BITSET, 0, 0, TB_NEVER, 0);
	}
	tb_thread(tb, 300, 1, "busy", 0);
	tb_on(tb, 300, 300);
	tb_run(tb, 300, 0, 100 * MS);
	tb_thread(tb, 301, 1, "held", 0);
	tb_on(tb, 301, 301);
	tb_run(tb, 301, 0, 1 * MS);
	tb_owner(tb, 301, 300);
	tb_futex_wait(tb, 301, MUTEX, TB_NEVER, 0);
	tb_stop(tb, 100 * MS);
	b = build(tb);
	text = graph_text(&b);
	cr_expect_eq(strncmp(text, "  busy (1300)  running\n    held (1301)  waits for ", 49), 0,
	             "%s", text);
	cr_expect(strstr(text, "idle (1002) and 199 like it  waits for "), "%s", text);
	cr_expect(strstr(text, "main (1001)  waits for events (poll), 99 ms"), "%s", text);
	free(text);
	drop(&b);
}
