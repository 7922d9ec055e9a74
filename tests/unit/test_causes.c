/* SPDX-License-Identifier: MIT */
/* Capacity, shares, serial sections, critical path, deadlocks and verdict, on programs built in
 * memory whose truth is known to the ns. Two CPUs, unless said otherwise. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "../support/tb.h"
#include "report.h"
#include "random_trace.h"

#define MUTEX 0x601000
#define COOL  0x602000
#define COND  0x603008
#define SEM   0x604000

struct built {
	struct model *m;
	struct report r;
};

static void expect_sums(const struct built *b)
{
	const struct recording *rec = model_recording(b->m);
	uint64_t sum = 0, heights = 0, critical = 0, procs = 0, at = rec->wall_start_ns, on_cpu = 0;

	for (size_t i = 0; i < b->r.breakdown.n; i++)
		sum += b->r.breakdown.v[i].ns;
	cr_expect_eq(sum, b->r.capacity_ns, "the breakdown is capacity: %" PRIu64 " of %" PRIu64,
	             sum, b->r.capacity_ns);
	for (size_t i = 0; i < b->r.path.n; i++) {
		const struct path_row *p = &b->r.path.v[i];

		cr_expect_eq(p->start_ns, at, "path piece %zu begins where the last ended", i);
		cr_expect_gt(p->end_ns, p->start_ns);
		at = p->end_ns;
	}
	cr_expect_eq(at, rec->wall_end_ns, "the path reaches the end");
	for (size_t i = 0; i < b->r.shares.n; i++) {
		heights += b->r.shares.v[i].height_ns;
		critical += b->r.shares.v[i].critical_ns;
	}
	for (size_t i = 0; i < b->r.proc_shares.n; i++)
		procs += b->r.proc_shares.v[i].height_ns;
	for (size_t i = 0; i < model_n_tasks(b->m); i++)
		on_cpu += model_task_at(b->m, i)->on_cpu_ns;
	cr_expect_eq(heights, procs);
	cr_expect_leq(heights, rec->wall_end_ns - rec->wall_start_ns);
	cr_expect_leq(heights, on_cpu);
	cr_expect_leq(critical, heights + b->r.shares.n);
}

static struct built build_opts(struct tb *tb, const struct analyze_opts *o)
{
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct built b = {.m = tb_load(tb, &opts)};
	struct err err = {0};

	cr_assert(b.m);
	tb_free(tb);
	cr_assert_eq(report_build_opts(&b.r, b.m, o, &err), 0, "%s", err.msg);
	cr_assert(b.r.causes_known);
	if (!o)
		expect_sums(&b);
	return b;
}

static struct built build(struct tb *tb)
{
	return build_opts(tb, NULL);
}

static void drop(struct built *b)
{
	report_release(&b->r);
	model_free(b->m);
}

static uint64_t of_cause(const struct built *b, enum cause cause)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < b->r.breakdown.n; i++)
		if (b->r.breakdown.v[i].cause == cause)
			ns += b->r.breakdown.v[i].ns;
	return ns;
}

static const struct cause_row *first(const struct built *b, enum cause cause)
{
	for (size_t i = 0; i < b->r.breakdown.n; i++)
		if (b->r.breakdown.v[i].cause == cause)
			return &b->r.breakdown.v[i];
	cr_assert_fail("no row of cause %s", cause_key(cause));
	return NULL;
}

static void expect_verdict(const struct built *b, enum verdict v, const char *part)
{
	cr_expect_eq(b->r.verdict, v, "%s, not %s: %s", verdict_key(b->r.verdict), verdict_key(v),
	             b->r.headline);
	cr_expect(strstr(b->r.headline, part), "'%s' has no '%s'", b->r.headline, part);
}

/* main starts two workers and joins them both; it runs for the first ms and the last. */
static struct tb *two_workers(uint64_t end)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "alpha", 1 * MS);
	tb_thread(tb, 3, 1, "beta", 1 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, end);
	tb_run(tb, 1, end, end + 1 * MS);
	tb_exit(tb, 1, 0);
	tb_on(tb, 2, 1);
	tb_on(tb, 3, 2);
	return tb;
}

