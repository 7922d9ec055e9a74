/* SPDX-License-Identifier: MIT */
/*
 * The largest amount of memory that all processes together had, between readings too. PSS is
 * read seldom, as reading it is dear; RSS is known every few milliseconds. So a process's last
 * reading is carried on by what its RSS has grown or shrunk since.
 *
 * A reading of a parent from before a fork still counts the pages that the child shares now: until
 * the parent is read again, the child counts with what is its own (USS), then with its PSS.
 */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define NONE UINT32_MAX

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
	uint32_t parent;            /* index, NONE */
	uint32_t youngest, sibling; /* children that were born since it was read; NONE */
	bool lives, seen, own;      /* own: counts with its USS */
};

struct peak {
	const struct model *m;
	VEC(struct event) events;
	struct state *procs;
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
	struct hmap ids = {0};
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++) {
		bool added;
		uint64_t *at = hmap_put(&ids, model_proc_at(k->m, i)->id, 0, &added);

		err = at ? gather_one(k, i) : -ENOMEM;
		if (at)
			*at = i;
	}
	for (uint32_t i = 0; i < n && !err; i++) {
		const struct task *t = model_task(k->m, model_proc_at(k->m, i)->parent);
		const uint64_t *at = t ? hmap_get(&ids, t->proc, 0) : NULL;

		k->procs[i].parent = at && *at != i ? (uint32_t)*at : NONE;
		k->procs[i].youngest = k->procs[i].sibling = NONE;
	}
	hmap_release(&ids);
	if (k->events.n)
		qsort(k->events.v, k->events.n, sizeof(k->events.v[0]), by_time);
	return err;
}

/* What it counts with now. */
static uint64_t share(const struct state *s)
{
	uint64_t base = s->own ? s->uss : s->pss;

	if (!s->lives)
		return 0;
	if (s->rss >= s->rss_at)
		return base + (s->rss - s->rss_at);
	return base > s->rss_at - s->rss ? base - (s->rss_at - s->rss) : 0;
}

static void count(struct peak *k, uint32_t i)
{
	k->sum -= k->procs[i].counted;
	k->procs[i].counted = share(&k->procs[i]);
	k->sum += k->procs[i].counted;
}

static void begin(struct peak *k, uint32_t i)
{
	struct state *s = &k->procs[i];

	s->lives = true;
	if (s->parent == NONE || !k->procs[s->parent].lives)
		return;
	s->own = true;
	s->sibling = k->procs[s->parent].youngest;
	k->procs[s->parent].youngest = i;
}

/* What it shares with its children is no longer counted for it alone. */
static void release_children(struct peak *k, struct state *s)
{
	for (uint32_t i = s->youngest; i != NONE; i = k->procs[i].sibling) {
		k->procs[i].own = false;
		count(k, i);
	}
	s->youngest = NONE;
}

static void on_rss(struct state *s, uint64_t rss)
{
	s->rss = rss;
	/* Of a fork's child all pages are its parent's to begin with. */
	if (!s->seen && s->parent != NONE)
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
	release_children(k, s);
}

static void step(struct peak *k, const struct event *x)
{
	struct state *s = &k->procs[x->proc];

	switch (x->what) {
	case BEGIN:
		begin(k, x->proc);
		break;
	case RSS:
		on_rss(s, x->rss_bytes);
		break;
	case READING:
		on_reading(k, s, x);
		break;
	case END:
		s->lives = false;
		release_children(k, s);
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
	free(k.procs);
	return rc;
}
