/* SPDX-License-Identifier: MIT */
/*
 * Who had a lock, and when: its waits in the order of time tell. Each start of a wait may have
 * read the owner's word; each wake by a poster says who let go, and then that it is free; a
 * thread that was woken for good has it from its next turn on. From these facts follow the
 * lock's turns, which tile time; and each wait is tiled by the turns it lies in.
 *
 * Locks without owners (semaphores, conditions, reader-writer locks) have turns too: until
 * the next post, the one to wait for is the poster; also of those who gave up before it came,
 * if the poster was there to post. While it is handed over, the one to wait for is who
 * gets it next.
 */
#include <errno.h>
#include <stdlib.h>

#include "locks_priv.h"
#include "runs.h"

/* In the order in which facts of one moment hold. */
enum fact_kind {
	FACT_POST,  /* task woke a waiter */
	FACT_LEAVE, /* a waiter gave up: timeout, signal, the end */
	FACT_GET,   /* task, woken by a post, runs again */
	FACT_START, /* a wait begins; task: owner read then, 0 = none */
};

struct fact {
	uint64_t t;
	uint32_t task, waiter;
	uint8_t kind;
	bool first; /* START: first slice of its wait */
};

/* From start_ns to the start of the next. */
struct turn {
	uint64_t start_ns;
	uint32_t task;
	uint8_t state, evidence, agrees;
};

struct holders {
	struct lock_blame *lb;
	const struct build *b;
	struct lock *l;
	bool owned; /* has one holder at a time, who lets go by a post */
	VEC(struct fact) facts;
	VEC(struct turn) turns;
	uint32_t waiting, taker; /* taker: last one that got it and has not posted since */
	uint64_t taker_ns;
	size_t turn; /* found last */
};

/* --- facts --------------------------------------------------------------------------- */

static int add_fact(struct holders *h, uint64_t t, enum fact_kind kind, uint32_t task)
{
	struct fact f = {.t = t, .task = task, .kind = (uint8_t)kind};

	return vec_push(&h->facts, f);
}

static int add_start(struct holders *h, const struct task *t, const struct slice *s, bool first)
{
	struct fact f = {
	        .t = s->out_ns,
	        .task = slice_owner(h->b, t, s, h->l->shared),
	        .waiter = t->id,
	        .kind = FACT_START,
	        .first = first,
	};

	return vec_push(&h->facts, f);
}

/* Slices in between are preemptions. */
static bool of_wait(const struct holders *h, const struct slice *s)
{
	return s->futex || (h->l->kind == LOCK_FILE && slice_is_file_lock(h->b, s)) ||
	       (h->l->kind == LOCK_SEMAPHORE && slice_is_sysv(h->b, s));
}

static int add_wait_facts(struct holders *h, const struct wait *x)
{
	const struct task *t = model_task(h->b->m, x->task);
	const struct slice *s = &t->slices.v[x->slice];
	bool posted = false;
	int err = 0;

	for (uint32_t i = 0; !err && i < x->n_slices; i++, s++) {
		if (!of_wait(h, s))
			continue;
		posted = slice_posted(h->b, t, s);
		err = add_start(h, t, s, !i);
		if (!err)
			err = add_fact(h, s->queued_ns, posted ? FACT_POST : FACT_LEAVE, s->waker);
	}
	if (!err && posted)
		err = add_fact(h, x->in_ns, FACT_GET, x->task);
	return err;
}

static inline bool before(const void *a, const void *b)
{
	const struct fact *x = a, *y = b;

	if (x->t != y->t)
		return x->t < y->t;
	return x->kind != y->kind ? x->kind < y->kind : x->task < y->task;
}

/* By time: the facts of each task are in order already. */
static int sort_facts(struct holders *h)
{
	size_t n = h->facts.n;
	struct fact *v = h->facts.v, *other = malloc((n + 1) * sizeof(*other));

	if (!other)
		return -ENOMEM;
	h->facts.v = runs_sort(v, other, n, sizeof(*v), before);
	if (h->facts.v == other)
		h->facts.cap = n;
	free(h->facts.v == v ? other : v);
	return 0;
}

/* --- turns --------------------------------------------------------------------------- */

static struct turn *now(struct holders *h)
{
	return &h->turns.v[h->turns.n - 1];
}

static int turn_begin(struct holders *h, uint64_t t, enum blame_state state, uint32_t task,
                      enum evidence evidence)
{
	struct turn turn = {.start_ns = t,
	                    .task = task,
	                    .state = (uint8_t)state,
	                    .evidence = (uint8_t)evidence};
	struct turn *cur = now(h);

	if (cur->start_ns < t)
		return vec_push(&h->turns, turn);
	*cur = turn;
	return 0;
}

