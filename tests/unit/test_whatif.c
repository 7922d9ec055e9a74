/* SPDX-License-Identifier: MIT */
/* Predictions for the run without one cause, on programs built in memory whose truth can be
 * worked out by hand. Two CPUs, unless said otherwise. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "../support/tb.h"
#include "analyze/replay_priv.h"
#include "analyze/whatif_priv.h"
#include "random_trace.h"
#include "report.h"

#define GIL_ADDR  0x900000
#define GIL_WORD  (GIL_ADDR + 0x48)
#define MUTEX     0x601000
#define MAX_TASKS 8
#define PROCESS   ((uint64_t)PROCESS_NS) /* each worker's process costs */

struct built {
	struct model *m;
	struct report r;
};

static struct built build(struct tb *tb)
{
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct built b = {.m = tb_load(tb, &opts)};
	struct err err = {0};

	cr_assert(b.m);
	tb_free(tb);
	cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
	return b;
}

static void drop(struct built *b)
{
	report_release(&b->r);
	model_free(b->m);
}

static const struct what_if_row *row_of(const struct built *b, enum cause cause)
{
	cr_assert(b->r.what_if_known, "%s", b->r.why_no_what_if);
	for (size_t i = 0; i < b->r.what_if.n; i++)
		if (b->r.what_if.v[i].cause == cause)
			return &b->r.what_if.v[i];
	return NULL;
}

/* Within one part in so many. */
static void expect_near(uint64_t ns, uint64_t truth, unsigned part)
{
	uint64_t off = ns > truth ? ns - truth : truth - ns;

	cr_expect_leq(off, truth / part, "%.3f ms instead of %.3f ms", (double)ns / 1e6,
	              (double)truth / 1e6);
}

/* A wake-up on an idle CPU counts up to 0.1 ms, work is kept in floats. */
static void expect_ns(uint64_t ns, uint64_t truth)
{
	expect_near(ns, truth, 1000);
}

static void expect_row(const struct built *b, enum cause cause, uint64_t truth)
{
	const struct what_if_row *row = row_of(b, cause);

	cr_assert(row);
	expect_ns(row->wall_ns, truth);
	cr_expect_leq(row->wall_low_ns, row->wall_ns);
	cr_expect_geq(row->wall_high_ns, row->wall_ns);
	cr_expect_leq(row->low, row->speedup);
	cr_expect_geq(row->high, row->speedup);
	cr_expect_float_eq(row->speedup, (double)b->r.wall_ns / (double)row->wall_ns, 1e-6);
}

/* A program with a second thread from then on. */
static struct tb *main_and_worker(uint64_t born_ns)
{
	struct tb *tb = tb_new();

	tb_meta(tb, META_CPUS, "2");
	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", born_ns);
	tb_on(tb, 2, 1);
	return tb;
}

static struct tb *main_with_gil(const char *cpus)
{
	struct tb *tb = tb_new();

	tb_meta(tb, META_CPUS, cpus);
	tb_task(tb, 1, "main");
	tb_gil(tb, 1, 1, GIL_ADDR, true, 0x030b07f0);
	return tb;
}

static uint32_t wake_call(struct tb *tb, uint64_t word)
{
	return tb_site(tb, TB_NR_futex, word, TB_FUTEX_WAKE, 1, FD_UNKNOWN);
}

/* --- a GIL ----------------------------------------------------------------------------------- */

/* Threads 2 … of process 1, from 10 ms on, in turns of 5 ms, each until it has done its share. */
struct turns {
	struct tb *tb;
	unsigned n;
	uint64_t lag_ns; /* from who gets the GIL next is woken until it runs */
	uint64_t left[MAX_TASKS], end[MAX_TASKS], waits_since[MAX_TASKS];
};

static void take_turns(struct turns *x)
{
	uint64_t t = 10 * MS, until;
	unsigned last = 0, active = x->n;

	while (active) {
		for (unsigned i = 0; i < x->n; i++) {
			uint32_t id = i + 2;

			if (!x->left[i])
				continue;
			if (t > 10 * MS && x->waits_since[i] != t)
				tb_futex(x->tb, id, GIL_WORD, TB_FUTEX_BITSET, 0, 0, t, last + 2);
			if (t > 10 * MS)
				t += x->lag_ns;
			until = t + (x->left[i] < 5 * MS ? x->left[i] : 5 * MS);
			tb_run(x->tb, id, t, until);
			x->left[i] -= until - t;
			t = x->waits_since[i] = until;
			last = i;
			if (!x->left[i]) {
				x->end[i] = t;
				tb_exit(x->tb, id, 0);
				active--;
			}
		}
	}
}

/* main looks whether it is over every 10 ms, and has to wait for the GIL for so long each time,
 * which 2 and 3 have in turn. Returns when. */
static uint64_t poll_for_end(struct tb *tb, uint64_t end, uint64_t gil_ns)
{
	uint64_t t = 10 * MS;

	while (t < end) {
		tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, t + 10 * MS, 0);
		t += 10 * MS;
		if (gil_ns && t + gil_ns < end) {
			tb_run(tb, 1, t, t + US / 100);
			t += gil_ns;
			tb_futex(tb, 1, GIL_WORD, TB_FUTEX_BITSET, 0, 0, t,
			         2 + (uint32_t)((t - 10 * MS) / (5 * MS) % 2));
		}
		tb_run(tb, 1, t, t + US);
		t += US;
	}
	return t - US;
}

