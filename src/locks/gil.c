/* SPDX-License-Identifier: MIT */
/*
 * gil.c: who held a GIL when. The recorder reads it whenever a thread of its process leaves a CPU
 * or wakes another: who had it last, whether it is held, and a number that grows with each change
 * of hands. Between two readings there are only a few microseconds in contended times, and what
 * happened in between follows from the two:
 *
 *  - The number is the same: nobody else had it. If it was held at the first reading it is taken as
 *    held all along (a release with a waiter asleep would have woken that, which is a reading).
 *  - It grew by one: one change, to the second reading's holder. He cannot have taken it
 *    before he got his CPU, nor before the first reading if it was free then.
 *  - It grew by more: those in between are threads that came back from their wait for it in the
 *    meantime, in that order.
 *
 * A thread that releases the GIL wakes a waiter: the time of that is the end of its hold. Where
 * nobody waits, releases are not seen, and how long it was held is an estimate: of a thread that
 * leaves the CPU with the GIL free and itself as the last holder, that it had it as long as it ran.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

#define COND_OFF  32 /* of struct _gil_runtime_state: where threads wait */
#define COND_SIZE 48

/* A thread came back from its wait for the GIL. */
struct gil_return {
	uint64_t ts;
	uint32_t task;
};

struct one_gil {
	VEC(struct gil_span) spans;
	VEC(uint32_t) samples; /* indices */
	VEC(struct gil_return) returns;
};

struct gil_timeline {
	const struct model *m;
	const struct gil_sample *samples;
	struct one_gil *gils;
	size_t n;
	int err;
};

/* --- which GIL a futex belongs to ------------------------------------------------------- */

uint32_t gil_of_futex(const struct model *m, uint32_t space, uint64_t addr)
{
	return model_gil_around(m, space, addr);
}

/* --- spans ------------------------------------------------------------------------------------ */

static void span_add(struct gil_timeline *tl, struct one_gil *g, uint64_t start, uint64_t end,
                     uint32_t task, uint8_t state, uint8_t evidence)
{
	struct gil_span s = {.start_ns = start,
	                     .end_ns = end,
	                     .task = state == BLAME_HELD ? task : 0,
	                     .state = state,
	                     .evidence = state == BLAME_NOBODY ? EVIDENCE_UNKNOWN : evidence};
	struct gil_span *last = g->spans.n ? &g->spans.v[g->spans.n - 1] : NULL;

	if (end <= start)
		return;
	if (s.state == BLAME_HELD && !s.task) {
		s.state = BLAME_NOBODY;
		s.evidence = EVIDENCE_UNKNOWN;
	}
	if (last && last->task == s.task && last->state == s.state &&
	    last->evidence == s.evidence) {
		last->end_ns = end;
		return;
	}
	if (vec_push(&g->spans, s))
		tl->err = -ENOMEM;
}

static void held(struct gil_timeline *tl, struct one_gil *g, uint64_t start, uint64_t end,
                 uint32_t task)
{
	span_add(tl, g, start, end, task, BLAME_HELD, EVIDENCE_HOLDER);
}

/* As the reading found it. */
static void as_read(struct gil_timeline *tl, struct one_gil *g, const struct gil_sample *s,
                    uint64_t start, uint64_t end)
{
	span_add(tl, g, start, end, s->holder, s->locked ? BLAME_HELD : BLAME_HANDOFF,
	         EVIDENCE_OWNER);
}

