/* SPDX-License-Identifier: MIT */
/*
 * The largest amount of memory that all processes together had, between readings too. PSS is
 * read seldom, as reading it is dear; RSS is known every few milliseconds. So a process's last
 * reading is carried on by what its RSS has grown or shrunk since.
 * Who shares pages with a parent that was read before a fork: see forks.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

enum what { BEGIN, RSS, READING, END };

struct event {
	uint64_t t_ns;
	uint32_t proc; /* index */
	enum what what;
	uint64_t rss_bytes, pss_bytes, uss_bytes;
};

struct state {
	uint64_t pss, uss, rss, rss_at; /* rss_at: RSS when it was read, or first seen */
	uint64_t counted;
	bool lives, seen;
};

struct peak {
	const struct model *m;
	VEC(struct event) events;
	struct state *procs;
	struct forks forks;
	uint64_t sum, largest;
	bool any_read;
};

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return x->what != y->what ? (int)x->what - (int)y->what
	                          : (x->proc > y->proc) - (x->proc < y->proc);
}

static int gather_one(struct peak *k, uint32_t i)
{
	const struct proc *p = model_proc_at(k->m, i);
	struct event begin = {.t_ns = p->start_ns, .proc = i}, end = {p->end_ns, i, END, 0, 0, 0};

	if (vec_push(&k->events, begin) || (!p->alive && vec_push(&k->events, end)))
		return -ENOMEM;
	for (size_t n = 0; n < p->rss.n; n++) {
		const struct rss_sample *s = &p->rss.v[n];
		struct event x = {.t_ns = s->t_ns, .proc = i, .what = RSS};

		x.rss_bytes = s->anon_bytes + s->file_bytes + s->shmem_bytes;
		if (vec_push(&k->events, x))
			return -ENOMEM;
	}
	for (size_t n = 0; n < p->footprint.n; n++) {
		const struct footprint_sample *s = &p->footprint.v[n];
		struct event x = {s->t_ns, i, READING, s->rss_bytes, s->pss_bytes, s->uss_bytes};

		if (vec_push(&k->events, x))
			return -ENOMEM;
	}
	return 0;
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

/* What it counts with now. */
static uint64_t share(const struct peak *k, uint32_t i)
{
	const struct state *s = &k->procs[i];
	uint64_t base = forks_own(&k->forks, i) ? s->uss : s->pss;

	if (!s->lives)
		return 0;
	if (s->rss >= s->rss_at)
		return base + (s->rss - s->rss_at);
	return base > s->rss_at - s->rss ? base - (s->rss_at - s->rss) : 0;
}

static void count(void *ctx, uint32_t i)
{
	struct peak *k = ctx;

	k->sum -= k->procs[i].counted;
	k->procs[i].counted = share(k, i);
	k->sum += k->procs[i].counted;
}

static void on_rss(struct state *s, uint64_t rss, bool forked)
{
	s->rss = rss;
	/* Of a fork's child all pages are its parent's to begin with. */
	if (!s->seen && forked)
		s->rss_at = rss;
	s->seen = true;
}

static void on_reading(struct peak *k, struct state *s, const struct event *x)
{
	if (!s->seen)
		s->rss = x->rss_bytes;
	s->pss = x->pss_bytes;
	s->uss = x->uss_bytes;
	s->rss_at = s->rss;
	s->seen = k->any_read = true;
	forks_read(&k->forks, x->proc, x->t_ns, count, k);
}

static void step(struct peak *k, const struct event *x)
{
	struct state *s = &k->procs[x->proc];

	switch (x->what) {
	case BEGIN:
		s->lives = true;
		forks_begin(&k->forks, x->proc);
		break;
	case RSS:
		on_rss(s, x->rss_bytes, forks_own(&k->forks, x->proc));
		break;
	case READING:
		on_reading(k, s, x);
		break;
	case END:
		s->lives = false;
		forks_end(&k->forks, x->proc, count, k);
		break;
	}
	count(k, x->proc);
}

int analyze_peak(struct report *r, struct err *err)
{
	struct peak k = {.m = r->m};
	int rc;

	(void)err;
	k.procs = calloc(model_n_procs(r->m) + 1, sizeof(*k.procs));
	rc = k.procs ? gather(&k) : -ENOMEM;
	for (size_t i = 0; i < k.events.n && !rc; i++) {
		step(&k, &k.events.v[i]);
		/* What happens at one moment belongs together. */
		if (i + 1 == k.events.n || k.events.v[i + 1].t_ns > k.events.v[i].t_ns)
			k.largest = k.sum > k.largest ? k.sum : k.largest;
	}
	r->peak_memory_bytes = !rc && k.any_read ? k.largest : 0;
	vec_release(&k.events);
	forks_release(&k.forks);
	free(k.procs);
	return rc;
}
