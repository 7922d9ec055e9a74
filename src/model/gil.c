/* SPDX-License-Identifier: MIT */
/*
 * gil.c: GILs and the readings of them. A reading names its holder by the address of a thread
 * state. Whose that is may be told only later (at that thread's own first reading), and another
 * thread's may come to lie there: so readings are resolved at the end, by time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

#define MAX_GILS    (1u << 16)
#define GIL_COND    32 /* its condition variable: waits for the GIL, and wakes by who releases it */
#define GIL_MUTEX   80
#define GIL_END     208
#define MAX_TSTATES (1u << 22)

int on_gil(struct model *m, uint64_t ts, const struct rec_gil *r)
{
	struct gil g = {
	        .id = id32(r->id),
	        .space = id32(r->space),
	        .addr = r->addr,
	        .main = r->main,
	        .version = (uint32_t)r->version,
	};
	uint32_t i = idmap_get(&m->gil_ids, g.id);

	(void)ts;
	if (!g.id)
		return 0;
	if (i != NO_INDEX) { /* more is known by now */
		m->gils.v[i].main |= g.main;
		if (g.version)
			m->gils.v[i].version = g.version;
		return 0;
	}
	if (m->gils.n >= MAX_GILS) {
		m->odd.refused++;
		return 0;
	}
	if (idmap_put(&m->gil_ids, g.id, (uint32_t)m->gils.n))
		return -ENOMEM;
	return vec_push(&m->gils, g);
}

/* Number of the thread state at this address of the space, from 1; 0 = there are too many. */
static int tstate_number(struct model *m, uint32_t space, uint64_t addr, uint32_t *number)
{
	uint64_t *at = hmap_get(&m->tstates, space, addr);

	*number = 0;
	if (!at) {
		if (m->tstates.n >= MAX_TSTATES)
			return 0;
		at = hmap_put(&m->tstates, space, addr, NULL);
		if (!at)
			return -ENOMEM;
		*at = m->tstates.n;
	}
	*number = (uint32_t)*at;
	return 0;
}

/* A child of vfork runs, until its exec, as the thread that made it: with its memory and its thread
 * pointer, so with its thread state, too. That one has it still when the child has gone. */
uint32_t gil_state_owner(const struct model *m, const struct ltask *lt)
{
	const struct ltask *by = lt->t.proc == lt->t.id ? task_get(m, lt->t.parent) : NULL;

	return by && by != lt && lt->t.space && by->t.space == lt->t.space ? by->t.id : lt->t.id;
}

/* A forked process has its thread states at the same addresses, but in its own space. */
int on_pythread(struct model *m, uint64_t ts, const struct rec_pythread *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	struct pythread p = {.ts = ts, .task = lt ? gil_state_owner(m, lt) : 0};

	if (!lt || !(m->opts.flags & MODEL_SLICES))
		return err;
	err = tstate_number(m, lt->t.space, r->tstate, &p.tstate);
	if (err || !p.tstate)
		return err;
	if (m->pythreads.n >= MAX_TSTATES) {
		m->odd.refused++;
		return 0;
	}
	return vec_push(&m->pythreads, p);
}

/* Nothing has changed since the reading before, as far as that GIL goes. Who has released it may
 * have had it again in between. */
static bool is_repeat(const struct model *m, const struct gil_sample *s)
{
	const struct gil_sample *last;

	if (s->released || (s->blocked && !s->locked))
		return false;
	for (size_t k = 1; k <= m->gil_samples.n && k <= 4; k++) {
		last = &m->gil_samples.v[m->gil_samples.n - k];
		if (last->gil == s->gil)
			return last->holder == s->holder && last->locked == s->locked &&
			       last->switches == s->switches;
	}
	return false;
}

int gil_read(struct model *m, uint64_t ts, uint64_t by, const struct gil_reading *r)
{
	uint32_t i = idmap_get(&m->gil_ids, r->gil);
	const struct ltask *lt = task_get(m, by);
	struct gil_sample s;
	int err = 0;

	if (!(m->opts.flags & MODEL_SLICES) || i == NO_INDEX || !lt)
		return 0;
	s = (struct gil_sample){
	        .ts = ts,
	        .switches = r->switches,
	        .gil = i,
	        .by = lt->t.id,
	        .locked = r->state & 1,
	        .waking = r->waking,
	        .blocked = r->blocked,
	        .released = r->woke - m->gils.v[i].addr - GIL_COND < GIL_MUTEX - GIL_COND,
	};
	if (r->holder)
		err = tstate_number(m, m->gils.v[i].space, r->holder, &s.holder);
	if (err || is_repeat(m, &s))
		return err;
	return vec_push(&m->gil_samples, s);
}

