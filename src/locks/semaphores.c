/* SPDX-License-Identifier: MIT */
/*
 * Python's semaphores. Who waits for one makes a lock for this one wait: by word, a semaphore is as
 * many locks as threads wait for it, and none of them has a holder. What they have in common is the
 * place where they are waited for. Those of one place are one lock where most of the waiting is for
 * threads that wait there, too: who lets go of a connection wanted it before. It is none where what
 * is waited for is a signal: who gives it does not wait for it, or (in a ring) each has one giver.
 * families.c finds those that are fair; with a semaphore the same few may have all the turns.
 *
 * With a queue it is the same, but what comes in there may be work as well as a thing that was only
 * lent: it is told apart (`pool`), and no lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

enum {
	MEMBERS = 3,  /* at least */
	NOTABLE = 20, /* a waker counts from this part of the waiting on */
	MOST_WAKERS = 64,
};

struct place {
	uint64_t wait_ns, by_waiters_ns,
	        several_ns; /* several: of words with more than one waker */
	uint32_t n, most;   /* members; index of the one waited for most */
};

struct places {
	struct waits *w;
	VEC(struct place) v;
	struct hmap ids, waiters; /* by space and name: index into v; by that and task */
	uint32_t *of;             /* by lock: index into v + 1; 0 = none */
};

static int find_place(struct places *p, uint32_t i)
{
	const struct lock *l = &p->w->locks.v[i];
	uint64_t *at;
	bool added;

	if ((!lock_is_py_semaphore(l) && !lock_is_py_queue(l)) || l->shared || !l->name_from ||
	    strcmp(l->name_from, "site"))
		return 0;
	at = hmap_put(&p->ids, hash_bytes(l->name, strlen(l->name), lock_is_py_queue(l)), l->space,
	              &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = p->v.n;
		if (vec_push(&p->v, ((struct place){.most = i})))
			return -ENOMEM;
	}
	p->of[i] = (uint32_t)*at + 1;
	for (size_t k = 0; k < l->waiters.n; k++)
		if (!hmap_put(&p->waiters, p->of[i], l->waiters.v[k].task, NULL))
			return -ENOMEM;
	return 0;
}

static void add_lock(struct places *p, uint32_t i)
{
	const struct lock *l = &p->w->locks.v[i];
	struct place *x = &p->v.v[p->of[i] - 1];
	unsigned wakers = 0;

	for (size_t k = 0; k < l->blockers.n && k < MOST_WAKERS; k++) {
		const struct lock_task *b = &l->blockers.v[k];

		if (b->task && hmap_get(&p->waiters, p->of[i], b->task))
			x->by_waiters_ns = sat_add(x->by_waiters_ns, b->wait_ns);
		wakers += b->task && b->wait_ns >= l->wait_ns / NOTABLE;
	}
	if (wakers > 1)
		x->several_ns = sat_add(x->several_ns, l->wait_ns);
	x->wait_ns = sat_add(x->wait_ns, l->wait_ns);
	x->n++;
	if (l->wait_ns > p->w->locks.v[x->most].wait_ns)
		x->most = i;
}

static bool is_lock(const struct place *x)
{
	return x->n >= MEMBERS && x->by_waiters_ns >= x->wait_ns / 2 &&
	       x->several_ns >= x->wait_ns / 2;
}

int locks_find_semaphores(struct build *b)
{
	size_t n = b->w->locks.n;
	struct places p = {.w = b->w, .of = calloc(n + 1, sizeof(*p.of))};
	int err = p.of ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < n; i++)
		err = find_place(&p, i);
	for (uint32_t i = 0; !err && i < n; i++)
		if (p.of[i])
			add_lock(&p, i);
	for (uint32_t i = 0; !err && i < n; i++) {
		const struct place *x = p.of[i] ? &p.v.v[p.of[i] - 1] : NULL;

		if (!x || !is_lock(x))
			continue;
		if (lock_is_py_queue(&b->w->locks.v[i])) {
			b->w->locks.v[i].pool = x->most + 1;
			continue;
		}
		b->w->locks.v[i].family = x->most + 1;
		b->w->locks.v[i].family_n = i == x->most ? x->n : 0;
	}
	hmap_release(&p.ids);
	hmap_release(&p.waiters);
	vec_release(&p.v);
	free(p.of);
	return err;
}
