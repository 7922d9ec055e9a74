/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "../support/tb.h"
#include "report.h"

static struct report *build(struct tb *tb)
{
	struct report *r = malloc(sizeof(*r));
	struct model *m = tb_load(tb, NULL);
	struct err err = {0};

	cr_assert(r && m);
	cr_assert_eq(report_build(r, m, &err), 0, "%s", err.msg);
	tb_free(tb);
	return r;
}

static void drop(struct report *r)
{
	struct model *m = (struct model *)r->m;

	report_release(r);
	model_free(m);
	free(r);
}

static const struct report_check *check(const struct report *r, const char *name)
{
	for (size_t i = 0; i < r->checks.n; i++)
		if (!strcmp(r->checks.v[i].name, name))
			return &r->checks.v[i];
	cr_assert_fail("no check %s", name);
	return NULL;
}

static bool noted(const struct report *r, const char *part)
{
	for (size_t i = 0; i < r->notes.n; i++)
		if (strstr(r->notes.v[i], part))
			return true;
	return false;
}

static void turn(struct tb *tb, uint32_t id, uint64_t t0, uint64_t t1)
{
	tb_on(tb, id, id);
	tb_run(tb, id, t0, t1);
	tb_exit(tb, id, 0);
}

Test(analyze, modes)
{
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	turn(tb, 1, 0, 1 * MS);
	r = build(tb);
	cr_expect_str_eq(r->mode, "single");
	drop(r);

	tb = tb_new();
	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "t", 0);
	turn(tb, 2, 0, 1 * MS);
	turn(tb, 1, 0, 1 * MS);
	r = build(tb);
	cr_expect_str_eq(r->mode, "threaded");
	drop(r);

	tb = tb_new();
	tb_task(tb, 1, "main");
	tb_fork(tb, 2, 1, "p", 0);
	turn(tb, 2, 0, 1 * MS);
	turn(tb, 1, 0, 1 * MS);
	r = build(tb);
	cr_expect_str_eq(r->mode, "multiprocess");
	drop(r);

	tb = tb_new();
	tb_task(tb, 1, "main");
	tb_fork(tb, 2, 1, "p", 0);
	tb_thread(tb, 3, 2, "t", 0);
	for (uint32_t id = 3; id >= 1; id--)
		turn(tb, id, 0, 1 * MS);
	r = build(tb);
	cr_expect_str_eq(r->mode, "mixed");
	drop(r);
}

/* A script that makes processes and then becomes the program, which makes one of its own. */
static struct report *launched(uint64_t exec_at, bool one_stays)
{
	struct tb *tb = tb_new();

	tb_task(tb, 1, "sh");
	tb_exec(tb, 1, US, "/bin/sh", "sh");
	tb_run(tb, 1, 0, exec_at);
	tb_fork(tb, 2, 1, "basename", 10 * US);
	turn(tb, 2, 10 * US, MS);
	tb_fork(tb, 3, 1, "readlink", 20 * US);
	turn(tb, 3, 20 * US, one_stays ? 9 * MS : MS);
	if (exec_at)
		tb_exec(tb, 1, exec_at, "/usr/bin/app", "app");
	tb_preempt(tb, 1);
	turn(tb, 1, exec_at, 10 * MS);
	return build(tb);
}

Test(analyze, a_launcher_is_not_the_program)
{
	struct report *r = launched(2 * MS, false);

	cr_expect_str_eq(r->mode, "single");
	cr_expect(r->launcher_procs == 2 && r->launcher_tasks == 2);
	cr_expect_eq(r->launcher_ns, 2 * MS);
	drop(r);
	r = launched(2 * MS, true); /* goes on beside the program */
	cr_expect_str_eq(r->mode, "multiprocess");
	cr_expect_eq(r->launcher_procs, 1);
	drop(r);
	r = launched(8 * MS, false); /* what came before was most of it */
	cr_expect_eq(r->launcher_procs, 0);
	cr_expect_str_eq(r->mode, "multiprocess");
	drop(r);
}

