/* SPDX-License-Identifier: MIT */
/*
 * How much of the time that a task ran it had the GIL. While another waits for a GIL each change of
 * hands is recorded, and while its holder is not running the reading of its last switch
 * says so. But who runs with nobody waiting releases the GIL and takes it back unseen: the
 * timeline has it as the holder all along. There the samples decide, as each has looked whether its
 * task had the GIL: of k in n of them, k / n of that time. A task without a sample is taken to be
 * like the others of its process.
 *
 * Nobody is in the evaluation loop without a GIL: where that is not the one which was looked at, it
 * is a sub-interpreter's own (from 3.12 on), which is not known before somebody waits for it.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "gil_priv.h"

#define OTHERS_LEAST 2
#define OTHERS_SHARE 20 /* … and one sample in so many: another GIL that is not known */

/* Somebody waits for the GIL. before: the sum of all stretches in front of this one. */
struct stretch {
	uint64_t lo, hi, before;
};

struct waited {
	VEC(struct stretch) v;
	uint64_t first_ns;        /* the GIL's first sign; UINT64_MAX = none */
	uint64_t samples, others; /* that looked at it; in the loop without it */
};

/* A task and a GIL. on_ns: it ran, since the GIL's first sign; quiet_ns: with nobody waiting.
 * held_…: the same of the time that the timeline has it as the holder. */
struct pair {
	size_t gil;
	uint32_t task;
	uint64_t n, k;
	uint64_t on_ns, quiet_ns, held_on_ns, held_quiet_ns;
};

struct share {
	struct gil_sums *g;
	struct waited *waited;
	struct hmap at; /* (gil, task) -> index into pairs + 1 */
	VEC(struct pair) pairs;
	struct hmap loops; /* user stack -> 1: in the evaluation loop, 2: not */
	uint64_t lo, hi;   /* the window */
};

static struct pair *pair_of(struct share *s, size_t gil, uint32_t task)
{
	uint64_t *at = hmap_put(&s->at, gil, task, NULL);

	if (!at)
		return NULL;
	if (!*at) {
		if (vec_push(&s->pairs, ((struct pair){.gil = gil, .task = task})))
			return NULL;
		*at = s->pairs.n;
	}
	return &s->pairs.v[*at - 1];
}

/* --- when somebody waits ---------------------------------------------------------------------- */

static int by_lo(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void join(struct waited *w)
{
	struct stretch *v = w->v.v;
	size_t n = 0;

	if (w->v.n)
		qsort(v, w->v.n, sizeof(*v), by_lo);
	for (size_t i = 0; i < w->v.n; i++) {
		if (n && v[i].lo <= v[n - 1].hi) {
			v[n - 1].hi = v[i].hi > v[n - 1].hi ? v[i].hi : v[n - 1].hi;
			continue;
		}
		v[n] = v[i];
		v[n].before = n ? v[n - 1].before + (v[n - 1].hi - v[n - 1].lo) : 0;
		n++;
	}
	w->v.n = n;
}

static int find_waits(struct share *s)
{
	const struct model *m = s->g->r->m;

	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		for (size_t j = 0; j < t->slices.n; j++) {
			const struct slice *x = &t->slices.v[j];
			uint32_t gil = x->futex ? s->g->gil_of[x->futex - 1] : 0;
			struct stretch one = {.lo = x->out_ns, .hi = x->in_ns};

			if (gil && one.lo < one.hi && vec_push(&s->waited[gil - 1].v, one))
				return -ENOMEM;
		}
	}
	for (size_t i = 0; i < s->g->n; i++)
		join(&s->waited[i]);
	return 0;
}

