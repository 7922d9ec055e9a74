/* SPDX-License-Identifier: MIT */
/* Responsiveness: from the end of a wait to the work after it. */
#include "report_test.h"

static struct watch_row watch_of(struct tb *tb)
{
	struct model_opts mo = {.flags = MODEL_SLICES};
	struct analyze_opts o = {.watch = "main"};
	struct model *m = tb_load(tb, &mo);
	struct report r = {0};
	struct err err = {0};
	struct watch_row row;

	cr_assert(m);
	tb_free(tb);
	cr_assert_eq(report_build_opts(&r, m, &o, &err), 0, "%s", err.msg);
	cr_assert_eq(r.watch.n, 1);
	row = r.watch.v[0];
	report_release(&r);
	model_free(m);
	return row; /* its list is gone */
}

static void sleeps(struct tb *tb, uint64_t t_wake)
{
	tb_call(tb, 1, TB_NR_nanosleep, 0, FD_UNKNOWN, t_wake, 0);
}

/* An answer at once is one: without it the slow ones would seem to be more of them. */
Test(watch, no_delay_counts)
{
	struct tb *tb = tb_new();
	struct watch_row row;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 1 * MS);
	for (unsigned i = 1; i <= 3; i++) {
		sleeps(tb, i * 10 * MS);
		tb_run(tb, 1, i * 10 * MS + (i == 2) * 4 * MS, i * 10 * MS + 5 * MS);
	}
	tb_exit(tb, 1, 0);
	row = watch_of(tb);
	cr_expect_eq(row.waits, 3);
	cr_expect_eq(row.p50_ns, 0);
	cr_expect_eq(row.max_ns, 4 * MS);
	cr_expect_eq(row.at_work_ns, 0);
}

/* Who loses the CPU 20 us after the wake-up has not begun to work; after 2 ms it has. */
Test(watch, preempted_on_its_way)
{
	for (unsigned works = 0; works < 2; works++) {
		uint64_t first = works ? 2 * MS : 20 * US;
		struct tb *tb = tb_new();
		struct watch_row row;

		tb_task(tb, 1, "app");
		tb_run(tb, 1, 0, 1 * MS);
		sleeps(tb, 10 * MS);
		tb_run(tb, 1, 12 * MS, 12 * MS + first);
		tb_preempt(tb, 1);
		tb_run(tb, 1, 20 * MS, 25 * MS);
		tb_exit(tb, 1, 0);
		row = watch_of(tb);
		cr_expect_eq(row.waits, 1);
		cr_expect_eq(row.max_ns, works ? 2 * MS : 10 * MS, "%llu",
		             (unsigned long long)row.max_ns);
	}
}

/* Having worked, a thread hands the GIL over and waits until it was taken, then sleeps. That
 * answers nobody; to wait for the GIL before the work does. */
Test(watch, handing_the_gil_over_is_no_delay)
{
	for (unsigned over = 0; over < 2; over++) {
		uint64_t word = 0x1000 + (over ? 120 + 8 : 32 + 40);
		struct tb *tb = tb_new();
		struct watch_row row;

		tb_task(tb, 1, "app");
		tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
		tb_thread(tb, 2, 1, "worker", 0);
		tb_on(tb, 2, 1);
		tb_run(tb, 2, 0, 60 * MS);
		tb_run(tb, 1, 0, 1 * MS);
		sleeps(tb, 10 * MS);
		tb_run(tb, 1, 11 * MS, 11 * MS + 20 * US);
		tb_futex(tb, 1, word, TB_FUTEX_BITSET, 0, 0, 30 * MS, 2);
		tb_run(tb, 1, 30 * MS, 30 * MS + 20 * US);
		sleeps(tb, 50 * MS);
		tb_run(tb, 1, 50 * MS, 60 * MS);
		tb_exit(tb, 2, 0);
		tb_exit(tb, 1, 0);
		row = watch_of(tb);
		cr_expect_eq(row.max_ns, over ? 1 * MS : 20 * MS, "%llu",
		             (unsigned long long)row.max_ns);
	}
}