Test(analyze, average_parallelism)
{
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "t", 0);
	turn(tb, 2, 0, 5 * MS);
	turn(tb, 1, 0, 10 * MS);
	r = build(tb);
	cr_expect_eq(r->wall_ns, 10 * MS);
	cr_expect_float_eq(r->avg_parallelism, 1.5, 1e-9);
	cr_expect_float_eq(r->cpus, 2, 1e-9);
	drop(r);
}

Test(analyze, checks_of_a_whole_recording)
{
	static const char *const names[] = {"voluntary", "involuntary", "run_ns", "runnable_ns"};
	struct tb *tb = tb_new();
	struct report *r;

	tb_meta(tb, META_SEEN, "108");
	tb_meta(tb, META_WRITTEN, "100");
	tb_loss(tb, "ring-full", 8);
	tb_loss(tb, "mapping", 5);
	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "t", 0);
	tb_on(tb, 2, 2);
	tb_run(tb, 2, 0, 3 * MS);
	tb_steal(tb, 2, 500 * US);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 5 * MS, 6 * MS);
	tb_exit(tb, 2, 0);
	turn(tb, 1, 1 * MS, 9 * MS);
	r = build(tb);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct report_check *c = check(r, names[i]);

		cr_expect(c->known && c->ok, "%s", names[i]);
		cr_expect_eq(c->tasks, 2);
		cr_expect_eq(c->tasks_ok, 2);
		cr_expect_eq(c->recorded, c->kernel, "%s", names[i]);
	}
	cr_expect_eq(check(r, "voluntary")->recorded, 2);
	cr_expect_eq(check(r, "involuntary")->recorded, 1);
	cr_expect_eq(check(r, "runnable_ns")->recorded, 3 * MS);
	cr_expect(check(r, "events")->ok, "seen = written + lost");
	cr_expect_eq(check(r, "events")->recorded, 108);
	drop(r);
}

/* One task's END says something else than was recorded. */
static const struct report_check *off_by(struct report **r, const char *name, uint64_t voluntary,
                                         uint64_t run, uint64_t runnable)
{
	struct rec_end end = {.task = 1,
	                      .voluntary = 1 + voluntary,
	                      .run = 100 * MS + run,
	                      .runnable = 50 * MS + runnable};
	struct tb *tb = tb_new();

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_run(tb, 1, 50 * MS, 150 * MS);
	tb_exit(tb, 1, 0);
	tb_raw(tb, REC_K_END, TB_EPOCH + 150 * MS, &end);
	*r = build(tb);
	return check(*r, name);
}