/* Since when the task was on the CPU, or had been last, at t. */
static uint64_t on_since(const struct model *m, uint32_t task, uint64_t t)
{
	const struct task *who = model_task(m, task);
	size_t lo = 0, hi = who ? who->slices.n : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (who->slices.v[mid].in_ns <= t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? who->slices.v[lo - 1].in_ns : 0;
}

/* `task` has it, as is learnt at t; nobody was known to since the turn began. */
static int held_before(struct holders *h, uint64_t t, uint32_t task, enum evidence evidence)
{
	struct turn *cur = now(h);
	uint64_t since = on_since(h->b->m, task, t);

	if (cur->state == BLAME_HANDOFF && since > cur->start_ns && since < t)
		return turn_begin(h, since, BLAME_HELD, task, evidence);
	cur->state = BLAME_HELD;
	cur->task = task;
	cur->evidence = (uint8_t)evidence;
	return 0;
}

/* Who was woken and is taken for the holder since then waits again: it was late, and another had
 * been faster. */
static void take_back(struct holders *h, uint32_t waiter)
{
	struct turn *cur = now(h);

	if (cur->state != BLAME_HELD || cur->evidence != EVIDENCE_HOLDER || cur->task != waiter)
		return;
	if (h->turns.n > 1 && cur[-1].state == BLAME_HANDOFF)
		h->turns.n--;
	else
		*cur = (struct turn){.start_ns = cur->start_ns, .state = BLAME_HANDOFF};
}

static int on_start(struct holders *h, const struct fact *f)
{
	bool alone = !h->waiting++ && f->first;
	struct turn *cur;

	if (h->owned)
		take_back(h, f->waiter);
	cur = now(h);
	if (!h->owned || !f->task)
		return alone ? turn_begin(h, f->t, BLAME_NOBODY, 0, EVIDENCE_UNKNOWN) : 0;
	if (alone || (cur->state == BLAME_HELD && cur->task != f->task))
		return turn_begin(h, f->t, BLAME_HELD, f->task, EVIDENCE_OWNER);
	if (cur->state == BLAME_HELD) {
		cur->evidence = EVIDENCE_OWNER;
		return 0;
	}
	return held_before(h, f->t, f->task, EVIDENCE_OWNER);
}

static int on_post(struct holders *h, const struct fact *f)
{
	struct turn *cur = now(h);
	int err = 0;

	if (h->waiting)
		h->waiting--;
	if (f->task == h->taker)
		h->taker = 0;
	if (cur->state == BLAME_HELD)
		cur->agrees = cur->task == f->task ? 1 : 2;
	else
		err = held_before(h, f->t, f->task, EVIDENCE_POSTER);
	if (err)
		return err;
	return h->owned ? turn_begin(h, f->t, BLAME_HANDOFF, 0, EVIDENCE_HOLDER)
	                : turn_begin(h, f->t, BLAME_NOBODY, 0, EVIDENCE_UNKNOWN);
}

static int on_get(struct holders *h, const struct fact *f)
{
	h->taker = f->task;
	h->taker_ns = f->t;
	if (h->owned && now(h)->state == BLAME_HANDOFF)
		return turn_begin(h, f->t, BLAME_HELD, f->task, EVIDENCE_HOLDER);
	return 0;
}

static int take_fact(struct holders *h, const struct fact *f)
{
	switch ((enum fact_kind)f->kind) {
	case FACT_POST:
		return on_post(h, f);
	case FACT_LEAVE:
		h->waiting -= h->waiting > 0;
		return 0;
	case FACT_GET:
		return on_get(h, f);
	case FACT_START:
		return on_start(h, f);
	}
	return 0;
}

/* Who had it when the recording stopped. */
static int last_turn(struct holders *h)
{
	uint32_t found = hold_of_lock(h->b, h->l);
	struct turn *cur = now(h);

	if (found && cur->state == BLAME_HELD && cur->evidence != EVIDENCE_POSTER) {
		cur->agrees = cur->task == found ? 1 : 2;
		return 0;
	}
	if (found)
		return held_before(h, UINT64_MAX, found, EVIDENCE_FOUND);
	if (cur->state == BLAME_NOBODY && h->taker && h->l->kind == LOCK_SEMAPHORE) {
		uint64_t since = h->taker_ns > cur->start_ns ? h->taker_ns : cur->start_ns;

		return turn_begin(h, since, BLAME_HELD, h->taker, EVIDENCE_HOLDER);
	}
	return 0;
}

/* What only the next turn tells: waits that ended before a post waited for it, too; and what is
 * handed over waits for its next owner. */
static void look_ahead(struct holders *h)
{
	const struct turn *next = NULL;

	for (size_t i = h->turns.n; i-- > 0;) {
		struct turn *turn = &h->turns.v[i];
		const struct task *other = next ? model_task(h->b->m, next->task) : NULL;

		if (turn->state == BLAME_HELD) {
			next = turn;
		} else if (other && other->start_ns <= turn->start_ns &&
		           (turn->state == BLAME_HANDOFF || !h->owned)) {
			if (turn->state == BLAME_NOBODY)
				turn->state = BLAME_HELD;
			turn->task = next->task;
			turn->evidence = next->evidence;
		}
	}
}

static int make_turns(struct holders *h)
{
	const struct turn begin = {.state = BLAME_NOBODY};
	int err;

	h->turns.n = 0;
	h->waiting = h->taker = 0;
	err = vec_push(&h->turns, begin);
	if (!err)
		err = sort_facts(h);
	for (size_t i = 0; !err && i < h->facts.n; i++)
		err = take_fact(h, &h->facts.v[i]);
	if (!err)
		err = last_turn(h);
	if (!err)
		look_ahead(h);
	return err;
}

/* --- tiling -------------------------------------------------------------------------- */

/* The turn at t. Looks first near the one found last: waits come in the order of time, task by
 * task. */
static size_t turn_at(struct holders *h, uint64_t t)
{
	const struct turn *v = h->turns.v;
	size_t lo = h->turn, hi, step = 1;

	if (v[lo].start_ns > t)
		lo = 0;
	while (lo + step < h->turns.n && v[lo + step].start_ns <= t) {
		lo += step;
		step *= 2;
	}
	hi = lo + step < h->turns.n ? lo + step : h->turns.n;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].start_ns <= t)
			lo = mid;
		else
			hi = mid;
	}
	h->turn = lo;
	return lo;
}

