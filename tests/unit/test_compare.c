/* SPDX-License-Identifier: MIT */
/* Two sides next to each other: figures from traces whose truth is known, and which conclusions
 * follow from which numbers. */
#include <math.h>

#include "analyze/compare_priv.h"
#include "compare.h"
#include "report_test.h"

#define MUTEX 0x601000

static struct compare_run run_of(struct tb *tb)
{
	struct model_opts opts = {.flags = MODEL_SLICES};
	struct model *m = tb_load(tb, &opts);
	struct report r = {0};
	struct compare_run run;
	struct err err = {0};

	cr_assert(m);
	tb_free(tb);
	cr_assert_eq(report_build(&r, m, &err), 0, "%s", err.msg);
	compare_run_of(&run, &r);
	report_release(&r);
	model_free(m);
	return run;
}

/* Two threads of 100 ms each: one after the other by a lock, or next to each other. */
static struct compare_run threads(bool beside, uint64_t pss)
{
	struct tb *tb = tb_program(2, "app", "worker");

	tb_run(tb, 1, 0, 100 * MS);
	if (!beside) {
		tb_run(tb, 2, 0, 1 * MS);
		tb_futex_wait(tb, 2, MUTEX, 100 * MS, 1);
		tb_run(tb, 2, 100 * MS, 199 * MS);
	} else {
		tb_run(tb, 2, 0, 100 * MS);
	}
	if (pss)
		tb_footprint(tb, 1, 50 * MS, pss + (1 << 20), pss, pss);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	return run_of(tb);
}

/* Each of four sleeps for 50 ms while it has the lock. */
static struct compare_run sleepers(bool beside)
{
	struct tb *tb = tb_program(4, "app", "worker");

	for (uint32_t id = 1; id <= 4; id++)
		tb_run(tb, id, 0, 1 * MS);
	for (uint32_t id = 1; id <= 4; id++) {
		uint64_t t = beside ? 1 * MS : (1 + (id - 1) * 50) * MS;

		if (t > 1 * MS) {
			uint32_t call =
			        tb_site(tb, TB_NR_futex, MUTEX, TB_FUTEX_WAKE, 1, FD_UNKNOWN);

			tb_owner(tb, id, id - 1);
			tb_wakes_by(tb, id - 1, call, 0);
			tb_futex_wait(tb, id, MUTEX, t, id - 1);
			tb_run(tb, id, t, t + US);
		}
		tb_call(tb, id, TB_NR_nanosleep, 0, FD_UNKNOWN, t + 50 * MS, 0);
		tb_run(tb, id, t + 50 * MS, t + 50 * MS + 10 * US);
	}
	for (uint32_t id = 1; id <= 4; id++)
		tb_exit(tb, id, 0);
	return run_of(tb);
}

static void add(struct compare *c, unsigned side, struct compare_run run)
{
	snprintf(c->side[side].name, sizeof(c->side[side].name), "%s", side ? "new" : "old");
	cr_assert(!vec_push(&c->side[side].runs, run));
}

static void build(struct compare *c)
{
	struct err err = {0};

	cr_assert_eq(compare_build(c, &err), 0, "%s", err.msg);
}

static char *text_of_compare(const struct compare *c, unsigned width)
{
	struct report_opts o = {.width = width};
	struct err err = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	cr_assert_eq(compare_text_out(c, &o, out, &err), 0, "%s", err.msg);
	fclose(out);
	return text;
}

static json_t *json_of_compare(const struct compare *c)
{
	struct err err = {0};
	json_error_t why;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	json_t *doc;

	cr_assert_eq(compare_json(c, out, &err), 0, "%s", err.msg);
	fclose(out);
	doc = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	cr_assert(doc, "%s in %s", why.text, text);
	free(text);
	return doc;
}

static bool reason(const struct compare *c, const char *part)
{
	for (size_t i = 0; i < c->reasons.n; i++)
		if (strstr(c->reasons.v[i], part))
			return true;
	for (size_t i = 0; i < c->caveats.n; i++)
		if (strstr(c->caveats.v[i], part))
			return true;
	return false;
}