/* When the task got the CPU that it has at t, or had last before; 0 = unknown. */
static uint64_t on_cpu_since(const struct model *m, uint32_t task, uint64_t t)
{
	const struct task *k = model_task(m, task);
	size_t lo = 0, hi = k ? k->slices.n : 0;

	while (lo < hi) { /* the first that began later */
		size_t mid = lo + (hi - lo) / 2;

		if (k->slices.v[mid].in_ns <= t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? k->slices.v[lo - 1].in_ns : 0;
}

static uint64_t between(uint64_t t, uint64_t lo, uint64_t hi)
{
	return t < lo ? lo : t > hi ? hi : t;
}

/* --- from one reading to the next ------------------------------------------------------------- */

/* The same holder at both. */
static void same_holder(struct gil_timeline *tl, struct one_gil *g, const struct gil_sample *a,
                        const struct gil_sample *b)
{
	uint64_t since, taken = b->ts;

	if (a->locked) {
		as_read(tl, g, a, a->ts, b->ts);
		return;
	}
	/* It was free, and its last holder took it again: to have it still, to release it now, or
	 * to do what ends in a wait for something else. */
	since = on_cpu_since(tl->m, b->holder, b->ts);
	if (b->locked || (b->by == b->holder && (b->released || (b->blocked && since > a->ts))))
		taken = between(since, a->ts, b->ts);
	as_read(tl, g, a, a->ts, taken);
	held(tl, g, taken, b->ts, b->holder);
}

static void one_change(struct gil_timeline *tl, struct one_gil *g, const struct gil_sample *a,
                       const struct gil_sample *b)
{
	uint64_t taken = between(on_cpu_since(tl->m, b->holder, b->ts), a->ts, b->ts);
	uint64_t until = b->ts;

	/* The new holder ran all the time, while the old one still had it. */
	if (a->locked && taken == a->ts)
		taken += (b->ts - a->ts) / 2;
	/* He took it and released it, and went on. */
	if (!b->locked && !(b->by == b->holder && (b->released || b->blocked)))
		until = taken + (b->ts - taken) / 2;
	as_read(tl, g, a, a->ts, taken);
	held(tl, g, taken, until, b->holder);
	as_read(tl, g, b, until, b->ts);
}

/* More changes than readings: between them, those who came back from waiting. */
static void many_changes(struct gil_timeline *tl, struct one_gil *g, const struct gil_sample *a,
                         const struct gil_sample *b, size_t from, size_t to)
{
	uint64_t at = a->ts, room = b->switches - a->switches - 1;
	uint64_t last = between(on_cpu_since(tl->m, b->holder, b->ts), a->ts, b->ts);
	uint32_t task = 0;

	for (size_t i = from; i < to && room; i++) {
		const struct gil_return *r = &g->returns.v[i];

		if (r->task == b->holder && r->ts >= last)
			break;
		if (task)
			held(tl, g, at, r->ts, task);
		else
			as_read(tl, g, a, at, r->ts);
		at = r->ts;
		task = r->task;
		room--;
	}
	if (last <= at)
		last = at + (b->ts - at) / 2;
	if (task)
		held(tl, g, at, last, task);
	else
		as_read(tl, g, a, at, last);
	held(tl, g, last, b->ts, b->holder);
}

static void fill(struct gil_timeline *tl, struct one_gil *g, const struct gil_sample *a,
                 const struct gil_sample *b, size_t from, size_t to)
{
	uint64_t changes = b->switches - a->switches;

	if (b->ts <= a->ts)
		return;
	if (!changes)
		same_holder(tl, g, a, b);
	else if (changes == 1)
		one_change(tl, g, a, b);
	else if (b->switches > a->switches)
		many_changes(tl, g, a, b, from, to);
	else /* two CPUs' readings at one moment, the wrong way round */
		as_read(tl, g, b, a->ts, b->ts);
}

static void build_one(struct gil_timeline *tl, struct one_gil *g)
{
	uint64_t end = model_recording(tl->m)->stop_ns;
	const struct gil_sample *a = NULL;
	size_t from = 0, to = 0;

	for (size_t i = 0; i < g->samples.n; i++) {
		const struct gil_sample *b = &tl->samples[g->samples.v[i]];

		while (to < g->returns.n && g->returns.v[to].ts <= b->ts)
			to++;
		if (a)
			fill(tl, g, a, b, from, to);
		from = to;
		a = b;
	}
	if (a && end > a->ts)
		as_read(tl, g, a, a->ts, end);
}

/* --- what it is built from ------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
	const struct gil_return *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* For each futex of the model the GIL on whose condition it is a word, + 1. */
static uint32_t *condition_words(const struct gil_timeline *tl)
{
	size_t n = model_n_futexes(tl->m);
	uint32_t *of = calloc(n ? n : 1, sizeof(*of));
	const struct gil *gils;

	model_gils(tl->m, &gils);
	for (size_t i = 0; of && i < n; i++) {
		const struct futex *f = model_futex_at(tl->m, i);
		uint32_t g = gil_of_futex(tl->m, f->space, f->addr);

		if (g && f->addr - gils[g - 1].addr - COND_OFF < COND_SIZE)
			of[i] = g;
	}
	return of;
}

static int gather_returns(struct gil_timeline *tl)
{
	uint32_t *of = condition_words(tl);
	int err = of ? 0 : -ENOMEM;

	for (size_t i = 0; i < model_n_tasks(tl->m) && !err; i++) {
		const struct task *t = model_task_at(tl->m, i);

		for (size_t j = 0; j < t->slices.n && !err; j++) {
			const struct slice *s = &t->slices.v[j];
			struct gil_return r = {.ts = s->in_ns, .task = t->id};

			if (s->futex && of[s->futex - 1] && s->in_ns < s->end_ns)
				err = vec_push(&tl->gils[of[s->futex - 1] - 1].returns, r);
		}
	}
	free(of);
	return err;
}

static int gather(struct gil_timeline *tl)
{
	size_t n = model_gil_samples(tl->m, &tl->samples);
	int err = gather_returns(tl);

	for (size_t i = 0; i < n && !err; i++)
		err = vec_push(&tl->gils[tl->samples[i].gil].samples, (uint32_t)i);
	for (size_t i = 0; i < tl->n && !err; i++)
		if (tl->gils[i].returns.n)
			qsort(tl->gils[i].returns.v, tl->gils[i].returns.n,
			      sizeof(struct gil_return), by_time);
	return err;
}

struct gil_timeline *gil_timeline_build(const struct model *m, struct err *err)
{
	struct gil_timeline *tl = calloc(1, sizeof(*tl));
	const struct gil *gils;

	if (!tl)
		goto fail;
	tl->m = m;
	tl->n = model_gils(m, &gils);
	tl->gils = calloc(tl->n ? tl->n : 1, sizeof(*tl->gils));
	if (!tl->gils || gather(tl))
		goto fail;
	for (size_t i = 0; i < tl->n; i++) {
		build_one(tl, &tl->gils[i]);
		vec_release(&tl->gils[i].samples);
		vec_release(&tl->gils[i].returns);
	}
	if (!tl->err)
		return tl;
fail:
	gil_timeline_free(tl);
	err_set(err, -ENOMEM, MT_EXIT_FAIL, "not enough memory for the holders of the GIL");
	return NULL;
}

void gil_timeline_free(struct gil_timeline *tl)
{
	if (!tl)
		return;
	for (size_t i = 0; tl->gils && i < tl->n; i++) {
		vec_release(&tl->gils[i].spans);
		vec_release(&tl->gils[i].samples);
		vec_release(&tl->gils[i].returns);
	}
	free(tl->gils);
	free(tl);
}

/* --- answers --------------------------------------------------------------------------------- */

const struct gil_span *gil_timeline_spans(const struct gil_timeline *tl, size_t gil, size_t *n)
{
	*n = gil < tl->n ? tl->gils[gil].spans.n : 0;
	return gil < tl->n ? tl->gils[gil].spans.v : NULL;
}

static int nobody(uint64_t t0, uint64_t t1, gil_segment_cb cb, void *ctx)
{
	struct gil_span piece = {.start_ns = t0, .end_ns = t1, .state = BLAME_NOBODY};

	return t0 < t1 ? cb(ctx, &piece) : 0;
}

int gil_segments(const struct gil_timeline *tl, size_t gil, uint64_t t0, uint64_t t1,
                 gil_segment_cb cb, void *ctx)
{
	size_t n, lo = 0, hi;
	const struct gil_span *v = gil_timeline_spans(tl, gil, &n);
	int rc = 0;

	for (hi = n; lo < hi;) { /* the first that ends after t0 */
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].end_ns <= t0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; t0 < t1 && lo < n && v[lo].start_ns < t1 && !rc; lo++) {
		struct gil_span piece = v[lo];

		rc = nobody(t0, piece.start_ns, cb, ctx);
		if (piece.start_ns < t0)
			piece.start_ns = t0;
		if (piece.end_ns > t1)
			piece.end_ns = t1;
		rc = rc ? rc : cb(ctx, &piece);
		t0 = piece.end_ns;
	}
	return rc ? rc : nobody(t0, t1, cb, ctx);
}
