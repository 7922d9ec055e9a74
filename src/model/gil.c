/* SPDX-License-Identifier: MIT */
/* GILs and the readings of them. */
#include <errno.h>

#include "model_priv.h"

#define MAX_GILS (1u << 16)

int on_gil(struct model *m, uint64_t ts, const struct rec_gil *r)
{
	struct gil g = {
	        .id = id32(r->id),
	        .space = id32(r->space),
	        .addr = r->addr,
	        .main = r->main,
	        .version = (uint32_t)r->version,
	};

	(void)ts;
	if (!g.id || idmap_get(&m->gil_ids, g.id) != NO_INDEX)
		return 0;
	if (m->gils.n >= MAX_GILS) {
		m->odd.refused++;
		return 0;
	}
	if (idmap_put(&m->gil_ids, g.id, (uint32_t)m->gils.n))
		return -ENOMEM;
	return vec_push(&m->gils, g);
}

/* A thread state's address is one of its process: forks have it at the same place. */
int on_pythread(struct model *m, uint64_t ts, const struct rec_pythread *r)
{
	int err = 0;
	struct ltask *lt = task_need(m, r->task, ts, &err);
	uint64_t *at = lt ? hmap_put(&m->py_threads, lt->t.proc, r->tstate, NULL) : NULL;

	if (!lt)
		return err;
	if (!at)
		return -ENOMEM;
	*at = lt->t.id;
	return 0;
}

int gil_read(struct model *m, uint64_t ts, uint64_t by, const struct gil_reading *r)
{
	uint32_t i = idmap_get(&m->gil_ids, r->gil);
	const struct ltask *lt = task_get(m, by);
	const uint64_t *holder = NULL;
	struct gil_sample s, *last = NULL;

	if (!(m->opts.flags & MODEL_SLICES) || i == NO_INDEX || !lt)
		return 0;
	if (r->holder)
		holder = hmap_get(&m->py_threads, lt->t.proc, r->holder);
	s = (struct gil_sample){
	        .ts = ts,
	        .switches = r->switches,
	        .gil = i,
	        .by = lt->t.id,
	        .holder = holder ? (uint32_t)*holder : 0,
	        .locked = r->state & 1,
	};
	if (m->gil_samples.n)
		last = &m->gil_samples.v[m->gil_samples.n - 1];
	if (last && last->gil == s.gil && last->by == s.by && last->holder == s.holder &&
	    last->locked == s.locked && last->switches == s.switches)
		return 0;
	return vec_push(&m->gil_samples, s);
}

void gil_release(struct model *m)
{
	vec_release(&m->gils);
	vec_release(&m->gil_samples);
	idmap_release(&m->gil_ids);
	hmap_release(&m->py_threads);
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
