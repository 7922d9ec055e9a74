/* SPDX-License-Identifier: MIT */
/*
 * Responsiveness: what a task that wants to run is kept by. A delay begins when what the
 * task waited for has come (its timer, its data: the wait of its own choice ends) and lasts
 * until it does its work: the wait for a CPU, and then the locks it needs first of all, as a
 * Python thread needs the GIL before it does anything. Running in between for less than
 * WAIT_STITCH_NS is on the way, not work; who loses its CPU there is still on its way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"

#define GIL_SWITCH 120 /* of the GIL's words, from here on are those of the next point */

typedef VEC(uint64_t) delays;

struct watch {
	const struct report *r;
	const struct task *t;
	const struct wait *waits;
	size_t n;
	struct hmap by; /* task, cause -> index of row->by */
	struct watch_row *row;
	delays delays;
};

static bool is_watched(const struct task *t, const char *want)
{
	return task_is_called(t, want) || (!strcmp(want, "main") && task_is_first(t));
}

static int charge(struct watch *w, uint32_t task, enum cause cause, uint64_t ns)
{
	struct watch_by fresh = {.task = task, .cause = (uint8_t)cause};
	uint64_t *slot;
	bool added;

	if (!ns)
		return 0;
	slot = hmap_put(&w->by, task, cause, &added);
	if (!slot)
		return -ENOMEM;
	if (added) {
		*slot = w->row->by.n;
		if (vec_push(&w->row->by, fresh))
			return -ENOMEM;
	}
	w->row->by.v[*slot].ns = sat_add(w->row->by.v[*slot].ns, ns);
	return 0;
}

/* Having released the GIL, a thread that was asked to waits until somebody has taken it: that is
 * what comes after its work, not before. */
static bool hands_over(const struct watch *w, const struct wait *x)
{
	const struct lock *l =
	        x->lock && x->lock <= w->r->w->locks.n ? &w->r->w->locks.v[x->lock - 1] : NULL;
	const struct slice *s = x->slice < w->t->slices.n ? &w->t->slices.v[x->slice] : NULL;
	const struct futex *word = s && s->futex ? model_futex_at(w->r->m, s->futex - 1) : NULL;
	const struct gil *gils;
	uint32_t gil = l && l->kind == LOCK_GIL ? model_gil_number(w->r->m, l->gil) : 0;

	if (!gil || !word)
		return false;
	model_gils(w->r->m, &gils);
	return word->addr >= gils[gil - 1].addr + GIL_SWITCH;
}

/* A lock that is held by somebody: not of the task's own choice. */
static bool keeps(const struct waits *w, const struct wait *x)
{
	if (x->kind != WAIT_LOCK || !x->lock || x->lock > w->locks.n)
		return false;
	switch (w->locks.v[x->lock - 1].kind) {
	case LOCK_GIL:
	case LOCK_MUTEX:
	case LOCK_RWLOCK:
	case LOCK_FILE:
		return true;
	}
	return false;
}

static enum cause cause_of(const struct waits *w, const struct wait *x)
{
	return w->locks.v[x->lock - 1].kind == LOCK_GIL ? CAUSE_GIL : CAUSE_LOCK;
}

/* Charges the blocked time of a lock wait, which its pieces tile, to those who held it. */
static int charge_wait(struct watch *w, const struct wait *x)
{
	const struct waits *all = w->r->w;
	int rc = 0;

	for (uint32_t i = 0; i < x->n_blame && !rc; i++) {
		const struct blame *b = &all->blames.v[x->blame + i];

		rc = charge(w, b->state == BLAME_HELD ? b->task : 0, cause_of(all, x),
		            b->end_ns - b->start_ns);
	}
	return rc;
}

static uint64_t ready_ns(const struct wait *x)
{
	return x->in_ns > x->end_ns ? x->in_ns - x->end_ns : 0;
}

