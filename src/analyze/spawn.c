/* SPDX-License-Identifier: MIT */
/* How tasks were made: from the first sign of the call in the parent to work of their own. */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

static uint64_t since(uint64_t start, uint64_t t)
{
	return t && t >= start ? t - start : SPAWN_UNKNOWN;
}

/* The first time that it blocked: by then it had begun. */
static uint64_t first_wait(const struct task *t)
{
	for (size_t i = 0; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->out_ns >= t->first_in_ns && s->queued_ns > s->out_ns)
			return s->out_ns;
	}
	return 0;
}

static const char *method_of(const struct model *m, const struct task *t)
{
	const struct proc *p = model_proc(m, t->proc);

	if (t->proc != t->id)
		return "thread";
	return p && p->start_method ? p->start_method : "fork";
}

static struct spawn_row row_of(const struct model *m, const struct task *t)
{
	uint64_t start = t->call_ns ? t->call_ns : t->start_ns, ready = t->ready_ns;
	struct spawn_row s = {
	        .task = t->id,
	        .method = method_of(m, t),
	        .start_ns = start,
	        .call_ns = t->call_ns ? t->start_ns - start : SPAWN_UNKNOWN,
	        .first_run_ns = since(start, t->first_in_ns),
	        .exec_ns = since(start, t->exec_ns),
	        .teardown_ns = t->alive ? SPAWN_UNKNOWN : since(t->exit_ns, t->end_ns),
	};

	if (!t->exit_ns)
		s.teardown_ns = SPAWN_UNKNOWN;
	if (!ready)
		ready = first_wait(t);
	s.ready_ns = since(start, ready);
	return s;
}

static int by_task(const void *a, const void *b)
{
	const struct spawn_row *x = a, *y = b;

	return x->task < y->task ? -1 : x->task > y->task;
}

int analyze_spawn(struct report *r, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);

		if (t->placeholder || (t->flags & (TASK_F_ATTACHED | TASK_F_ROOT)))
			continue;
		if (vec_push(&r->spawns, row_of(r->m, t)))
			return -ENOMEM;
	}
	if (r->spawns.n)
		qsort(r->spawns.v, r->spawns.n, sizeof(r->spawns.v[0]), by_task);
	return 0;
}

const struct spawn_row *report_spawn(const struct report *r, uint32_t task)
{
	const struct spawn_row key = {.task = task};

	return r->spawns.n ? bsearch(&key, r->spawns.v, r->spawns.n, sizeof(key), by_task) : NULL;
}