/* polls: main does, and (2) waits for the GIL each time. away_ns: at 5 ms main has to wait for its
 * CPU so long; disk_ns: at 7 ms for the disk. */
static struct tb *gil_program_with(unsigned n, const uint64_t *work, unsigned polls,
                                   uint64_t lag_ns, uint64_t away_ns, uint64_t disk_ns)
{
	struct tb *tb = main_with_gil("2");
	struct turns x = {.tb = tb, .n = n, .lag_ns = lag_ns};
	uint64_t t = 10 * MS;

	tb_on(tb, 1, 1);
	for (unsigned i = 0; i < n; i++) {
		tb_thread(tb, i + 2, 1, "worker", 10 * MS);
		tb_wakes_by(tb, i + 2, wake_call(tb, GIL_WORD), 0);
		x.left[i] = work[i];
		/* The first turn of each ends before it begins: it asks for the GIL. */
		if (i)
			tb_run(tb, i + 2, 10 * MS, 10 * MS + i * US / 100);
	}
	take_turns(&x);
	tb_run(tb, 1, 0, 5 * MS);
	if (away_ns)
		tb_preempt(tb, 1);
	tb_run(tb, 1, 5 * MS + away_ns, 7 * MS);
	if (disk_ns)
		tb_call(tb, 1, TB_NR_fsync, 3, FD_FILE, 7 * MS + disk_ns, 0);
	tb_run(tb, 1, 7 * MS + disk_ns, 10 * MS);
	for (unsigned i = 0; i < n; i++) {
		if (x.end[i] <= t)
			continue;
		if (polls) {
			t = poll_for_end(tb, x.end[n - 1], polls > 1 ? 4 * MS : 0);
			break;
		}
		t = x.end[i];
		tb_join(tb, 1, i + 2, t);
		tb_run(tb, 1, t, t + US);
	}
	tb_run(tb, 1, t + US, t + 10 * MS);
	tb_exit(tb, 1, 0);
	return tb;
}

static struct tb *gil_program_of(unsigned n, const uint64_t *work, unsigned polls, uint64_t lag_ns)
{
	return gil_program_with(n, work, polls, lag_ns, 0, 0);
}

static struct tb *gil_program(unsigned n, const uint64_t *work)
{
	return gil_program_of(n, work, 0, 0);
}

Test(whatif, gil_of_two_equal_threads)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};
	struct built b = build(gil_program(2, work));

	cr_assert_eq(b.r.wall_ns, 220 * MS);
	expect_ns(b.r.replay_ns, 220 * MS);
	expect_row(&b, CAUSE_GIL, 120 * MS + PROCESS);
	cr_expect_str_eq(row_of(&b, CAUSE_GIL)->change, "Without the GIL");
	drop(&b);
}

Test(whatif, gil_of_four_equal_threads)
{
	static const uint64_t work[] = {50 * MS, 50 * MS, 50 * MS, 50 * MS};
	struct built b = build(gil_program(4, work));
	const struct what_if_row *row = row_of(&b, CAUSE_GIL);

	cr_assert_eq(b.r.wall_ns, 220 * MS);
	expect_row(&b, CAUSE_GIL, 120 * MS + 2 * PROCESS);
	cr_expect_eq(row->free_ns, row->wall_ns);
	cr_expect_eq(row->processes, 4);
	cr_expect_eq(row->memory_bytes, WHAT_IF_UNKNOWN);
	cr_expect_eq(row->spawn_ns, WHAT_IF_UNKNOWN);
	drop(&b);
}

/* Who gets the GIL is woken where somebody still runs, and waits for that CPU: there is none of
 * that without a GIL, though the run took longer for it. */
Test(whatif, waking_the_next_one_ends_with_the_gil)
{
	static const uint64_t work[] = {50 * MS, 50 * MS, 50 * MS, 50 * MS};
	struct built b = build(gil_program_of(4, work, 0, MS));
	const struct what_if_row *row = row_of(&b, CAUSE_GIL);

	cr_assert_geq(b.r.wall_ns, 255 * MS);
	cr_expect_lt(b.r.replay_ns, 230 * MS, "so the replay does not know of it all");
	expect_row(&b, CAUSE_GIL, 120 * MS + 2 * PROCESS);
	cr_expect_gt(row->wall_high_ns, 145 * MS, "the range does");
	drop(&b);
}

/* 100 MB before the first thread began: each has page tables of its own for that to be made, and at
 * worst all of it to be copied. */
