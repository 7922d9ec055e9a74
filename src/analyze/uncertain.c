/* SPDX-License-Identifier: MIT */
/*
 * How far a share may be off. Events that were lost may belong to any cause, so their part
 * of all events widens every row. A row that rests on blame is as weak as its evidence:
 * the part of the blamed time for which only a wake-up from elsewhere, or nothing, names who
 * was waited for. Time taken by the hypervisor widens what was running.
 */
#include <errno.h>
#include <stdlib.h>

#include "capacity_priv.h"

static void add(double *weak, double *all, const struct blame *b)
{
	double ns = (double)(b->end_ns - b->start_ns);

	*all += ns;
	if (b->evidence == EVIDENCE_UNKNOWN || b->evidence == EVIDENCE_WAKER ||
	    b->agrees == 2 /* two kinds of evidence differ */)
		*weak += ns;
}

static void ratios(double *weak, const double *all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		weak[i] = all[i] > 0 ? weak[i] / all[i] : 0;
}

static int weigh(struct doubt *d, const struct chains *c)
{
	const struct waits *w = c->w;
	double *locks = calloc(w->locks.n + 1, sizeof(*locks));
	double *tasks = calloc(c->nodes.n + 1, sizeof(*tasks));

	for (size_t i = 0; locks && tasks && i < w->waits.n; i++) {
		const struct wait *x = &w->waits.v[i];

		for (uint32_t k = x->blame; k < x->blame + x->n_blame; k++) {
			const struct blame *b = &w->blames.v[k];
			uint32_t node = chains_node(c, b->task);

			if (x->lock)
				add(&d->locks[x->lock - 1], &locks[x->lock - 1], b);
			if (node != UINT32_MAX)
				add(&d->tasks[node], &tasks[node], b);
		}
	}
	if (locks && tasks) {
		ratios(d->locks, locks, w->locks.n);
		ratios(d->tasks, tasks, c->nodes.n);
	}
	free(locks);
	free(tasks);
	return locks && tasks ? 0 : -ENOMEM;
}

int doubt_init(struct doubt *d, const struct chains *c)
{
	const struct recording *rec = model_recording(c->w->m);
	double on_cpu = 0, steal = 0;

	*d = (struct doubt){.lost = rec->lost ? (double)rec->lost /
	                                                ((double)rec->lost + (double)rec->events)
	                                      : 0};
	for (size_t i = 0; i < c->nodes.n; i++) {
		on_cpu += (double)c->nodes.v[i].t->on_cpu_ns;
		steal += (double)c->nodes.v[i].t->steal_ns;
	}
	d->steal = on_cpu > 0 && steal < on_cpu ? steal / on_cpu : 0;
	d->locks = calloc(c->w->locks.n + 1, sizeof(*d->locks));
	d->tasks = calloc(c->nodes.n + 1, sizeof(*d->tasks));
	return d->locks && d->tasks ? weigh(d, c) : -ENOMEM;
}

void doubt_release(struct doubt *d)
{
	free(d->locks);
	free(d->tasks);
	*d = (struct doubt){0};
}

double doubt_of(const struct doubt *d, const struct chains *c, const struct cause_row *row)
{
	double own = 0;
	uint32_t node;

	switch (row->cause) {
	case CAUSE_WORK:
	case CAUSE_CPU_SHORTAGE:
		own = d->steal;
		break;
	case CAUSE_GIL:
	case CAUSE_LOCK:
		own = row->id ? d->locks[row->id - 1] : 1;
		break;
	case CAUSE_SERIAL:
		node = chains_node(c, row->id);
		own = node != UINT32_MAX ? d->tasks[node] : 1;
		break;
	case CAUSE_UNATTRIBUTED:
		own = 1;
		break;
	default:
		break;
	}
	return 1 - (1 - own) * (1 - d->lost);
}
