/* SPDX-License-Identifier: MIT */
/*
 * The largest amount of memory that all processes together had, between readings too. PSS is
 * read seldom, as reading it is dear; RSS is known every few milliseconds, and what is copied at
 * once. So a process's last reading is carried on by what its RSS has grown or shrunk since, and
 * by the pages that were copied since: these leave its RSS as it is, but a page that two shared
 * is two now, whoever wrote to it.
 * Who shares pages with a parent that was read before a fork: see forks.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define NONE     UINT32_MAX
#define ROUND_NS 30000000 /* readings this close are of one moment */

enum what { BEGIN, EXEC, TOUCHED, COPIED, RSS, READING, END };

struct event {
	uint64_t t_ns;
	uint32_t proc; /* index */
	enum what what;
	uint64_t bytes;      /* touched, copied; RSS */
	uint64_t file_bytes; /* of the RSS */
	const struct footprint_sample *reading;
};

struct state {
	const struct footprint_sample *read;
	uint64_t uss, pss;    /* read, and what was settled since */
	uint64_t shared;      /* … RSS that is not its own */
	uint64_t rss, rss_at; /* rss_at: RSS when it was read, or first seen */
	uint64_t limit;       /* of what it can have */
	uint64_t fresh;       /* touched since its RSS was seen */
	uint64_t copied;      /* by itself, since its reading */
	uint64_t held;        /* what it alone is left with by copies, its own or its parent's */
	uint64_t lent; /* it shares with children not read yet, which its own reading halves */
	uint64_t counted, counted_own;
	uint64_t whole;                /* RSS, for its sum */
	uint32_t parent, young, elder; /* the last child; the one before of the same parent */
	uint32_t lent_to;              /* so many of them */
	uint32_t round;                /* in which it was read last */
	bool lives, seen, forked, execed;
	bool before; /* it was there before: how much of its RSS others share is not known */
};

struct peak {
	const struct model *m;
	VEC(struct event) events;
	struct state *procs;
	struct footprint_sample *best; /* of each process */
	struct forks forks;
	struct tree_sample sum, largest;
	bool any_read;
	uint32_t unread_children;
	uint32_t round;
	uint64_t read_ns; /* the last reading of any */
};

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return x->what != y->what ? (int)x->what - (int)y->what
	                          : (x->proc > y->proc) - (x->proc < y->proc);
}

static int put(struct peak *k, uint32_t i, enum what what, uint64_t t_ns, uint64_t bytes)
{
	struct event x = {.t_ns = t_ns, .proc = i, .what = what, .bytes = bytes};

	return vec_push(&k->events, x) ? -ENOMEM : 0;
}

static int gather_readings(struct peak *k, uint32_t i, const struct proc *p)
{
	for (size_t n = 0; n < p->rss.n; n++) {
		const struct rss_sample *s = &p->rss.v[n];
		struct event x = {.t_ns = s->t_ns, .proc = i, .what = RSS};

		x.bytes = sat_add(sat_add(s->anon_bytes, s->file_bytes), s->shmem_bytes);
		x.file_bytes = s->file_bytes;
		if (vec_push(&k->events, x))
			return -ENOMEM;
	}
	for (size_t n = 0; n < p->footprint.n; n++) {
		struct event x = {.t_ns = p->footprint.v[n].t_ns, .proc = i, .what = READING};

		x.reading = &p->footprint.v[n];
		if (vec_push(&k->events, x))
			return -ENOMEM;
	}
	return 0;
}

/* When its memory goes: the last switch is later, and who shared pages with it may be read before.
 */
static uint64_t end_of(const struct peak *k, const struct proc *p)
{
	const struct task *leader = model_task(k->m, p->id);
	bool sure = p->n_tasks == 1 && leader && leader->exit_ns > p->start_ns;

	return sure && leader->exit_ns < p->end_ns ? leader->exit_ns : p->end_ns;
}

/* Samples of a process's copies and first touches; of a forked one also what came after the last
 * of them, which is known from the counters at its end. */
