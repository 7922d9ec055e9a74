/* SPDX-License-Identifier: MIT */
/* Queues that things are taken from and put back to: pools of connections. */
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

static bool waits_at(const struct lock *l, uint32_t task)
{
	for (size_t i = 0; i < l->waiters.n; i++)
		if (l->waiters.v[i].task == task)
			return true;
	return false;
}

/* The waiting at all words of the pool, and how many tasks did it. */
static uint64_t waited_at(const struct report *r, uint32_t pool, unsigned *tasks)
{
	const struct lock *locks = r->w->locks.v;
	uint64_t ns = 0;

	*tasks = 0;
	for (size_t i = 0; i < r->w->locks.n; i++) {
		if (locks[i].pool != pool)
			continue;
		ns += locks[i].wait_ns;
		for (size_t k = 0; k < locks[i].waiters.n; k++) {
			size_t x = 0;

			while (x < i && (locks[x].pool != pool ||
			                 !waits_at(&locks[x], locks[i].waiters.v[k].task)))
				x++;
			*tasks += x == i;
		}
	}
	return ns;
}

void pools_say(struct report *r)
{
	static const char before[] = "waited for ";
	const struct lock *best = NULL;
	uint64_t most = r->wall_ns / 2;
	unsigned tasks = 0, n;
	const char *name;
	size_t used;
	char ns[32];

	for (size_t i = 0; r->w && i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];
		uint64_t waited = l->pool == l->id ? waited_at(r, l->id, &n) : 0;

		if (waited > most) {
			most = waited;
			best = l;
			tasks = n;
		}
	}
	if (!best)
		return;
	name = best->name + (strncmp(best->name, before, strlen(before)) ? 0 : strlen(before));
	used = strlen(r->next_step);
	snprintf(r->next_step + used, sizeof(r->next_step) - used,
	         "%sthe Python queue %s: %u tasks waited there for %s in all, for tasks that wait "
	         "there, too, as at a pool that is too small",
	         *r->next_step ? "; and at " : "", name, tasks, fmt_ns(ns, sizeof(ns), most));
}