/* --- locks --- */

/* alpha has the lock for 10 ms, beta waits; then beta has it and alpha has nothing to do. */
Test(causes, mutex_is_charged_while_its_holder_runs)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_run(tb, 2, 11 * MS, 21 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 1 * MS + 1000);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 11 * MS, 2);
	tb_run(tb, 3, 11 * MS, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(b.r.capacity_ns, 44 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 10 * MS - 1000);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 32 * MS + 1000);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 2 * MS);
	cr_expect_eq(first(&b, CAUSE_LOCK)->task, 2, "held by alpha");
	cr_expect_eq(first(&b, CAUSE_LOCK)->id, 1);
	expect_verdict(&b, VERDICT_SERIALIZED, "SERIALIZED by ");
	drop(&b);
}

/* Of three waiters for a hot and one for a cool lock, and one idle CPU of four. */
Test(causes, idle_cpus_are_shared_by_weight)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_task(tb, 1, "main");
	for (uint32_t id = 1; id <= 7; id++) {
		if (id > 1)
			tb_thread(tb, id, 1, "t", 0);
		tb_on(tb, id, id);
		if (id <= 3) { /* holders, and one that has nothing to do with them */
			tb_run(tb, id, 0, 40 * MS);
			tb_exit(tb, id, 0);
			continue;
		}
		tb_run(tb, id, 0, US);
		tb_owner(tb, id, id == 7 ? 2 : 1);
		tb_futex_wait(tb, id, id == 7 ? COOL : MUTEX, 40 * MS, id == 7 ? 2 : 1);
		tb_run(tb, id, 40 * MS, 41 * MS);
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 124 * MS + 4 * US);
	/* In their first µs seven run on four CPUs: that much is paid back. */
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 40 * MS - 4 * US);
	cr_expect_eq(first(&b, CAUSE_LOCK)->ns, (40 * MS - 4 * US) / 4 * 3,
	             "three of four waiters");
	drop(&b);
}

/* beta waits for a lock of alpha's, alpha for the disk: the disk is what holds both. */
Test(causes, a_chain_is_charged_to_its_root)
{
	struct tb *tb = two_workers(31 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 2 * MS);
	tb_call(tb, 2, TB_NR_fsync, 3, FD_FILE, 30 * MS, 0);
	tb_run(tb, 2, 30 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 2 * MS);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 31 * MS, 2);
	tb_run(tb, 3, 31 * MS, 32 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_IO), 56 * MS, "both CPUs, 28 ms");
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 1 * MS);
	expect_verdict(&b, VERDICT_IO_BOUND, "I/O");
	drop(&b);
}

/* A chain of three, cut in its middle: what hangs below moves with it. */
Test(causes, subtrees_move_with_their_root)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_task(tb, 1, "a");
	tb_on(tb, 1, 1);
	tb_run(tb, 1, 0, 30 * MS);
	tb_exit(tb, 1, 0);
	for (uint32_t id = 2; id <= 3; id++) {
		tb_thread(tb, id, 1, "t", 0);
		tb_on(tb, id, id);
	}
	/* 3 waits for 2 all the time; 2 waits for 1 until 10 ms, then runs. */
	tb_run(tb, 2, 0, US);
	tb_owner(tb, 2, 1);
	tb_futex_wait(tb, 2, MUTEX, 10 * MS, 1);
	tb_run(tb, 2, 10 * MS, 30 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 0, US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, COOL, 30 * MS, 2);
	tb_run(tb, 3, 30 * MS, 31 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	/* Until 10 ms two wait below task 1 by the first lock, then one below 2 by the other. */
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 40 * MS - 2 * US);
	cr_expect_eq(first(&b, CAUSE_LOCK)->ns, 20 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 51 * MS + 2 * US);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 33 * MS);
	drop(&b);
}

/* --- work handed on --- */

/* beta consumes in 1 ms what alpha makes in 9. */
static struct tb *producer(void)
{
	struct tb *tb = two_workers(41 * MS);