static int gather_touches(struct peak *k, uint32_t i, const struct proc *p)
{
	const struct recording *rec = model_recording(k->m);
	uint64_t touched = sat_mul(p->touched_pages, rec->page_size),
	         copied = sat_mul(p->cow_pages, rec->page_size);
	uint64_t end = end_of(k, p), last = end > p->start_ns ? end - 1 : end;
	int err = 0;

	for (size_t n = 0; n < p->touches.n && !err; n++) {
		const struct touch_sample *s = &p->touches.v[n];
		bool copy = s->what == TOUCH_COW;
		uint64_t *rest = copy ? &copied : &touched;

		*rest -= s->bytes < *rest ? s->bytes : *rest;
		err = put(k, i, copy ? COPIED : TOUCHED, s->t_ns, s->bytes);
	}
	if (!k->procs[i].forked || !p->cow_known || p->n_execs || rec->windowed)
		return err;
	err = err || !touched ? err : put(k, i, TOUCHED, last, touched);
	return err || !copied ? err : put(k, i, COPIED, last, copied);
}

static int gather_one(struct peak *k, uint32_t i)
{
	const struct proc *p = model_proc_at(k->m, i);
	const struct task *leader = model_task(k->m, p->id);
	int err;

	k->procs[i].parent = forks_parent(&k->forks, i);
	k->procs[i].forked = k->procs[i].parent != NONE;
	k->procs[i].before = model_recording(k->m)->attached && !p->start_method;
	k->procs[i].young = k->procs[i].elder = NONE;
	err = put(k, i, BEGIN, p->start_ns, 0);
	if (!err && leader && leader->exec_ns > p->start_ns && k->procs[i].forked)
		err = put(k, i, EXEC, leader->exec_ns, 0);
	if (!err && !p->alive)
		err = put(k, i, END, end_of(k, p), 0);
	err = err ? err : gather_touches(k, i, p);
	return err ? err : gather_readings(k, i, p);
}

static int gather(struct peak *k)
{
	size_t n = model_n_procs(k->m);
	int err = forks_init(&k->forks, k->m);

	for (uint32_t i = 0; i < n && !err; i++)
		err = gather_one(k, i);
	if (k->events.n)
		qsort(k->events.v, k->events.n, sizeof(k->events.v[0]), by_time);
	return err;
}

/* A reading's part, as the RSS has gone on since. */
static uint64_t carried(const struct state *s, uint64_t base)
{
	if (!s->seen)
		return base + s->fresh;
	if (s->rss >= s->rss_at)
		return base + (s->rss - s->rss_at);
	return base > s->rss_at - s->rss ? base - (s->rss_at - s->rss) : 0;
}

static uint64_t limited(const struct state *s, uint64_t base, uint64_t more)
{
	uint64_t room = s->limit > base ? s->limit - base : 0;

	return (base < s->limit ? base : s->limit) + (more < room ? more : room);
}

/* What it counts with in the sum now. */
static uint64_t share(const struct peak *k, uint32_t i)
{
	const struct state *s = &k->procs[i];
	uint64_t base;

	if (!s->lives)
		return 0;
	base = forks_own(&k->forks, i) ? s->uss : s->pss;
	return limited(s, carried(s, base), s->held) + s->lent;
}

/* Of what it was read with, what it shared and does not any more. */
static uint64_t gone(const struct state *s)
{
	return !s->read || s->copied < s->shared ? s->copied : s->shared;
}

/* … and its part of what it still shares. */
static uint64_t part(const struct state *s)
{
	uint64_t all = s->pss > s->uss ? s->pss - s->uss : 0;

	if (s->shared)
		all -= (uint64_t)((double)all * (double)gone(s) / (double)s->shared);
	return all;
}

/* Others are read, who share less with it than before: of its copies only its own part counts. */
static void settle(struct state *s)
{
	uint64_t still = part(s);

	if (!s->read)
		return;
	s->uss += gone(s);
	s->pss = s->uss + still;
	s->shared -= gone(s);
	s->copied = s->held = 0;
}

/* A process's own memory at its largest: what it copied it no longer shares. Of one never read only
 * what it copied and touched is known. */
static void keep_best(struct peak *k, uint32_t i)
{
	const struct state *s = &k->procs[i];
	struct footprint_sample *best = &k->best[i], x = {0};

	if (!s->read && (!s->forked || s->execed))
		return;
	if (s->read)
		x = *s->read;
	x.uss_bytes = limited(s, carried(s, s->uss), gone(s));
	x.pss_bytes = x.uss_bytes + part(s);
	if (s->read)
		x.shared_bytes =
		        s->shared - gone(s) < x.shared_bytes ? s->shared - gone(s) : x.shared_bytes;
	if (x.pss_bytes > best->pss_bytes || (x.t_ns && !best->t_ns))
		*best = x;
}