Test(whatif, processes_cost_by_their_memory)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};
	struct tb *tb = gil_program(2, work);
	const struct what_if_row *row;
	uint64_t tables = (uint64_t)(PROCESS_NS_BY_BYTE * (100 << 20));
	struct built b;

	tb_rss(tb, 1, 9 * MS, 100 << 20, 1 << 20);
	tb_rss(tb, 1, 100 * MS, 300 << 20, 1 << 20);
	b = build(tb);
	row = row_of(&b, CAUSE_GIL);
	cr_expect_eq(row->memory_bytes, 100 << 20);
	cr_expect_gt(tables, MS);
	expect_row(&b, CAUSE_GIL, 120 * MS + PROCESS + tables);
	cr_expect_gt(row->wall_high_ns, row->wall_ns + 50 * MS);
	cr_expect_lt(row->wall_high_ns, row->wall_ns + 60 * MS);
	drop(&b);
}

/* A library's thread that spins for work from 5 ms on and never has the GIL, as numpy's do: no
 * process in its place, and what the program loads after it the others have to copy as well. */
Test(whatif, threads_of_a_library_become_no_processes)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};
	struct tb *tb = gil_program(2, work);
	const struct what_if_row *row;
	struct built b;

	tb_thread(tb, 4, 1, "main", 5 * MS);
	tb_on(tb, 4, 2);
	tb_run(tb, 4, 5 * MS, 30 * MS);
	tb_exit(tb, 4, 0);
	tb_rss(tb, 1, 4 * MS, 5 << 20, 1 << 20);
	tb_rss(tb, 1, 9 * MS, 100 << 20, 1 << 20);
	b = build(tb);
	row = row_of(&b, CAUSE_GIL);
	cr_expect_eq(row->processes, 2);
	cr_expect_eq(row->memory_bytes, 100 << 20);
	drop(&b);
}

/* Where the recording is cut, what the process had when its threads began is not to be seen. */
Test(whatif, nothing_of_processes_in_a_window)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};
	const struct model_opts opts = {.flags = MODEL_SLICES, .since_ns = 50 * MS};
	struct tb *tb = gil_program(2, work);
	const struct what_if_row *row;
	struct err err = {0};
	struct built b;

	tb_rss(tb, 1, 9 * MS, 100 << 20, 1 << 20);
	b = (struct built){.m = tb_load(tb, &opts)};
	tb_free(tb);
	cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
	row = row_of(&b, CAUSE_GIL);
	cr_assert(row);
	cr_expect_eq(row->memory_bytes, WHAT_IF_UNKNOWN);
	cr_expect_eq(row->spawn_ns, WHAT_IF_UNKNOWN);
	drop(&b);
}

/* 1 at 0, exec of the interpreter at 3 ms (a script ran before that), first seen in a function of
 * the program's own at 8 ms; what it waited for its CPU and the disk a new process does not wait.
 */
Test(whatif, a_process_starts_at_its_last_exec)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};
	static const uint64_t mine[] = {PY_FRAME(1, 1, 0)};
	const struct rec_stack own = {.id = 1,
	                              .kind = STACK_USER,
	                              .space = 1,
	                              .flags = STACK_F_PY,
	                              .py = {(uint64_t *)mine, 1}};
	struct tb *tb = gil_program_with(2, work, 0, 0, MS, MS / 2);
	const struct rec_pycode code = {
	        .id = 1, .name = tb_string(tb, "main"), .file = tb_string(tb, "app.py")};
	struct built b;

	tb_raw(tb, REC_K_PYCODE, TB_EPOCH, &code);
	tb_raw(tb, REC_K_STACK, TB_EPOCH, &own);
	tb_exec(tb, 1, 0, "/usr/bin/bash", "bash");
	tb_sample(tb, 1, 2 * MS, 1, 0); /* of another program: does not count */
	tb_exec(tb, 1, 3 * MS, "/usr/bin/python3", "python3");
	tb_sample(tb, 1, 8 * MS, 1, 0);
	b = build(tb);
	cr_expect_eq(row_of(&b, CAUSE_GIL)->spawn_ns, 3500 * US, "%" PRIu64,
	             row_of(&b, CAUSE_GIL)->spawn_ns);
	drop(&b);
}

static struct tb *with_others(struct tb *tb, const char *busy, const char *capacity)
{
	tb_meta(tb, META_BUSY, busy);
	tb_meta(tb, META_CAPACITY, capacity);
	tb_meta(tb, META_CAPACITY_CPUS, "2");
	return tb;
}

/* Other programs used one of two CPUs, which did not matter. Of what four processes want they
 * get a fifth (1.6 CPUs are left for 200 ms and the processes' making), at worst all of it. */
Test(whatif, others_want_the_cpus_too)
{
	static const uint64_t work[] = {50 * MS, 50 * MS, 50 * MS, 50 * MS};
	struct built b = build(with_others(gil_program(4, work), "440000000", "440000000"));
	const struct what_if_row *row = row_of(&b, CAUSE_GIL);

	cr_assert_eq(b.r.wall_ns, 220 * MS);
	expect_ns(b.r.others_ns, 220 * MS);
	expect_row(&b, CAUSE_GIL, 20 * MS + (200 * MS + 4 * PROCESS) * 10 / 16);
	expect_ns(row->free_ns, 120 * MS + 2 * PROCESS);
	cr_expect_lt(row->wall_low_ns, row->free_ns);
	cr_expect_geq(row->wall_high_ns, 220 * MS + 4 * PROCESS);
	drop(&b);
}

