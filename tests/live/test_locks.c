/* SPDX-License-Identifier: MIT */
/*
 * Locks of each kind in a program that knows how often each was waited for, and for whom; a
 * contended mutex against the program's own record of who had it; channels of each kind.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"
#include "lock_facts.h"

LIVE_SUITE(locks);

static struct lock_facts *facts_of(const struct recording *r)
{
	const char *why;
	struct lock_facts *f = lock_facts_load(r->trace, &why);

	cr_assert(f, "%s", why);
	why = lock_facts_broken(f);
	cr_expect(!why, "%s", why);
	return f;
}

static struct lock_fact the_lock(const struct lock_facts *f, const char *name, const char *kind)
{
	struct lock_fact l = {0};
	size_t n = lock_facts_find(f, name, kind, &l);

	cr_assert_eq(n, 1, "%zu locks are a %s %s", n, kind, name);
	return l;
}

/* A truth line of a lock: its waits are as many, and for the one who ended them. */
static void expect_lock(const struct lock_facts *f, json_t *line)
{
	const char *kind = str_at(line, "kind"), *name = str_at(line, "name");
	struct lock_fact l = the_lock(f, name, kind);
	uint64_t wrong, waits = lock_facts_waits(f, l.id, (uint32_t)u64_at(line, "waiter"),
	                                         (uint32_t)u64_at(line, "blocker"), &wrong);

	cr_expect_eq(l.shared, json_is_true(at(line, "shared")), "%s", name);
	cr_expect_eq(waits, u64_at(line, "waits"), "%s %s: %" PRIu64 " waits", kind, name, waits);
	cr_expect_eq(wrong, 0, "%s %s: %" PRIu64 " waits are for another", kind, name, wrong);
}

Test(locks, each_kind_is_one_object_with_its_waits)
{
	struct recording r = record(NONE, ARGS(workload("locks")));
	struct lock_facts *f = facts_of(&r);
	const char *names[64];
	size_t i, n = 0;
	json_t *line;

	cr_assert_eq(r.p.status, 0);
	json_array_foreach(r.truth, i, line)
	{
		const char *name;
		size_t k = 0;

		if (strcmp(str_at(line, "t"), "lock") != 0)
			continue;
		expect_lock(f, line);
		/* One object may have several lines. */
		name = fmt("%s %s", str_at(line, "kind"), str_at(line, "name"));
		while (k < n && strcmp(names[k], name) != 0)
			k++;
		names[k] = name;
		n += k == n;
	}
	cr_expect_geq(n, 15);
	cr_expect_eq(lock_facts_count(f), n, "%zu lock objects, not %zu", lock_facts_count(f), n);
	lock_facts_free(f);
}

/* Locks waited for in use_`what` are that; how many. */
static size_t expect_python_kind(const struct recording *r, const char *what, const char *python)
{
	const char *want = strcmp(what, "rlock") ? what : "RLock", *place;
	json_t *line;
	size_t i, n = 0;

	place = fmt("waited for in use_%s ", what);
	json_array_foreach(at(r->json, "locks"), i, line)
	{
		const char *kind;

		if (strncmp(str_at(line, "name"), place, strlen(place)) != 0)
			continue;
		n++;
		kind = null_at(line, "python_kind") ? "null" : str_at(line, "python_kind");
		/* Without symbols an RLock cannot be told from a Lock. */
		if (strcmp(want, "RLock") != 0 || strcmp(kind, "lock") != 0)
			cr_expect_str_eq(kind, want, "%s: %s", python, str_at(line, "name"));
	}
	return n;
}

