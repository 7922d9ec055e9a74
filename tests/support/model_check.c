/* SPDX-License-Identifier: MIT */
#include "model_check.h"

static const char *slices_broken(const struct task *t)
{
	uint64_t at = t->start_ns, blocked = 0, on_cpu = 0;

	for (size_t i = 0; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->out_ns != at)
			return "slices leave a gap or overlap";
		if (s->queued_ns < s->out_ns || s->in_ns < s->queued_ns || s->end_ns < s->in_ns)
			return "a slice's times are out of order";
		blocked += s->queued_ns - s->out_ns;
		on_cpu += s->end_ns - s->in_ns;
		at = s->end_ns;
	}
	if (at != t->end_ns)
		return "slices do not reach the end of the life";
	if (blocked != t->blocked_ns || on_cpu != t->on_cpu_ns)
		return "slices do not sum to the task's totals";
	return NULL;
}

static const char *task_broken(const struct task *t, const struct recording *rec)
{
	uint64_t life = t->end_ns - t->start_ns, causes = 0;

	if (t->end_ns < t->start_ns)
		return "a life ends before it begins";
	if (t->start_ns < rec->wall_start_ns || t->end_ns > rec->wall_end_ns)
		return "a life lies outside the wall";
	for (unsigned i = 0; i < BLOCK_N; i++)
		causes += t->blocked_by[i];
	if (causes != t->blocked_ns)
		return "causes do not sum to blocked";
	if (t->run_ns > life || t->blocked_ns > life || t->runnable_ns > life ||
	    t->run_ns + t->blocked_ns + t->runnable_ns != life)
		return "running, runnable and blocked do not tile the life";
	return NULL;
}

static const char *sums_broken(const struct model *m)
{
	uint64_t blocked = 0, rows_blocked = 0, futex = 0, words = 0, sites = 0, waiters = 0;
	const struct stack_row *rows;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n; i++)
		rows_blocked += rows[i].blocked_ns;
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		blocked += model_task_at(m, i)->blocked_ns;
		futex += model_task_at(m, i)->blocked_by[BLOCK_FUTEX];
	}
	for (size_t i = 0; i < model_n_futexes(m); i++) {
		const struct futex *f = model_futex_at(m, i);

		words += f->wait_ns;
		for (size_t k = 0; k < f->waiters.n; k++)
			waiters += f->waiters.v[k].wait_ns;
		for (size_t k = 0; k < f->sites.n; k++)
			sites += f->sites.v[k].wait_ns;
	}
	if (rows_blocked != blocked)
		return "stack rows do not sum to blocked";
	if (words != futex || waiters != futex || sites != futex)
		return "futexes do not sum to the tasks' futex time";
	return NULL;
}

const char *model_broken(const struct model *m, bool has_slices)
{
	const struct recording *rec = model_recording(m);
	const uint64_t *histogram;
	const char *broken;
	uint64_t sum = 0, on_cpu = 0, weighted = 0;
	size_t n;

	histogram = model_running_histogram(m, &n);
	for (size_t i = 0; i < n; i++) {
		sum += histogram[i];
		weighted += i * histogram[i];
	}
	if (sum != rec->wall_end_ns - rec->wall_start_ns)
		return "the histogram does not sum to the wall";
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		broken = task_broken(t, rec);
		if (!broken && has_slices)
			broken = slices_broken(t);
		if (broken)
			return broken;
		on_cpu += t->on_cpu_ns;
	}
	/* A turn may begin before its switch-in, where the kernel's run time says so; the histogram
	 * goes by switches. */
	if (weighted > on_cpu)
		return "the histogram holds more than the tasks' time on CPUs";
	return sums_broken(m);
}
