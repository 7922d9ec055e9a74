/* SPDX-License-Identifier: MIT */
/*
 * Deadlocks: among waits that nobody ended, each leads to the task that it is known to wait
 * for; a path that comes back to itself is a cycle. Only evidence that names a holder counts
 * (owner word, the lock's own order, found in memory) and joins, which name a thread: that
 * somebody was woken once by somebody proves nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

struct open_wait {
	const struct wait *wait;
	uint32_t blamed; /* trace id */
	uint8_t evidence;
	uint32_t next, seen; /* place + 1; number of the walk that came here */
};

struct graph {
	const struct report *r;
	struct hmap index; /* task id -> place in open, + 1 */
	VEC(struct open_wait) open;
};

static bool names_holder(const struct report *r, const struct wait *x, const struct blame *b)
{
	if (b->state != BLAME_HELD || !b->task)
		return false;
	if (b->evidence == EVIDENCE_OWNER || b->evidence == EVIDENCE_HOLDER ||
	    b->evidence == EVIDENCE_FOUND)
		return true;
	return x->kind == WAIT_CHILD || (x->lock && x->lock <= r->w->locks.n &&
	                                 r->w->locks.v[x->lock - 1].kind == LOCK_JOIN);
}

/* Of a lock whose owner word names the waiter itself; blame never does. */
static bool waits_for_itself(const struct report *r, const struct wait *x)
{
	const struct task *t = model_task(r->m, x->task);
	const struct slice *s;

	if (!t || !x->lock || !x->n_slices || x->slice + x->n_slices > t->slices.n)
		return false;
	s = &t->slices.v[x->slice + x->n_slices - 1];
	return s->flags & SW_F_OWNER && s->owner && s->owner == t->ns_tid;
}

static int collect_open(struct graph *g)
{
	const struct waits *w = g->r->w;

	for (size_t i = 0; i < model_n_tasks(g->r->m); i++) {
		size_t n;
		const struct wait *x = waits_of(w, model_task_at(g->r->m, i)->id, &n);
		const struct blame *b;
		uint64_t *at;
		bool itself;

		x = n ? &x[n - 1] : NULL;
		if (!x || !x->open || !x->n_blame)
			continue;
		b = &w->blames.v[x->blame + x->n_blame - 1];
		itself = waits_for_itself(g->r, x);
		if (!itself && !names_holder(g->r, x, b))
			continue;
		at = hmap_put(&g->index, x->task, 0, NULL);
		if (!at || vec_push(&g->open, ((struct open_wait){.wait = x})))
			return -ENOMEM;
		g->open.v[g->open.n - 1].blamed = itself ? x->task : b->task;
		g->open.v[g->open.n - 1].evidence = itself ? EVIDENCE_OWNER : b->evidence;
		*at = g->open.n;
	}
	return 0;
}

/* Both waited at the same time: the one's wait had begun before the other's ended. */
static bool together(const struct wait *a, const struct wait *b)
{
	return a->start_ns < b->end_ns && b->start_ns < a->end_ns;
}

static void link_open(struct graph *g)
{
	for (size_t i = 0; i < g->open.n; i++) {
		const uint64_t *at = hmap_get(&g->index, g->open.v[i].blamed, 0);

		if (at && together(g->open.v[i].wait, g->open.v[*at - 1].wait))
			g->open.v[i].next = (uint32_t)*at;
	}
}

static void where(const struct report *r, const struct wait *x, struct deadlock_edge *e)
{
	const struct task *t = model_task(r->m, x->task);
	const struct slice *s;

	if (!t || x->slice >= t->slices.n || !x->n_slices)
		return;
	/* The first has a stack more often than those that repeat it. */
	s = &t->slices.v[x->slice];
	for (uint32_t i = 0; i < x->n_slices && x->slice + i < t->slices.n && !s->ustack; i++)
		s = &t->slices.v[x->slice + i];
	e->ustack = s->ustack;
	e->kstack = s->kstack;
}

/* From each task of the cycle to the one that it waits for; what a task holds is what the one
 * before it waits for. */
static int add_cycle(struct graph *g, struct report *r, uint32_t first)
{
	struct deadlock d = {0};
	uint32_t i = first, before = 0;

	do {
		before = i;
		i = g->open.v[i].next - 1;
	} while (i != first);
	do {
		const struct open_wait *o = &g->open.v[i];
		struct deadlock_edge e = {
		        .task = o->wait->task,
		        .holds = g->open.v[before].wait->lock,
		        .waits_for = o->wait->lock,
		        .evidence = o->evidence,
		        .since_ns = o->wait->start_ns,
		        .before = graph_before(r, o->wait->task, o->wait->start_ns),
		};

		where(r, o->wait, &e);
		if (vec_push(&d.edges, e)) {
			vec_release(&d.edges);
			return -ENOMEM;
		}
		before = i;
		i = o->next - 1;
	} while (i != first);
	if (vec_push(&r->deadlocks, d)) {
		vec_release(&d.edges);
		return -ENOMEM;
	}
	return 0;
}

static int find_cycles(struct graph *g, struct report *r)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < g->open.n; i++) {
		uint32_t walk = i + 1, at = i;

		while (!g->open.v[at].seen && g->open.v[at].next) {
			g->open.v[at].seen = walk;
			at = g->open.v[at].next - 1;
		}
		if (g->open.v[at].seen == walk)
			err = add_cycle(g, r, at);
	}
	return err;
}

int analyze_deadlocks(struct report *r, struct err *err)
{
	struct graph g = {.r = r};
	int rc;

	(void)err;
	if (!r->w)
		return 0;
	rc = collect_open(&g);
	if (!rc) {
		link_open(&g);
		rc = find_cycles(&g, r);
	}
	hmap_release(&g.index);
	vec_release(&g.open);
	return rc;
}
