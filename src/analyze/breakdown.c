/* SPDX-License-Identifier: MIT */
/* From what roots were charged to the rows of the account. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

/* A row before rounding. */
struct part {
	uint8_t cause;
	uint32_t id;
	double ns, top_ns; /* top: what its first task was charged */
	uint32_t task;     /* trace id */
};

struct parts {
	const struct sweep *s;
	VEC(struct part) v;
};

/* --- parts --- */

static int by_row(const void *a, const void *b)
{
	const struct charge *x = a, *y = b;

	if (x->what.cause != y->what.cause)
		return x->what.cause < y->what.cause ? -1 : 1;
	if (x->what.id != y->what.id)
		return x->what.id < y->what.id ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

/* Charges of one cause and id become a part; the task with most of it is its first. */
static int add_charges(struct parts *p, const struct charge *c, size_t n)
{
	const struct chains *chains = &p->s->chains;
	struct part part = {.cause = c[0].what.cause, .id = c[0].what.id};

	for (size_t i = 0; i < n;) {
		uint32_t node = c[i].node;
		double of_task = 0;

		for (; i < n && c[i].node == node; i++)
			of_task += c[i].ns;
		part.ns += of_task;
		if (of_task > part.top_ns) {
			part.top_ns = of_task;
			part.task = chains->nodes.v[node].t->id;
		}
	}
	return part.ns > 0 ? vec_push(&p->v, part) : 0;
}

static int group_charges(struct parts *p)
{
	const struct chains *c = &p->s->chains;
	struct charge *v = malloc((c->charges.n + 1) * sizeof(*v));
	int err = 0;

	if (!v)
		return -ENOMEM;
	if (c->charges.n)
		memcpy(v, c->charges.v, c->charges.n * sizeof(*v));
	qsort(v, c->charges.n, sizeof(*v), by_row);
	for (size_t i = 0, k; !err && i < c->charges.n; i = k) {
		for (k = i + 1; k < c->charges.n && v[k].what.cause == v[i].what.cause &&
		                v[k].what.id == v[i].what.id;)
			k++;
		err = add_charges(p, v + i, k - i);
	}
	free(v);
	return err;
}

/* To the part of that cause without an id, which may be there already. */
static int add_plain(struct parts *p, uint8_t cause, double ns, uint32_t task)
{
	if (!(ns > 0))
		return 0;
	for (size_t i = 0; i < p->v.n; i++) {
		struct part *x = &p->v.v[i];

		if (x->cause == cause && !x->id) {
			x->ns += ns;
			if (!x->task)
				x->task = task;
			return 0;
		}
	}
	return vec_push(&p->v, ((struct part){.cause = cause, .ns = ns, .task = task}));
}

/* Who had CPUs beside it that no task could use; 0 when it was nobody most of the time. */
static uint32_t ran_alone(const struct sweep *s)
{
	uint32_t top = 0;

	for (uint32_t i = 0; i < s->chains.nodes.n; i++)
		if (s->alone[i].free_ns > s->alone[top].free_ns)
			top = i;
	if (!s->chains.nodes.n || s->alone[top].free_ns < s->no_task / 2)
		return 0;
	return s->chains.nodes.v[top].t->id;
}

static double all_steal(const struct sweep *s)
{
	double steal = 0;

	for (size_t i = 0; i < s->chains.nodes.n; i++)
		steal += (double)s->chains.nodes.v[i].t->steal_ns;
	return steal;
}

static int collect_parts(struct parts *p)
{
	const struct sweep *s = p->s;
	double capacity = (double)(s->end_ns - s->start_ns) * s->cpus;
	double work = s->work - s->debt, steal = all_steal(s);
	int err;

	/* More than the CPUs that we were told of: then we were told wrong. */
	if (work > capacity)
		work = capacity;
	if (steal > work)
		steal = work;
	err = add_plain(p, CAUSE_WORK, work - steal, 0);
	if (!err)
		err = group_charges(p);
	if (!err)
		err = add_plain(p, CAUSE_CPU_SHORTAGE, s->shortage + steal, 0);
	for (unsigned cause = 0; !err && cause < CAUSE_N; cause++)
		err = add_plain(p, (uint8_t)cause, s->idle[cause], 0);
	if (!err)
		err = add_plain(p, CAUSE_NO_TASK, s->no_task, ran_alone(s));
	return err;
}

/* --- what each lock and channel kept idle --- */

/* The lock by which those below a root hang there, even when the root sleeps, or below one who
 * waits for the root's end; 0 = none. */
static uint32_t lock_of(const struct waits *w, const struct charge *c)
{
	uint32_t id = label_lock(c->label);

	if (c->what.cause == CAUSE_LOCK || c->what.cause == CAUSE_GIL)
		return c->what.id;
	if (!id || id > w->locks.n)
		return 0;
	return w->locks.v[id - 1].family ? w->locks.v[id - 1].family : id;
}

int idle_fill(struct report *r, const struct sweep *s)
{
	const struct waits *w = r->w;
	size_t n = w->locks.n + w->channels.n;
	double *ns = calloc(n + 1, sizeof(*ns));
	int err = ns ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < s->chains.charges.n; i++) {
		const struct charge *c = &s->chains.charges.v[i];
		uint32_t id = lock_of(w, c);

		if (id && id <= w->locks.n)
			ns[id - 1] += c->ns;
		/* What a lock's holder reads from is waited for by those behind the lock, too. */
		if (c->what.cause == CAUSE_CHANNEL && c->what.id && c->what.id <= w->channels.n)
			ns[w->locks.n + c->what.id - 1] += c->ns;
	}
	for (size_t i = 0; !err && i < n; i++)
		err = i < w->locks.n ? vec_push(&r->lock_idle_ns, (uint64_t)(ns[i] + 0.5))
		                     : vec_push(&r->channel_idle_ns, (uint64_t)(ns[i] + 0.5));
	free(ns);
	return err;
}