/* A quota of 1.5 CPUs on two: what others used was partly what the quota leaves anyway. */
Test(whatif, others_beside_a_quota)
{
	static const uint64_t work[] = {50 * MS, 50 * MS, 50 * MS, 50 * MS};
	struct built b = build(with_others(gil_program(4, work), "440000000", "440000000"));
	struct cpus_left left = whatif_cpus_left(&b.r, 1.5, 4);

	cr_expect_float_eq(left.fair, 1.5, 1e-6, "%f", left.fair);
	cr_expect_float_eq(left.worst, 1, 1e-3, "%f", left.worst);
	drop(&b);
}

/* What the hypervisor takes while a task is on a CPU no program had. */
Test(whatif, the_hypervisor_is_no_other_program)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 100 * MS);
	tb_steal(tb, 1, 30 * MS);
	tb_exit(tb, 1, 0);
	b = build(with_others(tb, "120000000", "200000000"));
	cr_expect_eq(model_task_at(b.m, 0)->steal_ns, 30 * MS);
	expect_ns(b.r.others_ns, 20 * MS);
	drop(&b);
}

/* The looks at the CPUs are some milliseconds before the workload's beginning and after its end,
 * and their clock ticks every 10 ms: that is not its time, and of a short run says nothing. */
Test(whatif, others_in_the_wall_time)
{
	static const struct {
		uint64_t wall_ms;
		const char *busy, *capacity;
		uint64_t expect_ms;
	} rows[] = {{100, "160000000", "240000000", 50}, /* 60 in 120 ms of two CPUs */
	            {100, "240000000", "240000000", 100},
	            {2, "20000000", "24000000", UINT64_MAX}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tb *tb = tb_new();
		struct built b;

		tb_task(tb, 1, "main");
		tb_run(tb, 1, 0, rows[i].wall_ms * MS);
		tb_exit(tb, 1, 0);
		b = build(with_others(tb, rows[i].busy, rows[i].capacity));
		if (rows[i].expect_ms == UINT64_MAX)
			cr_expect_eq(b.r.others_ns, WHAT_IF_UNKNOWN);
		else
			expect_ns(b.r.others_ns, rows[i].expect_ms * MS);
		drop(&b);
	}
}

/* All that ran was the workload; or nonsense was written. */
Test(whatif, nobody_else_used_the_cpus)
{
	static const uint64_t work[] = {50 * MS, 50 * MS, 50 * MS, 50 * MS};
	struct built b = build(with_others(gil_program(4, work), "200000000", "440000000"));

	cr_expect_eq(b.r.others_ns, 0);
	expect_row(&b, CAUSE_GIL, 120 * MS + 2 * PROCESS);
	drop(&b);
	b = build(with_others(gil_program(4, work), "440000001", "440000000"));
	cr_expect_eq(b.r.others_ns, WHAT_IF_UNKNOWN);
	expect_row(&b, CAUSE_GIL, 120 * MS + 2 * PROCESS);
	drop(&b);
}

/* 10, 20, 30 and 40 ms: shared equally, two CPUs have them done after 20, 35, 45 and 55 ms. At best
 * 50, at worst, the short ones first, 60. */
Test(whatif, gil_of_unequal_threads)
{
	static const uint64_t work[] = {10 * MS, 20 * MS, 30 * MS, 40 * MS};
	struct built b = build(gil_program(4, work));
	const struct what_if_row *row = row_of(&b, CAUSE_GIL);

	cr_assert_eq(b.r.wall_ns, 120 * MS);
	expect_row(&b, CAUSE_GIL, 75 * MS + 2 * PROCESS);
	cr_expect_lt(row->wall_low_ns, 56 * MS + 2 * PROCESS);
	cr_expect_gt(row->wall_low_ns, 52 * MS + PROCESS);
	cr_expect_gt(row->wall_high_ns, 80 * MS + 2 * PROCESS);
	cr_expect_lt(row->wall_high_ns, 85 * MS + 3 * PROCESS);
	drop(&b);
}

/* main joined the first two while the others had long ended: it would have to wait for them. */
Test(whatif, joins_that_did_not_wait)
{
	static const uint64_t work[] = {80 * MS, 80 * MS, 5 * MS, 5 * MS};
	struct built b = build(gil_program(4, work));

	/* 10 ms after all four have got a share of 5 ms, 75 ms are left to do for two. */
	expect_row(&b, CAUSE_GIL, (10 + 10 + 75 + 10) * MS + 2 * PROCESS);
	drop(&b);
}

enum { BY_ID, BY_WORD, NO_JOIN };

/* main waits for the one that waited for the GIL first: for its end, by its id or at a word of a
 * library's own that it posts to then, or for something that it does before. Meanwhile the long one
 * ended. Four CPUs. */
static struct built joins(int how)
{
	const uint64_t word = 0x700000, end = how == NO_JOIN ? 240 * MS : 210 * MS;
	struct tb *tb = main_with_gil("4");