Test(compare, figures_of_two_traces)
{
	struct compare c = {0};
	double sum = 0;

	add(&c, 0, threads(false, 50 << 20));
	add(&c, 1, threads(true, 60 << 20));
	build(&c);
	cr_expect_float_eq(c.stat[0][COMPARE_WALL].median, 199.0 * MS, 1);
	cr_expect_float_eq(c.stat[1][COMPARE_WALL].median, 100.0 * MS, 1);
	cr_expect_float_eq(c.stat[0][COMPARE_CPU].median, 200.0 * MS, 1);
	cr_expect_float_eq(c.stat[1][COMPARE_CPU].median, 200.0 * MS, 1);
	cr_expect_float_eq(c.stat[0][COMPARE_LOCK_WAIT].median, 99.0 * MS, 1);
	cr_expect_float_eq(c.stat[0][COMPARE_LOCK_WAITS].median, 1, 0);
	cr_expect_float_eq(c.stat[0][COMPARE_VOLUNTARY].median, 3, 0, "a wait and two ends");
	cr_expect_float_eq(c.stat[1][COMPARE_VOLUNTARY].median, 2, 0);
	cr_expect_float_eq(c.stat[1][COMPARE_LOCK_WAITS].median, 0, 0);
	cr_expect_float_eq(c.stat[1][COMPARE_PARALLELISM].median, 2, 1e-9);
	cr_expect_float_eq(c.stat[0][COMPARE_PSS].median, 50 << 20, 0);
	cr_expect(isnan(c.stat[0][COMPARE_GIL_WAIT].median), "no Python, no GIL: unknown, not 0");
	cr_expect(isnan(c.stat[0][COMPARE_WATCH_P99].median));
	cr_expect_float_eq(c.speedup, 1.99, 1e-9);
	for (size_t i = 0; i < c.parts.n; i++)
		sum += c.parts.v[i].wall_ns;
	cr_expect_float_eq(sum, -99.0 * MS, 2, "the parts are the difference: %f", sum);
	cr_expect_eq(c.choice, 1);
	cr_expect(strstr(c.verdict, "1.99 times as fast"), "%s", c.verdict);
	cr_expect(reason(&c, "B loses less to "), "what it no longer waits for: %s",
	          c.reasons.v[0]);
	cr_expect(reason(&c, "1.2 times the memory (60 MB against 50 MB)"));
	cr_expect(reason(&c, "One run"));
	compare_release(&c);
}

/* What was not recorded is not 0. */
Test(compare, figures_that_were_not_recorded)
{
	static const unsigned unknown[] = {COMPARE_SPINNING,  COMPARE_GIL_WAIT, COMPARE_GIL_HOLD,
	                                   COMPARE_MESSAGES,  COMPARE_PICKLING, COMPARE_PSS,
	                                   COMPARE_WATCH_P50, COMPARE_WATCH_MAX};
	struct compare_run run = threads(true, 0);

	for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
		cr_expect(isnan(run.v[unknown[i]]), "%s", compare_key(unknown[i]));
	cr_expect_eq(run.v[COMPARE_SPAWNS], 1);
	cr_expect_eq(run.exit_status, 0);
}

/* One that never ran began with nothing. */
Test(compare, tasks_started)
{
	struct tb *tb = tb_new();
	struct compare_run run;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 100 * MS);
	tb_thread(tb, 2, 1, "worker", 10 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 11 * MS, 20 * MS);
	tb_fork(tb, 3, 1, "child", 30 * MS);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 33 * MS, 50 * MS);
	tb_fork(tb, 4, 1, "child", 60 * MS);
	tb_stop(tb, 100 * MS);
	run = run_of(tb);
	cr_expect_eq(run.v[COMPARE_SPAWNS], 3);
	cr_expect_eq(run.v[COMPARE_SPAWN_THREAD], 1 * MS);
	cr_expect_eq(run.v[COMPARE_SPAWN_FORK], 3 * MS);
	cr_expect_eq(run.v[COMPARE_SPAWN_EXEC], 0);
	cr_expect_eq(run.v[COMPARE_SPAWN], 4 * MS);
}

/* Two threads: one has the GIL for 20 ms, then the other. */
Test(compare, figures_of_a_gil)
{
	struct tb *tb = tb_program(2, "python3", "worker");
	struct compare_run run;

	tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
	tb_pythread(tb, 1, 0x100);
	tb_pythread(tb, 2, 0x200);
	tb_run(tb, 2, 0, 1 * MS);
	tb_reads_gil(tb, 2, 1, true, 0x100, 1);
	tb_futex(tb, 2, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 20 * MS, 1);
	tb_run(tb, 2, 20 * MS, 40 * MS);
	tb_reads_gil(tb, 2, 1, true, 0x200, 2);
	tb_exit(tb, 2, 0);
	tb_run(tb, 1, 0, 20 * MS);
	tb_reads_gil(tb, 1, 1, true, 0x200, 2);
	tb_futex(tb, 1, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 40 * MS, 2);
	tb_run(tb, 1, 40 * MS, 41 * MS);
	tb_exit(tb, 1, 0);
	run = run_of(tb);
	cr_expect(run.python);
	cr_expect_eq(run.v[COMPARE_GIL_WAIT], (19 + 20) * MS);
	cr_expect_float_eq(run.v[COMPARE_GIL_HOLD], 39.0 * MS, 2.0 * MS, "%g",
	                   run.v[COMPARE_GIL_HOLD]);
}

