/* SPDX-License-Identifier: MIT */
/*
 * Futex words become locks. Words are sorted by what they are words of (an address space, a
 * shared file or memory) and place; then neighbours that belong to one object are joined:
 *
 *	glibc object     words that are waited on, from its start           size
 *	cond             +40, +44 (from 2.41 on: +32, +36); +32 its lock      48
 *	rwlock           +0, +8, +12                                          56
 *	barrier          +4, +16                                              32
 *	mutex, semaphore +0                                               40, 32
 *	GIL              208 bytes: two conditions and two mutexes
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

/* From 3.13 on, threading.Lock and the interpreter's own mutexes wait in a parking lot. */
#define PY_PARKS      0x030d0000u
#define MAX_FOREBEARS 256

/* What a word is a word of, and where in it. */
struct place {
	bool shared;
	uint64_t dev, inode, generation; /* not shared: dev is the space */
	uint64_t at;
	uint32_t futex; /* index */
	uint32_t gil;   /* index + 1 */
	uint8_t kind;
	bool py;
};

/* --- one word ------------------------------------------------------------------------ */

static const struct gil *gil_at(const struct model *m, uint32_t number)
{
	const struct gil *gils;

	return number && number <= model_gils(m, &gils) ? &gils[number - 1] : NULL;
}

static bool python_parks(const struct build *b, uint32_t space)
{
	for (unsigned depth = 0; space && depth < MAX_FOREBEARS; depth++) {
		const struct gil *g = gil_at(b->m, model_last_gil_in(b->m, space));

		if (g)
			return g->version >= PY_PARKS;
		space = model_space_parent(b->m, space);
	}
	return false;
}

static uint8_t most_votes(const struct word *w)
{
	uint8_t best = LOCK_FUTEX;

	for (uint8_t kind = 0; kind < LOCK_KIND_N; kind++)
		if (w->votes[kind] > w->votes[best])
			best = kind;
	return best;
}

/* A variable of a glibc type's size with the word at the place of that type's. */
static uint8_t guess_by_object(const struct futex_object *o, bool bitset)
{
	if (!o || !bitset)
		return LOCK_FUTEX;
	if (o->size == 32 && o->off == 0)
		return LOCK_SEMAPHORE;
	if (o->size == 48 && o->off >= 32 && o->off <= 44)
		return LOCK_COND;
	if (o->size == 56 && (o->off == 0 || o->off == 8 || o->off == 12))
		return LOCK_RWLOCK;
	return LOCK_FUTEX;
}

/* Without a stack that tells: the operation and the values of glibc's own locks. */
static uint8_t guess(const struct build *b, const struct futex *f, const struct word *w)
{
	const uint64_t *words = f->words;
	uint64_t n = words[0] + words[1] + words[2] + words[3] + words[4];

	if (w->owners * 2 > w->waits)
		return LOCK_MUTEX;
	if (!w->bitset)
		return words[2] * 2 > n ? LOCK_MUTEX : LOCK_FUTEX;
	if (words[3] && (words[2] + words[3]) * 2 > n)
		return LOCK_RWLOCK;
	/* CPython allocates its locks one by one, the mappings of shared ones begin with them;
	 * a condition has its words past 16. */
	if (w->python * 2 > w->waits && words[0] == n && f->addr % 16 == 0)
		return LOCK_SEMAPHORE;
	return guess_by_object(model_futex_object(b->m, f->space, f->addr), w->bitset);
}

/* libgomp's own futexes: who waits for a mutex has put -1 there, who waits at a barrier found its
 * round, a multiple of 8. */
static uint8_t guess_gomp(const struct futex *f)
{
	uint64_t n = f->words[0] + f->words[1] + f->words[2] + f->words[3] + f->words[4];

	return f->minus_ones * 2 > n ? LOCK_MUTEX : LOCK_BARRIER;
}

static void set_kind(const struct build *b, const struct futex *f, struct place *p)
{
	const struct word *w = &b->words.v[p->futex];
	uint32_t thread = f->is_private ? 0 : model_task_by_ctid(b->m, f->space, f->addr);
	if (w->pi) {
		p->kind = LOCK_MUTEX;
	} else if (most_votes(w) != LOCK_FUTEX || !w->waits) {
		p->kind = most_votes(w);
	} else if (w->gomp_votes) {
		p->kind = guess_gomp(f);
	} else if (thread) {
		p->kind = LOCK_JOIN;
	} else {
		p->kind = guess(b, f, w);
	}
	p->py = p->kind == LOCK_SEMAPHORE && (w->py_votes + w->python) * 2 > w->waits;
}