Test(analyze, checks_have_a_tolerance_for_times_only)
{
	static const struct {
		const char *name;
		uint64_t voluntary, run, runnable;
		bool ok;
	} rows[] = {
	        {"voluntary", 0, 0, 0, true},          {"voluntary", 1, 0, 0, false},
	        {"run_ns", 0, 100 * US, 0, true},      {"run_ns", 0, 101 * US, 0, false},
	        {"runnable_ns", 0, 0, 505 * US, true}, {"runnable_ns", 0, 0, 510 * US, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct report *r;
		const struct report_check *c =
		        off_by(&r, rows[i].name, rows[i].voluntary, rows[i].run, rows[i].runnable);

		cr_expect(c->known);
		cr_expect_eq(c->ok, rows[i].ok, "row %zu", i);
		drop(r);
	}
}

/* What the whole recording and the kernel differ by is in the numbers of any part of it, too: that
 * is not much more of a small part. */
Test(analyze, checks_of_a_part_allow_what_the_whole_may_differ_by)
{
	for (uint64_t over = 500 * US; over <= 510 * US; over += 10 * US) {
		struct rec_end end = {.task = 1,
		                      .voluntary = 1,
		                      .run = 100 * MS + 100 * US,
		                      .runnable = 50 * MS + over};
		struct model_opts part = {
		        .since_ns = 40 * MS, .until_ns = 60 * MS, .flags = MODEL_SLICES};
		struct tb *tb = tb_new();
		struct report r = {0};
		struct err err = {0};
		struct model *m;

		tb_task(tb, 1, "main");
		tb_no_end(tb, 1);
		tb_run(tb, 1, 50 * MS, 150 * MS);
		tb_exit(tb, 1, 0);
		tb_raw(tb, REC_K_END, TB_EPOCH + 150 * MS, &end);
		m = tb_load(tb, &part);
		cr_assert(m);
		cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
		cr_expect(check(&r, "run_ns")->ok);
		cr_expect_eq(check(&r, "runnable_ns")->ok, over < 505 * US);
		report_release(&r);
		model_free(m);
		tb_free(tb);
	}
}

/* Of a short run, a fixed difference is allowed: what reading two clocks explains. */
Test(analyze, checks_of_short_times)
{
	for (uint64_t over = 50 * US; over <= 51 * US; over += US) {
		struct rec_end end = {.task = 1, .voluntary = 1, .run = 1 * MS + over};
		struct tb *tb = tb_new();
		struct report *r;

		tb_task(tb, 1, "main");
		tb_no_end(tb, 1);
		turn(tb, 1, 0, 1 * MS);
		tb_raw(tb, REC_K_END, TB_EPOCH + 1 * MS, &end);
		r = build(tb);
		cr_expect_eq(check(r, "run_ns")->ok, over == 50 * US);
		drop(r);
	}
}

/* The hypervisor's time is ready time that no run queue saw, before a switch or behind it: as much
 * more may the clocks differ. */
Test(analyze, checks_leave_stolen_time_out)
{
	for (uint64_t off = 400 * US; off <= 800 * US; off += 400 * US) {
		struct rec_end end = {.task = 1,
		                      .voluntary = 1,
		                      .run = 2 * MS + 500 * US,
		                      .runnable = 1 * MS - off};
		struct tb *tb = tb_new();
		const struct report_check *c;
		struct report *r;

		tb_task(tb, 1, "main");
		tb_no_end(tb, 1);
		tb_run(tb, 1, 1 * MS, 4 * MS);
		tb_steal(tb, 1, 500 * US);
		tb_exit(tb, 1, 0);
		tb_raw(tb, REC_K_END, TB_EPOCH + 4 * MS, &end);
		r = build(tb);
		c = check(r, "runnable_ns");
		cr_expect_eq(c->recorded, 1 * MS);
		cr_expect(c->known);
		cr_expect_eq(c->ok, off == 400 * US, "off by %llu", (unsigned long long)off);
		drop(r);
	}
}

Test(analyze, unknown_counters_are_not_equal_counters)
{
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	turn(tb, 1, 0, 5 * MS);
	r = build(tb);
	cr_expect_not(check(r, "voluntary")->known);
	cr_expect_not(check(r, "voluntary")->ok);
	cr_expect_not(check(r, "events")->known);
	cr_expect(noted(r, "not known for 1 of 1 tasks"));
	drop(r);
}

/* The counters of one that was read on a CPU are behind: it is compared in what is exact. */
Test(analyze, counters_read_on_a_cpu_are_not_compared)
{
	struct rec_end end = {.task = 2, .run = 1 * MS, .flags = CNT_F_ON_CPU | CNT_F_ALIVE};
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	tb_thread(tb, 2, 1, "late", 0);
	tb_no_end(tb, 2);
	turn(tb, 1, 0, 5 * MS);
	tb_on(tb, 2, 2);
	tb_run(tb, 2, 0, 5 * MS);
	tb_raw(tb, REC_K_END, TB_EPOCH + 5 * MS, &end);
	tb_stop(tb, 5 * MS);
	r = build(tb);
	cr_expect_eq(check(r, "voluntary")->tasks, 2);
	cr_expect_eq(check(r, "run_ns")->tasks, 1);
	cr_expect_eq(check(r, "run_ns")->recorded, 5 * MS);
	cr_expect(check(r, "run_ns")->ok);
	drop(r);
}

Test(analyze, kernel_without_run_delays)
{
	struct rec_switch in = {.next = 1},
	                  out = {.prev = 1, .flags = SW_F_VOLUNTARY | SW_F_DEAD, .exec = 5 * MS};
	struct rec_end end = {.task = 1, .voluntary = 1, .run = 5 * MS};
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	tb_no_end(tb, 1);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 2 * MS, &in);
	tb_raw(tb, REC_K_SWITCH, TB_EPOCH + 7 * MS, &out);
	tb_raw(tb, REC_K_END, TB_EPOCH + 7 * MS, &end);
	r = build(tb);
	cr_expect(check(r, "run_ns")->ok);
	cr_expect_not(check(r, "runnable_ns")->known);
	cr_expect(noted(r, "does not count how long tasks wait"));
	drop(r);
}