Test(compare, text_and_json)
{
	static const unsigned widths[] = {40, 60, 80, 100, 200};
	struct compare c = {0};
	json_t *doc;
	char *text;

	add(&c, 0, threads(false, 0));
	add(&c, 0, threads(false, 0));
	add(&c, 1, threads(true, 0));
	add(&c, 1, threads(true, 0));
	build(&c);
	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		text = text_of_compare(&c, widths[i]);
		expect_fits(text, widths[i]);
		cr_expect(strstr(text, "wall time"));
		cr_expect(strstr(text, "recommendation"));
		free(text);
	}
	text = text_of_compare(&c, 100);
	cr_expect(strstr(text, "199 ms"), "%s", text);
	cr_expect(strstr(text, "× 0.50"), "%s", text);
	cr_expect(strstr(text, "medians of 2 runs"), "%s", text);
	cr_expect(!strstr(text, "PSS"), "what neither side knows has no row:\n%s", text);
	free(text);
	doc = json_of_compare(&c);
	cr_expect_str_eq(json_string_value(json_object_get(doc, "schema")), "mpvtrace.compare/1");
	cr_expect_eq(json_integer_value(at(doc, "figures.wall_ns.a.median")), 199 * MS);
	cr_expect_eq(json_integer_value(at(doc, "figures.wall_ns.b.min")), 100 * MS);
	cr_expect_eq(json_integer_value(at(doc, "figures.wall_ns.b.runs")), 2);
	cr_expect_float_eq(json_number_value(at(doc, "figures.wall_ns.b_to_a_ratio")), 100.0 / 199,
	                   1e-9);
	cr_expect(json_is_false(at(doc, "figures.wall_ns.ranges_overlap")));
	cr_expect(json_is_true(at(doc, "figures.cpu_ns.ranges_overlap")));
	cr_expect(json_is_null(at(doc, "figures.peak_pss_bytes.a")), "unknown is null");
	cr_expect_str_eq(json_string_value(at(doc, "recommendation.choice")), "b");
	cr_expect_str_eq(json_string_value(at(doc, "a.verdict")), "serialized");
	cr_expect_str_eq(json_string_value(at(doc, "b.verdict")), "parallel");
	json_decref(doc);
	compare_release(&c);
}

/* --- rules: runs filled in by hand ---------------------------------------------------------- */

static struct compare_run plain(double wall_ms, double pss_mb)
{
	struct compare_run run = {.cpus = 2, .exit_status = 0};

	for (unsigned f = 0; f < COMPARE_N; f++)
		run.v[f] = NAN;
	run.v[COMPARE_WALL] = wall_ms * MS;
	run.v[COMPARE_PSS] = pss_mb * (1 << 20);
	run.v[COMPARE_PROCS] = 1;
	return run;
}

static struct compare_run python(double wall_ms, double pss_mb, double gil, double shortage,
                                 unsigned procs)
{
	struct compare_run run = plain(wall_ms, pss_mb);

	run.python = run.causes_known = true;
	for (unsigned k = 0; k < CAUSE_N; k++)
		run.v[COMPARE_CAUSE0 + k] = 0;
	run.v[COMPARE_CAUSE0 + CAUSE_GIL] = gil;
	run.v[COMPARE_CAUSE0 + CAUSE_CPU_SHORTAGE] = shortage;
	run.v[COMPARE_CAUSE0 + CAUSE_WORK] = 1 - gil - shortage;
	for (unsigned k = 0; k < CAUSE_N; k++)
		run.cause_ns[k] = (uint64_t)(run.v[COMPARE_CAUSE0 + k] * wall_ms * 2 * MS);
	run.v[COMPARE_QUIET] = run.v[COMPARE_WALL] * (1 - shortage);
	run.v[COMPARE_PROCS] = procs;
	run.v[COMPARE_SPAWN] = 40 * MS;
	run.v[COMPARE_CHANNEL_WAIT] = 300 * MS;
	return run;
}

static void pair(struct compare *c, struct compare_run a, struct compare_run b)
{
	*c = (struct compare){0};
	add(c, 0, a);
	add(c, 1, b);
	build(c);
}

