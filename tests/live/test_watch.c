/* SPDX-License-Identifier: MIT */
/* Responsiveness (--watch) against how late a program's own ticks come. */
#include <string.h>
#include <unistd.h>

#include "live.h"

LIVE_SUITE(watch);

static double late_at(json_t *list, size_t i)
{
	size_t n = json_array_size(list);

	cr_assert_gt(n, 0);
	return (double)json_integer_value(json_array_get(list, i < n ? i : n - 1));
}

/* The one with the most waits of those who have that name. */
static json_t *row_of(json_t *report)
{
	json_t *row, *best = NULL;
	size_t i;

	json_array_foreach(at(report, "watch"), i, row)
	{
		if (!best || u64_at(row, "waits") > u64_at(best, "waits"))
			best = row;
	}
	cr_assert(best);
	return best;
}

/* 5 %; and some for the timer's slack, and for what the program needs to look at the clock. */
static bool is_between(const char *what, double ns, double least, double most)
{
	bool ok = ns >= 0.95 * least - 2e5 && ns <= 1.05 * most + 2e5;

	if (!ok)
		cr_log_info("%s %.3f ms, the program says %.3f to %.3f", what, ns / 1e6,
		            least / 1e6, most / 1e6);
	return ok;
}

static json_t *ticks_alone(const struct recording *r, json_t *line, const char *watch)
{
	uint64_t start_ts = trace_facts(r->trace).start_ts;
	struct proc p =
	        run(ARGS(mpvtrace(), "report", r->trace, "--watch", watch, "--since",
	                 fmt("%.6fs", (double)(u64_at(line, "begin") - start_ts) / 1e9), "--until",
	                 fmt("%.6fs", (double)(u64_at(line, "end") - start_ts) / 1e9), "--json",
	                 "ticks.json", "-f"));

	cr_assert_eq(p.status, 0, "%s", p.err);
	return row_of(load_json("ticks.json"));
}

static bool agrees(const char *mode, const char *watch)
{
	struct recording r = record(ARGS("--no-report", "-f"),
	                            ARGS("/usr/bin/python3", workload("ticks.py"), mode));
	json_t *line = truth_line(r.truth, "ticks", NULL, 0), *row, *late, *sure;
	size_t n, rank;

	cr_assert(line, "%s", r.p.err);
	late = at(line, "late");
	sure = at(line, "sure");
	n = json_array_size(late);
	rank = (n * 99 + 99) / 100 - 1;
	row = ticks_alone(&r, line, watch);
	cr_expect(u64_at(row, "waits") + 10 >= n, "%s: %zu waits", mode,
	          (size_t)u64_at(row, "waits"));
	unlink(r.truth_path);
	/* Some waits are no ticks: they may shift a rank by two. */
	return is_between("max", real_at(row, "max_ns"), late_at(sure, json_array_size(sure) - 1),
	                  late_at(late, n - 1)) &&
	       is_between("p99", real_at(row, "p99_ns"),
	                  late_at(sure, json_array_size(sure) * (rank - 2) / n),
	                  late_at(late, rank + 2));
}

/*
 * A single tick may be late by what no recorder sees as a wait for the CPU: the hypervisor's delay
 * of the timer, or a thread that has to hand the GIL over before it sleeps. One recording of four
 * without such a tick shows it.
 */
static void check_ticks(const char *mode, const char *watch)
{
	for (int i = 0; i < 4; i++)
		if (agrees(mode, watch))
			return;
	cr_assert_fail("%s: none of four recordings agrees", mode);
}

Test(watch, beside_threads_that_share_the_interpreter)
{
	check_ticks("gil", "main");
}

Test(watch, beside_processes_that_share_the_cpu)
{
	check_ticks("cpu", "main");
}

Test(watch, a_process_by_its_name)
{
	check_ticks("process", "ticker");
}