	for (uint32_t id = 2; id <= 4; id++) {
		tb_thread(tb, id, 1, "worker", 10 * MS);
		tb_on(tb, id, id);
	}
	tb_wakes_by(tb, 4, wake_call(tb, GIL_WORD), 0);
	tb_wakes_by(tb, 2, wake_call(tb, word), 0);
	tb_run(tb, 1, 0, 10 * MS);
	if (how == BY_ID)
		tb_join(tb, 1, 2, 210 * MS);
	else
		tb_futex(tb, 1, word, TB_FUTEX_BITSET, 0, 0, 210 * MS, 2);
	tb_run(tb, 1, 210 * MS, 220 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 10 * MS, 10 * MS + US);
	tb_futex(tb, 2, GIL_WORD, TB_FUTEX_BITSET, 0, 0, 110 * MS, 4);
	tb_run(tb, 2, 110 * MS, end);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 10 * MS, 160 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 4, 10 * MS, 110 * MS);
	tb_exit(tb, 4, 0);
	return build(tb);
}

/* Who joins one of several joins them all: without a GIL it is the long one that main waits for. */
Test(whatif, who_joins_joins_all)
{
	for (int how = BY_ID; how <= NO_JOIN; how++) {
		struct built b = joins(how);

		cr_assert_eq(b.r.wall_ns, how == NO_JOIN ? 240 * MS : 220 * MS);
		expect_row(&b, CAUSE_GIL, how == NO_JOIN ? 160 * MS : 170 * MS);
		drop(&b);
	}
}

/* --- what stays as it was -------------------------------------------------------------------- */

/* Two threads that need each other through a pipe all the time gain nothing without a GIL that
 * a third one waits for. */
Test(whatif, dependent_work_stays_dependent)
{
	struct tb *tb = main_with_gil("2");
	uint64_t t = 0;
	struct built b;

	tb_thread(tb, 2, 1, "other", 0);
	tb_on(tb, 2, 1);
	tb_thread(tb, 3, 1, "waiter", 0);
	tb_on(tb, 3, 1);
	tb_run(tb, 3, 0, US / 100);
	tb_wakes_by(tb, 2, wake_call(tb, GIL_WORD), 0);
	for (unsigned i = 0; i < 10; i++, t += 20 * MS) {
		tb_run(tb, 1, t, t + 10 * MS);
		tb_call(tb, 1, TB_NR_read, 3, FD_PIPE, t + 20 * MS, 2);
		if (!i)
			tb_run(tb, 2, 0, US / 100);
		tb_call(tb, 2, TB_NR_read, 3, FD_PIPE, t + 10 * MS, 1);
		tb_run(tb, 2, t + 10 * MS, t + 20 * MS);
	}
	tb_futex(tb, 3, GIL_WORD, TB_FUTEX_BITSET, 0, 0, t, 2);
	tb_run(tb, 3, t, t + MS);
	tb_exit(tb, 3, 0);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, t, t + 10 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_assert_eq(b.r.wall_ns, 210 * MS);
	/* Two processes to make, in time that one CPU would have been free but for a part. */
	expect_near(row_of(&b, CAUSE_GIL)->wall_ns, 210 * MS, 200);
	drop(&b);
}

/* A sleep takes its time on any CPU. */
Test(whatif, sleep_stays)
{
	struct tb *tb = main_and_worker(10 * MS);
	struct built b;

	tb_run(tb, 1, 0, 50 * MS);
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, 150 * MS, 0);
	tb_run(tb, 1, 150 * MS, 160 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 10 * MS, 60 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect(b.r.what_if_known);
	expect_ns(b.r.replay_ns, 160 * MS);
	cr_expect_eq(b.r.what_if.n, 0, "neither locks nor CPUs to gain from");
	drop(&b);
}

/* main looks every 10 ms whether the workers are done: without the GIL it need not look so often.
 */
Test(whatif, polling_for_the_end_takes_no_time)
{
	static const uint64_t work[] = {100 * MS, 100 * MS};

	/* Nor wait for the GIL to look. */
	for (unsigned polls = 1; polls <= 2; polls++) {
		struct built b = build(gil_program_of(2, work, polls, 0));

		cr_assert_geq(b.r.wall_ns, 220 * MS);
		expect_near(row_of(&b, CAUSE_GIL)->wall_ns, 120 * MS + PROCESS, 10);
		drop(&b);
	}
}

/* Sleeps that end long after the last worker are what the program does. */
Test(whatif, sleeping_often_is_not_polling)
{
	struct tb *tb = main_and_worker(10 * MS);
	struct built b;

	tb_run(tb, 1, 0, 10 * MS);
	for (unsigned i = 1; i <= 50; i++) {
		tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, (i + 1) * 10 * MS, 0);
		tb_run(tb, 1, (i + 1) * 10 * MS, (i + 1) * 10 * MS + US);
	}
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 10 * MS, 200 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	expect_near(b.r.replay_ns, 510 * MS, 100);
	drop(&b);
}

/* --- locks and CPUs -------------------------------------------------------------------------- */

