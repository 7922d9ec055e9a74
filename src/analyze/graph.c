/* SPDX-License-Identifier: MIT */
/* Who waits for whom at the moment that recording ends. */
#include <errno.h>

#include "analyze_priv.h"
#include "spans_priv.h"

/* Attached tasks are found within this of the beginning. */
#define ATTACH_NS 50000000

bool graph_before(const struct report *r, uint32_t task, uint64_t since_ns)
{
	const struct recording *rec = model_recording(r->m);
	const struct task *t = model_task(r->m, task);

	return rec->attached && t && since_ns <= t->start_ns &&
	       since_ns <= rec->wall_start_ns + ATTACH_NS;
}

/* Can only a thread of the same process let go of it? */
static bool is_own(const struct report *r, uint32_t lock)
{
	const struct lock *l = lock && lock <= r->w->locks.n ? &r->w->locks.v[lock - 1] : NULL;

	return l && l->kind != LOCK_FILE && (!l->shared || l->kind == LOCK_JOIN);
}

static void set_wait(const struct report *r, const struct span *s, struct graph_row *row)
{
	const struct slice *sl = s->slice;

	row->state = 'B';
	row->kind = s->kind;
	row->evidence = s->evidence;
	row->lock = s->lock;
	row->channel = s->channel;
	row->waits_for = s->task;
	row->since_ns = s->wait ? s->wait->start_ns : sl->out_ns;
	row->before = graph_before(r, row->task, row->since_ns);
	row->for_good = s->kind == WAIT_LOCK && s->wait && !s->wait->timed && is_own(r, s->lock);
	row->ustack = sl->ustack;
	row->kstack = sl->kstack;
}

static int add_row(struct report *r, const struct task *t)
{
	struct graph_row row = {.task = t->id, .state = 'Q', .since_ns = t->end_ns};
	struct spans spans;
	struct span s;

	spans_begin(&spans, r->w, t, t->end_ns ? t->end_ns - 1 : 0);
	if (spans_next(&spans, &s)) {
		row.since_ns = s.start_ns;
		if (s.state == SPAN_RUN) {
			row.state = 'R';
			row.since_ns = s.slice->in_ns;
		} else if (s.state == SPAN_BLOCKED) {
			set_wait(r, &s, &row);
		}
	}
	return vec_push(&r->graph, row);
}

/* Running tasks were last seen where their last sample was. */
static void set_samples(struct report *r, const struct hmap *places)
{
	const struct cpu_sample *samples;
	size_t n = model_samples(r->m, &samples);

	for (size_t i = 0; i < n; i++) {
		const uint64_t *at = hmap_get(places, samples[i].task, 0);
		struct graph_row *row = at ? &r->graph.v[*at - 1] : NULL;

		if (!row || row->state == 'B')
			continue;
		row->ustack = samples[i].ustack;
		row->kstack = samples[i].kstack;
	}
}

static void set_deadlocks(struct report *r, const struct hmap *places)
{
	for (size_t i = 0; i < r->deadlocks.n; i++)
		for (size_t k = 0; k < r->deadlocks.v[i].edges.n; k++) {
			const struct deadlock_edge *e = &r->deadlocks.v[i].edges.v[k];
			const uint64_t *at = hmap_get(places, e->task, 0);

			if (!at)
				continue;
			r->graph.v[*at - 1].deadlock = (uint32_t)i + 1;
			if (!r->graph.v[*at - 1].ustack)
				r->graph.v[*at - 1].ustack = e->ustack;
		}
}

int analyze_graph(struct report *r, struct err *err)
{
	struct hmap places = {0}; /* task id -> place in graph + 1 */
	int rc = 0;

	(void)err;
	for (size_t i = 0; r->w && !rc && i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);
		uint64_t *at;

		if (!t->alive || t->placeholder)
			continue;
		rc = add_row(r, t);
		at = rc ? NULL : hmap_put(&places, t->id, 0, NULL);
		if (!at)
			rc = -ENOMEM;
		else
			*at = r->graph.n;
	}
	if (!rc) {
		set_samples(r, &places);
		set_deadlocks(r, &places);
	}
	hmap_release(&places);
	return rc;
}
