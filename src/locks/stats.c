/* SPDX-License-Identifier: MIT */
/* Sums of locks and channels: who waited, for whom, where, how long. */
#include <errno.h>
#include <stdlib.h>

#include "locks_priv.h"

#define N_EVIDENCE (EVIDENCE_FOUND + 1)

/* What one task (or one place) has to do with one lock or channel. */
struct tally {
	uint32_t owner, a, b; /* lock or channel id; task, or user and kernel stack */
	uint32_t last_wait;   /* place + 1 of the wait counted last */
	uint64_t waits, wait_ns, max_ns, by_evidence[N_EVIDENCE];
};
struct tallies {
	struct hmap ids;
	VEC(struct tally) v;
};

static struct tally *tally(struct tallies *ts, uint32_t owner, uint32_t a, uint32_t b)
{
	struct tally fresh = {.owner = owner, .a = a, .b = b};
	bool added = false;
	uint64_t *at = hmap_put(&ts->ids, (uint64_t)owner << 32 | a, b, &added);

	if (!at)
		return NULL;
	if (added) {
		*at = ts->v.n;
		if (vec_push(&ts->v, fresh))
			return NULL;
	}
	return &ts->v.v[*at];
}

static int count(struct tally *t, uint64_t ns, size_t wait, unsigned evidence)
{
	if (!t)
		return -ENOMEM;
	t->waits += t->last_wait != wait + 1;
	t->last_wait = (uint32_t)wait + 1;
	t->wait_ns = sat_add(t->wait_ns, ns);
	if (ns > t->max_ns)
		t->max_ns = ns;
	if (evidence < N_EVIDENCE)
		t->by_evidence[evidence] = sat_add(t->by_evidence[evidence], ns + 1);
	return 0;
}

static void tallies_release(struct tallies *ts)
{
	hmap_release(&ts->ids);
	vec_release(&ts->v);
}

