/* SPDX-License-Identifier: MIT */
/*
 * lives.c: which task had a tid of the innermost namespace at a moment. Each life stands in the
 * table twice, for its process and, proc 0, for anywhere; sorted by tid, process and beginning. A
 * tree of the latest ends says in O(log n) which of those that began in time was still there:
 * of ten thousand containers each has a thread 7.
 */
#include <errno.h>
#include <stdlib.h>

#include "model_priv.h"

int lives_add(struct model *m, const struct task *t)
{
	struct tid_life life = {
	        .ns_tid = t->ns_tid ? t->ns_tid : t->tid,
	        .proc = t->proc,
	        .task = t->id,
	        /* Who was there before the recording was there when those attached before it were.
	         */
	        .start_ns = t->flags & TASK_F_ATTACHED ? 0 : t->start_ns,
	        .end_ns = t->end_ns,
	};
	int err;

	if (t->placeholder)
		return 0;
	err = vec_push(&m->lives, life);
	life.proc = 0;
	return err ? err : vec_push(&m->lives, life);
}

static int life_order(const void *a, const void *b)
{
	const struct tid_life *x = a, *y = b;

	if (x->ns_tid != y->ns_tid)
		return x->ns_tid < y->ns_tid ? -1 : 1;
	if (x->proc != y->proc)
		return x->proc < y->proc ? -1 : 1;
	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

int lives_finish(struct model *m)
{
	size_t n = m->lives.n, leaves = 1;

	if (!n)
		return 0;
	qsort(m->lives.v, n, sizeof(*m->lives.v), life_order);
	while (leaves <= n) /* one stays free: last_until() begins behind the last */
		leaves *= 2;
	m->latest_ends = calloc(2 * leaves, sizeof(*m->latest_ends));
	if (!m->latest_ends)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		m->latest_ends[leaves + i] = m->lives.v[i].end_ns;
	for (size_t i = leaves - 1; i; i--) {
		uint64_t a = m->latest_ends[2 * i], b = m->latest_ends[2 * i + 1];

		m->latest_ends[i] = a > b ? a : b;
	}
	m->life_leaves = leaves;
	return 0;
}

void lives_release(struct model *m)
{
	vec_release(&m->lives);
	free(m->latest_ends);
}

/* How many lives come before those of this tid and process that begin after ts. */
static size_t begun_by(const struct model *m, uint32_t ns_tid, uint32_t proc, uint64_t ts)
{
	const struct tid_life last = {
	        .ns_tid = ns_tid, .proc = proc, .task = UINT32_MAX, .start_ns = ts};
	size_t lo = 0, hi = m->lives.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (life_order(&m->lives.v[mid], &last) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The last of the first n lives that ends at ts or later; NULL = none. */
static const struct tid_life *last_until(const struct model *m, size_t n, uint64_t ts)
{
	const uint64_t *end = m->latest_ends;
	size_t leaves = m->life_leaves, i = leaves + n;

	/* Up, while nothing to the left of i under its parent lasts so long … */
	while (i > 1 && !(i & 1 && end[i - 1] >= ts))
		i /= 2;
	if (i <= 1)
		return NULL;
	/* … and down again, to the right where that is enough. */
	for (i--; i < leaves; i = 2 * i + (end[2 * i + 1] >= ts))
		;
	return &m->lives.v[i - leaves];
}

static const struct tid_life *alive_at(const struct model *m, size_t n, uint32_t ns_tid,
                                       uint32_t proc, uint64_t ts)
{
	const struct tid_life *l = n ? last_until(m, n, ts) : NULL;

	return l && l->ns_tid == ns_tid && l->proc == proc ? l : NULL;
}

/* Of several at once in different namespaces nobody can tell which is meant; one that begins as
 * another ends took the tid over. */
uint32_t model_task_by_ns_tid(const struct model *m, uint32_t proc, uint32_t ns_tid, uint64_t ts)
{
	const struct tid_life *found = alive_at(m, begun_by(m, ns_tid, proc, ts), ns_tid, proc, ts);
	uint64_t beside;

	if (!found || proc)
		return found ? found->task : 0;
	beside = found->start_ns < ts ? ts : sat_add(ts, 1);
	return alive_at(m, (size_t)(found - m->lives.v), ns_tid, 0, beside) ? 0 : found->task;
}