static int by_tstate(const void *a, const void *b)
{
	const struct pythread *x = a, *y = b;

	if (x->tstate != y->tstate)
		return x->tstate < y->tstate ? -1 : 1;
	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

static int by_time(const void *a, const void *b)
{
	const struct gil_sample *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* The task with that thread state at ts: told last before; else, told first after. */
static uint32_t task_of(const struct model *m, uint32_t tstate, uint64_t ts)
{
	const struct pythread *p = m->pythreads.v;
	size_t lo = 0, hi = m->pythreads.n;

	while (lo < hi) { /* the first one that is later */
		size_t mid = lo + (hi - lo) / 2;

		if (p[mid].tstate < tstate || (p[mid].tstate == tstate && p[mid].ts <= ts))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo > 0 && p[lo - 1].tstate == tstate)
		return p[lo - 1].task;
	return lo < m->pythreads.n && p[lo].tstate == tstate ? p[lo].task : 0;
}

static int by_place(const void *a, const void *b)
{
	const struct gil_place *x = a, *y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

static int sort_places(struct model *m)
{
	for (size_t i = 0; i < m->gils.n; i++) {
		struct gil_place p = {.addr = m->gils.v[i].addr,
		                      .space = m->gils.v[i].space,
		                      .number = (uint32_t)i + 1};

		if (vec_push(&m->gil_places, p))
			return -ENOMEM;
	}
	if (m->gil_places.n)
		qsort(m->gil_places.v, m->gil_places.n, sizeof(m->gil_places.v[0]), by_place);
	return 0;
}

/* How many lie before this address of the space, those of spaces before it included. */
static size_t places_until(const struct model *m, uint32_t space, uint64_t addr)
{
	const struct gil_place *v = m->gil_places.v;
	size_t lo = 0, hi = m->gil_places.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].space < space || (v[mid].space == space && v[mid].addr <= addr))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint32_t model_gil_around(const struct model *m, uint32_t space, uint64_t addr)
{
	size_t n = places_until(m, space, addr);
	const struct gil_place *p = n ? &m->gil_places.v[n - 1] : NULL;

	return p && p->space == space && addr - p->addr < GIL_END ? p->number : 0;
}

uint32_t model_last_gil_in(const struct model *m, uint32_t space)
{
	size_t n = places_until(m, space, UINT64_MAX);
	const struct gil_place *p = n ? &m->gil_places.v[n - 1] : NULL;

	return p && p->space == space ? p->number : 0;
}

size_t model_gils_in(const struct model *m, uint32_t space)
{
	return places_until(m, space, UINT64_MAX) -
	       (space ? places_until(m, space - 1, UINT64_MAX) : 0);
}

uint32_t model_gil_number(const struct model *m, uint32_t id)
{
	uint32_t i = idmap_get(&m->gil_ids, id);

	return i == NO_INDEX ? 0 : i + 1;
}

int gils_finish(struct model *m)
{
	struct gil_sample *s = m->gil_samples.v;
	bool sorted = true;
	int err = sort_places(m);

	if (err)
		return err;

	if (m->pythreads.n)
		qsort(m->pythreads.v, m->pythreads.n, sizeof(m->pythreads.v[0]), by_tstate);
	for (size_t i = 0; i < m->gil_samples.n; i++) {
		s[i].holder = s[i].holder ? task_of(m, s[i].holder, s[i].ts) : 0;
		sorted = sorted && (!i || s[i - 1].ts <= s[i].ts);
	}
	if (!sorted)
		qsort(s, m->gil_samples.n, sizeof(*s), by_time);
	vec_release(&m->pythreads);
	hmap_release(&m->tstates);
	return 0;
}

void gil_release(struct model *m)
{
	vec_release(&m->gils);
	vec_release(&m->gil_samples);
	vec_release(&m->gil_places);
	idmap_release(&m->gil_ids);
	vec_release(&m->pythreads);
	hmap_release(&m->tstates);
}

size_t model_gils(const struct model *m, const struct gil **out)
{
	*out = m->gils.v;
	return m->gils.n;
}

size_t model_gil_samples(const struct model *m, const struct gil_sample **out)
{
	*out = m->gil_samples.v;
	return m->gil_samples.n;
}