/* All made of the same semaphores, they are called what the program calls them. */
Test(locks, python_locks_by_what_they_are_for)
{
	static const char *const whats[] = {"lock",  "rlock",   "semaphore", "condition",
	                                    "event", "barrier", "queue"};
	char pythons[16][256];
	size_t n = live_pythons(pythons, 16, 15);

	if (!n)
		cr_skip("no CPython here");
	for (size_t i = 0; i < n; i++) {
		struct recording r = record(NONE, ARGS(pythons[i], workload("pylocks.py")));

		cr_assert_eq(r.p.status, 0, "%s: %s", pythons[i], r.p.err);
		for (size_t k = 0; k < sizeof(whats) / sizeof(whats[0]); k++)
			cr_expect(expect_python_kind(&r, whats[k], pythons[i]), "%s: no %s",
			          pythons[i], whats[k]);
	}
}

Test(locks, owners_of_a_contended_mutex)
{
	struct recording r = record(NONE, ARGS(workload("locks"), "--contend", "600"));
	struct lock_facts *f = facts_of(&r);
	struct lock_fact hot = the_lock(f, "hot", "mutex");
	struct lock_hold *holds = calloc(json_array_size(r.truth) + 1, sizeof(*holds));
	struct lock_accuracy a;
	size_t i, n = 0;
	json_t *line;

	cr_assert(holds);
	json_array_foreach(r.truth, i, line)
	{
		if (!strcmp(str_at(line, "t"), "hold"))
			holds[n++] = (struct lock_hold){(uint32_t)u64_at(line, "tid"),
			                                u64_at(line, "from"), u64_at(line, "to")};
	}
	a = lock_facts_compare(f, hot.id, holds, n);
	cr_log_info("right %" PRIu64 " us, wrong %" PRIu64 " us, nobody %" PRIu64 " us",
	            a.right_ns / 1000, a.wrong_ns / 1000, a.nobody_ns / 1000);
	cr_expect_gt(a.right_ns, 0);
	/* Who takes a lock that was let go is not seen: a moment, but for an emulated kernel. */
	cr_expect_leq(a.wrong_ns * 100, (a.right_ns + a.wrong_ns) * (slow_machine() ? 5 : 1));
	free(holds);
	lock_facts_free(f);
}

/* A program that is killed while a thread waits: who has the lock is known although nobody let
 * go. */
Test(locks, open_waits_name_the_holder)
{
	struct recording r = record(NONE, ARGS(workload("locks"), "--open"));
	struct lock_facts *f = facts_of(&r);
	struct lock_fact l = the_lock(f, "cache_lock", "mutex");
	json_t *line = truth_line(r.truth, "open", NULL, 0);
	uint32_t waiter = 0, blocker = 0;

	cr_expect_eq(lock_facts_open(f, l.id, &waiter, &blocker), 1);
	cr_expect_eq(waiter, u64_at(line, "waiter"));
	cr_expect_eq(blocker, u64_at(line, "blocker"));
	lock_facts_free(f);
}

/* Both ends of each are one channel, and every wait on it is for the one who writes. */
Test(locks, channels_of_each_kind)
{
	struct recording r = record(NONE, ARGS("/usr/bin/python3", workload("channels.py")));
	struct lock_facts *f = facts_of(&r);
	size_t i, n = 0;
	json_t *line;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	json_array_foreach(r.truth, i, line)
	{
		uint64_t wrong = 0, waits = 0, found = 0;

		if (strcmp(str_at(line, "t"), "channel") != 0)
			continue;
		n++;
		for (size_t c = 0; c < channel_facts_count(f); c++) {
			struct lock_fact x = channel_facts_at(f, c);

			if (strcmp(x.what, str_at(line, "what")) != 0)
				continue;
			found++;
			waits = channel_facts_waits(f, x.id, (uint32_t)u64_at(line, "waiter"),
			                            (uint32_t)u64_at(line, "blocker"), &wrong);
		}
		cr_expect_eq(found, 1, "%zu channels are a %s", (size_t)found,
		             str_at(line, "what"));
		cr_expect(waits && waits <= u64_at(line, "waits"), "%s: %" PRIu64 " waits",
		          str_at(line, "what"), waits);
		cr_expect_eq(wrong, 0, "%s: %" PRIu64 " waits are for another",
		             str_at(line, "what"), wrong);
	}
	cr_expect_eq(n, 5);
	lock_facts_free(f);
}
