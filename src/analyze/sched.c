/* SPDX-License-Identifier: MIT */
#include "analyze_priv.h"

/* When the only process that the recording began with came to its last exec, if that was not its
 * first; 0 = it was, or there are several. */
static uint64_t last_exec(const struct model *m)
{
	uint64_t last_ns = 0;

	for (size_t i = 0, roots = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		if (!task_is_first(t))
			continue;
		if (roots++ || model_recording(m)->attached)
			return 0;
		last_ns = t->last_exec_ns > t->exec_ns ? t->last_exec_ns : 0;
	}
	return last_ns;
}

static bool ended_by(const struct task *t, uint64_t t_ns)
{
	return !task_is_first(t) && !t->alive && t->end_ns <= t_ns;
}

static void find_launcher(struct report *r)
{
	const struct recording *rec = model_recording(r->m);
	uint64_t at = last_exec(r->m);

	if (at <= rec->wall_start_ns || at - rec->wall_start_ns > r->wall_ns / 2)
		return;
	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);

		if (!ended_by(t, at))
			continue;
		r->launcher_tasks++;
		r->launcher_procs += t->id == t->proc;
	}
	if (r->launcher_procs)
		r->launcher_ns = at - rec->wall_start_ns;
	else
		r->launcher_tasks = 0;
}

static const char *mode_of(const struct report *r)
{
	size_t tasks = model_n_tasks(r->m) - r->launcher_tasks,
	       procs = model_n_procs(r->m) - r->launcher_procs;

	if (tasks <= 1)
		return "single";
	if (procs == 1)
		return "threaded";
	return tasks == procs ? "multiprocess" : "mixed";
}

int analyze_sched(struct report *r, struct err *err)
{
	const struct recording *rec = model_recording(r->m);
	const uint64_t *histogram;
	double running = 0;
	size_t n;

	(void)err;
	r->wall_ns = rec->wall_end_ns - rec->wall_start_ns;
	find_launcher(r);
	r->mode = mode_of(r);
	r->cpus = rec->cpus;
	histogram = model_running_histogram(r->m, &n);
	for (size_t i = 0; i < n; i++)
		running += (double)i * (double)histogram[i];
	r->avg_parallelism = r->wall_ns ? running / (double)r->wall_ns : 0;
	return 0;
}