Test(compare, close_times_do_not_settle_it)
{
	struct compare c;

	pair(&c, plain(100, 50), plain(104, 50));
	cr_expect_eq(c.choice, -1);
	cr_expect(strstr(c.verdict, "do not settle it"), "%s", c.verdict);
	compare_release(&c);
	pair(&c, plain(100, 150), plain(104, 50));
	cr_expect_eq(c.choice, 1, "equal times: the smaller one");
	cr_expect(strstr(c.verdict, "for its memory"), "%s", c.verdict);
	compare_release(&c);
	pair(&c, plain(100, NAN), plain(104, 50));
	cr_expect_eq(c.choice, -1, "what is not known decides nothing");
	compare_release(&c);
}

Test(compare, ranges_that_overlap_do_not_settle_it)
{
	static const double a[] = {100, 120, 180}, b[] = {90, 95, 110};
	struct compare c = {0};

	for (unsigned i = 0; i < 3; i++) {
		add(&c, 0, plain(a[i], 50));
		add(&c, 1, plain(b[i], 50));
	}
	build(&c);
	cr_expect_float_eq(c.stat[0][COMPARE_WALL].median, 120.0 * MS, 0);
	cr_expect_float_eq(c.stat[0][COMPARE_WALL].max, 180.0 * MS, 0);
	cr_expect_eq(c.typical[0], 1u);
	cr_expect_eq(c.choice, -1);
	cr_expect(strstr(c.verdict, "only 89 % of the pairings"), "%s", c.verdict);
	cr_expect_eq(c.caveats.n, 0u);
	compare_release(&c);
}

/* One bad run of many does not undo what all others say. */
Test(compare, one_outlier_is_outvoted)
{
	static const double a[] = {100, 101, 102, 103, 104, 105, 106, 107, 108, 109};
	static const double b[] = {70, 71, 72, 73, 74, 75, 76, 77, 78, 200};
	struct compare c = {0};

	for (unsigned i = 0; i < 10; i++) {
		add(&c, 0, plain(a[i], 50));
		add(&c, 1, plain(b[i], 50));
	}
	build(&c);
	cr_expect_eq(c.choice, 1, "%s", c.verdict);
	compare_release(&c);
}

Test(compare, equal_runs_are_told_apart_by_nobody)
{
	struct compare c = {0};

	for (unsigned i = 0; i < 4; i++)
		add(&c, i % 2, threads(true, 0));
	build(&c);
	for (unsigned side = 0; side < 2; side++)
		cr_expect_float_eq(compare_less(&c, side, COMPARE_WALL), 0.5, 1e-9);
	compare_release(&c);
}

/* Times that are close and not told apart are equal: memory decides, if it is told apart. */
Test(compare, close_times_of_many_runs_leave_it_to_memory)
{
	static const double a[] = {100, 108, 112}, b[] = {98, 99, 110};
	struct compare c = {0};

	for (unsigned i = 0; i < 3; i++) {
		add(&c, 0, plain(a[i], 20 + i));
		add(&c, 1, plain(b[i], 40 + i));
	}
	build(&c);
	cr_expect_eq(c.choice, 0, "%s", c.verdict);
	cr_expect(c.by_memory);
	cr_expect(strstr(c.verdict, "B is 9 % faster by the medians, but not in all of its runs"),
	          "%s", c.verdict);
	cr_expect(!reason(&c, "One run of a side"));
	cr_expect(strstr(c.verdict, "A needs 21 MB where B needs 41 MB"), "%s", c.verdict);
	compare_release(&c);
	c = (struct compare){0};
	for (unsigned i = 0; i < 3; i++) {
		add(&c, 0, plain(a[i], 20 + 20 * i));
		add(&c, 1, plain(b[i], 40 + 20 * i));
	}
	build(&c);
	cr_expect_eq(c.choice, -1, "memory is not told apart either: %s", c.verdict);
	compare_release(&c);
}

Test(compare, little_speed_for_much_memory_is_for_the_reader)
{
	struct compare c;

	pair(&c, plain(110, 50), plain(100, 150));
	cr_expect_eq(c.choice, -1);
	cr_expect(strstr(c.verdict, "It depends"), "%s", c.verdict);
	compare_release(&c);
	pair(&c, plain(200, 50), plain(100, 150));
	cr_expect_eq(c.choice, 1);
	compare_release(&c);
}

/* The parts add up in one run of each side; of an even number none may be the median. */
Test(compare, what_it_is_made_of_names_its_runs)
{
	for (unsigned n = 2; n <= 3; n++) {
		struct compare c = {0};
		char *text;

		for (unsigned i = 0; i < n; i++) {
			add(&c, 0, python(100 + 2 * i, 50, 0.1, 0, 1));
			add(&c, 1, python(200 + 20 * i, 50, 0.5, 0, 1));
		}
		build(&c);
		text = text_of_compare(&c, 100);
		cr_expect(strstr(text,
		                 n == 2 ? "B takes 100 ms more (of the runs nearest to the medians)"
		                        : "B takes 118 ms more"),
		          "%s", text);
		cr_expect_eq(!!strstr(text, "nearest to"), n == 2, "%s", text);
		free(text);
		compare_release(&c);
	}
}