/* How many of the stretches begin at t or before. */
static size_t begun(const struct waited *w, uint64_t t)
{
	size_t lo = 0, hi = w->v.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (w->v.v[mid].lo <= t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_waited_for(const struct waited *w, uint64_t t)
{
	size_t n = begun(w, t);

	return n && t < w->v.v[n - 1].hi;
}

/* Their sum up to t. */
static uint64_t waited_until(const struct waited *w, uint64_t t)
{
	size_t n = begun(w, t);
	const struct stretch *x = n ? &w->v.v[n - 1] : NULL;

	return x ? x->before + ((t < x->hi ? t : x->hi) - x->lo) : 0;
}

/* --- when a task runs ------------------------------------------------------------------------- */

/* Adds to *on for how long the task ran between lo and hi, and to *quiet with nobody waiting. */
static void add_running(const struct waited *w, const struct task *t, uint64_t lo, uint64_t hi,
                        uint64_t *on, uint64_t *quiet)
{
	size_t a = 0, b = t->slices.n;

	while (a < b) { /* the first one that ends later than lo */
		size_t mid = a + (b - a) / 2;

		if (t->slices.v[mid].end_ns <= lo)
			a = mid + 1;
		else
			b = mid;
	}
	for (; a < t->slices.n && t->slices.v[a].in_ns < hi; a++) {
		uint64_t from = t->slices.v[a].in_ns, to = t->slices.v[a].end_ns, ns;

		from = from < lo ? lo : from;
		to = to > hi ? hi : to;
		if (to <= from)
			continue;
		ns = waited_until(w, to) - waited_until(w, from);
		*on += to - from;
		*quiet += to - from - ns;
	}
}

/* Is the innermost function Python's, run by the loop itself? */
static int count_other(struct share *s, struct waited *w, uint32_t ustack)
{
	const struct mstack *k = model_stack(s->g->r->m, ustack);
	struct frame first;
	uint64_t *at;

	if (!k || !k->n || !k->n_py)
		return 0;
	at = hmap_put(&s->loops, ustack, 0, NULL);
	if (!at)
		return -ENOMEM;
	if (!*at)
		*at = model_frames(s->g->r->m, ustack, &first, 1) && first.kind == FRAME_PYTHON ? 1
		                                                                                : 2;
	w->others += *at == 1;
	return 0;
}

static int add_samples(struct share *s)
{
	const struct cpu_sample *v;
	size_t n = model_samples(s->g->r->m, &v);

	for (size_t i = 0; i < n; i++) {
		uint32_t gil = v[i].gil ? model_gil_number(s->g->r->m, v[i].gil) : 0;
		struct waited *w;
		struct pair *p;

		if (!gil)
			continue;
		w = &s->waited[gil - 1];
		w->first_ns = v[i].ts < w->first_ns ? v[i].ts : w->first_ns;
		w->samples++;
		if (!v[i].has_gil && count_other(s, w, v[i].ustack))
			return -ENOMEM;
		p = pair_of(s, gil - 1, v[i].task);
		if (!p)
			return -ENOMEM;
		if (is_waited_for(w, v[i].ts))
			continue;
		p->n++;
		p->k += v[i].has_gil;
	}
	return 0;
}

static int add_spans(struct share *s, size_t gil)
{
	size_t n;
	const struct gil_span *v = gil_timeline_spans(s->g->tl, gil, &n);
	struct waited *w = &s->waited[gil];

	if (n && v[0].start_ns < w->first_ns)
		w->first_ns = v[0].start_ns;
	for (size_t i = 0; i < n; i++) {
		const struct task *t =
		        v[i].state == BLAME_HELD ? model_task(s->g->r->m, v[i].task) : NULL;
		uint64_t lo = v[i].start_ns < s->lo ? s->lo : v[i].start_ns;
		uint64_t hi = v[i].end_ns > s->hi ? s->hi : v[i].end_ns;
		struct pair *p = t && lo < hi ? pair_of(s, gil, t->id) : NULL;

		if (p)
			add_running(w, t, lo, hi, &p->held_on_ns, &p->held_quiet_ns);
		else if (t && lo < hi)
			return -ENOMEM;
	}
	return 0;
}

/* --- sums ------------------------------------------------------------------------------------- */

/* One more than was seen on either side: that all of a few samples had it does not prove that there
 * is no doubt (Laplace). */
static double deviation(double n, double k)
{
	double p = (k + 1) / (n + 2);

	return sqrt(p * (1 - p) / n);
}

static void add_time(struct gil_time *t, const struct pair *p, const struct pair *all)
{
	const struct pair *from = p->n ? p : all;
	double quiet = (double)p->quiet_ns, n = (double)from->n, k = (double)from->k;
	uint64_t held = from->n ? (uint64_t)(quiet * k / n) : p->held_quiet_ns;

	t->hold_ns -= p->held_quiet_ns < t->hold_ns ? p->held_quiet_ns : t->hold_ns;
	t->hold_ns += held;
	t->doubt_ns = from->n ? (uint64_t)(2 * quiet * deviation(n, k)) : p->held_quiet_ns;
	t->cpu_ns += p->on_ns;
	t->cpu_hold_ns += p->held_on_ns - p->held_quiet_ns + held;
	t->samples += p->n;
}

/* Doubts of tasks have nothing to do with each other. */
static void add_to_row(struct gil_time *row, const struct gil_time *task, uint64_t before_ns)
{
	row->hold_ns += task->hold_ns;
	row->hold_ns -= before_ns < row->hold_ns ? before_ns : row->hold_ns;
	row->doubt_ns = (uint64_t)hypot((double)row->doubt_ns, (double)task->doubt_ns);
	row->cpu_ns += task->cpu_ns;
	row->cpu_hold_ns += task->cpu_hold_ns;
	row->samples += task->samples;
}

static int add_pair(struct share *s, struct pair *p, const struct pair *all)
{
	const struct task *t = model_task(s->g->r->m, p->task);
	struct waited *w = &s->waited[p->gil];
	uint64_t lo = w->first_ns < s->lo ? s->lo : w->first_ns, before;
	struct gil_time none = {0}, *to = &none;
	struct gil_task *row;

	if (!t)
		return 0;
	if (lo < s->hi)
		add_running(w, t, lo, s->hi, &p->on_ns, &p->quiet_ns);
	/* Who never had it is no row of its own. */
	if (p->k || hmap_get(&s->g->rows, p->gil, p->task)) {
		row = gil_task_row(s->g, p->gil, p->task);
		if (!row)
			return -ENOMEM;
		to = &row->time;
	}
	before = to->hold_ns;
	add_time(to, p, all);
	add_to_row(&s->g->r->gils.v[p->gil].time, to, before);
	return 0;
}

static int add_pairs(struct share *s)
{
	struct pair *all = calloc(s->g->n, sizeof(*all));
	int err = all ? 0 : -ENOMEM;

	for (size_t i = 0; i < s->pairs.n && !err; i++) {
		all[s->pairs.v[i].gil].n += s->pairs.v[i].n;
		all[s->pairs.v[i].gil].k += s->pairs.v[i].k;
	}
	for (size_t i = 0; i < s->pairs.n && !err; i++)
		err = add_pair(s, &s->pairs.v[i], &all[s->pairs.v[i].gil]);
	free(all);
	return err;
}

int gil_share(struct gil_sums *g)
{
	const struct recording *rec = model_recording(g->r->m);
	struct share s = {.g = g, .lo = rec->wall_start_ns, .hi = rec->wall_end_ns};
	int err = 0;

	s.waited = calloc(g->n, sizeof(*s.waited));
	if (!s.waited)
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++)
		s.waited[i].first_ns = UINT64_MAX;
	err = find_waits(&s);
	err = err ? err : add_samples(&s);
	for (size_t i = 0; i < g->n && !err; i++)
		err = add_spans(&s, i);
	err = err ? err : add_pairs(&s);
	for (size_t i = 0; i < g->n; i++) {
		const struct waited *w = &s.waited[i];

		g->r->gils.v[i].others =
		        w->others >= OTHERS_LEAST && w->others >= w->samples / OTHERS_SHARE;
		vec_release(&s.waited[i].v);
	}
	free(s.waited);
	vec_release(&s.pairs);
	hmap_release(&s.at);
	hmap_release(&s.loops);
	return err;
}
