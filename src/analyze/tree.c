/* SPDX-License-Identifier: MIT */
/*
 * Memory of all processes together. Each is read at moments of its own (together, as far
 * as the budget goes), so at each reading the latest of every process that lives is summed.
 * PSS counts a shared page once over all; the sum of RSS counts it once for each.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define ROUND_NS 30000000 /* readings this close are of one moment */

struct reading {
	uint64_t t_ns;
	uint32_t proc;                    /* index */
	const struct footprint_sample *s; /* NULL: the process ended; or began, when `begin` */
	bool begin;
};

static int by_time(const void *a, const void *b)
{
	const struct reading *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return x->begin != y->begin ? y->begin - x->begin : !x->s - !y->s;
}

typedef VEC(struct reading) readings;

static int gather(const struct model *m, readings *all)
{
	for (size_t i = 0; i < model_n_procs(m); i++) {
		const struct proc *p = model_proc_at(m, i);
		struct reading begin = {.t_ns = p->start_ns, .proc = (uint32_t)i, .begin = true};
		struct reading end = {.t_ns = p->end_ns, .proc = (uint32_t)i};

		if (vec_push(all, begin) || (!p->alive && vec_push(all, end)))
			return -ENOMEM;
		for (size_t k = 0; k < p->footprint.n; k++) {
			struct reading x = {.t_ns = p->footprint.v[k].t_ns,
			                    .proc = (uint32_t)i,
			                    .s = &p->footprint.v[k]};

			if (vec_push(all, x))
				return -ENOMEM;
		}
	}
	if (all->n)
		qsort(all->v, all->n, sizeof(all->v[0]), by_time);
	return 0;
}

/* Adds s's figures, or takes them away again (modulo 2^64: what was added). */
static void apply(struct tree_sample *sum, const struct footprint_sample *s, bool add)
{
	uint64_t sign = add ? 1 : -1ull;

	sum->rss_bytes += sign * s->rss_bytes;
	sum->pss_bytes += sign * s->pss_bytes;
	sum->uss_bytes += sign * s->uss_bytes;
}

static void step(struct tree_sample *sum, const struct footprint_sample **latest,
                 const struct reading *x)
{
	if (x->begin) {
		sum->procs++;
		sum->unread++;
		return;
	}
	if (latest[x->proc])
		apply(sum, latest[x->proc], false);
	else
		sum->unread--;
	if (x->s)
		apply(sum, x->s, true);
	else
		sum->procs--;
	latest[x->proc] = x->s;
}

int analyze_tree(struct report *r, struct err *err)
{
	const struct footprint_sample **latest =
	        calloc(model_n_procs(r->m) + 1, sizeof(const struct footprint_sample *));
	struct tree_sample sum = {0};
	readings all = {0};
	int rc = latest ? gather(r->m, &all) : -ENOMEM;

	(void)err;
	for (size_t i = 0; i < all.n && !rc; i++) {
		bool more = i + 1 < all.n && all.v[i + 1].s &&
		            all.v[i + 1].t_ns - all.v[i].t_ns < ROUND_NS;

		step(&sum, latest, &all.v[i]);
		if (!all.v[i].s || more)
			continue;
		sum.t_ns = all.v[i].t_ns;
		if (sum.pss_bytes > r->tree_peak.pss_bytes)
			r->tree_peak = sum;
		rc = vec_push(&r->tree, sum) ? -ENOMEM : 0;
	}
	vec_release(&all);
	free(latest);
	return rc;
}