static int add_piece(struct holders *h, struct wait *x, size_t turn, uint64_t from, uint64_t to)
{
	const struct turn *turns = &h->turns.v[turn];
	struct blame piece = {
	        .start_ns = from,
	        .end_ns = to,
	        .task = turns->task,
	        .state = turns->state,
	        .evidence = turns->evidence,
	        .agrees = turns->agrees,
	};

	/* Nobody waits for itself: it got the lock and was late to say so; or will post. */
	if (piece.task == x->task) {
		piece.task = 0;
		piece.state = h->owned ? BLAME_HANDOFF : BLAME_NOBODY;
	}
	return from < to ? blame_add(h->lb->b->m, &h->lb->pieces, x, piece) : 0;
}

/* A long wait beside thousands of short ones: pieces of equal length, each with the turn in
 * its middle; the last turn is exact, for who ended the wait is in it. */
static int sample_turns(struct holders *h, struct wait *x, const struct slice *s, size_t limit)
{
	size_t last = turn_at(h, s->queued_ns - 1);
	uint64_t from = s->out_ns, end = h->turns.v[last].start_ns;
	int err = 0;

	for (size_t i = 0; !err && i < limit; i++) {
		uint64_t to = from + (end - from) / (limit - i);

		err = add_piece(h, x, turn_at(h, from + (to - from) / 2), from, to);
		from = to;
	}
	return err ? err : add_piece(h, x, last, end, s->queued_ns);
}

static int tile_slice(struct holders *h, struct wait *x, const struct slice *s, size_t limit)
{
	size_t first, last;
	int err = 0;

	if (s->out_ns >= s->queued_ns)
		return 0;
	first = turn_at(h, s->out_ns);
	last = turn_at(h, s->queued_ns - 1);
	if (last - first > limit)
		return sample_turns(h, x, s, limit);
	for (size_t i = first; !err && i <= last; i++) {
		uint64_t from = h->turns.v[i].start_ns, to = s->queued_ns;

		if (from < s->out_ns)
			from = s->out_ns;
		if (i < last)
			to = h->turns.v[i + 1].start_ns;
		err = add_piece(h, x, i, from, to);
	}
	return err;
}

/* The owner's word or the order of turns says one thing, who woke it another. */
static void count_agreement(struct holders *h, const struct wait *x)
{
	const struct blame *last =
	        x->n_blame ? &h->lb->pieces.v.v[x->blame + x->n_blame - 1] : NULL;

	if (!h->owned || !last || !last->agrees || !wait_posted(h->b, x))
		return;
	h->l->owner_known++;
	h->l->owner_agree += last->agrees == 1;
	h->l->owner_differ += last->agrees == 2;
}

static int tile(struct holders *h, struct wait *x, size_t limit)
{
	const struct slice *s = &model_task(h->b->m, x->task)->slices.v[x->slice];
	int err = 0;

	x->blame = (uint32_t)h->lb->pieces.v.n;
	for (uint32_t i = 0; !err && i < x->n_slices; i++, s++)
		if (of_wait(h, s))
			err = tile_slice(h, x, s, limit);
	count_agreement(h, x);
	return err;
}

int holders_blame(struct lock_blame *lb)
{
	struct holders h = {
	        .lb = lb,
	        .b = lb->b,
	        .l = lb->l,
	        .owned = lb->l->kind == LOCK_MUTEX || lb->l->kind == LOCK_GIL ||
	                 lb->l->kind == LOCK_FILE,
	};
	struct wait *waits = lb->b->w->waits.v;
	int err = 0;

	for (size_t i = 0; !err && i < lb->n; i++)
		err = add_wait_facts(&h, &waits[lb->waits[i]]);
	if (!err)
		err = make_turns(&h);
	vec_release(&h.facts);
	for (size_t i = 0; !err && i < lb->n; i++)
		err = tile(&h, &waits[lb->waits[i]], lb->limit);
	vec_release(&h.turns);
	return err;
}
