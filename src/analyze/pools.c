/* SPDX-License-Identifier: MIT */
/* Queues that things are taken from and put back to: pools of connections. */
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

/* A pool: how long tasks waited at all of its words, and how many tasks. */
struct pool {
	uint64_t wait_ns;
	unsigned tasks;
};

/* By lock, that which stands for the pool; NULL = no memory. */
static struct pool *pools_of(const struct report *r)
{
	const struct lock *locks = r->w->locks.v;
	size_t n = r->w->locks.n;
	struct pool *pools = calloc(n + 1, sizeof(*pools));
	struct hmap seen = {0};

	for (size_t i = 0; pools && i < n; i++) {
		struct pool *p;

		if (!locks[i].pool || locks[i].pool > n)
			continue;
		p = &pools[locks[i].pool - 1];
		p->wait_ns = sat_add(p->wait_ns, locks[i].wait_ns);
		for (size_t k = 0; k < locks[i].waiters.n; k++) {
			bool added = false;

			hmap_put(&seen, locks[i].pool, locks[i].waiters.v[k].task, &added);
			p->tasks += added;
		}
	}
	hmap_release(&seen);
	return pools;
}

void pools_say(struct report *r)
{
	static const char before[] = "waited for ";
	struct pool *pools = r->w ? pools_of(r) : NULL, most = {.wait_ns = r->wall_ns / 2};
	const struct lock *best = NULL;
	const char *name;
	size_t used;
	char ns[32];

	for (size_t i = 0; pools && i < r->w->locks.n; i++) {
		if (pools[i].wait_ns > most.wait_ns) {
			most = pools[i];
			best = &r->w->locks.v[i];
		}
	}
	free(pools);
	if (!best)
		return;
	name = best->name + (strncmp(best->name, before, strlen(before)) ? 0 : strlen(before));
	used = strlen(r->next_step);
	snprintf(r->next_step + used, sizeof(r->next_step) - used,
	         "%sthe Python queue %s: %u tasks waited there for %s in all, for tasks that wait "
	         "there, too, as at a pool that is too small",
	         *r->next_step ? "; and at " : "", name, most.tasks,
	         fmt_ns(ns, sizeof(ns), most.wait_ns));
}