/* Two or three digits: how many times as fast a run of another kind is, nobody knows better. */
Test(compare, large_ratios_have_no_decimals)
{
	static const struct {
		uint64_t ms;
		const char *expect;
	} rows[] = {{13, "is 1.30 times"}, {256, "is 25.6 times"}, {5760, "is 576 times"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct compare c;

		pair(&c, plain(rows[i].ms, 50), plain(10, 50));
		cr_expect(strstr(c.verdict, rows[i].expect), "%s", c.verdict);
		compare_release(&c);
	}
}

Test(compare, threads_or_processes)
{
	struct compare c;

	pair(&c, python(200, 10, 0.5, 0, 1), python(105, 15, 0, 0, 3));
	cr_expect_eq(c.choice, 1, "CPU-bound: processes");
	cr_expect(reason(&c, "GIL left 50 %"), "%s", c.reasons.v[0]);
	cr_expect(reason(&c, "processes have one each"));
	cr_expect(reason(&c, "1.5 times the memory"));
	compare_release(&c);
	pair(&c, python(100, 10, 0.02, 0, 1), python(180, 40, 0, 0, 5));
	cr_expect_eq(c.choice, 0, "the GIL costs nothing: threads");
	cr_expect(reason(&c, "processes have little to gain"));
	cr_expect(reason(&c, "B also needs 4.0 times the memory"));
	compare_release(&c);
}

/* Threads are better, each time by something else that the processes pay for. */
Test(compare, what_processes_cost)
{
	struct compare_run a = python(100, 10, 0.02, 0, 1), b = python(180, 40, 0, 0, 5);
	struct compare c;

	a.v[COMPARE_CPU] = 100 * MS;
	b.v[COMPARE_CPU] = 250 * MS;
	a.v[COMPARE_SPAWN] = 1 * MS;
	a.v[COMPARE_VOLUNTARY] = 100;
	b.v[COMPARE_VOLUNTARY] = 13000;
	pair(&c, a, b);
	cr_expect_eq(c.choice, 0);
	cr_expect(reason(&c, "B pays for its processes: 150 ms more CPU time, 39 ms more to start "
	                     "tasks, 13,000 waits where A has 100."),
	          "%s", c.reasons.v[1]);
	compare_release(&c);
	a.v[COMPARE_CAUSE0 + CAUSE_GIL] = 0.3;
	pair(&c, a, b);
	cr_expect_eq(c.choice, 0);
	cr_expect(reason(
	        &c,
	        "Waits for the GIL left 30 % of the free CPUs idle in A, but processes cost more"));
	compare_release(&c);
	/* Equal times: the reasons stand behind the memory, too. */
	b.v[COMPARE_WALL] = b.v[COMPARE_QUIET] = 102 * MS;
	pair(&c, a, b);
	cr_expect(c.by_memory && !c.choice, "%s", c.verdict);
	cr_expect(reason(&c, "B pays for its processes"));
	cr_expect(!reason(&c, "times the memory"), "the verdict says it");
	compare_release(&c);
}

/* RSS carries the readings on: 10 MB read, 30 MB more by the end of the life of a single process.
 */
Test(compare, peak_memory_between_readings)
{
	struct compare_run run;
	struct tb *tb = tb_new();

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 100 * MS);
	tb_rss(tb, 1, 10 * MS, 9 << 20, 3 << 20);
	tb_footprint(tb, 1, 20 * MS, 12 << 20, 10 << 20, 9 << 20);
	tb_rss(tb, 1, 50 * MS, 39 << 20, 3 << 20);
	tb_rss(tb, 1, 60 * MS, 5 << 20, 3 << 20);
	tb_exit(tb, 1, 0);
	run = run_of(tb);
	cr_expect_float_eq(run.v[COMPARE_PSS], 40 << 20, 0, "%g", run.v[COMPARE_PSS] / (1 << 20));
}

/* A parent that was read before its child was born holds what both share: the child adds its own
 * 5 MB, and 2 MB that it grew by. Once the parent is read again, the PSS of both add up. */