	tb_run(tb, 2, 1 * MS, 41 * MS);
	tb_exit(tb, 2, 0);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t t = (1 + 10 * i) * MS;

		tb_run(tb, 3, t, t + 1 * MS);
		if (i < 3)
			tb_futex(tb, 3, COND, TB_FUTEX_BITSET, 0, 0, t + 10 * MS, 2);
	}
	tb_exit(tb, 3, 0);
	return tb;
}

Test(causes, slow_producer_is_a_serial_section)
{
	struct built b = build(producer());

	/* Three waits of 9 ms; then main waits for the end of alpha, which had a sibling. */
	cr_expect_eq(first(&b, CAUSE_SERIAL)->ns, 36 * MS);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->id, 2);
	cr_expect_str_eq(first(&b, CAUSE_SERIAL)->name, "alpha");
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 46 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 2 * MS);
	expect_verdict(&b, VERDICT_SERIALIZED, "what alpha does alone");
	cr_expect_eq(b.r.serial.n, 1);
	cr_expect_eq(b.r.serial.v[0].task, 2);
	cr_expect_eq(b.r.serial.v[0].ns, 36 * MS);
	cr_expect_eq(b.r.serial.v[0].count, 4);
	drop(&b);
}

/* As many idle threads as you like, waiting for work from a busy one. */
Test(causes, idle_pool_costs_nothing)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	for (uint32_t id = 2; id <= 3; id++) {
		tb_run(tb, id, 1 * MS, 101 * MS);
		tb_exit(tb, id, 0);
	}
	for (uint32_t id = 10; id < 210; id++) {
		tb_thread(tb, id, 1, "idle", 1 * MS);
		tb_run(tb, id, 1 * MS, 1 * MS + US / 100);
		tb_futex(tb, id, COND, TB_FUTEX_BITSET, 0, 0, 101 * MS, 1);
		tb_run(tb, id, 101 * MS + 2 * US * (id - 9), 101 * MS + 2 * US * (id - 9) + US);
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_geq(of_cause(&b, CAUSE_WORK), 202 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK) + of_cause(&b, CAUSE_SERIAL), 0);
	expect_verdict(&b, VERDICT_PARALLEL, "PARALLEL: 1.9");
	drop(&b);
}

/* main starts one thread and joins it: that is one thread, not a lack of parallelism. */
Test(causes, one_thread_is_not_serialized)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "worker", 1 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_join(tb, 1, 2, 99 * MS);
	tb_run(tb, 1, 99 * MS, 100 * MS);
	tb_exit(tb, 1, 0);
	tb_run(tb, 2, 1 * MS, 99 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 100 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 100 * MS);
	expect_verdict(&b, VERDICT_CPU_BOUND, "one thread");
	cr_expect(strstr(b.r.headline, "worker"));
	drop(&b);
}

/* Two workers, one has more to do: its sibling is done, main waits. */
Test(causes, last_of_several_is_imbalance)
{
	struct tb *tb = two_workers(91 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 91 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 31 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->ns, 60 * MS);
	cr_expect_eq(first(&b, CAUSE_SERIAL)->id, 2);
	expect_verdict(&b, VERDICT_IMBALANCED, "alpha");
	drop(&b);
}

/* A join of somebody who waits for a lock is no second waiter. */
Test(causes, join_behind_a_lock)
{
	struct tb *tb = two_workers(51 * MS);
	struct built b;

	tb_meta(tb, META_CPUS, "4");
	tb_run(tb, 3, 1 * MS, 41 * MS);
	tb_exit(tb, 3, 0);
	tb_run(tb, 2, 1 * MS, 2 * MS);
	tb_owner(tb, 2, 3);
	tb_futex_wait(tb, 2, MUTEX, 41 * MS, 3);
	tb_run(tb, 2, 41 * MS, 51 * MS);
	tb_exit(tb, 2, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 39 * MS, "one waiter");
	cr_expect_eq(first(&b, CAUSE_LOCK)->task, 3);
	drop(&b);
}

/* --- nobody's fault --- */

