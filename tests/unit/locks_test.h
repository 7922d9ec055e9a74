/* SPDX-License-Identifier: MIT */
/* locks_test.h: what the tests of locks and waits share. */
#ifndef MT_LOCKS_TEST_H
#define MT_LOCKS_TEST_H

#include "model_test.h"
#include "waits.h"

/* A model and its waits. */
struct built {
	struct model *m;
	struct waits *w;
};

/* Their sum; who has most comes first. */
static inline uint64_t waited_for(const struct lock_task *v, size_t n)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < n; i++) {
		cr_assert(!i || v[i - 1].wait_ns >= v[i].wait_ns);
		cr_assert(v[i].max_ns <= v[i].wait_ns && v[i].waits);
		ns += v[i].wait_ns;
	}
	return ns;
}

/* What holds for all waits: by task and time, tiled by their blame, summed up by their locks. */
static inline void expect_sound(const struct waits *w)
{
	for (size_t i = 0; i < w->waits.n; i++) {
		const struct wait *x = &w->waits.v[i];
		uint64_t sum = 0, last = x->start_ns;

		cr_assert(x->start_ns <= x->end_ns && x->end_ns <= x->in_ns);
		cr_assert(x->kind < WAIT_KIND_N && x->lock <= w->locks.n &&
		          x->channel <= w->channels.n);
		cr_assert_eq(x->kind == WAIT_LOCK, x->lock != 0);
		cr_assert(x->blame + x->n_blame <= w->blames.n);
		for (uint32_t j = x->blame; j < x->blame + x->n_blame; j++) {
			const struct blame *b = &w->blames.v[j];

			cr_assert(b->start_ns >= last && b->end_ns > b->start_ns &&
			          b->end_ns <= x->end_ns);
			cr_assert_neq(b->task, x->task);
			cr_assert(b->state == BLAME_HANDOFF ||
			          (b->state == BLAME_HELD) == (b->task != 0));
			last = b->end_ns;
			sum += b->end_ns - b->start_ns;
		}
		cr_assert_eq(sum, x->blocked_ns, "wait %zu: %" PRIu64 " of %" PRIu64, i, sum,
		             x->blocked_ns);
	}
	for (size_t i = 0; i < w->locks.n; i++) {
		const struct lock *l = &w->locks.v[i];
		uint64_t waits = 0, ns = 0;

		cr_assert_eq(l->id, i + 1);
		cr_assert(l->waits && l->name[0] && l->name_from);
		cr_assert(l->p50_ns <= l->p99_ns && l->p99_ns <= l->max_ns);
		for (size_t j = 0; j < l->waiters.n; j++)
			waits += l->waiters.v[j].waits;
		cr_assert_eq(waits, l->waits);
		cr_assert_eq(waited_for(l->waiters.v, l->waiters.n), l->wait_ns);
		cr_assert_leq(l->held_ns + l->handoff_ns, l->wait_ns);
		cr_assert_eq(waited_for(l->blockers.v, l->blockers.n), l->held_ns);
		waits = 0;
		for (size_t j = 0; j < l->sites.n; j++) {
			cr_assert(!j || l->sites.v[j - 1].wait_ns >= l->sites.v[j].wait_ns);
			waits += l->sites.v[j].waits;
			ns += l->sites.v[j].wait_ns;
		}
		cr_assert_eq(waits, l->waits);
		cr_assert_eq(ns, l->wait_ns);
	}
	for (size_t i = 0; i < w->channels.n; i++) {
		const struct channel *c = &w->channels.v[i];

		cr_assert_eq(c->id, i + 1);
		cr_assert_eq(waited_for(c->waiters.v, c->waiters.n), c->wait_ns);
		cr_assert_eq(c->read_wait_ns + c->write_wait_ns, c->wait_ns);
		cr_assert_leq(waited_for(c->blockers.v, c->blockers.n), c->wait_ns);
	}
}

static inline struct built build_waits(struct tb *tb)
{
	struct err err = {0};
	struct built b = {.m = load(tb, NULL)};

	b.w = waits_build(b.m, &err);
	cr_assert(b.w, "%s", err.msg);
	expect_sound(b.w);
	return b;
}

static inline void built_free(struct built *b)
{
	waits_free(b->w);
	model_free(b->m);
}

/* The nth wait of a task. */
static inline const struct wait *wait_no(const struct built *b, uint32_t task, size_t nth)
{
	size_t n;
	const struct wait *x = waits_of(b->w, task, &n);

	cr_assert(nth < n, "task %u has %zu waits", task, n);
	return x + nth;
}

static inline const struct lock *lock_of_wait(const struct built *b, uint32_t task, size_t nth)
{
	const struct wait *x = wait_no(b, task, nth);

	cr_assert(x->lock, "wait %zu of task %u is for a lock", nth, task);
	return &b->w->locks.v[x->lock - 1];
}

/* At ns since the start, wait nth of the task waits for `whom` in that state. */
static inline void expect_blame(const struct built *b, uint32_t task, size_t nth, uint64_t at,
                                enum blame_state state, uint32_t whom)
{
	const struct blame *x = wait_blame_at(b->w, wait_no(b, task, nth), TB_EPOCH + at);

	cr_assert(x, "task %u at %" PRIu64 " waits", task, at);
	cr_expect_eq(x->state, state, "task %u at %" PRIu64 ": state %u, not %u", task, at,
	             x->state, state);
	cr_expect_eq(x->task, whom, "task %u at %" PRIu64 " waits for %u, not %u", task, at,
	             x->task, whom);
}

#endif