static struct place place_of(const struct build *b, uint32_t index)
{
	const struct futex *f = model_futex_at(b->m, index);
	const struct word *w = &b->words.v[index];
	const struct futex_key *key =
	        f->is_private ? NULL : model_futex_key(b->m, f->space, f->word);
	struct place p = {.dev = f->space, .at = f->addr, .futex = index};

	if (f->park && (w->park_votes || python_parks(b, f->space))) {
		p.kind = most_votes(w) == LOCK_JOIN ? LOCK_JOIN : LOCK_MUTEX;
		p.py = true;
		return p;
	}
	p.at = f->word;
	p.gil = f->is_private ? model_gil_around(b->m, f->space, f->word) : 0;
	if (key) {
		p.shared = true;
		p.dev = key->dev;
		p.inode = key->inode;
		p.generation = key->generation;
		p.at = key->offset;
	}
	if (p.gil)
		p.kind = LOCK_GIL;
	else
		set_kind(b, f, &p);
	return p;
}

/* --- joining words ------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->shared != y->shared)
		return x->shared ? 1 : -1;
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	if (x->generation != y->generation)
		return x->generation < y->generation ? -1 : 1;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->futex < y->futex ? -1 : x->futex > y->futex;
}

static bool same_memory(const struct place *a, const struct place *b)
{
	return a->shared == b->shared && a->dev == b->dev && a->inode == b->inode &&
	       a->generation == b->generation;
}

static bool may_be(const struct place *p, enum lock_kind kind)
{
	return p->kind == kind || p->kind == LOCK_FUTEX;
}

/* Are both words, a before b, of one object? *kind: what it is, when the words say more
 * together than each alone. */
static bool belong(const struct build *b, const struct place *x, const struct place *y,
                   uint8_t *kind)
{
	uint64_t apart = y->at - x->at;
	bool slot = (x->at | 7) == (y->at | 7);
	bool waits = b->words.v[x->futex].bitset && b->words.v[y->futex].bitset;

	*kind = x->kind == LOCK_FUTEX ? y->kind : x->kind;
	if (!same_memory(x, y))
		return false;
	if (x->gil || y->gil)
		return x->gil == y->gil;
	if (!apart)
		return true;
	if (x->kind == LOCK_COND && y->kind == LOCK_COND)
		return apart <= 12;
	if (may_be(x, LOCK_RWLOCK) && may_be(y, LOCK_RWLOCK) && *kind == LOCK_RWLOCK)
		return slot || (x->kind == y->kind && apart <= 12);
	if (x->kind == LOCK_BARRIER && y->kind == LOCK_BARRIER)
		return apart <= 12;
	if (!slot || !waits || !may_be(y, LOCK_COND))
		return false;
	/* Two words side by side that threads sleep on are a condition's two groups. */
	if (may_be(x, LOCK_COND) || (x->kind == LOCK_SEMAPHORE && x->py)) {
		*kind = LOCK_COND;
		return true;
	}
	return false;
}

/* --- locks --------------------------------------------------------------------------- */

static int lock_new(struct build *b, const struct lock *like, uint32_t *number)
{
	struct lock l = *like;

	l.id = *number = (uint32_t)b->w->locks.n + 1;
	return vec_push(&b->w->locks, l);
}

/* From 2.41 on a condition's signals lie 8 bytes further to the front. */
static uint64_t cond_start(const struct build *b, uint64_t word)
{
	const char *libc = model_meta(b->m, META_LIBC),
	           *digits = libc ? strpbrk(libc, "0123456789") : NULL;
	double version = digits ? strtod(digits, NULL) : 0;

	return (word & ~7ull) - (version >= 2.41 && version < 10 ? 32 : 40);
}

static uint64_t start_of(const struct build *b, const struct place *p)
{
	switch (p->kind) {
	case LOCK_COND:
		return cond_start(b, p->at);
	case LOCK_RWLOCK:
		return (p->at & ~7ull) - 8;
	case LOCK_BARRIER:
		return p->at - 4;
	default:
		return p->at;
	}
}

static struct lock describe(const struct build *b, const struct place *p)
{
	const struct futex *f = model_futex_at(b->m, p->futex);
	const struct gil *gil = gil_at(b->m, p->gil);
	struct lock l = {
	        .kind = p->kind,
	        .shared = p->shared,
	        .py = p->py && p->kind != LOCK_COND,
	        .space = f->space,
	        .addr = start_of(b, p),
	};

	if (p->shared) {
		l.dev = p->dev;
		l.inode = p->inode;
		l.offset = l.addr;
		l.addr = f->word - (p->at - l.offset);
	}
	if (gil) {
		l.gil = gil->id;
		l.addr = gil->addr;
	}
	if (p->kind == LOCK_JOIN)
		l.join_task = model_task_by_ctid(b->m, f->space, f->word);
	return l;
}

