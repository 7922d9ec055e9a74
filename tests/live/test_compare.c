/* SPDX-License-Identifier: MIT */
/* mpvtrace compare on programs run now and on their traces. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

LIVE_SUITE(compare);

static const char *command(const char *kind, const char *what)
{
	return fmt("exec /usr/bin/python3 %s %s %s", workload("modes.py"), kind, what);
}

static struct proc compare(const char *what, const char *runs, const char *json)
{
	const struct proc_opts o = {.timeout_s = 300};
	struct proc p = run_with(ARGS(mpvtrace(), "compare", "--user", "root", "--a",
	                              command("threads", what), "--b", command("processes", what),
	                              "-n", runs, "-o", fmt("%s/kept", live_dir), "--json", json),
	                         &o);

	cr_assert_eq(p.status, 0, "%s", p.err);
	return p;
}

static double median(json_t *doc, const char *figure, const char *side)
{
	return real_at(doc, fmt("%s.%s.median", figure, side));
}

static const char *choice(json_t *doc)
{
	return null_at(doc, "recommendation.choice") ? "" : str_at(doc, "recommendation.choice");
}

/* Two threads that compute share the GIL: processes, or on a machine that is too busy nothing,
 * never threads. */
Test(compare, threads_that_compute)
{
	const char *json = fmt("%s/c.json", live_dir);
	struct proc p = compare("cpu", "2", json), again;
	json_t *doc = load_json(json);

	cr_expect_str_eq(str_at(doc, "schema"), "mpvtrace.compare/1");
	/* Where the machine has no second CPU to give, processes gain nothing. */
	if (median(doc, "figures.wall_ns", "b") < 0.8 * median(doc, "figures.wall_ns", "a"))
		cr_expect_str_neq(choice(doc), "a", "%s", p.out);
	cr_expect_float_eq(median(doc, "figures.processes", "a"), 1, 0, "%s", p.out);
	cr_expect_float_eq(median(doc, "figures.processes", "b"), 3, 0);
	cr_expect_float_eq(median(doc, "figures.tasks", "a"), 3, 0);
	cr_expect_float_eq(median(doc, "figures.tasks", "b"), 3, 0);
	cr_expect_gt(median(doc, "figures.gil_wait_ns", "a"),
	             10 * median(doc, "figures.gil_wait_ns", "b"));
	cr_expect_gt(median(doc, "figures.spawn_thread_ns", "a"), 0);
	cr_expect_eq(u64_at(doc, "a.runs"), 2u);
	cr_expect(strstr(p.out, "recommendation"), "%s", p.out);
	/* The traces that were kept say the same by themselves. */
	again = run(ARGS(mpvtrace(), "compare", fmt("%s/kept.a1.mpv", live_dir),
	                 fmt("%s/kept.b1.mpv", live_dir), "--json", "-"));
	cr_assert_eq(again.status, 0, "%s", again.err);
	cr_expect(strstr(again.out, "mpvtrace.compare/1"));
	cr_expect(!access(fmt("%s/kept.b2.mpv", live_dir), R_OK));
}

/* Two threads that sleep lose nothing to the GIL: processes are never better. */
Test(compare, threads_that_wait)
{
	const char *json = fmt("%s/c.json", live_dir);
	struct proc p = compare("sleep", "2", json);
	json_t *doc = load_json(json);

	cr_expect_str_neq(choice(doc), "b", "%s", p.out);
	cr_expect_gt(median(doc, "figures.peak_rss_sum_bytes", "b"),
	             1.5 * median(doc, "figures.peak_rss_sum_bytes", "a"));
}

/* Tasks that do next to nothing: what they are passed costs processes far more than they gain. */
Test(compare, tasks_that_are_tiny)
{
	const char *json = fmt("%s/c.json", live_dir), *file = workload("tutorials.py");
	const struct proc_opts o = {.timeout_s = 300};
	struct proc p =
	        run_with(ARGS(mpvtrace(), "compare", "--user", "root", "-n", "2", "--warmup", "1",
	                      "--a", fmt("exec /usr/bin/python3 %s tiny threads", file), "--b",
	                      fmt("exec /usr/bin/python3 %s tiny processes", file), "--json", json),
	                 &o);
	json_t *doc;

	cr_assert_eq(p.status, 0, "%s", p.err);
	doc = load_json(json);
	cr_expect_str_eq(choice(doc), "a", "%s", p.out);
	cr_expect_gt(median(doc, "figures.cpu_ns", "b"), 2 * median(doc, "figures.cpu_ns", "a"),
	             "%s", p.out);
	cr_expect_gt(median(doc, "figures.voluntary_switches", "b"),
	             3 * median(doc, "figures.voluntary_switches", "a"), "%s", p.out);
	cr_expect(strstr(p.out, "B pays for its processes"), "%s", p.out);
}

Test(compare, wrong_use)
{
	static const char *const wrong[][6] = {
	        {"compare"},
	        {"compare", "one.mpv"},
	        {"compare", "--a", "true"},
	        {"compare", "one.mpv", "two.mpv", "-n", "3"},
	        {"compare", "one.mpv", "two.mpv", "-w", "1"},
	        {"compare", "--a", "true", "--b", "true", "x.mpv"},
	};
	struct proc p;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		p = run(ARGS(mpvtrace(), wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3],
		             wrong[i][4], wrong[i][5]));
		cr_expect_eq(p.status, 2, "%zu: %d %s", i, p.status, p.err);
	}
	p = run(ARGS(mpvtrace(), "compare", "no.mpv", "such.mpv"));
	cr_expect_eq(p.status, 6, "%s", p.err);
	/* A command that fails is shown, and settles nothing. */
	p = run(ARGS(mpvtrace(), "compare", "--user", "root", "-n", "1", "--a", "true", "--b",
	             "exit 3"));
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, "B failed (exit status 3)"), "%s", p.out);
}