/* Two threads, four rounds: 5 ms of work, then 15 ms of work under one mutex. */
/* Each of the two has the mutex for 15 ms of 20, four times. */
static void take_the_mutex(struct tb *tb)
{
	uint64_t free_at = 0, at[2] = {0, 0};

	tb_wakes_by(tb, 1, wake_call(tb, MUTEX), 0);
	tb_wakes_by(tb, 2, wake_call(tb, MUTEX), 0);
	for (unsigned i = 0; i < 8; i++) {
		uint32_t id = i % 2 + 1, other = 3 - id;
		uint64_t t = at[i % 2];

		tb_run(tb, id, t, t + 5 * MS);
		t += 5 * MS;
		tb_owner(tb, id, other);
		if (t < free_at) {
			tb_futex_wait(tb, id, MUTEX, free_at, other);
			t = free_at;
		}
		tb_run(tb, id, t, t + 15 * MS);
		at[i % 2] = free_at = t + 15 * MS;
	}
	tb_exit(tb, 1, 0);
	tb_exit(tb, 2, 0);
}

Test(whatif, mutex)
{
	struct tb *tb = main_and_worker(0);
	struct built b;

	take_the_mutex(tb);
	b = build(tb);
	cr_assert_eq(b.r.wall_ns, 125 * MS);
	expect_ns(b.r.replay_ns, 125 * MS);
	expect_row(&b, CAUSE_LOCK, 80 * MS);
	cr_expect_eq(row_of(&b, CAUSE_LOCK)->processes, 0);
	cr_expect(!strncmp(row_of(&b, CAUSE_LOCK)->change, "Without the ", 12), "%s",
	          row_of(&b, CAUSE_LOCK)->change);
	cr_expect_null(row_of(&b, CAUSE_WORK), "more CPUs would not help");
	drop(&b);
}

/* Python that has the GIL for three quarters of its CPU time: a mutex around that kept its threads
 * from meeting there. Without the mutex they would. */
Test(whatif, mutex_instead_of_the_gil)
{
	struct tb *tb = main_and_worker(0);
	const struct what_if_row *row;
	struct built b;

	tb_gil(tb, 1, 1, GIL_ADDR, true, 0x030b07f0);
	take_the_mutex(tb);
	for (uint64_t t = 0; t < 120; t++) {
		struct rec_sample s = {.task = 1 + t % 2,
		                       .gil = 1,
		                       .gil_state = t % 8 < 6 ? GIL_S_LOCKED | GIL_S_MINE : 0};

		tb_raw(tb, REC_K_SAMPLE, TB_EPOCH + t * MS + MS / 2, &s);
	}
	b = build(tb);
	cr_assert_eq(b.r.wall_ns, 125 * MS);
	row = row_of(&b, CAUSE_LOCK);
	cr_assert(row);
	expect_near(row->wall_ns, 120 * MS, 50);
	cr_expect_gt(row->wall_low_ns, 100 * MS);
	cr_expect_leq(row->wall_low_ns, row->wall_ns);
	drop(&b);
}

/* The same where each parks on a word of its own, in a function that waits for a lock's owner: what
 * they wait for is known to be a lock then, else it is not. */
Test(whatif, monitor)
{
	static const char *const functions[] = {
	        "a_library_of_many_words::of_an_implementation::ObjectMonitor::EnterI(JavaThread*)",
	        "park(int)"};
	static const char expected[] = "Without the lock waited for in "
	                               "a_library_of_many_words::of_an_implementation::"
	                               "ObjectMonitor::EnterI (libjvm.so)";

	for (unsigned k = 0; k < 2; k++) {
		const uint64_t frame = 0x400100;
		struct tb *tb = main_and_worker(0);
		uint64_t free_at = 0, at[2] = {0, 0};
		uint32_t stack;
		struct built b;

		tb_map(tb, 1, 0x400000, 0x401000, 0, "/usr/lib/libjvm.so");
		tb_symbol(tb, "/usr/lib/libjvm.so", 0x100, functions[k], 0, 0);
		stack = tb_stack(tb, STACK_USER, 1, &frame, 1);
		for (unsigned i = 0; i < 8; i++) {
			uint32_t id = i % 2 + 1, other = 3 - id;
			uint64_t t = at[i % 2] + 5 * MS;

			tb_stacks(tb, id, stack, 0);
			tb_wakes_by(tb, other, wake_call(tb, MUTEX + 256 * id), 0);
			tb_run(tb, id, at[i % 2], t);
			if (t < free_at) {
				tb_futex(tb, id, MUTEX + 256 * id, TB_FUTEX_BITSET, 0, 0, free_at,
				         other);
				t = free_at;
			}
			tb_run(tb, id, t, t + 15 * MS);
			at[i % 2] = free_at = t + 15 * MS;
		}
		tb_exit(tb, 1, 0);
		tb_exit(tb, 2, 0);
		b = build(tb);
		cr_assert_eq(b.r.wall_ns, 125 * MS);
		if (k) {
			cr_expect_null(row_of(&b, CAUSE_LOCK));
		} else {
			expect_row(&b, CAUSE_LOCK, 80 * MS);
			cr_expect_str_eq(row_of(&b, CAUSE_LOCK)->change, expected);
		}
		drop(&b);
	}
}

/* --- a Python lock: who gets it wants the GIL next, which the old holder still has ------------ */