Test(analyze, futexes_by_wait)
{
	struct tb *tb = tb_new();
	uint32_t stack, libc;
	struct report *r;
	uint64_t t = 0;

	tb_task(tb, 1, "python3");
	tb_map(tb, 1, 0x1000, 0x2000, 0, "/usr/lib/libc.so.6");
	tb_map(tb, 1, 0x3000, 0x4000, 0, "/usr/bin/python3");
	tb_symbol(tb, "/usr/lib/libc.so.6", 0x10, "pthread_cond_wait", 0, 0);
	tb_symbol(tb, "/usr/bin/python3", 0x20, "take_gil", 0, 0);
	stack = tb_stack(tb, STACK_USER, 1, (uint64_t[]){0x1500, 0x1010, 0x3020}, 3);
	libc = tb_stack(tb, STACK_USER, 1, (uint64_t[]){0x1500, 0x1010}, 2);
	for (uint64_t i = 1; i <= 100; i++, t += MS) {
		tb_run(tb, 1, t, t + 1 * US);
		tb_stacks(tb, 1, stack, 0);
		tb_futex_wait(tb, 1, 0xa000, t + 1 * US + i * US, 0);
	}
	tb_run(tb, 1, t, t + 1 * US);
	tb_stacks(tb, 1, libc, 0);
	tb_futex_wait(tb, 1, 0xb000, t + 101 * MS, 0);
	tb_run(tb, 1, t + 101 * MS, t + 102 * MS);
	tb_stacks(tb, 1, 0, 0);
	tb_futex_wait(tb, 1, 0xc000, t + 102 * MS + 1, 0);
	tb_run(tb, 1, t + 103 * MS, t + 104 * MS);
	tb_exit(tb, 1, 0);
	r = build(tb);
	cr_assert_eq(r->locks.n, 3);
	cr_expect_eq(r->locks.v[0].futex->addr, 0xb000);
	cr_expect_str_eq(r->locks.v[0].name, "futex in python3, waited for at pthread_cond_wait");
	cr_expect_eq(r->locks.v[1].futex->addr, 0xa000);
	cr_expect_str_eq(r->locks.v[1].name, "futex in python3, waited for at take_gil");
	cr_expect_eq(r->locks.v[1].futex->waits, 100);
	cr_expect_eq(r->locks.v[1].futex->max_ns, 100 * US);
	cr_assert_eq(r->locks.v[1].futex->waiters.n, 1);
	cr_expect_eq(r->locks.v[1].futex->waiters.v[0].max_ns, 100 * US);
	cr_expect_eq(r->locks.v[1].id, 1, "the first that was waited for");
	cr_expect_eq(r->locks.v[0].id, 2);
	cr_expect_eq(r->locks.v[1].p50_ns, 50 * US);
	cr_expect_eq(r->locks.v[1].p99_ns, 99 * US);
	cr_expect_str_eq(r->locks.v[2].name, "futex in python3, 0xc000");
	cr_expect_eq(r->locks.v[2].p50_ns, 1);
	drop(r);
}

