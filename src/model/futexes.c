/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "model_priv.h"

/* A word on the waiter's own stack is nobody else's: what the wait is known by is the lock that
 * the stack names. Both kinds of address are kept apart. */
int futex_need(struct model *m, uint32_t space, const struct rec_switch *r, uint32_t *number)
{
	const struct lsite *site = site_get(m, r->site);
	uint64_t addr = r->park ? r->park : r->addr;
	struct futex fresh = {.space = space, .addr = addr, .park = r->park};
	uint64_t where = space | (uint64_t)fresh.park << 32;
	uint64_t *at = hmap_get(&m->futex_ids, where, addr);
	struct futex *f;

	*number = 0;
	if (!at) {
		if (m->futexes.n >= MAX_FUTEXES) {
			m->odd.refused++;
			return 0;
		}
		at = hmap_put(&m->futex_ids, where, addr, NULL);
		if (!at || vec_push(&m->futexes, fresh))
			return -ENOMEM;
		*at = m->futexes.n - 1;
	}
	f = &m->futexes.v[*at];
	f->word = r->addr;
	if (r->flags & SW_F_WORD)
		f->words[r->word < 4 ? r->word : 4]++;
	if (r->flags & SW_F_WORD && (uint32_t)r->word == UINT32_MAX)
		f->minus_ones++;
	if (site && site->is_futex) {
		f->op = site->op;
		f->is_private |= site->is_private;
	}
	*number = (uint32_t)*at + 1;
	return 0;
}

static uint64_t next_random(struct model *m)
{
	uint64_t x = m->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return m->random = x;
}

/* Thousands of futexes share the memory that a few may use freely. */
static size_t reservoir_size(const struct model *m)
{
	return m->futexes.n <= 1024 ? RESERVOIR : m->futexes.n <= 65536 ? 256 : 16;
}

static int add_duration(struct model *m, struct futex *f, uint64_t wait_ns)
{
	uint64_t at;

	if (f->waits <= f->durations_ns.n + 1 && f->durations_ns.n < reservoir_size(m))
		return vec_push(&f->durations_ns, wait_ns);
	at = next_random(m) % f->waits; /* f->waits counts this one already */
	if (at < f->durations_ns.n)
		f->durations_ns.v[at] = wait_ns;
	return 0;
}

static int waiter_need(struct model *m, struct ltask *lt, uint32_t futex, uint32_t *index)
{
	struct futex *f = &m->futexes.v[futex];
	struct futex_waiter fresh = {.task = lt->t.id};
	bool added = false;
	uint64_t *at = hmap_put(&m->waiter_ids, futex, lt->t.id, &added);

	if (!at)
		return -ENOMEM;
	if (added)
		*at = f->waiters.n;
	*index = (uint32_t)*at;
	return added ? vec_push(&f->waiters, fresh) : 0;
}

static int site_need(struct model *m, const struct ltask *lt, uint32_t futex, uint32_t *index)
{
	struct futex *f = &m->futexes.v[futex];
	struct futex_site fresh = {.ustack = lt->ustack, .kstack = lt->kstack};
	bool added = false;
	uint64_t *at = hmap_put(&m->futex_site_ids, futex, (uint64_t)lt->ustack << 32 | lt->kstack,
	                        &added);

	if (!at)
		return -ENOMEM;
	if (added)
		*at = f->sites.n;
	*index = (uint32_t)*at;
	return added ? vec_push(&f->sites, fresh) : 0;
}

/* Tasks mostly wait again for what they waited for last, at the same place. */
static int rows_need(struct model *m, struct ltask *lt, uint32_t futex)
{
	struct futex_used *u = &lt->used;
	int err;

	if (u->futex == futex + 1 && u->ustack == lt->ustack && u->kstack == lt->kstack)
		return 0;
	u->futex = 0;
	err = waiter_need(m, lt, futex, &u->waiter);
	if (!err)
		err = site_need(m, lt, futex, &u->site);
	if (err)
		return err;
	u->futex = futex + 1;
	u->ustack = lt->ustack;
	u->kstack = lt->kstack;
	return 0;
}

int futex_add_wait(struct model *m, struct ltask *lt, uint32_t futex, uint64_t wait_ns)
{
	struct futex *f = &m->futexes.v[futex];
	struct futex_waiter *w;
	struct futex_site *s;
	int err = rows_need(m, lt, futex);

	if (err)
		return err;
	w = &f->waiters.v[lt->used.waiter];
	s = &f->sites.v[lt->used.site];
	w->waits++;
	w->wait_ns = sat_add(w->wait_ns, wait_ns);
	if (wait_ns > w->max_ns)
		w->max_ns = wait_ns;
	s->waits++;
	s->wait_ns = sat_add(s->wait_ns, wait_ns);
	f->waits++;
	f->wait_ns = sat_add(f->wait_ns, wait_ns);
	if (wait_ns > f->max_ns)
		f->max_ns = wait_ns;
	return add_duration(m, f, wait_ns);
}

/* Keeps the words, drops what was counted: indices in open slices stay valid. */
void futexes_reset(struct model *m)
{
	for (size_t i = 0; i < m->futexes.n; i++) {
		struct futex *f = &m->futexes.v[i];

		f->waits = f->wait_ns = f->max_ns = 0;
		f->durations_ns.n = 0;
		f->waiters.n = f->sites.n = 0;
	}
	hmap_release(&m->waiter_ids);
	hmap_release(&m->futex_site_ids);
	for (size_t i = 0; i < m->tasks.n; i++)
		m->tasks.v[i]->used = (struct futex_used){0};
}

/* The indices were for loading; slices know futexes by their place. */
void futexes_finish(struct model *m)
{
	hmap_release(&m->waiter_ids);
	hmap_release(&m->futex_site_ids);
	hmap_release(&m->futex_ids);
}

void futexes_release(struct model *m)
{
	for (size_t i = 0; i < m->futexes.n; i++) {
		vec_release(&m->futexes.v[i].durations_ns);
		vec_release(&m->futexes.v[i].waiters);
		vec_release(&m->futexes.v[i].sites);
	}
	vec_release(&m->futexes);
	futexes_finish(m);
}

size_t model_n_futexes(const struct model *m)
{
	return m->futexes.n;
}

const struct futex *model_futex_at(const struct model *m, size_t i)
{
	return i < m->futexes.n ? &m->futexes.v[i] : NULL;
}
