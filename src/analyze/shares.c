/* SPDX-License-Identifier: MIT */
/*
 * Each task's share of the wall: heights of a bottle graph (its running time divided by how
 * many ran beside it), the same with those ready counted in (criticality), and the
 * stretches in which it alone ran while others waited for it.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

static int by_height(const void *a, const void *b)
{
	const struct share_row *x = a, *y = b;

	if (x->height_ns != y->height_ns)
		return x->height_ns > y->height_ns ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

/* Of one process, by its tasks' shares. */
static int add_proc(struct report *r, struct hmap *ids, const struct task *t,
                    const struct share_row *row)
{
	bool added;
	uint64_t *at = hmap_put(ids, t->proc, 0, &added);
	struct share_row *p;

	if (!at)
		return -ENOMEM;
	if (added) {
		*at = r->proc_shares.n;
		if (vec_push(&r->proc_shares, (struct share_row){.task = t->proc}))
			return -ENOMEM;
	}
	p = &r->proc_shares.v[*at];
	p->height_ns += row->height_ns;
	p->critical_ns += row->critical_ns;
	return 0;
}

static int add_shares(struct report *r, const struct sweep *s, const uint64_t *heights)
{
	struct hmap ids = {0};
	int err = 0;

	for (size_t i = 0; !err && i < s->chains.nodes.n; i++) {
		const struct node *n = &s->chains.nodes.v[i];
		struct share_row row = {n->t->id, heights[i], (uint64_t)(n->critical + 0.5)};

		err = vec_push(&r->shares, row);
		if (!err)
			err = add_proc(r, &ids, n->t, &row);
	}
	hmap_release(&ids);
	return err;
}

int shares_fill(struct report *r, const struct sweep *s)
{
	size_t n = s->chains.nodes.n;
	double *parts = malloc((n + 1) * sizeof(*parts));
	uint64_t *heights = malloc((n + 1) * sizeof(*heights));
	int err = parts && heights ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < n; i++)
		parts[i] = s->chains.nodes.v[i].height;
	if (!err)
		err = apportion(parts, n, s->busy_ns, heights);
	if (!err)
		err = add_shares(r, s, heights);
	if (r->shares.n)
		qsort(r->shares.v, r->shares.n, sizeof(*r->shares.v), by_height);
	if (r->proc_shares.n)
		qsort(r->proc_shares.v, r->proc_shares.n, sizeof(*r->proc_shares.v), by_height);
	free(parts);
	free(heights);
	return err;
}

/* --- serial sections --- */

static int by_ns(const void *a, const void *b)
{
	const struct serial_row *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	return x->task != y->task ? (x->task < y->task ? -1 : 1) : (x->ustack < y->ustack ? -1 : 1);
}

/* Its time, split by where it was seen; without samples as a whole. */
static int add_serial(struct report *r, const struct sweep *s, uint32_t i)
{
	const struct alone *a = &s->alone[i];
	uint32_t task = s->chains.nodes.v[i].t->id;
	size_t n;
	const struct spot *spots = spots_of(s, SPOT_SERIAL, task, &n);
	uint64_t samples = 0, ns = a->ns, count = a->count;

	for (size_t k = 0; k < n; k++)
		samples += spots[k].count;
	for (size_t k = 0; k < n; k++) {
		double part = (double)spots[k].count / (double)samples;
		struct serial_row row = {
		        .task = task,
		        .ns = k + 1 == n ? ns : (uint64_t)((double)a->ns * part),
		        .count = k + 1 == n ? count : (uint64_t)((double)a->count * part),
		        .ustack = spots[k].ustack,
		        .kstack = spots[k].kstack,
		};

		if (row.ns > ns)
			row.ns = ns;
		if (row.count > count)
			row.count = count;
		ns -= row.ns;
		count -= row.count;
		if (vec_push(&r->serial, row))
			return -ENOMEM;
	}
	return n ? 0 : vec_push(&r->serial, ((struct serial_row){task, ns, count, 0, 0}));
}

int serial_fill(struct report *r, const struct sweep *s)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < s->chains.nodes.n; i++)
		if (s->alone[i].ns)
			err = add_serial(r, s, i);
	if (r->serial.n)
		qsort(r->serial.v, r->serial.n, sizeof(*r->serial.v), by_ns);
	return err;
}
