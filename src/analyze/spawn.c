/* SPDX-License-Identifier: MIT */
/* How tasks were made: from the first sign of the call in the parent to work of their own. */
#include <errno.h>
#include <stdlib.h>

#include "analyze_priv.h"

#define CLONE_VFORK 0x4000

static uint64_t since(uint64_t start, uint64_t t)
{
	return t && t >= start ? t - start : SPAWN_UNKNOWN;
}

/* The first time that it blocked, in the program that it became: by then it had begun. Who became
 * none is at work since its first run, and may wait for the first time long after. */
static uint64_t first_wait(const struct task *t)
{
	uint64_t from = t->exec_ns > t->first_in_ns ? t->exec_ns : t->first_in_ns;

	for (size_t i = 0; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->out_ns >= from && s->queued_ns > s->out_ns)
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

/* Where the child of a vfork ran in its creator's memory, the call was over for its creator when it
 * went on; its beginning is not known, but little comes before the child exists. 0: unknown. */
static uint64_t vfork_end(const struct model *m, const struct task *t)
{
	const struct task *p = model_task(m, t->parent);

	for (size_t i = 0; p && i < p->slices.n; i++) {
		const struct slice *s = &p->slices.v[i];

		if (s->out_ns >= t->born_ns && s->waker == t->id)
			return s->in_ns < s->end_ns ? s->in_ns : 0;
	}
	return 0;
}

/* How long the creating call took, from `start` on. */
static uint64_t call_time(const struct model *m, const struct task *t, uint64_t start)
{
	if (t->clone_flags & CLONE_VFORK)
		return since(start, vfork_end(m, t));
	return t->call_ns ? since(start, t->born_ns) : SPAWN_UNKNOWN;
}

static struct spawn_row row_of(const struct model *m, const struct task *t)
{
	uint64_t start = t->call_ns ? t->call_ns : t->born_ns;
	struct spawn_row s = {
	        .task = t->id,
	        .method = method_of(m, t),
	        .start_ns = start,
	        .call_ns = call_time(m, t, start),
	        .ready_ns = SPAWN_UNKNOWN,
	        .ready_off_ns = SPAWN_UNKNOWN,
	        .first_run_ns = since(start, t->first_in_ns),
	        .exec_ns = since(start, t->exec_ns),
	        .teardown_ns = t->alive ? SPAWN_UNKNOWN : since(t->exit_ns, t->gone_ns),
	};

	if (!t->exit_ns)
		s.teardown_ns = SPAWN_UNKNOWN;
	/* The event of its first switch is missing: nobody calls exec without a CPU. */
	if (t->exec_ns && t->first_in_ns > t->exec_ns)
		s.first_run_ns = SPAWN_UNKNOWN;
	return s;
}

static void set_ready(const struct report *r, struct spawn_row *s)
{
	const struct task *t = model_task(r->m, s->task);

	if (s->ready_ns != SPAWN_UNKNOWN)
		return;
	if (!s->python && t->exec_ns)
		s->ready_ns = since(s->start_ns, first_wait(t));
}

static int by_task(const void *a, const void *b)
{
	const struct spawn_row *x = a, *y = b;

	return x->task < y->task ? -1 : x->task > y->task;
}

int analyze_spawn(struct report *r, struct err *err)
{
	int rc;

	(void)err;
	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);

		if (t->placeholder || (t->flags & (TASK_F_ATTACHED | TASK_F_ROOT)))
			continue;
		if (vec_push(&r->spawns, row_of(r->m, t)))
			return -ENOMEM;
	}
	rc = spawn_find_ready(r);
	for (size_t i = 0; i < r->spawns.n && !rc; i++)
		set_ready(r, &r->spawns.v[i]);
	if (r->spawns.n)
		qsort(r->spawns.v, r->spawns.n, sizeof(r->spawns.v[0]), by_task);
	return rc;
}

const struct spawn_row *report_spawn(const struct report *r, uint32_t task)
{
	const struct spawn_row key = {.task = task};

	return r->spawns.n ? bsearch(&key, r->spawns.v, r->spawns.n, sizeof(key), by_task) : NULL;
}
