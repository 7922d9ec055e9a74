/* SPDX-License-Identifier: MIT */
/* Python programs of which one thing can be said for sure. */
#include <stdlib.h>
#include <string.h>

#include "live.h"

LIVE_SUITE(verdicts);

/* Debian's and the newest before 3.14: up to 3.12 locks are semaphores, then parked mutexes. */
static size_t two_pythons(const char *out[2])
{
	static char all[16][256];
	size_t n = live_pythons(all, 16, 14);

	cr_assert_gt(n, 0, "no CPython");
	out[0] = all[0];
	out[1] = all[0];
	for (size_t i = 1; i < n; i++)
		if (strstr(all[i], "/3.13."))
			out[1] = all[i];
	return out[1] == out[0] ? 1 : 2;
}

#define EACH_OF_TWO()                    \
	const char *two[2];              \
	size_t n_two = two_pythons(two); \
	for (size_t i = 0; i < n_two; i++)

static struct recording of_mode(const char *python, const char *mode)
{
	struct recording r = record(NONE, ARGS(python, workload("verdicts.py"), mode));

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	return r;
}

static const char *verdict_of(const struct recording *r)
{
	return str_at(r->json, "serialization.verdict");
}

/* A machine that has no CPU free says that first: tried again. */
static bool is_starved(const struct recording *r)
{
	return !strcmp(verdict_of(r), "cpu-starved");
}

static void expect_verdict(const char *mode, const char *verdict)
{
	EACH_OF_TWO()
	{
		struct recording r = of_mode(two[i], mode);

		for (unsigned k = 0; k < 3 && is_starved(&r); k++)
			r = of_mode(two[i], mode);
		cr_expect_str_eq(verdict_of(&r), verdict, "%s, %s: %s", two[i], mode,
		                 str_at(r.json, "serialization.headline"));
	}
}

Test(verdicts, threads_that_meet_with_unequal_shares)
{
	expect_verdict("barrier", "imbalanced");
}

/* Who waits for work at a pool's queue waits for no holder of it. */
Test(verdicts, an_idle_pool_beside_a_sleeper)
{
	expect_verdict("nap", "idle");
}

/* The wall time without what gains most. */
static uint64_t least_without(const struct recording *r, uint64_t wall)
{
	uint64_t least = UINT64_MAX;
	json_t *row;
	size_t k;

	json_array_foreach(at(r->json, "what_if"), k, row)
	{
		uint64_t ns = (uint64_t)((double)wall / json_number_value(at(row, "speedup")));

		least = ns < least ? ns : least;
	}
	return least;
}

Test(verdicts, a_lock_whose_holder_sleeps)
{
	EACH_OF_TWO()
	{
		struct recording r = of_mode(two[i], "lock");
		uint64_t wall = u64_at(r.json, "workload.wall_ns");
		uint64_t without = least_without(&r, wall);
		const char *beside;

		cr_expect_str_eq(verdict_of(&r), "serialized");
		beside = strstr(str_at(r.json, "serialization.headline"), "besides: sleep ");
		/* The last one's, for which nobody waits. */
		cr_expect_lt(beside ? atoi(beside + strlen("besides: sleep ")) : 0, 30, "%s",
		             str_at(r.json, "serialization.headline"));
		/* Six sleeps of 100 ms at once, and Python's own start. */
		cr_expect_lt(without, wall - 350 * MS, "%s: %.0f of %.0f ms", two[i],
		             (double)without / 1e6, (double)wall / 1e6);
	}
}

/* Each wait for a semaphore has a lock of its own: it is the semaphore that is named. Without it
 * they would sleep for 150 ms side by side, and not for 600. */
Test(verdicts, a_semaphore_whose_holders_sleep)
{
	EACH_OF_TWO()
	{
		struct recording r = of_mode(two[i], "semaphore");
		uint64_t wall = u64_at(r.json, "workload.wall_ns");
		uint64_t without = least_without(&r, wall);
		const char *headline = str_at(r.json, "serialization.headline");

		cr_expect_str_eq(verdict_of(&r), "serialized", "%s", headline);
		cr_expect(strstr(headline, "by a Python semaphore waited for in "), "%s", headline);
		cr_expect_lt(without, wall - 250 * MS, "%s: %.0f of %.0f ms", two[i],
		             (double)without / 1e6, (double)wall / 1e6);
	}
}

/* What comes into a queue may be work: it is not said to be a lock, but where the waiting is. */
Test(verdicts, a_pool_that_is_too_small)
{
	EACH_OF_TWO()
	{
		struct recording r = of_mode(two[i], "pool");
		const char *next = str_at(r.json, "serialization.next_step");

		cr_expect_str_eq(verdict_of(&r), "idle");
		cr_expect(strstr(next, "the Python queue in pool.<locals>.sleep (verdicts.py:") ||
		                  strstr(next, "the Python queue in sleep (verdicts.py:"),
		          "%s", next);
		cr_expect(strstr(next, "as at a pool that is too small"), "%s", next);
	}
}
