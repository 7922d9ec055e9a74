/* SPDX-License-Identifier: MIT */
/*
 * Predicted time without the GIL, against the same work done by processes. The machine may have
 * other things to do, now more, now less: so work is measured in CPU time, and what is compared
 * is how long both would take on free CPUs.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

LIVE_SUITE(whatif);

/* The GIL's row of what_if, NULL = none. */
static json_t *gil_row(json_t *report)
{
	json_t *rows = at(report, "what_if"), *row;
	size_t i;

	json_array_foreach(rows, i, row) if (!strcmp(str_at(row, "cause"), "gil")) return row;
	return NULL;
}

static void expect_prediction(const char *kind)
{
	struct recording threads =
	        record(ARGS("--user", "root"), ARGS("/usr/bin/python3", workload("whatif.py"), kind,
	                                            "threads", "--cpu-time"));
	struct recording processes =
	        record(ARGS("--user", "root"), ARGS("/usr/bin/python3", workload("whatif.py"), kind,
	                                            "processes", "--cpu-time"));
	double truth = real_at(processes.json, "replay_ns"), predicted;
	json_t *row = gil_row(threads.json);

	cr_assert(row, "%s", threads.p.out);
	predicted = real_at(row, "free_ns");
	cr_log_info("%s: %.3f s, truth %.3f s; others used %.3f s", kind, predicted / 1e9,
	            truth / 1e9, real_at(threads.json, "others_cpu_ns") / 1e9);
	cr_expect_leq(fabs(predicted / truth - 1), 0.1, "%s: %.3f s, by processes %.3f s", kind,
	              predicted / 1e9, truth / 1e9);
	cr_expect_leq(real_at(row, "wall_low_ns"), truth);
	cr_expect_geq(real_at(row, "wall_high_ns"), truth);
	cr_expect_gt(real_at(row, "speedup"), 1);
	if (strcmp(kind, "pipeline") != 0)
		cr_expect_eq(u64_at(row, "processes"), 4u);
	cr_expect_gt(u64_at(row, "memory_bytes"), 1u << 20);
	cr_expect_gt(u64_at(row, "spawn_ns"), MS);
}

Test(whatif, equal_shares)
{
	expect_prediction("equal");
}

Test(whatif, unequal_shares)
{
	expect_prediction("unequal");
}

Test(whatif, gil_released_in_part)
{
	expect_prediction("release");
}

Test(whatif, items_of_one_queue)
{
	expect_prediction("items");
}

Test(whatif, producer_and_consumer)
{
	expect_prediction("pipeline");
}

/* Processes have no GIL in common: nothing to gain, and what there is says so. */
Test(whatif, processes_gain_nothing)
{
	struct recording r = record(ARGS("--user", "root"),
	                            ARGS("/usr/bin/python3", workload("whatif.py"), "equal",
	                                 "processes", "--cpu-time", "--size", "30"));

	cr_expect_null(gil_row(r.json));
}

/* What a process in place of a thread would need is read when the first thread comes, not at some
 * moment before: the last of these 40 MiB are touched within less time than there is between two
 * readings. */
Test(whatif, memory_at_the_first_thread)
{
	static const char program[] = "import threading\n"
	                              "x = bytearray(40 << 20)\n"
	                              "def f():\n"
	                              "    n = 0\n"
	                              "    for i in range(2000000): n += i\n"
	                              "t = [threading.Thread(target=f) for _ in range(2)]\n"
	                              "for i in t: i.start()\n"
	                              "for i in t: i.join()\n";
	struct recording r = record(NONE, ARGS("/usr/bin/python3", "-c", program));
	json_t *row = gil_row(r.json);

	cr_assert(row, "%s", r.p.out);
	/* The interpreter's own, 3 to 4 MB, is beside it. */
	cr_expect_gt(u64_at(row, "memory_bytes"), (40u << 20) + (2u << 20));
	cr_expect_lt(u64_at(row, "memory_bytes"), (40u << 20) + (12u << 20));
}
