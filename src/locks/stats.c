/* SPDX-License-Identifier: MIT */
/* Sums of locks and channels. */
#include <errno.h>
#include <stdlib.h>

#include "locks_priv.h"

/* One of the lists of waiters or blockers, with an index of its tasks. */
static int task_add(struct hmap *ids, struct lock_task **v, size_t *n, size_t *cap, uint64_t list,
                    uint32_t task, uint64_t ns)
{
	bool added = false;
	uint64_t *at = hmap_put(ids, list, task, &added);
	struct lock_task *row;

	if (!at)
		return -ENOMEM;
	if (added) {
		if (vec_grow_((void **)v, cap, *n, 1, sizeof(**v)))
			return -ENOMEM;
		*at = *n;
		(*v)[(*n)++] = (struct lock_task){.task = task};
	}
	row = &(*v)[*at];
	row->waits++;
	row->wait_ns = locks_sum(row->wait_ns, ns);
	if (ns > row->max_ns)
		row->max_ns = ns;
	return 0;
}

static int by_wait(const void *a, const void *b)
{
	const struct lock_task *x = a, *y = b;

	if (x->wait_ns != y->wait_ns)
		return x->wait_ns > y->wait_ns ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

static int add_wait(struct build *b, struct hmap *waiters, struct hmap *blockers,
                    const struct wait *x)
{
	struct lock *l = &b->w->locks.v[x->lock - 1];
	int err = 0;

	l->waits++;
	l->wait_ns = locks_sum(l->wait_ns, x->blocked_ns);
	if (x->blocked_ns > l->max_ns)
		l->max_ns = x->blocked_ns;
	l->ready_ns = locks_sum(l->ready_ns, x->in_ns - x->end_ns);
	err = task_add(waiters, &l->waiters.v, &l->waiters.n, &l->waiters.cap, l->id, x->task,
	               x->blocked_ns);
	for (uint32_t i = x->blame; !err && i < x->blame + x->n_blame; i++) {
		const struct blame *s = &b->w->blames.v[i];

		l->held_ns += s->state == BLAME_HELD ? s->end_ns - s->start_ns : 0;
		l->handoff_ns += s->state == BLAME_HANDOFF ? s->end_ns - s->start_ns : 0;
		if (s->task)
			err = task_add(blockers, &l->blockers.v, &l->blockers.n, &l->blockers.cap,
			               l->id, s->task, s->end_ns - s->start_ns);
	}
	return err;
}

int waits_sum(struct build *b)
{
	struct hmap waiters = {0}, blockers = {0};
	int err = 0;

	for (size_t i = 0; !err && i < b->w->waits.n; i++)
		if (b->w->waits.v[i].lock)
			err = add_wait(b, &waiters, &blockers, &b->w->waits.v[i]);
	for (size_t i = 0; !err && i < b->w->locks.n; i++) {
		struct lock *l = &b->w->locks.v[i];

		if (l->waiters.n)
			qsort(l->waiters.v, l->waiters.n, sizeof(*l->waiters.v), by_wait);
		if (l->blockers.n)
			qsort(l->blockers.v, l->blockers.n, sizeof(*l->blockers.v), by_wait);
	}
	hmap_release(&waiters);
	hmap_release(&blockers);
	return err;
}
