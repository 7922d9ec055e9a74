/* SPDX-License-Identifier: MIT */
/* What is known of tasks and locks before the first moment is looked at: who works, who takes part,
 * who has peers, which locks have holders. */
#include <errno.h>
#include <stdlib.h>

#include "chains_priv.h"

/*
 * Locks by nature are waited for until their holder lets go. A semaphore or a bare futex, or the
 * lock in one of Python's queues and the like, can be a lock or a place where work is handed out:
 * it is a lock when those who let others go on wait for it themselves.
 */
bool lock_is_strong(const struct lock *l)
{
	uint64_t by_waiters = 0, all = 0;
	bool for_work = lock_is_for_work(l);

	if (!for_work && (l->kind == LOCK_GIL || l->kind == LOCK_MUTEX || l->kind == LOCK_RWLOCK ||
	                  l->kind == LOCK_FILE))
		return true;
	if (!for_work && l->kind != LOCK_SEMAPHORE && l->kind != LOCK_FUTEX)
		return false;
	for (size_t i = 0; i < l->blockers.n && i < 64; i++) {
		all += l->blockers.v[i].wait_ns;
		for (size_t k = 0; k < l->waiters.n && k < 64; k++)
			if (l->waiters.v[k].task == l->blockers.v[i].task)
				by_waiters += l->blockers.v[i].wait_ns;
	}
	return all && by_waiters >= all / 2;
}

struct sibling {
	uint32_t node, parent;
	uint64_t start_ns, end_ns;
};

static int by_parent(const void *a, const void *b)
{
	const struct sibling *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* Of one parent's children, by their start: those that do a fair part of the work (PEER_WORK of
 * the one that does most) and live beside another such. */
static void find_peers_of(struct chains *c, const struct sibling *all, size_t n)
{
	enum { PEER_WORK = 10 };
	const struct sibling *last = NULL; /* of those so far the one that ends last */
	uint64_t most = 0;

	for (size_t k = 0; k < n; k++)
		if (c->nodes.v[all[k].node].t->on_cpu_ns > most)
			most = c->nodes.v[all[k].node].t->on_cpu_ns;
	for (size_t k = 0; k < n; k++) {
		struct node *x = &c->nodes.v[all[k].node];

		if (x->t->on_cpu_ns < most / PEER_WORK)
			continue;
		if (last && all[k].start_ns < last->end_ns)
			x->has_peers = c->nodes.v[last->node].has_peers = true;
		if (!last || all[k].end_ns > last->end_ns)
			last = &all[k];
	}
}

static int find_peers(struct chains *c)
{
	struct sibling *all = malloc((c->nodes.n + 1) * sizeof(*all));
	size_t n = 0;

	if (!all)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->nodes.n; i++) {
		const struct task *t = c->nodes.v[i].t;

		if (t->parent)
			all[n++] = (struct sibling){i, t->parent, t->start_ns, t->end_ns};
	}
	qsort(all, n, sizeof(*all), by_parent);
	for (size_t i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && all[k].parent == all[i].parent;)
			k++;
		find_peers_of(c, all + i, k - i);
	}
	free(all);
	return 0;
}

static void find_bystanders(struct chains *c)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < c->nodes.n; i++)
		if (c->nodes.v[i].t->on_cpu_ns > most)
			most = c->nodes.v[i].t->on_cpu_ns;
	for (uint32_t i = 0; i < c->nodes.n; i++)
		c->nodes.v[i].bystander = c->nodes.v[i].t->on_cpu_ns < most / TOOK_PART;
}

static int add_node(struct chains *c, const struct task *t)
{
	uint64_t life = t->end_ns - t->start_ns - t->runnable_ns;
	struct node n = {
	        .t = t,
	        .worker = t->on_cpu_ns >= life / WEAK_DUTY,
	        .drowsy = t->on_cpu_ns < life / SLEEP_DUTY,
	};
	uint64_t *at;

	spans_begin(&n.spans, c->w, t, 0);
	if (vec_push(&c->nodes, n))
		return -ENOMEM;
	at = hmap_put(&c->ids, t->id, 0, NULL);
	if (!at)
		return -ENOMEM;
	*at = c->nodes.n;
	return 0;
}

int chains_init(struct chains *c, const struct waits *w)
{
	size_t n = model_n_tasks(w->m);
	int err = 0;

	*c = (struct chains){.w = w};
	c->strong = calloc(w->locks.n + 1, sizeof(*c->strong));
	if (!c->strong)
		return -ENOMEM;
	for (size_t i = 0; i < w->locks.n; i++)
		c->strong[i] = lock_is_strong(&w->locks.v[i]);
	for (size_t i = 0; !err && i < n; i++)
		err = add_node(c, model_task_at(w->m, i));
	find_bystanders(c);
	return err ? err : find_peers(c);
}

void chains_release(struct chains *c)
{
	for (size_t i = 0; i < c->nodes.n; i++)
		vec_release(&c->nodes.v[i].slots);
	vec_release(&c->nodes);
	vec_release(&c->charges);
	hmap_release(&c->ids);
	hmap_release(&c->charge_ids);
	free(c->strong);
	*c = (struct chains){0};
}