Test(compare, peak_memory_counts_shared_pages_once)
{
	for (int again = 0; again < 2; again++) {
		struct compare_run run;
		struct tb *tb = tb_new();

		tb_task(tb, 1, "app");
		tb_run(tb, 1, 0, 20 * MS);
		tb_footprint(tb, 1, 10 * MS, 100 << 20, 98 << 20, 96 << 20);
		tb_fork(tb, 2, 1, "child", 20 * MS);
		tb_on(tb, 2, 1);
		tb_run(tb, 1, 20 * MS, 100 * MS);
		tb_run(tb, 2, 20 * MS, 100 * MS);
		tb_rss(tb, 2, 30 * MS, 100 << 20, 0);
		tb_footprint(tb, 2, 40 * MS, 105 << 20, 55 << 20, 5 << 20);
		tb_rss(tb, 2, 50 * MS, 102 << 20, 0);
		if (again)
			tb_footprint(tb, 1, 60 * MS, 100 << 20, 52 << 20, 3 << 20);
		tb_exit(tb, 2, 0);
		tb_exit(tb, 1, 0);
		run = run_of(tb);
		cr_expect_float_eq(run.v[COMPARE_PSS], (again ? 55 + 2 + 52 : 98 + 5 + 2) << 20, 0,
		                   "%g", run.v[COMPARE_PSS] / (1 << 20));
	}
}

/* A fork gets a CPU at once; what it was made for begins with its exec. */
Test(compare, a_program_starts_with_its_exec)
{
	struct tb *tb = tb_new();
	struct compare_run run;

	tb_task(tb, 1, "app");
	tb_run(tb, 1, 0, 20 * MS);
	tb_fork(tb, 2, 1, "app", 10 * MS);
	tb_on(tb, 2, 1);
	tb_run(tb, 2, 11 * MS, 19 * MS);
	tb_exec(tb, 2, 15 * MS, "/bin/other", "other");
	tb_exit(tb, 2, 0);
	tb_fork(tb, 3, 1, "app", 10 * MS);
	tb_on(tb, 3, 2);
	tb_run(tb, 3, 12 * MS, 19 * MS);
	tb_exit(tb, 3, 0);
	tb_exit(tb, 1, 0);
	run = run_of(tb);
	cr_expect_float_eq(run.v[COMPARE_SPAWN_EXEC], 5 * MS, 1);
	cr_expect_float_eq(run.v[COMPARE_SPAWN_FORK], 2 * MS, 1);
	cr_expect_float_eq(run.v[COMPARE_SPAWN], 7 * MS, 1);
}

/* Two ready tasks and one CPU left for them: half of that stretch is the machine's. A task that is
 * ready and none beside it: all of it. */
Test(compare, wall_time_without_what_other_load_took)
{
	struct compare_run run;
	struct tb *tb = tb_program(2, "app", "worker");

	tb_run(tb, 1, 0, 100 * MS);
	tb_run(tb, 2, 0, 50 * MS);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 100 * MS, 120 * MS);
	tb_preempt(tb, 2);
	tb_run(tb, 2, 150 * MS, 160 * MS);
	tb_exit(tb, 1, 0);
	tb_exit(tb, 2, 0);
	run = run_of(tb);
	cr_expect_float_eq(run.v[COMPARE_WALL], 160.0 * MS, 1);
	cr_expect_float_eq(run.v[COMPARE_QUIET], (50 + 25 + 20 + 0 + 10.0) * MS, 1, "%g",
	                   run.v[COMPARE_QUIET] / MS);
}

/* The second thread, ready for 20 ms, has only a wait for the GIL before it, which the first has:
 * with a CPU it would not have shortened the run. Nor when a timeout makes it ready within that
 * wait. A thread that does something else first would have. */
Test(compare, who_would_only_wait_for_the_gil_needs_no_cpu)
{
	for (unsigned useful = 0; useful < 2; useful++) {
		uint64_t more = useful ? 5 * MS : 20 * US;
		struct compare_run run;
		struct tb *tb = tb_new();

		tb_task(tb, 1, "app");
		tb_gil(tb, 1, 1, 0x1000, true, 0x030b07f0);
		tb_thread(tb, 2, 1, "worker", 0);
		tb_on(tb, 2, 1);
		tb_run(tb, 1, 0, 100 * MS);
		tb_run(tb, 2, 0, 10 * MS);
		tb_preempt(tb, 2);
		tb_run(tb, 2, 30 * MS, 30 * MS + more);
		tb_futex(tb, 2, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 50 * MS, 0);
		tb_run(tb, 2, 60 * MS, 60 * MS + 20 * US);
		tb_futex(tb, 2, 0x1000 + 72, TB_FUTEX_BITSET, 0, 1, 90 * MS, 1);
		tb_run(tb, 2, 90 * MS, 100 * MS);
		tb_exit(tb, 2, 0);
		tb_exit(tb, 1, 0);
		run = run_of(tb);
		cr_expect_float_eq(run.v[COMPARE_WALL], 100.0 * MS, 1);
		cr_expect_float_eq(run.v[COMPARE_QUIET], useful ? 90.0 * MS : 100.0 * MS, 1, "%g",
		                   run.v[COMPARE_QUIET] / MS);
	}
}