Test(causes, ready_without_a_cpu)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	/* Both on the same CPU, in turns of 10 ms; the other CPU is somebody else's. */
	for (unsigned i = 0; i < 10; i++) {
		uint32_t id = 2 + i % 2;

		tb_on(tb, id, 1);
		tb_run(tb, id, (1 + 10 * i) * MS, (11 + 10 * i) * MS);
		if (i < 8)
			tb_preempt(tb, id);
	}
	tb_exit(tb, 2, 0);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 90 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 102 * MS);
	expect_verdict(&b, VERDICT_CPU_STARVED, "CPU-STARVED: ");
	drop(&b);
}

Test(causes, stolen_time_is_shortage)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "1");
	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 100 * MS);
	tb_steal(tb, 1, 30 * MS);
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 70 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 30 * MS);
	drop(&b);
}

/* Half a CPU by quota: a period's grant is used up at once, then all wait. That is work. */
Test(causes, quota_is_paid_back)
{
	struct tb *tb = tb_new();
	struct built b;

	tb_meta(tb, META_CPUS, "0.5");
	tb_task(tb, 1, "main");
	for (uint64_t t = 0; t < 400 * MS; t += 100 * MS) {
		tb_run(tb, 1, t, t + 50 * MS);
		if (t < 300 * MS)
			tb_preempt(tb, 1);
	}
	tb_exit(tb, 1, 0);
	b = build(tb);
	cr_expect_eq(b.r.wall_ns, 350 * MS);
	cr_expect_eq(b.r.capacity_ns, 175 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 175 * MS);
	drop(&b);
}

Test(causes, sleepers_and_daemons)
{
	struct tb *tb = two_workers(101 * MS);
	struct built b;

	for (uint32_t id = 2; id <= 3; id++) {
		for (unsigned i = 0; i < 10; i++) {
			tb_run(tb, id, (1 + 10 * i) * MS, (3 + 10 * i) * MS);
			if (i < 9)
				tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, (11 + 10 * i) * MS,
				        0);
		}
		tb_exit(tb, id, 0);
	}
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_SLEEP), 144 * MS);
	expect_verdict(&b, VERDICT_IDLE, "slept");
	drop(&b);

	tb = tb_new();
	tb_task(tb, 1, "daemon");
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_poll, 0, FD_UNKNOWN, TB_NEVER, 0);
	tb_stop(tb, 500 * MS);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_EXTERNAL), 499 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_NO_TASK), 500 * MS);
	cr_expect_eq(of_cause(&b, CAUSE_WORK), 1 * MS);
	expect_verdict(&b, VERDICT_IDLE, "outside");
	drop(&b);
}

/* From wake-up to running takes an idle CPU some time: that belongs to the wait. */
Test(causes, wake_up_latency_belongs_to_the_wait)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 1 * MS + US);
	tb_owner(tb, 3, 2);
	tb_futex_wait(tb, 3, MUTEX, 11 * MS, 2);
	tb_run(tb, 3, 11 * MS + 50 * US, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(of_cause(&b, CAUSE_CPU_SHORTAGE), 0);
	cr_expect_eq(of_cause(&b, CAUSE_LOCK), 10 * MS + 49 * US);
	drop(&b);
}

Test(causes, loss_widens_what_is_claimed)
{
	struct tb *tb = two_workers(21 * MS);
	struct built b;

	tb_loss(tb, "ring-full", 1000);
	tb_run(tb, 2, 1 * MS, 11 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 1 * MS, 21 * MS);
	tb_exit(tb, 3, 0);
	b = build(tb);
	for (size_t i = 0; i < b.r.breakdown.n; i++) {
		cr_expect_gt(b.r.breakdown.v[i].uncertainty_ratio, 0.9);
		cr_expect_leq(b.r.breakdown.v[i].uncertainty_ratio, 1);
	}
	cr_expect(strstr(b.r.headline, "lost"));
	drop(&b);
}

Test(causes, without_slices_or_cpus_nothing_is_claimed)
{
	struct tb *tb = two_workers(21 * MS);
	struct model *m = tb_load(tb, NULL);
	struct report r;
	struct err err = {0};

	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect(!r.causes_known && !r.w && !r.breakdown.n);
	cr_expect_null(verdict_key(r.verdict));
	report_release(&r);
	model_free(m);
	tb_free(tb);
}