/* --- names and places --- */

static void set_name(const struct model *m, const struct waits *w, struct cause_row *row,
                     bool tell_apart)
{
	if ((row->cause == CAUSE_GIL || row->cause == CAUSE_LOCK) && row->id &&
	    row->id <= w->locks.n)
		snprintf(row->name, sizeof(row->name), "%s", w->locks.v[row->id - 1].name);
	else if (row->cause == CAUSE_CHANNEL && row->id && row->id <= w->channels.n)
		snprintf(row->name, sizeof(row->name), "%s", w->channels.v[row->id - 1].name);
	else if (row->task && tell_apart)
		who(m, row->task, row->name, sizeof(row->name));
	else if (row->task && model_task(m, row->task))
		fmt_safe(row->name, sizeof(row->name), model_task(m, row->task)->comm);
}

/* Where tasks waited: for causes that are no task's doing. Of a sleep that nobody was charged with,
 * as nobody waited for its end, any task's. */
static void set_wait_place(const struct model *m, struct cause_row *row)
{
	const struct stack_row *most =
	        row->task || row->cause == CAUSE_SLEEP ? waits_most(m, row) : NULL;

	if (!most)
		return;
	row->task = most->task;
	row->ustack = most->ustack;
	row->kstack = most->kstack;
}

static void set_place(const struct model *m, const struct sweep *s, struct cause_row *row)
{
	bool any = !row->task || row->cause == CAUSE_GIL || row->cause == CAUSE_LOCK;
	const struct spot *spot = spots_most(m, s, row, any ? 0 : row->task);

	if (!spot) {
		set_wait_place(m, row);
		return;
	}
	/* Of a lock it is what most is done by whoever holds it, not what one of its holders does
	 * who was waited for longest. */
	row->task = any && row->task ? spot->task : row->task;
	row->ustack = spot->ustack;
	row->kstack = spot->kstack;
}

static int by_cause_ns(const void *a, const void *b)
{
	const struct cause_row *x = a, *y = b;

	if ((x->cause == CAUSE_WORK) != (y->cause == CAUSE_WORK))
		return x->cause == CAUSE_WORK ? -1 : 1;
	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	if (x->cause != y->cause)
		return x->cause < y->cause ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int add_rows(struct report *r, const struct parts *p, const uint64_t *ns)
{
	struct doubt doubt;
	int err = doubt_init(&doubt, &p->s->chains);

	for (size_t i = 0; !err && i < p->v.n; i++) {
		const struct part *x = &p->v.v[i];
		struct cause_row row = {
		        .cause = x->cause,
		        .id = x->id,
		        .ns = ns[i],
		        .task = x->task,
		};

		if (!row.ns)
			continue;
		row.uncertainty_ratio = doubt_of(&doubt, &p->s->chains, &row);
		err = vec_push(&r->breakdown, row);
	}
	doubt_release(&doubt);
	return err;
}

/* Names and places cost a look through all tasks and stacks: for the rows that somebody reads. */
static void finish_rows(struct report *r, const struct sweep *s)
{
	enum { NAMED = 200 };

	if (r->breakdown.n)
		qsort(r->breakdown.v, r->breakdown.n, sizeof(*r->breakdown.v), by_cause_ns);
	for (size_t i = 0; i < r->breakdown.n; i++) {
		struct cause_row *row = &r->breakdown.v[i];

		if (row->cause == CAUSE_WORK)
			continue;
		set_name(r->m, r->w, row, i < NAMED);
		if (i < NAMED)
			set_place(r->m, s, row);
	}
}

int breakdown_fill(struct report *r, const struct sweep *s)
{
	struct parts p = {.s = s};
	double *ns = NULL;
	uint64_t *whole = NULL;
	int err = collect_parts(&p);

	if (!err) {
		ns = malloc((p.v.n + 1) * sizeof(*ns));
		whole = malloc((p.v.n + 1) * sizeof(*whole));
		err = ns && whole ? 0 : -ENOMEM;
	}
	for (size_t i = 0; !err && i < p.v.n; i++)
		ns[i] = p.v.v[i].ns;
	if (!err)
		err = apportion(ns, p.v.n, r->capacity_ns, whole);
	if (!err)
		err = add_rows(r, &p, whole);
	if (!err)
		finish_rows(r, s);
	free(ns);
	free(whole);
	vec_release(&p.v);
	return err;
}