/* Delays of 1 to 100 us: the longest of the shortest half, and of all but the longest. */
Test(watch, percentiles)
{
	struct tb *tb = tb_new();
	struct watch_row row;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 1 * MS);
	for (unsigned i = 1; i <= 100; i++) {
		sleeps(tb, i * 10 * MS);
		tb_run(tb, 1, i * 10 * MS + i * US, i * 10 * MS + 5 * MS);
	}
	tb_exit(tb, 1, 0);
	row = watch_of(tb);
	cr_expect_eq(row.waits, 100);
	cr_expect_eq(row.p50_ns, 50 * US);
	cr_expect_eq(row.p99_ns, 99 * US);
	cr_expect_eq(row.max_ns, 100 * US);
}

/* What it was kept by: after the timer 1 ms by the lack of a CPU, then by who had the GIL, then 2
 * ms by the lack of a CPU again. */
Test(watch, by_whom)
{
	struct model_opts mo = {.flags = MODEL_SLICES};
	struct analyze_opts o = {.watch = "main"};
	struct tb *tb = tb_new();
	struct report r = {0};
	struct err err = {0};
	struct model *m;

	tb_task(tb, 1, "app");
	tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
	tb_thread(tb, 2, 1, "worker", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 60 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	sleeps(tb, 10 * MS);
	tb_run(tb, 1, 11 * MS, 11 * MS + 20 * US);
	tb_futex(tb, 1, 0x1000 + 72, TB_FUTEX_BITSET, 0, 0, 30 * MS, 2);
	tb_run(tb, 1, 32 * MS, 60 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	m = tb_load(tb, &mo);
	tb_free(tb);
	cr_assert(m);
	cr_assert_eq(report_build_opts(&r, m, &o, &err), 0, "%s", err.msg);
	cr_assert_eq(r.watch.n, 1);
	cr_assert_eq(r.watch.v[0].by.n, 2);
	cr_expect_eq(r.watch.v[0].by.v[0].task, 2);
	cr_expect_eq(r.watch.v[0].by.v[0].cause, CAUSE_GIL);
	cr_expect_eq(r.watch.v[0].by.v[0].ns, 19 * MS - 20 * US);
	cr_expect_eq(r.watch.v[0].by.v[1].cause, CAUSE_CPU_SHORTAGE);
	cr_expect_eq(r.watch.v[0].by.v[1].ns, (1 + 2) * MS);
	report_release(&r);
	model_free(m);
}

/* A worker that never waits for anything of its own, but for a lock and for the CPU. */
Test(watch, what_keeps_it_at_work_is_told)
{
	struct report_opts o = {.width = 100};
	struct model_opts mo = {.flags = MODEL_SLICES};
	struct tb *tb = tb_new();
	struct watch_row row;
	struct report r = {0};
	struct err err = {0};
	char *text = NULL;
	struct model *m;
	size_t n = 0;
	FILE *out;

	tb_task(tb, 1, "app");
	tb_thread(tb, 2, 1, "worker", 0);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 0, 60 * MS);
	tb_run(tb, 1, 0, 1 * MS);
	tb_owner(tb, 1, 1002);
	tb_futex(tb, 1, 0x1000, TB_FUTEX_WAIT, 2, 0, 10 * MS, 2);
	tb_run(tb, 1, 14 * MS, 20 * MS);
	tb_preempt(tb, 1);
	tb_run(tb, 1, 25 * MS, 60 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	m = tb_load(tb, &mo);
	cr_assert(m);
	cr_assert_eq(report_build_opts(&r, m, &(struct analyze_opts){.watch = "main"}, &err), 0);
	row = r.watch.v[0];
	cr_expect_eq(row.waits, 0);
	cr_expect_eq(row.at_work_ns, (9 + 4 + 5) * MS, "%" PRIu64, row.at_work_ns);
	out = open_memstream(&text, &n);
	cr_assert_eq(report_text(&r, &o, out, &err), 0);
	fclose(out);
	cr_expect(
	        strstr(text, "watched          app: no delay, as it waited for nothing of its own"),
	        "%s", text);
	cr_expect(strstr(text, "at work 18 ms ready or kept by locks\n"), "%s", text);
	free(text);
	report_release(&r);
	model_free(m);
	tb_free(tb);
}