Test(analyze, futex_in_a_variable)
{
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "app");
	tb_map(tb, 1, 0x8000, 0x9000, 0, "/usr/bin/app");
	tb_symbol(tb, "/usr/bin/app", 0x40, "results_mutex", 0, 0);
	for (uint64_t i = 1; i <= 3; i++) {
		tb_run(tb, 1, i * 10 * MS, i * 10 * MS + 1);
		tb_futex_wait(tb, 1, 0x8040, i * 11 * MS + 1, 0);
	}
	tb_run(tb, 1, 40 * MS, 41 * MS);
	tb_exit(tb, 1, 0);
	r = build(tb);
	cr_expect_eq(r->locks.v[0].p50_ns, 2 * MS);
	cr_expect_eq(r->locks.v[0].p99_ns, 3 * MS);
	cr_expect_str_eq(r->locks.v[0].name, "results_mutex (app)");
	drop(r);
}

Test(analyze, costs)
{
	struct tb *tb = tb_new();
	struct report *r;

	tb_task(tb, 1, "main");
	tb_cost(tb, "mt_switch", 1000, 50000);
	tb_cost(tb, "bpf total", 5000, 250000);
	tb_cost(tb, "recorder cpu", 1, 3 * MS);
	tb_cost(tb, "waits without stack", 12, 0);
	turn(tb, 1, 0, 5 * MS);
	r = build(tb);
	cr_expect(r->costs_known);
	cr_expect_eq(r->self_cpu_ns, 3 * MS);
	cr_expect_eq(r->bpf_ns, 250000);
	cr_expect_eq(r->bpf_runs, 5000);
	cr_expect(noted(r, "12 waits have no stack"));
	drop(r);
}

/* Most of the time was spent in stacks that end in a file without unwinding information. */
Test(analyze, cut_stacks)
{
	static const uint64_t frames[] = {0x401010};

	for (int end = STACK_END_BOTTOM; end <= STACK_END_NO_TABLE; end++) {
		struct tb *tb = tb_new();
		struct report *r;

		tb_task(tb, 1, "A");
		tb_map(tb, 1, 0x400000, 0x500000, 0, "/lib/libmusl.so");
		tb_run(tb, 1, 0, 1 * MS);
		tb_stack_end(tb, (uint8_t)end);
		tb_stacks(tb, 1, tb_stack(tb, STACK_USER, 1, frames, 1), 0);
		tb_futex_wait(tb, 1, 0x1000, 9 * MS, 0);
		tb_run(tb, 1, 9 * MS, 10 * MS);
		r = build(tb);
		cr_expect_eq(noted(r, "100 % of the blocked time are cut: they end in libmusl.so, "
		                      "which has neither"),
		             end == STACK_END_NO_TABLE);
		drop(r);
	}
}