enum { ROUND_US = 10050, LOCKED_US = 10010, RUNS_ON_US = 40 };

/* Thread id's part: each second round, from `round` on. */
static uint64_t locked_rounds(struct tb *tb, uint32_t id, unsigned round, bool sleeps)
{
	uint32_t other = 5 - id;
	uint64_t t = 0;

	for (; round < 8; round += 2) {
		t = round * (uint64_t)ROUND_US * US;
		if (round) {
			if (round == 1)
				tb_run(tb, id, 0, US / 100);
			tb_owner(tb, id, other);
			tb_wakes_by(tb, other, wake_call(tb, MUTEX), 0);
			tb_futex_wait(tb, id, MUTEX, t - RUNS_ON_US * US, other);
			tb_owner(tb, id, 0);
			tb_run(tb, id, t - RUNS_ON_US * US, t - (RUNS_ON_US - 5) * US);
			tb_wakes_by(tb, other, wake_call(tb, GIL_WORD), 0);
			tb_futex(tb, id, GIL_WORD, TB_FUTEX_BITSET, 0, 0, t, other);
		}
		if (sleeps) {
			tb_run(tb, id, t, t + 5 * US);
			tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, t + LOCKED_US * US, 0);
			tb_run(tb, id, t + LOCKED_US * US, t + ROUND_US * US);
		} else {
			tb_run(tb, id, t, t + ROUND_US * US);
		}
	}
	tb_exit(tb, id, 0);
	return t + ROUND_US * US;
}

static struct built python_lock(bool sleeps)
{
	struct tb *tb = main_with_gil("2");
	uint64_t first, end;

	tb_run(tb, 1, 0, US);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_thread(tb, id, 1, "worker", 0);
		tb_on(tb, id, id - 2);
	}
	first = locked_rounds(tb, 2, 0, sleeps);
	end = locked_rounds(tb, 3, 1, sleeps);
	tb_join(tb, 1, 2, first);
	tb_run(tb, 1, first, first + US);
	tb_join(tb, 1, 3, end);
	tb_run(tb, 1, end, end + US);
	tb_exit(tb, 1, 0);
	return build(tb);
}

Test(whatif, python_lock_held_asleep)
{
	struct built b = python_lock(true);

	expect_near(row_of(&b, CAUSE_LOCK)->wall_ns, 4ull * ROUND_US * US, 50);
	drop(&b);
}

/* Python code that the GIL keeps apart all the same. */
Test(whatif, python_lock_held_at_work)
{
	struct built b = python_lock(false);
	const struct what_if_row *row = row_of(&b, CAUSE_LOCK);

	cr_expect(!row || row->wall_ns >= 7ull * ROUND_US * US, "%.3f ms",
	          row ? (double)row->wall_ns / 1e6 : 0);
	drop(&b);
}

/* Four tasks of 30 ms on two CPUs: a third one brings 40 ms, all that it can use 30. */
Test(whatif, more_cpus)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "2");
	tb_task(tb, 1, "main");
	for (uint32_t id = 2; id <= 4; id++)
		tb_thread(tb, id, 1, "worker", 0);
	for (unsigned i = 0; i < 6; i++) {
		for (uint32_t k = 0; k < 2; k++) {
			uint32_t id = 1 + k + 2 * (i % 2);

			tb_on(tb, id, k);
			tb_run(tb, id, i * 10 * MS, (i + 1) * 10 * MS);
			if (i < 4)
				tb_preempt(tb, id);
		}
	}
	for (uint32_t id = 1; id <= 4; id++)
		tb_exit(tb, id, 0);
	b = build(tb);
	cr_assert_eq(b.r.wall_ns, 60 * MS);
	expect_ns(b.r.replay_ns, 60 * MS);
	cr_assert_eq(b.r.what_if.n, 2);
	expect_ns(b.r.what_if.v[0].wall_ns, 40 * MS);
	expect_ns(b.r.what_if.v[1].wall_ns, 30 * MS);
	drop(&b);
}

/* Of two tasks the second sleeps for the first 4 ms, and then has 2 ms of work. Who loses the only
 * CPU to the other one does not do again what it had done. With the longer one first, the other one
 * goes to sleep only after that. */