/* Other load made the processes' run the longer one; it needs more than a little to overrule. */
Test(compare, a_busy_machine_does_not_decide)
{
	struct compare c;

	pair(&c, python(2000, 10, 0.20, 0.6, 1), python(3000, 15, 0, 0.85, 3));
	cr_expect(c.busy);
	cr_expect_eq(c.choice, 1);
	cr_expect(reason(&c, "quiet machine"));
	cr_expect(strstr(c.verdict, "with the CPUs free"), "%s", c.verdict);
	compare_release(&c);
	pair(&c, python(2000, 10, 0, 0.6, 1), python(2250, 10, 0, 0.6, 3));
	cr_expect_eq(c.choice, -1, "an estimate is not that good");
	compare_release(&c);
	pair(&c, python(2250, 10, 0, 0.6, 1), python(2000, 90, 0, 0.6, 3));
	cr_expect_eq(c.choice, 0, "but memory is measured, not estimated");
	cr_expect(c.by_memory);
	compare_release(&c);
}

Test(compare, failures_and_parts_settle_nothing)
{
	struct compare_run bad = plain(10, 50), part = plain(10, 50), lost = plain(10, 50);
	struct compare c;

	bad.exit_status = 3;
	pair(&c, plain(100, 50), bad);
	cr_expect_eq(c.choice, -1);
	cr_expect(strstr(c.verdict, "B failed (exit status 3)"), "%s", c.verdict);
	compare_release(&c);
	part.partial = true;
	pair(&c, part, plain(100, 50));
	cr_expect_eq(c.choice, -1);
	compare_release(&c);
	lost.lost = 5;
	pair(&c, lost, plain(100, 50));
	cr_expect_eq(c.choice, 0);
	cr_expect(reason(&c, "Events of A were lost"));
	compare_release(&c);
}

Test(compare, nothing_known_at_all)
{
	struct compare_run none = plain(NAN, NAN);
	struct compare c = {0};
	struct err err = {0};
	json_t *doc;

	cr_expect_neq(compare_build(&c, &err), 0, "no runs");
	compare_release(&c);
	pair(&c, none, none);
	cr_expect_eq(c.choice, -1);
	doc = json_of_compare(&c);
	json_decref(doc);
	free(text_of_compare(&c, 40));
	compare_release(&c);
}

/* --- what waits longer, what less ------------------------------------------------------------ */

/* One process that waits `wait` ms below lock_wait, and, when asked, elsewhere without a stack. */
static struct model *waiting(unsigned wait, bool elsewhere)
{
	static const char args[] = "/usr/bin/app\0-x";
	struct tb *tb = tb_new();

	argv(tb, args, sizeof(args));
	tb_task(tb, 1, "app");
	app_symbols(tb, 1);
	tb_run(tb, 1, 0, 1 * MS);
	tb_stacks(tb, 1, app_stack(tb, 1), kernel_stack(tb));
	tb_futex_wait(tb, 1, MUTEX, (1 + wait) * MS, 0);
	tb_run(tb, 1, (1 + wait) * MS, (2 + wait) * MS);
	if (elsewhere) {
		tb_stacks(tb, 1, 0, 0);
		tb_futex_wait(tb, 1, MUTEX, (7 + wait) * MS, 0);
		tb_run(tb, 1, (7 + wait) * MS, (8 + wait) * MS);
	}
	tb_exit(tb, 1, 0);
	return loaded(tb);
}

static char *difference(const struct model *m, const struct model *base, const char *format)
{
	struct export_opts o = {.view = "off-cpu"};
	struct report r = {0};
	struct err err = {0};
	char *text;

	cr_assert_eq(report_build(&r, base, &err), 0, "%s", err.msg);
	o.base = &r;
	text = export_of(m, format, &o);
	report_release(&r);
	return text;
}

Test(compare, folded_difference)
{
	struct model *before = waiting(2, true), *after = waiting(10, false);
	char *text = difference(after, before, "folded");

	cr_expect_str_eq(text, "app;[no_stack:_futex] 5000 0\n"
	                       "app;main;work;lock_wait;futex_wait_[k] 2000 10000\n");
	free(text);
	text = difference(before, after, "folded");
	cr_expect_str_eq(text, "app;[no_stack:_futex] 0 5000\n"
	                       "app;main;work;lock_wait;futex_wait_[k] 10000 2000\n");
	free(text);
	model_free(before);
	model_free(after);
}

