/* SPDX-License-Identifier: MIT */
/*
 * lock_facts.h: what a trace file says of locks, in terms of thread ids, for tests that know
 * the truth of a real program.
 */
#ifndef MT_LOCK_FACTS_H
#define MT_LOCK_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lock_facts;
/* NULL: *why says why. */
struct lock_facts *lock_facts_load(const char *path, const char **why);
void lock_facts_free(struct lock_facts *f);

struct lock_fact {
	uint32_t id;
	const char *name, *kind, *what; /* what: of a channel */
	bool shared;
	uint64_t waits;
};
size_t lock_facts_count(const struct lock_facts *f);
/* How many locks of this kind have a name with `name` in it; *out gets the last. */
size_t lock_facts_find(const struct lock_facts *f, const char *name, const char *kind,
                       struct lock_fact *out);
size_t channel_facts_count(const struct lock_facts *f);
struct lock_fact channel_facts_at(const struct lock_facts *f, size_t i);
/* Waits of the thread on the lock; *wrong: those with a piece that is for another than `blocker`.
 */
uint64_t lock_facts_waits(const struct lock_facts *f, uint32_t lock, uint32_t waiter,
                          uint32_t blocker, uint64_t *wrong);
/* The same of waits that go through a channel, whatever channel. */
uint64_t channel_facts_waits(const struct lock_facts *f, uint32_t channel, uint32_t waiter,
                             uint32_t blocker, uint64_t *wrong);
/* Thread ids of who waits for the lock to the end, and for whom; how many. */
size_t lock_facts_open(const struct lock_facts *f, uint32_t lock, uint32_t *waiter,
                       uint32_t *blocker);
/* NULL: each task's time in futexes is what its waits on them add up to. */
const char *lock_facts_broken(const struct lock_facts *f);

/* When a thread had the lock, by its own record. */
struct lock_hold {
	uint32_t tid;
	uint64_t from_ns, to_ns;
};
/* Of the time waited for the lock while somebody had it: blamed on him, on another, on nobody. */
struct lock_accuracy {
	uint64_t right_ns, wrong_ns, nobody_ns;
};
struct lock_accuracy lock_facts_compare(const struct lock_facts *f, uint32_t lock,
                                        const struct lock_hold *holds, size_t n);

#endif