static int group(struct build *b, struct place *places, size_t n)
{
	size_t from = 0;

	while (from < n) {
		struct place first = places[from];
		struct lock l;
		uint32_t number;
		size_t to = from + 1;
		uint8_t kind;

		for (; to < n && belong(b, &first, &places[to], &kind); to++) {
			first.kind = kind;
			first.py |= places[to].py;
		}
		l = describe(b, &first);
		if (lock_new(b, &l, &number) || vec_push(&b->lock_futex, first.futex + 1))
			return -ENOMEM;
		for (; from < to; from++)
			b->futex_locks.v[places[from].futex] = number;
	}
	return 0;
}

int locks_group(struct build *b)
{
	size_t n = b->words.n;
	struct place *places = calloc(n ? n : 1, sizeof(*places));
	int err = -ENOMEM;

	if (!places || vec_reserve(&b->futex_locks, n))
		goto out;
	b->futex_locks.n = n;
	for (size_t i = 0; i < n; i++)
		places[i] = place_of(b, (uint32_t)i);
	qsort(places, n, sizeof(*places), by_place);
	err = group(b, places, n);
out:
	free(places);
	return err;
}

int locks_join(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock)
{
	const struct site *site = model_site(b->m, s->site);
	struct lock l = {
	        .kind = LOCK_JOIN,
	        .space = t->space,
	        .addr = site ? site->a[0] : 0,
	        .join_task = model_task_by_ns_tid(b->m, t->proc, s->owner, s->out_ns),
	};
	bool added = false;
	uint64_t *at = l.join_task ? hmap_put(&b->joins, l.join_task, 0, &added)
	                           : hmap_put(&b->joins, l.addr, 1 + (uint64_t)t->space, &added);
	int err;

	if (!at)
		return -ENOMEM;
	if (!added) {
		*lock = (uint32_t)*at;
		return 0;
	}
	err = lock_new(b, &l, lock);
	*at = *lock;
	return err ? err : vec_push(&b->lock_futex, (uint32_t)0);
}

int locks_compact(struct build *b)
{
	struct waits *w = b->w;
	uint32_t *now = calloc(w->locks.n + 1, sizeof(*now)), n = 0;

	if (!now)
		return -ENOMEM;
	for (size_t i = 0; i < w->waits.n; i++)
		now[w->waits.v[i].lock] = 1;
	now[0] = 0;
	for (size_t i = 0; i < w->locks.n; i++) {
		if (!now[i + 1])
			continue;
		w->locks.v[n] = w->locks.v[i];
		b->lock_futex.v[n] = b->lock_futex.v[i];
		now[i + 1] = w->locks.v[n].id = n + 1;
		n++;
	}
	w->locks.n = b->lock_futex.n = n;
	for (size_t i = 0; i < w->waits.n; i++)
		w->waits.v[i].lock = now[w->waits.v[i].lock];
	for (size_t i = 0; i < b->futex_locks.n; i++)
		b->futex_locks.v[i] = now[b->futex_locks.v[i]];
	for (size_t i = 0; i < b->file_locks.cap; i++)
		if (b->file_locks.slots[i].used)
			b->file_locks.slots[i].value = now[b->file_locks.slots[i].value];
	free(now);
	return 0;
}

int locks_find_holds(struct build *b)
{
	const struct hold *holds;
	size_t n = model_holds(b->m, &holds);
	struct hmap words = {0};
	int err = 0;

	for (size_t i = 0; n && !err && i < b->futex_locks.n; i++) {
		const struct futex *f = model_futex_at(b->m, i);
		uint64_t *at = hmap_put(&words, f->space, f->addr, NULL);

		err = at ? 0 : -ENOMEM;
		if (at)
			*at = b->futex_locks.v[i];
	}
	for (size_t i = 0; !err && i < n; i++) {
		const uint64_t *lock = hold_is_of_file(&holds[i])
		                               ? file_lock_of_hold(b, &holds[i])
		                               : hmap_get(&words, holds[i].space, holds[i].addr);
		uint64_t *at = lock && *lock ? hmap_put(&b->holds, *lock, 0, NULL) : NULL;

		if (at)
			*at = holds[i].task;
		else if (lock && *lock)
			err = -ENOMEM;
	}
	hmap_release(&words);
	return err;
}

uint32_t hold_of_lock(const struct build *b, const struct lock *l)
{
	const uint64_t *at = hmap_get(&b->holds, l->id, 0);

	return at ? (uint32_t)*at : 0;
}
