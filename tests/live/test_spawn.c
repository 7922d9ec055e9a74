/* SPDX-License-Identifier: MIT */
/* When new tasks began with work of their own, against their own clock. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"

LIVE_SUITE(spawn);

#define CLOSE_NS 50000
#define WORKERS  4
#define ATTEMPTS 5

/* How far the report's moment is from the truth, in thousandths of what is allowed; -1: it says
 * none. */
static int64_t deviation(const struct recording *r, uint64_t start_ts, json_t *own)
{
	json_t *task = task_by_tid(r->json, u64_at(own, "tid")), *spawn;
	uint64_t start, allowed;
	int64_t off;

	cr_assert(task);
	spawn = at(task, "spawn");
	if (null_at(spawn, "ready_ns"))
		return -1;
	start = start_ts + u64_at(spawn, "start_ns");
	allowed = u64_at(spawn, "ready_ns") / 20;
	allowed = allowed > CLOSE_NS ? allowed : CLOSE_NS;
	cr_expect_leq(u64_at(spawn, "ready_uncertainty_ns"), allowed);
	off = (int64_t)(start + u64_at(spawn, "ready_ns")) - (int64_t)u64_at(own, "at");
	return llabs(off) * 1000 / (int64_t)allowed;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static struct recording record_workers(const char *method, const char *megabytes)
{
	struct recording r = record(NONE, ARGS("/usr/bin/python3", workload("spawned.py"),
	                                       "--method", method, "--megabytes", megabytes));

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	return r;
}

static size_t add_moments(const struct recording *r, int64_t *off)
{
	uint64_t start_ts = trace_facts(r->trace).start_ts;
	size_t n = 0, i;
	json_t *line;

	json_array_foreach(r->truth, i, line)
	{
		int64_t d = strcmp(str_at(line, "t"), "own") ? -1 : deviation(r, start_ts, line);

		if (d >= 0 && n < WORKERS)
			off[n++] = d;
	}
	return n;
}

/* Every one that is told has to be right; but a worker that loses its CPU between its first
 * instruction and its look at the clock is not in a position to say. So: half of them. And where
 * others fill the CPUs, few moments are known: then again. */
static void expect_moments(const char *method, const char *megabytes)
{
	int64_t off[ATTEMPTS * WORKERS];
	size_t n = 0;

	for (unsigned i = 0; i < ATTEMPTS && n < 2; i++) {
		struct recording r = record_workers(method, megabytes);

		n += add_moments(&r, off + n);
	}
	cr_assert_geq(n, 2, "%s: %zu moments are known", method, n);
	qsort(off, n, sizeof(off[0]), by_size);
	cr_log_info("%s: %" PRId64 " to %" PRId64 " thousandths of what is allowed (%zu)", method,
	            off[0], off[n - 1], n);
	cr_expect_leq(off[(n - 1) / 2], 1000, "%s", method);
}

Test(spawn, fork)
{
	expect_moments("fork", "1");
}

Test(spawn, fork_with_a_heap)
{
	expect_moments("fork", "200");
}

Test(spawn, spawn)
{
	expect_moments("spawn", "1");
}

Test(spawn, forkserver)
{
	expect_moments("forkserver", "1");
}

/* Its first turn with the GIL: not before its first turn on a CPU, nor after its first line. */
Test(spawn, thread)
{
	struct recording r = record_workers("thread", "1");
	uint64_t start_ts = trace_facts(r.trace).start_ts;
	json_t *line;
	size_t i, n = 0;

	json_array_foreach(r.truth, i, line)
	{
		json_t *spawn;
		uint64_t start;

		if (strcmp(str_at(line, "t"), "own") != 0)
			continue;
		spawn = at(task_by_tid(r.json, u64_at(line, "tid")), "spawn");
		if (null_at(spawn, "ready_ns"))
			continue;
		start = start_ts + u64_at(spawn, "start_ns");
		cr_expect_geq(u64_at(spawn, "ready_ns"), u64_at(spawn, "first_run_ns"));
		cr_expect_leq(start + u64_at(spawn, "ready_ns"), u64_at(line, "at") + CLOSE_NS);
		n++;
	}
	cr_expect_geq(n, 1);
}

/* A program that is no Python's begins, at the latest, with its first wait. */
Test(spawn, other_programs)
{
	struct recording r = record(NONE, ARGS("/bin/sh", "-c", "sleep 0.01; true", "TRUTH"));
	json_t *p;
	size_t i;

	json_array_foreach(at(r.json, "processes"), i, p)
	{
		if (!strcmp(str_at(p, "comm"), "sleep")) {
			cr_expect_gt(u64_at(p, "spawn.ready_ns"), u64_at(p, "spawn.exec_ns"));
			cr_expect(null_at(p, "spawn.ready_uncertainty_ns"));
		}
	}
}
