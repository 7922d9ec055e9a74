/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay_priv.h"
#include "runs.h"

/* A replay is not worth more memory than the recording itself takes. */
#define MAX_WAITS (8u << 20)
/* From wake-up to running on an idle CPU: up to this it is part of the wait. */
#define WAKE_LATENCY_NS 100000
/* Who was killed while it waited has this much left to do to go away. */
#define LAST_STEPS_NS 1000000
/* One that only looks on is awake between its sleeps for less than 1 part in this of
 * them, but for waits for the GIL, and sleeps at least so often. */
#define ONLOOKER_DUTY   50
#define ONLOOKER_SLEEPS 8
#define MAX_ONLOOKERS   64
/* One who got a Python lock wants the GIL next, at the latest after so much. */
#define HANDED_NS 1000000

struct building {
	struct replay *p;
	const struct waits *w;
	const struct recording *rec;
	struct hmap ids; /* task id -> index + 1 */
};

static uint64_t clamp(uint64_t v, uint64_t lo, uint64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

static uint32_t index_of(const struct building *b, uint32_t task)
{
	const uint64_t *at = task ? hmap_get(&b->ids, task, 0) : NULL;

	return at ? (uint32_t)*at : 0;
}

static int add_edge(struct building *b, uint32_t source, uint64_t t, uint32_t target)
{
	struct replay_edge e = {.t = t, .source = source, .target = target};
	struct replay_wait *x = &b->p->waits.v[target];

	if (x->needs == UINT16_MAX)
		return 0;
	x->needs++;
	return vec_push(&b->p->edges, e);
}

/* --- waits --- */

static int add_birth(struct building *b, const struct task *t)
{
	struct replay_wait x = {.flags = REPLAY_TIMED};
	uint32_t creator = index_of(b, t->parent);
	uint64_t start = b->rec->wall_start_ns;
	int err;

	if (t->start_ns > start && !creator)
		x.delay_ns = (float)(t->start_ns - start);
	if (t->start_ns > start && creator)
		x.flags = 0;
	err = vec_push(&b->p->waits, x);
	if (!err && !x.flags)
		err = add_edge(b, creator - 1, t->start_ns, (uint32_t)b->p->waits.n - 1);
	return err;
}

/* The last one whom it is known to have waited for. */
static const struct blame *last_held(const struct building *b, const struct wait *x)
{
	for (uint32_t i = x->n_blame; i-- > 0;) {
		const struct blame *at = &b->w->blames.v[x->blame + i];

		if (at->state == BLAME_HELD && at->task && at->task != x->task)
			return at;
		if (at->state == BLAME_NOBODY)
			break;
	}
	return NULL;
}

/* It was killed in it, or recording stopped. */
static bool is_last(const struct task *t, const struct wait *x)
{
	return x->open && (x->in_ns >= t->end_ns || t->end_ns - x->in_ns < LAST_STEPS_NS);
}

static uint64_t on_cpu_within(const struct task *t, uint64_t from, uint64_t to)
{
	size_t lo = 0, hi = t->slices.n;
	uint64_t sum = 0;

	while (lo < hi) { /* the first that ends after it */
		size_t mid = lo + (hi - lo) / 2;

		if (t->slices.v[mid].end_ns <= from)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < t->slices.n && t->slices.v[lo].in_ns < to; lo++) {
		const struct slice *s = &t->slices.v[lo];
		uint64_t begin = clamp(s->in_ns, from, to);

		sum += clamp(s->end_ns, begin, to) - begin;
	}
	return sum;
}

/*
 * Who gets a Python lock waits for the GIL next, which the lock's old holder still has: not for its
 * own sake, so without the lock there is none of it. Unless what the lock keeps apart is Python
 * code on a CPU, which the GIL would keep apart as well.
 */
static bool is_handed(const struct building *b, const struct wait *before, const struct wait *x,
                      double work)
{
	const struct lock *locks = b->w->locks.v;
	const struct blame *held = before ? last_held(b, before) : NULL;
	const struct task *holder = held ? model_task(b->w->m, held->task) : NULL;
	uint64_t length;

	if (!holder || work > HANDED_NS || !x->lock || !before->lock ||
	    locks[x->lock - 1].kind != LOCK_GIL || locks[before->lock - 1].kind == LOCK_GIL)
		return false;
	length = before->end_ns - before->start_ns;
	return 2 * on_cpu_within(holder, before->start_ns, before->end_ns) < length;
}

static int add_wait(struct building *b, const struct wait *x, double work, bool open, bool handed)
{
	const struct blame *held = open ? NULL : last_held(b, x);
	uint32_t source = held ? index_of(b, held->task) : 0;
	struct replay_wait r = {.work_ns = (float)work, .lock = x->lock};
	uint64_t ready = x->in_ns > x->end_ns ? x->in_ns - x->end_ns : 0;
	int err;

	if (open)
		r.flags = REPLAY_OPEN;
	else if (!source)
		r.flags = REPLAY_TIMED;
	if (handed)
		r.flags |= REPLAY_HANDED;
	if (ready > WAKE_LATENCY_NS)
		ready = WAKE_LATENCY_NS;
	r.delay_ns = (float)((source ? x->end_ns - held->end_ns : x->end_ns - x->start_ns) + ready);
	err = vec_push(&b->p->waits, r);
	if (!err && source)
		err = add_edge(b, source - 1, held->end_ns, (uint32_t)b->p->waits.n - 1);
	return err;
}

static uint64_t on_cpu(const struct building *b, const struct slice *s, uint64_t until)
{
	uint64_t lo = clamp(s->in_ns, b->rec->wall_start_ns, b->rec->wall_end_ns);
	uint64_t hi = clamp(s->end_ns < until ? s->end_ns : until, lo, b->rec->wall_end_ns);

	return hi - lo;
}

/* Where a task is while its slices and waits are gone through together. */
struct cursor {
	const struct task *t;
	const struct wait *waits;
	size_t n_waits, wait, slice;
	double scale; /* CPU time by time on a CPU */
	double work;  /* since the last wait */
};

static void cursor_begin(struct cursor *c, const struct building *b, const struct task *t)
{
	*c = (struct cursor){.t = t, .scale = 1};
	c->waits = waits_of(b->w, t->id, &c->n_waits);
	if (t->on_cpu_ns && t->run_ns < t->on_cpu_ns)
		c->scale = (double)t->run_ns / (double)t->on_cpu_ns;
}

/* The wait that begins with this slice, or NULL. */
static const struct wait *wait_begins(const struct cursor *c)
{
	const struct wait *x = c->wait < c->n_waits ? &c->waits[c->wait] : NULL;

	return x && x->slice == c->slice ? x : NULL;
}

/* The slice is gone through: its turn on the CPU counts unless the wait goes on after it. */
static void pass_slice(struct cursor *c, const struct building *b)
{
	const struct slice *s = &c->t->slices.v[c->slice];
	const struct wait *x = c->wait < c->n_waits ? &c->waits[c->wait] : NULL;

	if (x && c->slice >= x->slice) {
		if (c->slice + 1 < (size_t)x->slice + x->n_slices) {
			c->slice++;
			return;
		}
		c->wait++;
		c->work = 0;
	}
	c->work += c->scale * (double)on_cpu(b, s, UINT64_MAX);
	c->slice++;
}

static int add_task(struct building *b, const struct task *t)
{
	struct replay_task r = {.first = (uint32_t)b->p->waits.n, .counts = true};
	const struct wait *before = NULL;
	struct cursor c;
	bool open = false;
	int err = add_birth(b, t);

	cursor_begin(&c, b, t);
	while (!err && !open && c.slice < t->slices.n) {
		const struct wait *x = wait_begins(&c);

		if (x) {
			r.work_ns += c.work;
			open = is_last(t, x);
			err = add_wait(b, x, c.work, open, is_handed(b, before, x, c.work));
			before = x;
		}
		pass_slice(&c, b);
	}
	/* Killed, or idle when recording stopped: nothing ends with it. */
	if (open)
		r.counts = false;
	else
		r.rest_ns = c.work;
	r.work_ns += r.rest_ns;
	r.n = (uint32_t)b->p->waits.n - r.first;
	b->p->work_ns += r.work_ns;
	return err ? err : vec_push(&b->p->tasks, r);
}

/* Is it for the end of a task? A library's own way to join shows by who ends the wait: a task
 * that the waiter made, and that does nothing after it. */
static bool is_join(const struct building *b, const struct wait *x)
{
	const struct task *waker = model_task(b->w->m, x->waker);

	if (x->kind == WAIT_CHILD || (x->lock && b->w->locks.v[x->lock - 1].kind == LOCK_JOIN))
		return true;
	return x->lock && waker && waker->parent == x->task && !waker->alive &&
	       waker->end_ns < x->end_ns + LAST_STEPS_NS;
}

/* Who joins several joins them all: one that ended while its creator waited for another one's
 * end would be waited for if it ended later. */
static int join_all(struct building *b, const struct task *t)
{
	uint32_t creator = index_of(b, t->parent), self = index_of(b, t->id);
	size_t lo = 0, n, hi;
	const struct wait *x;

	if (!creator || t->alive)
		return 0;
	x = waits_of(b->w, t->parent, &n);
	for (hi = n; lo < hi;) { /* the first that ends at its end or later */
		size_t mid = lo + (hi - lo) / 2;

		if (x[mid].end_ns < t->end_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	/* Its birth comes first; after an open wait there are none. */
	if (lo >= n || x[lo].start_ns > t->end_ns || lo + 1 >= b->p->tasks.v[creator - 1].n)
		return 0;
	if (!is_join(b, &x[lo]))
		return 0;
	if (b->p->waits.v[b->p->tasks.v[creator - 1].first + 1 + lo].flags &
	    (REPLAY_TIMED | REPLAY_OPEN))
		return 0;
	return add_edge(b, self - 1, t->end_ns,
	                b->p->tasks.v[creator - 1].first + 1 + (uint32_t)lo);
}

/* --- who only looks on --- */

/* A task that sleeps again and again, hardly works, and stops with the next sleep after another
 * one's end: it looks whether that is done. How often depends on how long the others take. */
struct onlooker {
	uint64_t sleeps, slept_ns, first_ns, last_ns, gil_ns;
};

static bool looks_on(const struct building *b, const struct task *t, struct onlooker *o)
{
	size_t n;
	const struct wait *x = waits_of(b->w, t->id, &n);
	uint64_t gil_ns = 0; /* since the last sleep */

	*o = (struct onlooker){0};
	for (size_t i = 0; i < n; i++) {
		uint64_t ns = x[i].in_ns - x[i].start_ns;

		if (x[i].lock && b->w->locks.v[x[i].lock - 1].kind == LOCK_GIL)
			gil_ns += ns;
		if (x[i].kind != WAIT_TIMER || x[i].open)
			continue;
		if (!o->sleeps++)
			o->first_ns = x[i].start_ns;
		else
			o->gil_ns += gil_ns;
		gil_ns = 0;
		o->slept_ns += ns;
		o->last_ns = x[i].in_ns;
	}
	return o->sleeps >= ONLOOKER_SLEEPS &&
	       (o->last_ns - o->first_ns - o->slept_ns - o->gil_ns) * ONLOOKER_DUTY <= o->slept_ns;
}

/* Whom it looks at: one that worked more and ended in the last of its sleeps or so. */
static const struct task *looked_at(const struct building *b, const struct task *t,
                                    const struct onlooker *o)
{
	uint64_t slack = 2 * (o->slept_ns / o->sleeps) + LAST_STEPS_NS;

	for (size_t i = 0; i < model_n_tasks(b->w->m); i++) {
		const struct task *s = model_task_at(b->w->m, i);

		if (s != t && (s->proc == t->proc || s->parent == t->id) && !s->alive &&
		    s->run_ns > t->run_ns && s->end_ns <= o->last_ns + LAST_STEPS_NS &&
		    s->end_ns + slack >= o->last_ns)
			return s;
	}
	return NULL;
}

static void forget_sleeps(struct building *b, size_t task, uint64_t since_ns)
{
	size_t n;
	const struct wait *x = waits_of(b->w, model_task_at(b->w->m, task)->id, &n);
	const struct replay_task *r = &b->p->tasks.v[task];

	for (size_t i = 0; i < n && i + 1 < r->n; i++)
		if (x[i].kind == WAIT_TIMER && x[i].start_ns >= since_ns)
			b->p->waits.v[r->first + 1 + i].delay_ns = 0;
}

static void find_onlookers(struct building *b)
{
	unsigned left = MAX_ONLOOKERS;

	for (size_t i = 0; i < model_n_tasks(b->w->m) && left; i++) {
		const struct task *t = model_task_at(b->w->m, i), *other;
		struct onlooker o;

		if (!looks_on(b, t, &o))
			continue;
		left--;
		other = looked_at(b, t, &o);
		if (other)
			forget_sleeps(b, i, other->start_ns);
	}
}

/* --- edges --- */

static inline bool is_earlier(const void *a, const void *b)
{
	const struct replay_edge *x = a, *y = b;

	return x->t != y->t ? x->t < y->t : x->target < y->target;
}

/* Fills each task's `edges` and `n_edges`, and sorts the edges so. `other` has room for them all.
 */
static void sort_edges(struct replay *p, struct replay_edge *other)
{
	uint32_t at = 0;

	for (size_t i = 0; i < p->edges.n; i++)
		p->tasks.v[p->edges.v[i].source].n_edges++;
	for (size_t i = 0; i < p->tasks.n; i++) {
		p->tasks.v[i].edges = at;
		at += p->tasks.v[i].n_edges;
		p->tasks.v[i].n_edges = 0;
	}
	for (size_t i = 0; i < p->edges.n; i++) {
		struct replay_task *r = &p->tasks.v[p->edges.v[i].source];

		other[r->edges + r->n_edges++] = p->edges.v[i];
	}
	for (size_t i = 0; i < p->tasks.n; i++) {
		const struct replay_task *r = &p->tasks.v[i];
		struct replay_edge *to = p->edges.v + r->edges, *from = other + r->edges, *sorted;

		sorted = runs_sort(from, to, r->n_edges, sizeof(*from), is_earlier);
		if (sorted == from)
			memcpy(to, from, r->n_edges * sizeof(*from));
	}
}

/* How far the task was at e->t; edges come in the order of time. */
static void place_edge(struct building *b, struct cursor *c, const struct replay_task *r,
                       struct replay_edge *e)
{
	uint64_t t = e->t;
	double at;

	while (c->slice < c->t->slices.n && c->t->slices.v[c->slice].end_ns <= t)
		pass_slice(c, b);
	at = c->work;
	e->part = (uint32_t)c->wait + 1;
	if (c->slice < c->t->slices.n) {
		const struct slice *s = &c->t->slices.v[c->slice];
		const struct wait *x = c->wait < c->n_waits ? &c->waits[c->wait] : NULL;
		bool inside = x && c->slice >= x->slice;

		if (inside && c->slice + 1 == (size_t)x->slice + x->n_slices && t >= s->in_ns) {
			e->part++; /* in the turn after the wait */
			at = 0;
			inside = false;
		}
		if (!inside)
			at += c->scale * (double)on_cpu(b, s, t);
	}
	if (e->part > r->n) { /* after an open wait: as good as at its end */
		e->part = r->n;
		at = r->rest_ns;
	}
	e->at_ns = (float)at;
}

/* The task whose wait it is. */
static uint32_t waiter_of(const struct replay *p, uint32_t wait)
{
	size_t lo = 0, hi = p->tasks.n;

	while (lo + 1 < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->tasks.v[mid].first <= wait)
			lo = mid;
		else
			hi = mid;
	}
	return (uint32_t)lo;
}

static int place_edges(struct building *b)
{
	struct replay *p = b->p;
	struct replay_edge *other = malloc((p->edges.n + 1) * sizeof(*other));

	if (!other)
		return -ENOMEM;
	sort_edges(p, other);
	free(other);
	for (size_t i = 0; i < p->tasks.n; i++) {
		struct replay_task *r = &p->tasks.v[i];
		struct cursor c;

		cursor_begin(&c, b, model_task_at(b->w->m, i));
		for (uint32_t k = 0; k < r->n_edges; k++) {
			struct replay_edge *e = &p->edges.v[r->edges + k];

			place_edge(b, &c, r, e);
			e->waiter = waiter_of(p, e->target);
		}
	}
	return 0;
}

/* --- all --- */

static void set_counts(struct replay *p)
{
	for (size_t i = 0; i < p->tasks.n; i++)
		if (p->tasks.v[i].counts)
			return;
	for (size_t i = 0; i < p->tasks.n; i++)
		p->tasks.v[i].counts = true;
}

static int build(struct building *b)
{
	const struct model *m = b->w->m;
	size_t n = model_n_tasks(m);
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t *at = hmap_put(&b->ids, model_task_at(m, i)->id, 0, NULL);

		if (!at)
			return -ENOMEM;
		*at = i + 1;
	}
	err = vec_reserve(&b->p->waits, b->w->waits.n + n);
	if (!err)
		err = vec_reserve(&b->p->edges, b->w->waits.n + n);
	for (size_t i = 0; i < n && !err; i++)
		err = add_task(b, model_task_at(m, i));
	for (size_t i = 0; i < n && !err; i++)
		err = join_all(b, model_task_at(m, i));
	if (!err)
		find_onlookers(b);
	if (!err)
		err = place_edges(b);
	set_counts(b->p);
	return err;
}

int replay_build(struct replay *p, const struct waits *w)
{
	struct building b = {.p = p, .w = w, .rec = model_recording(w->m)};
	int err;

	*p = (struct replay){.w = w};
	if (w->waits.n > MAX_WAITS)
		return -E2BIG;
	err = build(&b);
	hmap_release(&b.ids);
	return err;
}

void replay_release(struct replay *p)
{
	vec_release(&p->tasks);
	vec_release(&p->waits);
	vec_release(&p->edges);
	*p = (struct replay){0};
}
