/* SPDX-License-Identifier: MIT */
#include "analyze_priv.h"

static const char *mode_of(const struct model *m)
{
	size_t tasks = model_n_tasks(m), procs = model_n_procs(m);

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
	r->mode = mode_of(r->m);
	r->wall_ns = rec->wall_end_ns - rec->wall_start_ns;
	r->cpus = rec->cpus;
	histogram = model_running_histogram(r->m, &n);
	for (size_t i = 0; i < n; i++)
		running += (double)i * (double)histogram[i];
	r->avg_parallelism = r->wall_ns ? running / (double)r->wall_ns : 0;
	return 0;
}