Test(analyze, notes)
{
	struct rec_waitv waitv = {.task = 1};
	struct tb *tb = tb_new();
	struct report *r;

	tb_meta(tb, META_THP, "always"); /* each page was counted */
	tb_task(tb, 1, "main");
	turn(tb, 1, 0, 5 * MS);
	r = build(tb);
	cr_expect_eq(r->notes.n, 0, "nothing to say of a whole recording: %s",
	             r->notes.n ? r->notes.v[0] : "");
	drop(r);

	tb = tb_new();
	tb_meta(tb, META_THP, "always");
	tb_meta(tb, META_CPUS, "");
	tb_meta(tb, META_STACKS, "off");
	tb_meta(tb, META_MACHINE, "riscv64");
	tb_note(tb, "the recorder says 100% of something");
	tb_loss(tb, "ring-full", 5983);
	tb_raw(tb, REC_K_WAITV, TB_EPOCH, &waitv);
	tb_task(tb, 1, "main");
	tb_run(tb, 1, 0, 1 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 2 * MS, 3 * MS);
	tb_drop(tb, REC_K_SWITCH, 2);
	tb_killed(tb);
	r = build(tb);
	cr_expect(noted(r, "lower bound"));
	cr_expect(noted(r, "CPUs the workload could use is not known"));
	cr_expect(noted(r, "--stacks=off"));
	cr_expect(noted(r, "riscv64"));
	cr_expect(noted(r, "the recorder says 100% of something"));
	cr_expect(noted(r, "5,983 events lost (ring-full)"));
	cr_expect(noted(r, "futex_waitv"));
	cr_expect(noted(r, "not finished"));
	cr_expect_not(noted(r, "damaged"));
	drop(r);
}

Test(analyze, stopped_tasks_are_noted)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t end = i ? 60 * MS : 10 * MS + 300 * US;
		struct tb *tb = tb_new();
		struct report *r;

		tb_task(tb, 1, "main");
		tb_run(tb, 1, 0, 10 * MS);
		tb_block(tb, 1, 0, 4, end, 0);
		tb_run(tb, 1, end, end + 10 * MS);
		tb_exit(tb, 1, 0);
		r = build(tb);
		cr_expect_eq(noted(r, "main was stopped for 50 ms, by a signal or a debugger: "),
		             i == 1);
		cr_expect_eq(noted(r, "stopped"), i == 1);
		drop(r);
	}
}

/* One that is being written may end in the middle of a block: nothing is damaged. */
Test(analyze, an_unfinished_file_may_be_cut)
{
	struct tb *tb = tb_new();
	struct err err = {0};
	struct report r;
	struct model *m;
	struct buf copy = {0};
	const struct buf *b;

	tb_task(tb, 1, "main");
	turn(tb, 1, 0, 5 * MS);
	tb_killed(tb);
	b = tb_bytes(tb);
	cr_assert_eq(buf_put(&copy, b->p, b->n - 7), 0);
	m = tb_load_bytes(&copy, NULL, &err);
	cr_assert(m, "%s", err.msg);
	cr_expect(model_trace_info(m)->truncated);
	cr_expect_gt(model_trace_info(m)->skipped_bytes, 0);
	cr_expect_not(model_recording(m)->damaged);
	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect(noted(&r, "not finished"));
	cr_expect_not(noted(&r, "damaged"));
	report_release(&r);
	model_free(m);
	buf_release(&copy);
	tb_free(tb);
}

Test(analyze, damaged_file_is_said)
{
	struct tb *tb = tb_new();
	struct err err = {0};
	struct report r;
	struct model *m;
	struct buf copy = {0};
	const struct buf *b;

	tb_task(tb, 1, "main");
	turn(tb, 1, 0, 5 * MS);
	b = tb_bytes(tb);
	cr_assert_eq(buf_put(&copy, b->p, b->n), 0);
	/* Somewhere in the middle: the block that holds it is lost, the rest is whole. */
	copy.p[copy.n / 2] ^= 0x55;
	m = tb_load_bytes(&copy, NULL, &err);
	cr_assert(m, "%s", err.msg);
	cr_expect(model_recording(m)->damaged);
	cr_assert_eq(report_build(&r, m, &err), 0);
	cr_expect(noted(&r, "damaged"));
	report_release(&r);
	model_free(m);
	buf_release(&copy);
	tb_free(tb);
}

Test(analyze, nothing_recorded)
{
	struct report *r = build(tb_new());

	cr_expect_str_eq(r->mode, "single");
	cr_expect_eq(r->wall_ns, 0);
	cr_expect_float_eq(r->avg_parallelism, 0, 1e-9);
	cr_expect_eq(r->locks.n, 0);
	drop(r);
}
