/* SPDX-License-Identifier: MIT */
/*
 * Memory of all processes together. Each is read at moments of its own (together, as far
 * as the budget goes), so at each reading the latest of every process that lives is summed.
 * PSS counts a shared page once over all; the sum of RSS counts it once for each. Who shares pages
 * with a parent that was read before a fork: see forks.c.
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
			/* A file may say that it was read before it was there. */
			struct reading x = {
			        .t_ns = clamp_u64(p->footprint.v[k].t_ns, p->start_ns, p->end_ns),
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

struct tree {
	struct tree_sample sum;
	struct forks forks;
	struct latest {
		const struct footprint_sample *s; /* NULL: not read, or ended */
		uint64_t pss;                     /* as it is in the sum */
		uint32_t round;                   /* in which it was read */
	} * procs;
	uint32_t round;
};

/* Takes the process's old figures away, and adds those of s (modulo 2^64: what was added). */
static void replace(struct tree *t, uint32_t i, const struct footprint_sample *s)
{
	struct latest *l = &t->procs[i];
	static const struct footprint_sample nothing;
	const struct footprint_sample *old = l->s ? l->s : &nothing, *now = s ? s : &nothing;
	uint64_t pss = forks_own(&t->forks, i) ? now->uss_bytes : now->pss_bytes;

	t->sum.rss_bytes += now->rss_bytes - old->rss_bytes;
	t->sum.uss_bytes += now->uss_bytes - old->uss_bytes;
	t->sum.pss_bytes += pss - l->pss;
	l->s = s;
	l->pss = pss;
}

static void shared_now(void *ctx, uint32_t i)
{
	struct tree *t = ctx;

	replace(t, i, t->procs[i].s);
}

static void step(struct tree *t, const struct reading *x)
{
	if (x->begin) {
		t->sum.procs++;
		t->sum.unread++;
		forks_begin(&t->forks, x->proc);
		return;
	}
	if (!t->procs[x->proc].s)
		t->sum.unread--;
	if (x->s) {
		t->procs[x->proc].round = t->round;
		forks_read(&t->forks, x->proc, x->t_ns, shared_now, t);
	} else {
		t->sum.procs--;
		forks_end(&t->forks, x->proc, shared_now, t);
	}
	replace(t, x->proc, x->s);
}

/* Readings of one round follow each other closely, and each process is read once in it. */
static bool same_round(const struct tree *t, const struct reading *x, const struct reading *next)
{
	return next->s && next->t_ns - x->t_ns < ROUND_NS && t->procs[next->proc].round != t->round;
}

int analyze_tree(struct report *r, struct err *err)
{
	struct tree t = {.procs = calloc(model_n_procs(r->m) + 1, sizeof(*t.procs)), .round = 1};
	readings all = {0};
	int rc = t.procs ? forks_init(&t.forks, r->m) : -ENOMEM;

	(void)err;
	rc = rc ? rc : gather(r->m, &all);
	for (size_t i = 0; i < all.n && !rc; i++) {
		step(&t, &all.v[i]);
		if (!all.v[i].s || (i + 1 < all.n && same_round(&t, &all.v[i], &all.v[i + 1])))
			continue;
		t.round++;
		t.sum.t_ns = all.v[i].t_ns;
		if (t.sum.pss_bytes > r->tree_peak.pss_bytes)
			r->tree_peak = t.sum;
		rc = vec_push(&r->tree, t.sum) ? -ENOMEM : 0;
	}
	vec_release(&all);
	forks_release(&t.forks);
	free(t.procs);
	return rc;
}