/* By lock, then time, then name. */
static int by_wait(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;

	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	if (x->wait_ns != y->wait_ns)
		return x->wait_ns > y->wait_ns ? -1 : 1;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

static void tallies_sort(struct tallies *ts)
{
	hmap_release(&ts->ids);
	if (ts->v.n)
		qsort(ts->v.v, ts->v.n, sizeof(*ts->v.v), by_wait);
}

/* --- one wait ------------------------------------------------------------------------ */

struct sums {
	struct build *b;
	struct tallies waiters, blockers, sites; /* of locks */
	struct tallies readers, others;          /* of channels: waiters, blockers */
};

static int add_blockers(struct sums *s, struct tallies *to, uint32_t owner, size_t i)
{
	const struct wait *x = &s->b->w->waits.v[i];
	int err = 0;

	for (uint32_t j = x->blame; !err && j < x->blame + x->n_blame; j++) {
		const struct blame *piece = &s->b->w->blames.v[j];

		if (piece->task && piece->state == BLAME_HELD)
			err = count(tally(to, owner, piece->task, 0),
			            piece->end_ns - piece->start_ns, i, piece->evidence);
	}
	return err;
}

static void add_split(struct build *b, struct lock *l, const struct wait *x)
{
	for (uint32_t j = x->blame; j < x->blame + x->n_blame; j++) {
		const struct blame *piece = &b->w->blames.v[j];
		uint64_t ns = piece->end_ns - piece->start_ns;

		if (piece->state == BLAME_HELD)
			l->held_ns = sat_add(l->held_ns, ns);
		else if (piece->state == BLAME_HANDOFF)
			l->handoff_ns = sat_add(l->handoff_ns, ns);
	}
	l->ready_ns = sat_add(l->ready_ns, x->in_ns - x->end_ns);
}

static int add_lock(struct sums *s, size_t i)
{
	const struct wait *x = &s->b->w->waits.v[i];
	struct lock *l = &s->b->w->locks.v[x->lock - 1];
	const struct slice *first = &model_task(s->b->m, x->task)->slices.v[x->slice];
	int err;

	l->waits++;
	l->wait_ns = sat_add(l->wait_ns, x->blocked_ns);
	if (x->blocked_ns > l->max_ns)
		l->max_ns = x->blocked_ns;
	add_split(s->b, l, x);
	err = count(tally(&s->waiters, x->lock, x->task, 0), x->blocked_ns, i, N_EVIDENCE);
	if (!err)
		err = count(tally(&s->sites, x->lock, first->ustack, first->kstack), x->blocked_ns,
		            i, N_EVIDENCE);
	return err ? err : add_blockers(s, &s->blockers, x->lock, i);
}

/* One task for the whole wait: who was waited for before that one's birth was at no end of it. */
static int add_other_end(struct sums *s, size_t i)
{
	const struct wait *x = &s->b->w->waits.v[i];
	const struct blame *last;

	if (!x->n_blame)
		return 0;
	last = &s->b->w->blames.v[x->blame + x->n_blame - 1];
	if (!last->task || last->state != BLAME_HELD)
		return 0;
	return count(tally(&s->others, x->channel, last->task, 0), x->blocked_ns, i,
	             last->evidence);
}

static int add_channel(struct sums *s, size_t i)
{
	const struct wait *x = &s->b->w->waits.v[i];
	struct channel *c = &s->b->w->channels.v[x->channel - 1];
	unsigned bits = call_bits(s->b, wait_last_slice(s->b, x)->site);
	int err;

	c->waits++;
	c->wait_ns = sat_add(c->wait_ns, x->blocked_ns);
	if (x->blocked_ns > c->max_ns)
		c->max_ns = x->blocked_ns;
	if (bits & CALL_WRITE)
		c->write_wait_ns = sat_add(c->write_wait_ns, x->blocked_ns);
	else
		c->read_wait_ns = sat_add(c->read_wait_ns, x->blocked_ns);
	err = count(tally(&s->readers, x->channel, x->task, 0), x->blocked_ns, i, N_EVIDENCE);
	return err ? err : add_other_end(s, i);
}

/* --- lists --------------------------------------------------------------------------- */

static uint8_t commonest(const struct tally *t)
{
	uint8_t best = EVIDENCE_UNKNOWN;

	for (uint8_t e = 0; e < N_EVIDENCE; e++)
		if (t->by_evidence[e] > t->by_evidence[best])
			best = e;
	return best;
}

static struct lock_task row_of(const struct tally *t)
{
	return (struct lock_task){
	        .task = t->a,
	        .waits = t->waits,
	        .wait_ns = t->wait_ns,
	        .max_ns = t->max_ns,
	        .evidence = commonest(t),
	};
}

static int list_locks(struct sums *s)
{
	struct lock *locks = s->b->w->locks.v;

	for (size_t i = 0; i < s->waiters.v.n; i++)
		if (vec_push(&locks[s->waiters.v.v[i].owner - 1].waiters,
		             row_of(&s->waiters.v.v[i])))
			return -ENOMEM;
	for (size_t i = 0; i < s->blockers.v.n; i++)
		if (vec_push(&locks[s->blockers.v.v[i].owner - 1].blockers,
		             row_of(&s->blockers.v.v[i])))
			return -ENOMEM;
	for (size_t i = 0; i < s->sites.v.n; i++) {
		const struct tally *t = &s->sites.v.v[i];
		struct lock_site site = {t->a, t->b, t->waits, t->wait_ns};

		if (vec_push(&locks[t->owner - 1].sites, site))
			return -ENOMEM;
	}
	return 0;
}

static int list_channels(struct sums *s)
{
	struct channel *channels = s->b->w->channels.v;

	for (size_t i = 0; i < s->readers.v.n; i++)
		if (vec_push(&channels[s->readers.v.v[i].owner - 1].waiters,
		             row_of(&s->readers.v.v[i])))
			return -ENOMEM;
	for (size_t i = 0; i < s->others.v.n; i++)
		if (vec_push(&channels[s->others.v.v[i].owner - 1].blockers,
		             row_of(&s->others.v.v[i])))
			return -ENOMEM;
	return 0;
}

/* The value that would be at place k if v were sorted; reorders v. Quickselect: linear. */
static uint64_t nth(uint64_t *v, size_t n, size_t k)
{
	size_t lo = 0, hi = n - 1;

	while (lo < hi) {
		uint64_t pivot = v[lo + (hi - lo) / 2];
		size_t i = lo, j = hi;

		for (;; i++, j--) {
			uint64_t swap;

			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i >= j)
				break;
			swap = v[i];
			v[i] = v[j];
			v[j] = swap;
		}
		if (k <= j)
			hi = j;
		else
			lo = j + 1;
	}
	return v[k];
}

/* b->order has the waits by lock: those without one first. */
static int set_percentiles(struct build *b)
{
	struct waits *w = b->w;
	VEC(uint64_t) ns = {0};
	size_t i = 0;

	while (i < b->order.n && !w->waits.v[b->order.v[i]].lock)
		i++;
	while (i < b->order.n) {
		uint32_t lock = w->waits.v[b->order.v[i]].lock;
		struct lock *l = &w->locks.v[lock - 1];

		ns.n = 0;
		for (; i < b->order.n && w->waits.v[b->order.v[i]].lock == lock; i++)
			if (vec_push(&ns, w->waits.v[b->order.v[i]].blocked_ns))
				goto fail;
		l->p50_ns = nth(ns.v, ns.n, (ns.n - 1) / 2);
		l->p99_ns = nth(ns.v, ns.n, ns.n - 1 - ns.n / 100);
	}
	vec_release(&ns);
	return 0;
fail:
	vec_release(&ns);
	return -ENOMEM;
}

int waits_sum(struct build *b)
{
	struct sums s = {.b = b};
	struct tallies *all[] = {&s.waiters, &s.blockers, &s.sites, &s.readers, &s.others};
	int err = 0;

	for (size_t i = 0; !err && i < b->w->waits.n; i++) {
		if (b->w->waits.v[i].lock)
			err = add_lock(&s, i);
		if (!err && b->w->waits.v[i].channel)
			err = add_channel(&s, i);
	}
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tallies_sort(all[i]);
	if (!err)
		err = list_locks(&s);
	if (!err)
		err = list_channels(&s);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		tallies_release(all[i]);
	return err ? err : set_percentiles(b);
}