/* When it got the CPU back that it lost right after the wait, again and again; else in_ns. */
static uint64_t on_its_way(struct watch *w, const struct wait *x, int *rc)
{
	const struct task *t = w->t;
	uint64_t ran = 0, to = x->in_ns;

	for (size_t i = (size_t)x->slice + x->n_slices - 1; i + 1 < t->slices.n && !*rc; i++) {
		const struct slice *s = &t->slices.v[i], *next = s + 1;

		ran += s->end_ns - s->in_ns;
		if (ran > WAIT_STITCH_NS || next->queued_ns > next->out_ns ||
		    next->in_ns <= next->queued_ns || next->in_ns == next->end_ns)
			break;
		*rc = charge(w, 0, CAUSE_CPU_SHORTAGE, next->in_ns - next->queued_ns);
		to = next->in_ns;
	}
	return to > x->in_ns ? to : x->in_ns;
}

/* From the end of the wait at i: the delay until it works. Sets *next to the wait after it. */
static int delay_after(struct watch *w, size_t i, size_t *next)
{
	const struct wait *x = &w->waits[i];
	int rc = charge(w, 0, CAUSE_CPU_SHORTAGE, ready_ns(x));
	uint64_t from = x->end_ns, to = on_its_way(w, x, &rc);

	for (i++; i < w->n && !rc; i++) {
		x = &w->waits[i];
		if (x->start_ns > to + WAIT_STITCH_NS || !keeps(w->r->w, x) || x->open ||
		    hands_over(w, x))
			break;
		rc = charge_wait(w, x);
		if (!rc)
			rc = charge(w, 0, CAUSE_CPU_SHORTAGE, ready_ns(x));
		to = on_its_way(w, x, &rc);
	}
	*next = i;
	/* None at all is an answer, too: the others are not rarer for it. */
	if (!rc && to >= from)
		rc = vec_push(&w->delays, to - from) ? -ENOMEM : 0;
	return rc;
}

static int by_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int largest_first(const void *a, const void *b)
{
	const struct watch_by *x = a, *y = b;

	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

static void summarize(struct watch *w)
{
	struct watch_row *row = w->row;
	size_t n = w->delays.n;

	if (row->by.n)
		qsort(row->by.v, row->by.n, sizeof(row->by.v[0]), largest_first);
	row->waits = n;
	if (!n)
		return;
	qsort(w->delays.v, n, sizeof(w->delays.v[0]), by_ns);
	row->p50_ns = w->delays.v[(n + 1) / 2 - 1];
	row->p99_ns = w->delays.v[(n * 99 + 99) / 100 - 1];
	row->max_ns = w->delays.v[n - 1];
}

/* What is in no delay, as it came in the middle of its work. */
static uint64_t at_work(const struct watch *w)
{
	uint64_t all = w->t->runnable_ns, told = 0;

	for (size_t i = 0; i < w->n; i++)
		if (keeps(w->r->w, &w->waits[i]) && !hands_over(w, &w->waits[i]))
			all = sat_add(all, w->waits[i].end_ns - w->waits[i].start_ns);
	for (size_t i = 0; i < w->row->by.n; i++)
		told = sat_add(told, w->row->by.v[i].ns);
	return all > told ? all - told : 0;
}

static int watch_task(struct report *r, const struct task *t)
{
	struct watch_row fresh = {.task = t->id};
	struct watch w = {.r = r, .t = t};
	int rc = 0;

	w.waits = waits_of(r->w, t->id, &w.n);
	if (vec_push(&r->watch, fresh))
		return -ENOMEM;
	w.row = &r->watch.v[r->watch.n - 1];
	for (size_t i = 0; i < w.n && !rc;) {
		if (keeps(r->w, &w.waits[i]) || w.waits[i].open)
			i++; /* in the middle of work: no answer is waited for */
		else
			rc = delay_after(&w, i, &i);
	}
	if (!rc) {
		summarize(&w);
		w.row->at_work_ns = at_work(&w);
	}
	hmap_release(&w.by);
	vec_release(&w.delays);
	return rc;
}

int analyze_watch(struct report *r, struct err *err)
{
	int rc = 0;

	if (!r->opts.watch || !r->w)
		return 0;
	for (size_t i = 0; i < model_n_tasks(r->m) && !rc; i++)
		if (is_watched(model_task_at(r->m, i), r->opts.watch))
			rc = watch_task(r, model_task_at(r->m, i));
	if (!rc && !r->watch.n)
		return err_set(err, -ENOENT, MT_EXIT_USAGE, "--watch: no task is called \"%s\"",
		               r->opts.watch);
	return rc;
}