static void count(void *ctx, uint32_t i)
{
	struct peak *k = ctx;
	struct state *s = &k->procs[i];
	uint64_t now = share(k, i), own = s->lives ? limited(s, carried(s, s->uss), s->held) : 0;

	k->sum.pss_bytes += now - s->counted;
	k->sum.uss_bytes += own - s->counted_own;
	s->counted = now;
	s->counted_own = own;
}

static void set_whole(struct peak *k, struct state *s, uint64_t rss)
{
	k->sum.rss_bytes += rss - s->whole;
	s->whole = rss;
}

static void on_begin(struct peak *k, uint32_t i)
{
	struct state *s = &k->procs[i], *parent = s->forked ? &k->procs[s->parent] : NULL;

	s->lives = true;
	s->limit = UINT64_MAX;
	k->sum.procs++;
	k->sum.unread++;
	forks_begin(&k->forks, i);
	if (!parent || !parent->lives)
		return;
	s->elder = parent->young;
	parent->young = i;
	if (parent->seen || parent->read)
		s->limit = parent->limit;
	set_whole(k, s, parent->whole);
}

/* It leaves what it had behind, and what was its own of it is gone. */
static void on_exec(struct peak *k, struct state *s)
{
	s->execed = true;
	k->sum.unread += s->read != NULL;
	s->read = NULL;
	s->seen = false;
	s->rss = s->rss_at = s->fresh = s->copied = s->held = s->lent = 0;
	s->uss = s->pss = s->shared = 0;
	s->limit = UINT64_MAX;
	set_whole(k, s, 0);
}

/* The page stays with those who shared it: a child's copy with the child itself, and what its
 * parent copied with the child, too. */
static void on_copy(struct peak *k, uint32_t i, uint64_t bytes)
{
	struct state *s = &k->procs[i];
	uint32_t young = s->young;
	bool shares = young != NONE && k->procs[young].lives && !k->procs[young].execed;

	s->copied += bytes;
	if (shares) {
		k->procs[young].held += bytes;
		count(k, young);
	} else {
		s->held += bytes;
	}
}

static void on_rss(struct peak *k, struct state *s, const struct event *x)
{
	/* The files that a child maps are those of its parent; and a program shares libc with all
	 * others, so that only a reading tells how much of its files is to count with it. */
	uint64_t rss = s->forked || !s->read ? x->bytes - x->file_bytes : x->bytes;

	set_whole(k, s, x->bytes);
	s->rss = rss;
	s->limit = x->bytes;
	if (s->read && s->limit < s->read->rss_bytes && !s->seen)
		s->limit = s->read->rss_bytes;
	/* Of a fork's child all pages are its parent's to begin with, but those it touched. */
	if (!s->seen && (s->forked || s->before) && (!s->execed || s->read))
		s->rss_at = rss > s->fresh ? rss - s->fresh : 0;
	s->fresh = 0;
	s->seen = true;
}

/* A child that was its parent's affair until now, as that is read. */
static void let_go(void *ctx, uint32_t i)
{
	struct peak *k = ctx;

	k->unread_children += k->procs[i].lives && !k->procs[i].read;
	count(k, i);
}

/* Has it forked since it was read? */
static bool has_own_child(const struct peak *k, uint32_t i)
{
	for (uint32_t c = k->procs[i].young; c != NONE; c = k->procs[c].elder)
		if (k->procs[c].lives && !k->procs[c].execed && forks_own(&k->forks, c))
			return true;
	return false;
}

/* One of those to whom it lent is read now, and tells its part itself. Those forked later count
 * with what is their own: their part is still with the parent. */
static void give_back(struct peak *k, uint32_t i, const struct footprint_sample *r)
{
	struct state *s = &k->procs[i];
	uint64_t told = r->pss_bytes > r->uss_bytes ? r->pss_bytes - r->uss_bytes : 0;

	if (!s->lent_to)
		return;
	if (!has_own_child(k, i))
		told = s->lent / s->lent_to;
	s->lent -= told < s->lent ? told : s->lent;
	s->lent_to--;
	count(k, i);
}

static void settle_children(struct peak *k, uint32_t i)
{
	for (uint32_t c = k->procs[i].young; c != NONE; c = k->procs[c].elder) {
		if (!k->procs[c].lives || k->procs[c].execed || forks_own(&k->forks, c))
			continue;
		settle(&k->procs[c]);
		count(k, c);
	}
}