/* --- shares --- */

Test(causes, heights)
{
	struct tb *tb = two_workers(31 * MS);
	struct built b;

	tb_run(tb, 2, 1 * MS, 31 * MS);
	tb_exit(tb, 2, 0);
	tb_run(tb, 3, 11 * MS, 21 * MS); /* ready since 1 ms */
	tb_exit(tb, 3, 0);
	b = build(tb);
	cr_expect_eq(b.r.shares.v[0].task, 2);
	cr_expect_eq(b.r.shares.v[0].height_ns, 25 * MS);
	cr_expect_eq(b.r.shares.v[0].critical_ns, 20 * MS);
	cr_expect_eq(b.r.shares.v[1].task, 3);
	cr_expect_eq(b.r.shares.v[1].height_ns, 5 * MS);
	cr_expect_eq(b.r.shares.v[1].critical_ns, 5 * MS);
	cr_expect_eq(b.r.proc_shares.n, 1);
	cr_expect_eq(b.r.proc_shares.v[0].height_ns, 32 * MS);
	drop(&b);
}

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
	        {1000, 1, 'R', CAUSE_WORK},  {1001, 2, 'R', CAUSE_WORK},
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
	}
	expect_verdict(&b, VERDICT_SERIALIZED, "DEADLOCK of 2 tasks: ");
	cr_expect_geq(of_cause(&b, CAUSE_LOCK), 390 * MS);
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

static const struct graph_row *row_of(const struct built *b, uint32_t task)
{
	for (size_t i = 0; i < b->r.graph.n; i++)
		if (b->r.graph.v[i].task == task)
			return &b->r.graph.v[i];
	cr_assert_fail("task %u is not in the graph", task);
	return NULL;
}

static char *graph_text(const struct built *b)
{
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(report_graph_text(&b->r, NULL, out, &err), 0);
	fclose(out);
	return text;
}

Test(graph, of_a_deadlock_and_who_is_behind_it)
{
	struct built b = build(abba());
	char *text = graph_text(&b);

	cr_expect_eq(b.r.graph.n, 3);
	cr_expect_eq(row_of(&b, 1)->waits_for, 2);
	cr_expect_eq(row_of(&b, 1)->deadlock, 0);
	cr_expect_eq(row_of(&b, 2)->waits_for, 3);
	cr_expect_eq(row_of(&b, 2)->deadlock, 1);
	cr_expect_eq(row_of(&b, 3)->since_ns, TB_EPOCH + 4 * MS);
	cr_expect(!row_of(&b, 3)->before);
	cr_expect_eq(strncmp(text, "DEADLOCK of 2 tasks\n", 20), 0, "%s", text);
	cr_expect(strstr(text, "\n    main (1001)  waits for join of alpha, 199 ms"), "%s", text);
	free(text);
	drop(&b);
}

/* Two hundred idle threads are one line; who runs and who waits for him come first. */
Test(graph, like_ones_are_one_line)
{
	struct tb *tb = tb_new();
	struct built b;
	char *text;

	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_poll, 0, FD_UNKNOWN, TB_NEVER, 0);
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

/* --- any recording --- */

Test(causes, sums_hold_for_anything)
{
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct built b = build(anything(seed));

		for (size_t i = 0; i < b.r.breakdown.n; i++)
			cr_expect_lt(b.r.breakdown.v[i].ns, b.r.capacity_ns + 1);
		drop(&b);
	}
}

/* And of parts of it. */
Test(causes, sums_hold_in_windows)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct model_opts opts = {
		        .since_ns = 5 * MS, .until_ns = 17 * MS, .flags = MODEL_SLICES};
		struct tb *tb = anything(seed);
		struct built b = {.m = tb_load(tb, &opts)};
		struct err err = {0};

		cr_assert(b.m);
		cr_assert_eq(report_build(&b.r, b.m, &err), 0, "%s", err.msg);
		expect_sums(&b);
		drop(&b);
		tb_free(tb);
	}
}
