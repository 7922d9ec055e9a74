/* SPDX-License-Identifier: MIT */
/* Who held each GIL for how long, and who waited for it. */
#include <errno.h>
#include <stdlib.h>

#include "gil_priv.h"

struct gil_task *gil_task_row(struct gil_sums *g, size_t gil, uint32_t task)
{
	struct gil_row *row = &g->r->gils.v[gil];
	uint64_t *at = hmap_put(&g->rows, gil, task, NULL);

	if (!at)
		return NULL;
	if (!*at) {
		if (vec_push(&row->tasks, ((struct gil_task){.task = task})))
			return NULL;
		*at = row->tasks.n;
	}
	return &row->tasks.v[*at - 1];
}

static int add_holds(struct gil_sums *g, size_t gil)
{
	const struct recording *rec = model_recording(g->r->m);
	size_t n;
	const struct gil_span *s = gil_timeline_spans(g->tl, gil, &n);

	for (size_t i = 0; i < n; i++) {
		const struct task *holder = model_task(g->r->m, s[i].task);
		uint64_t lo = s[i].start_ns, hi = s[i].end_ns;
		struct gil_task *t;

		/* The last thread of a process ends with the GIL. */
		if (holder && hi > holder->end_ns)
			hi = holder->end_ns;
		if (lo < rec->wall_start_ns)
			lo = rec->wall_start_ns;
		if (hi > rec->wall_end_ns)
			hi = rec->wall_end_ns;
		if (s[i].state != BLAME_HELD || hi <= lo)
			continue;
		t = gil_task_row(g, gil, s[i].task);
		if (!t)
			return -ENOMEM;
		t->time.hold_ns += hi - lo;
		g->r->gils.v[gil].time.hold_ns += hi - lo;
	}
	return 0;
}

/* The GIL of each futex word, + 1. */
static uint32_t *gils_of_words(const struct model *m)
{
	size_t n = model_n_futexes(m);
	uint32_t *of = calloc(n ? n : 1, sizeof(*of));

	for (size_t i = 0; of && i < n; i++) {
		const struct futex *f = model_futex_at(m, i);

		of[i] = gil_of_futex(m, f->space, f->addr);
	}
	return of;
}

/* Turns of one wait follow each other closely: a timeout, and the next. */
static int add_waits_of(struct gil_sums *g, const struct task *t)
{
	uint64_t back = 0;
	uint32_t last = 0;

	for (size_t i = 0; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];
		uint32_t gil = s->futex ? g->gil_of[s->futex - 1] : 0;
		struct gil_task *row;

		if (!gil) {
			last = s->queued_ns > s->out_ns ? 0 : last;
			continue;
		}
		row = gil_task_row(g, gil - 1, t->id);
		if (!row)
			return -ENOMEM;
		row->wait_ns += s->queued_ns - s->out_ns;
		g->r->gils.v[gil - 1].wait_ns += s->queued_ns - s->out_ns;
		row->waits += last != gil || s->out_ns - back >= WAIT_STITCH_NS;
		last = gil;
		back = s->in_ns;
	}
	return 0;
}

static int add_waits(struct gil_sums *g)
{
	int err = 0;

	for (size_t i = 0; i < model_n_tasks(g->r->m) && !err; i++)
		err = add_waits_of(g, model_task_at(g->r->m, i));
	return err;
}

/* By its own count, from the first reading of the window to its last one. */
static void count_switches(struct gil_sums *g)
{
	const struct recording *rec = model_recording(g->r->m);
	const struct gil_sample *s;
	size_t n = model_gil_samples(g->r->m, &s);
	uint64_t *first = calloc(g->n, sizeof(*first));

	for (size_t i = 0; first && i < n; i++) {
		struct gil_row *row = &g->r->gils.v[s[i].gil];

		if (s[i].ts < rec->wall_start_ns || s[i].ts > rec->wall_end_ns)
			continue;
		if (!first[s[i].gil])
			first[s[i].gil] = s[i].switches + 1;
		else if (s[i].switches + 1 > first[s[i].gil])
			row->switches = s[i].switches + 1 - first[s[i].gil];
	}
	free(first);
}

/* Space -> process. */
static int map_spaces(const struct model *m, struct hmap *procs)
{
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);
		uint64_t *at = hmap_put(procs, t->space, 0, NULL);

		if (!at)
			return -ENOMEM;
		if (!*at)
			*at = t->proc;
	}
	return 0;
}

static int by_hold(const void *a, const void *b)
{
	const struct gil_task *x = a, *y = b;

	if (x->time.hold_ns != y->time.hold_ns)
		return x->time.hold_ns < y->time.hold_ns ? 1 : -1;
	return x->wait_ns != y->wait_ns ? (x->wait_ns < y->wait_ns ? 1 : -1)
	                                : (x->task > y->task) - (x->task < y->task);
}

/* A copy that a fork made and nobody used is no GIL that anyone wants to hear of. */
static void drop_unused(struct report *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->gils.n; i++) {
		if (r->gils.v[i].tasks.n)
			r->gils.v[kept++] = r->gils.v[i];
		else
			vec_release(&r->gils.v[i].tasks);
	}
	r->gils.n = kept;
}

static int fill(struct gil_sums *g)
{
	struct hmap procs = {0};
	int err = map_spaces(g->r->m, &procs);

	for (size_t i = 0; i < g->n && !err; i++) {
		const uint64_t *proc = hmap_get(&procs, g->gils[i].space, 0);
		struct gil_row row = {.gil = g->gils[i].id, .proc = proc ? (uint32_t)*proc : 0};

		err = vec_push(&g->r->gils, row);
	}
	hmap_release(&procs);
	if (err)
		return err;
	for (size_t i = 0; i < g->n && !err; i++)
		err = add_holds(g, i);
	g->gil_of = gils_of_words(g->r->m);
	err = err ? err : g->gil_of ? add_waits(g) : -ENOMEM;
	err = err ? err : gil_share(g);
	free(g->gil_of);
	count_switches(g);
	for (size_t i = 0; i < g->n && !err; i++)
		if (g->r->gils.v[i].tasks.n)
			qsort(g->r->gils.v[i].tasks.v, g->r->gils.v[i].tasks.n,
			      sizeof(struct gil_task), by_hold);
	drop_unused(g->r);
	return err;
}

int analyze_gil(struct report *r, struct err *err)
{
	struct gil_sums g = {.r = r};
	bool own = !r->w || !r->w->gil;
	int rc;

	g.n = model_gils(r->m, &g.gils);
	if (!g.n)
		return 0;
	g.tl = own ? gil_timeline_build(r->m, err) : r->w->gil;
	rc = g.tl ? fill(&g) : -ENOMEM;
	if (own)
		gil_timeline_free(g.tl);
	hmap_release(&g.rows);
	return rc;
}