Test(compare, svg_difference)
{
	struct model *before = waiting(2, true), *after = waiting(10, false);
	char *text = difference(after, before, "svg"), *frame;

	frame = strstr(text, "<title>lock_wait</title>");
	cr_assert(frame);
	cr_expect(memmem(frame - 80, 80, "data-b=\"2000000\"", 16), "%.160s", frame - 80);
	cr_expect(memmem(frame - 80, 80, "class=\"g4\"", 10), "five times as much is red");
	cr_expect(!strstr(text, "<title>[no stack"), "what is gone takes no room");
	cr_expect(strstr(text, " · difference from /usr/bin/app -x (7 ms)</text>"),
	          "it says from what");
	free(text);
	text = difference(before, after, "svg");
	frame = strstr(text, "<title>lock_wait</title>");
	cr_assert(frame);
	cr_expect(memmem(frame - 80, 80, "class=\"s3\"", 10), "a fifth is blue");
	frame = strstr(text, "<title>[no stack");
	cr_assert(frame);
	cr_expect(memmem(frame - 80, 80, "class=\"g4\"", 10), "new");
	free(text);
	text = difference(after, after, "svg");
	cr_expect(!strstr(text, "<g class=\"g4\" data-b") && strstr(text, "<g class=\"z\" data-b"));
	free(text);
	model_free(before);
	model_free(after);
}

/* What sleeps behind a lock is not the sleep's doing. */
Test(compare, sleep_behind_a_lock)
{
	struct compare c = {0};

	for (unsigned i = 0; i < 2; i++) {
		add(&c, 0, sleepers(false));
		add(&c, 1, sleepers(true));
	}
	build(&c);
	cr_expect(reason(&c, "loses less to sleep (of who held 0x601000)"));
	compare_release(&c);
}

/* Two at work for 100 ms each; without a fix they spin for as long before. */
static struct compare_run spinners(bool spin)
{
	struct tb *tb = tb_program(2, "app", "worker");
	uint64_t end = spin ? 200 : 100;
	uint32_t stacks[2];

	tb_map(tb, 1, 0x400000, 0x410000, 0, "/home/me/app");
	tb_symbol(tb, "/home/me/app", 0x100, "work", 4, 0);
	tb_symbol(tb, "/home/me/app", 0x200, "pthread_spin_lock", 4, 0);
	stacks[0] = tb_stack(tb, STACK_USER, 1, (uint64_t[]){0x400100}, 1);
	stacks[1] = tb_stack(tb, STACK_USER, 1, (uint64_t[]){0x400200, 0x400100}, 2);
	for (uint32_t id = 1; id <= 2; id++) {
		tb_run(tb, id, 0, end * MS);
		for (uint64_t t = 5; t < end; t += 10)
			tb_sample(tb, id, t * MS, stacks[spin && t < 100], 0);
	}
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	return run_of(tb);
}

/* Spinning is work to the account, but none to a reader. */
Test(compare, spinning_is_told)
{
	struct compare c = {0};
	char *text;

	for (unsigned i = 0; i < 2; i++) {
		add(&c, 0, spinners(true));
		add(&c, 1, spinners(false));
	}
	build(&c);
	cr_expect_float_eq(c.stat[0][COMPARE_SPINNING].median, 200e6, 1);
	cr_expect_float_eq(c.stat[1][COMPARE_SPINNING].median, 0, 1);
	cr_expect(reason(&c, "Mostly because B takes less CPU time: 100 ms of wall time. A spins "
	                     "for about 200 ms of its own."));
	text = text_of_compare(&c, 100);
	cr_expect(strstr(text, "\n  spinning (sampled)  "), "%s", text);
	free(text);
	compare_release(&c);
}

/* Of A's runs the first read its files from the disk, and left them in memory for all others. */
Test(compare, the_first_run_is_cold)
{
	const char *text = "The first run of A waited for the disk for 20 % of its capacity, the "
	                   "others for at most 1 %";
	struct compare_run cold = python(1000, 10, 0, 0, 1), warm = python(800, 10, 0, 0, 1);

	cold.cause_ns[CAUSE_IO] = 300 * MS;
	cold.cause_ns[CAUSE_FAULT] = 100 * MS;
	warm.cause_ns[CAUSE_IO] = 16 * MS;
	for (unsigned first = 0; first < 3; first++) {
		struct compare c = {0};

		for (unsigned i = 0; i < 3; i++) {
			add(&c, 0, i == first ? cold : warm);
			add(&c, 1, warm);
		}
		build(&c);
		cr_expect_eq(reason(&c, text), first == 0, "%u", first);
		cr_expect(!reason(&c, "The first run of B"));
		compare_release(&c);
	}
}