static void on_reading(struct peak *k, uint32_t i, const struct event *x)
{
	const struct footprint_sample *r = x->reading;
	struct state *s = &k->procs[i];
	uint64_t before = s->counted;

	k->sum.unread -= s->read == NULL;
	/* The counter's last word may be old by now. */
	if (!s->forked)
		s->rss = r->rss_bytes;
	else if (s->seen)
		s->rss += s->fresh;
	s->seen |= !s->forked;
	s->rss_at = s->rss;
	s->limit = r->rss_bytes;
	if (!s->read && s->forked && !forks_own(&k->forks, i))
		give_back(k, s->parent, r);
	s->read = r;
	s->uss = r->uss_bytes;
	s->pss = r->pss_bytes;
	s->shared = r->rss_bytes > r->uss_bytes ? r->rss_bytes - r->uss_bytes : 0;
	s->fresh = s->copied = s->held = s->lent = 0;
	k->any_read = true;
	k->unread_children = 0;
	set_whole(k, s, r->rss_bytes);
	forks_read(&k->forks, i, x->t_ns, let_go, k);
	s->lent_to = k->unread_children;
	if (s->lent_to && before > r->pss_bytes)
		s->lent = before - r->pss_bytes;
	settle_children(k, i);
}

static void on_end(struct peak *k, uint32_t i)
{
	struct state *s = &k->procs[i];

	s->lives = false;
	k->sum.procs--;
	k->sum.unread -= s->read == NULL;
	set_whole(k, s, 0);
	forks_end(&k->forks, i, count, k);
}

static void step(struct peak *k, const struct event *x)
{
	struct state *s = &k->procs[x->proc];

	switch (x->what) {
	case BEGIN:
		on_begin(k, x->proc);
		break;
	case EXEC:
		on_exec(k, s);
		break;
	case TOUCHED:
		s->fresh += x->bytes;
		break;
	case COPIED:
		on_copy(k, x->proc, x->bytes);
		break;
	case RSS:
		on_rss(k, s, x);
		break;
	case READING:
		on_reading(k, x->proc, x);
		break;
	case END:
		on_end(k, x->proc);
		break;
	}
	count(k, x->proc);
	if (s->lives)
		keep_best(k, x->proc);
}

/* A round is over where none follows closely, and where one is read again that was read in it:
 * several that grow are read in turn, all the time. */
static bool same_round(const struct peak *k, const struct event *reading)
{
	return k->read_ns && reading->t_ns - k->read_ns < ROUND_NS &&
	       k->procs[reading->proc].round != k->round;
}

/* What happens at one moment belongs together, and readings of a round: in between some processes
 * count with what they share now, others with what they shared before. But who ends takes along
 * what it had. */
static void walk(struct peak *k)
{
	const struct event *v = k->events.v;
	size_t n = k->events.n, next = 0;

	for (size_t i = 0; i < n; i++) {
		const struct event *x = &v[i];

		if (x->what == READING) {
			k->round += !same_round(k, x);
			k->procs[x->proc].round = k->round;
			k->read_ns = x->t_ns;
		}
		step(k, x);
		for (next = next > i ? next : i + 1; next < n && v[next].what != READING;)
			next++;
		if (i + 1 < n && v[i + 1].t_ns == x->t_ns)
			continue;
		if (next < n && same_round(k, &v[next]) && v[i + 1].what != END)
			continue;
		if (k->sum.pss_bytes > k->largest.pss_bytes) {
			k->largest = k->sum;
			k->largest.t_ns = x->t_ns;
		}
	}
}

int analyze_peak(struct report *r, struct err *err)
{
	size_t n = model_n_procs(r->m);
	struct peak k = {.m = r->m};
	int rc;

	(void)err;
	k.procs = calloc(n + 1, sizeof(*k.procs));
	k.best = r->proc_peaks = calloc(n + 1, sizeof(*k.best));
	rc = k.procs && k.best ? gather(&k) : -ENOMEM;
	if (!rc)
		walk(&k);
	if (!rc && k.any_read) {
		r->peak = k.largest;
		r->peak_memory_bytes = k.largest.pss_bytes;
	}
	vec_release(&k.events);
	forks_release(&k.forks);
	free(k.procs);
	return rc;
}
