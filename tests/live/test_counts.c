/* SPDX-License-Identifier: MIT */
/*
 * The recorded numbers are the kernel's, for every task of every kind of program.
 */
#include "live.h"

#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

LIVE_SUITE(counts);

static void whole(const struct recording *r)
{
	cr_expect_eq(r->p.status, 0, "status %d; stderr:\n%s", r->p.status, r->p.err);
	check_recording(r->json, 0);
	check_truth(r);
}

Test(counts, eight_threads)
{
	struct recording r = record(NONE, ARGS(workload("threads"), "--rounds", "150"));

	whole(&r);
	cr_expect_str_eq(str_at(r.json, "workload.mode"), "threaded");
}

Test(counts, eight_processes)
{
	struct recording r = record(NONE, ARGS(workload("procs"), "--rounds", "150"));

	whole(&r);
	cr_expect_str_eq(str_at(r.json, "workload.mode"), "multiprocess");
}

Test(counts, two_thousand_short_processes)
{
	struct recording r = record(NONE, ARGS(workload("short_procs"), "--procs", scaled(2000)));

	whole(&r);
}

Test(counts, short_processes_that_exec)
{
	struct recording r = record(
	        NONE, ARGS(workload("short_procs"), "--procs", scaled(300), "--exec", "/bin/true"));

	whole(&r);
}

Test(counts, five_thousand_threads)
{
	struct recording r =
	        record(NONE, ARGS(workload("many_threads"), "--threads", scaled(5000)));

	whole(&r);
}

Test(counts, make_j2)
{
	struct proc p = run(ARGS("/bin/sh", workload("make_tree.sh"), fmt("%s/tree", live_dir)));
	struct recording r;

	cr_assert_eq(p.status, 0, "%s", p.err);
	r = record(NONE, ARGS(workload("reap"), "--truth", "TRUTH", "--", "make", "-s", "-j2", "-C",
	                      fmt("%s/tree", live_dir)));
	cr_expect_eq(r.p.status, 0, "status %d; stderr:\n%s", r.p.status, r.p.err);
	check_recording(r.json, 0);
	/* make, and for each of 25 files a driver, a compiler and an assembler, then the link */
	cr_expect_geq(json_array_size(at(r.json, "tasks")), 25 * 3);
}

Test(counts, ping_pong_on_one_cpu)
{
	struct recording r =
	        record(NONE, ARGS(workload("pingpong"), "--rounds", rounds(50000), "--pin", "0"));
	size_t i;
	json_t *t;

	whole(&r);
	json_array_foreach(at(r.json, "tasks"), i, t)
	{
		cr_expect_geq(u64_at(t, "switches.voluntary") + u64_at(t, "switches.involuntary"),
		              strtoull(rounds(50000), NULL, 10));
	}
}

Test(counts, ping_pong_of_threads)
{
	struct recording r = record(NONE, ARGS(workload("pingpong"), "--threads", "--rounds",
	                                       rounds(30000), "--pairs", "2"));

	cr_expect_eq(r.p.status, 0);
	check_recording(r.json, 0);
	check_truth(&r);
}

/* Processes and threads that were made since the machine's start. */
static uint64_t forks(void)
{
	const char *line = strstr(slurp("/proc/stat"), "\nprocesses ");

	cr_assert(line);
	return strtoull(line + strlen("\nprocesses "), NULL, 10);
}

/* What our programs cost is measured all along, not in the beginning and extended: it is not what
 * follows. Here that is an exec, much of nothing, then switches. */
Test(counts, costs_are_those_of_the_whole_run)
{
	uint64_t switches = 0, runs, others = forks();
	struct recording r;
	json_t *t;
	size_t i;

	if (slow_machine())
		cr_skip_test("a switch takes longer than the windows");
	r = record(NONE, ARGS("/bin/sh", "-c", "sleep 1; exec \"$0\" \"$@\"", workload("pingpong"),
	                      "--rounds", "100000", "--pin", "0"));
	others = forks() - others;
	check_recording(r.json, 0);
	json_array_foreach(at(r.json, "tasks"), i, t)
	{
		switches += u64_at(t, "switches.voluntary") + u64_at(t, "switches.involuntary");
	}
	runs = part_count(r.json, "mt_switch");
	cr_expect(runs > switches * 7 / 10 && runs < switches * 16 / 10,
	          "%" PRIu64 " runs for %" PRIu64 " switches", runs, switches);
	/* In the first window sh and sleep; and what the machine starts meanwhile. */
	runs = part_count(r.json, "mt_exec");
	cr_expect(runs >= 2 && runs < 9 + 3 * others, "%" PRIu64 " runs for 3 execs of %" PRIu64,
	          runs, others);
}

/* Many wakes from and to, with every stack taken. */
Test(counts, all_stacks)
{
	struct recording r =
	        record(ARGS("--stacks", "all"), ARGS(workload("threads"), "--rounds", "100"));

	whole(&r);
}

Test(counts, no_stacks_no_samples)
{
	struct recording r = record(ARGS("--stacks", "off", "-F", "0"),
	                            ARGS(workload("threads"), "--rounds", "100"));

	whole(&r);
	cr_expect_eq(trace_facts(r.trace).samples, 0);
}

/* --- CPython: the system's, and the oldest and newest of pyenv's ------------------------ */

static int version_of(const char *path)
{
	const char *p = strstr(path, "/versions/3.");

	return p ? atoi(p + strlen("/versions/3.")) : -1;
}

/* Fills pythons with up to three paths; returns how many. */
static size_t find_pythons(const char *pythons[3])
{
	const char *home = getenv("PYENV_ROOT") ? getenv("PYENV_ROOT")
	                                        : fmt("%s/.pyenv", getenv("HOME") ?: "/root");
	const char *oldest = NULL, *newest = NULL;
	size_t n = 0;
	glob_t g;

	pythons[n++] = "/usr/bin/python3";
	if (!glob(fmt("%s/versions/3.*/bin/python3", home), 0, NULL, &g)) {
		for (size_t i = 0; i < g.gl_pathc; i++) {
			const char *path = fmt("%s", g.gl_pathv[i]);

			if (!oldest || version_of(path) < version_of(oldest))
				oldest = path;
			if (!newest || version_of(path) > version_of(newest))
				newest = path;
		}
		globfree(&g);
	}
	if (oldest)
		pythons[n++] = oldest;
	if (newest && newest != oldest)
		pythons[n++] = newest;
	return n;
}

static void each_python(const char *script, const char *mode)
{
	const char *pythons[3];
	size_t n = find_pythons(pythons);

	for (size_t i = 0; i < n; i++) {
		struct recording r = record(NONE, ARGS(pythons[i], workload(script)));

		cr_expect_eq(r.p.status, 0, "%s: status %d; stderr:\n%s", pythons[i], r.p.status,
		             r.p.err);
		check_recording(r.json, 0);
		check_truth(&r);
		if (mode)
			cr_expect_str_eq(str_at(r.json, "workload.mode"), mode, "%s", pythons[i]);
	}
}

Test(counts, cpython_threads)
{
	each_python("cpu_threads.py", "threaded");
}

/* The pool has helper threads in the parent: several processes, one with threads. */
Test(counts, multiprocessing_fork)
{
	each_python("mp_fork.py", "mixed");
}

Test(counts, multiprocessing_spawn)
{
	each_python("mp_spawn.py", NULL);
}

Test(counts, multiprocessing_forkserver)
{
	each_python("mp_forkserver.py", NULL);
}