Test(whatif, who_loses_the_cpu_goes_on_where_it_was)
{
	struct tb *tb = main_and_worker(0);
	struct built b;
	struct replay p;

	tb_run(tb, 1, 0, 10 * MS);
	tb_run(tb, 2, 0, 1);
	tb_call(tb, 2, TB_NR_nanosleep, 0, FD_UNKNOWN, 4 * MS, 0);
	tb_run(tb, 2, 4 * MS, 6 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_assert_eq(replay_build(&p, b.r.w), 0);
	for (int order = REPLAY_SHARED; order <= REPLAY_SHORT_FIRST; order++) {
		struct replay_result out = {0};

		cr_assert_eq(
		        replay_run(&p, &(struct replay_terms){.cpus = 1, .order = order}, &out), 0);
		expect_ns((uint64_t)out.wall_ns,
		          (order == REPLAY_LONG_FIRST ? 10 + 4 + 2 : 12) * MS);
		cr_expect(out.crowded);
	}
	replay_release(&p);
	drop(&b);
}

/* Of many locks the three that were waited for longest are tried, that first. */
Test(whatif, locks_that_were_waited_for_most)
{
	static const unsigned ms[] = {5, 20, 10, 40, 7}, want[] = {40, 20, 10};
	struct tb *tb = main_and_worker(0);
	struct built b;
	uint64_t t = 1 * MS;
	size_t n = 0;

	tb_run(tb, 2, 0, t);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t end = t + ms[i] * MS;

		tb_wakes_by(tb, 1, wake_call(tb, MUTEX + 64 * i), 0);
		tb_owner(tb, 2, 1);
		tb_futex(tb, 2, MUTEX + 64 * i, TB_FUTEX_WAIT, 2, 0, end, 1);
		tb_run(tb, 2, end, end + 1 * MS);
		t = end + 1 * MS;
	}
	tb_run(tb, 1, 0, t);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	b = build(tb);
	for (size_t i = 0; i < b.r.what_if.n; i++) {
		const struct what_if_row *row = &b.r.what_if.v[i];

		if (row->cause != CAUSE_LOCK)
			continue;
		cr_assert_lt(n, 3);
		cr_expect_eq(b.r.w->locks.v[row->id - 1].wait_ns, want[n] * MS, "row %zu", i);
		n++;
	}
	cr_expect_eq(n, 3);
	drop(&b);
}

/* --- any recording --------------------------------------------------------------------------- */

static double wall_of(const struct replay *p, const struct replay_terms *terms)
{
	struct replay_result out;
	int err = replay_run(p, terms, &out);

	cr_expect(err == 0 || err == -ELOOP, "%d", err);
	cr_expect(err || (out.wall_ns >= 0 && isfinite(out.wall_ns)), "%g", out.wall_ns);
	return err ? NAN : out.wall_ns;
}

/* Where nobody has to wait for a CPU, neither the order in which they are given nor more of them
 * make a difference; nor does it on CPUs without end. */
static void expect_no_crowd(const struct replay *p, uint64_t seed)
{
	struct replay_terms terms = {.cpus = 3};
	struct replay_result shared;

	for (; terms.cpus < 5; terms.cpus++) {
		terms.order = REPLAY_SHARED;
		if (replay_run(p, &terms, &shared) || shared.crowded)
			continue;
		for (terms.order = REPLAY_LONG_FIRST; terms.order <= REPLAY_SHORT_FIRST;
		     terms.order++)
			cr_expect_float_eq(wall_of(p, &terms), shared.wall_ns,
			                   1 + shared.wall_ns * 1e-6, "seed %" PRIu64, seed);
		cr_expect_float_eq(wall_of(p, &(struct replay_terms){.cpus = INFINITY}),
		                   shared.wall_ns, 1 + shared.wall_ns * 1e-6, "seed %" PRIu64,
		                   seed);
	}
	terms = (struct replay_terms){.cpus = INFINITY};
	cr_expect(replay_run(p, &terms, &shared) || !shared.crowded, "seed %" PRIu64, seed);
}

/* It ends, on any terms or on none; and a prediction lies in its range. */
Test(whatif, whatever_the_recording_says)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct built b = build(anything(seed));
		struct replay p;
		double shared;

		cr_assert_eq(replay_build(&p, b.r.w), 0);
		shared = wall_of(&p, &(struct replay_terms){.cpus = 2});
		for (int order = REPLAY_LONG_FIRST; order <= REPLAY_SHORT_FIRST; order++)
			cr_expect_eq(isnan(shared),
			             isnan(wall_of(&p, &(struct replay_terms){.cpus = 1.5,
			                                                      .order = order})));
		cr_expect_eq(isnan(shared),
		             isnan(wall_of(&p, &(struct replay_terms){.cpus = INFINITY})));
		expect_no_crowd(&p, seed);
		replay_release(&p);
		for (size_t i = 0; i < b.r.what_if.n; i++) {
			const struct what_if_row *row = &b.r.what_if.v[i];

			cr_expect(row->speedup > 0 && row->low <= row->speedup &&
			                  row->speedup <= row->high,
			          "seed %" PRIu64 ": %g in %g … %g", seed, row->speedup, row->low,
			          row->high);
		}
		drop(&b);
	}
}

/* Five times as long as the replay, as others had the CPUs: that is no reason to give up. */
Test(whatif, long_for_want_of_cpus)
{
	struct tb *tb = tb_program(1, "main", "");
	struct built b;

	tb_run(tb, 1, 0, 10 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 90 * MS, 100 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect(b.r.what_if_known, "%s", b.r.why_no_what_if);
	cr_expect_eq(b.r.replay_ns, 20 * MS);
	drop(&b);
}

Test(whatif, needs_slices)
{
	struct tb *tb = tb_new();
	struct report r;
	struct model *m;
	struct err err = {0};

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, MS);
	tb_exit(tb, 1, 0);
	m = tb_load(tb, NULL);
	tb_free(tb);
	cr_assert(m);
	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect_not(r.what_if_known);
	cr_expect_neq(r.why_no_what_if[0], '\0');
	report_release(&r);
	model_free(m);
}
