/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"

/* In this order: notes come last because they speak of what the others found. */
const struct analysis analyses[] = {
        {"sched", "mode, wall time, average parallelism", analyze_sched},
        {"checks", "recorded totals against the kernel's counters", analyze_checks},
        {"futex", "futexes by waiting time", analyze_futex},
        {"waits", "locks, channels and who waited for whom", analyze_waits},
        {"deadlocks", "cycles of tasks that wait for each other for ever", analyze_deadlocks},
        {"graph", "who waits for whom when recording ends", analyze_graph},
        {"causes", "where the CPUs' time went, and the verdict", analyze_causes},
        {"gil", "GILs: who held them, who waited", analyze_gil},
        {"path", "the critical path", analyze_path},
        {"watch", "what kept chosen tasks from running", analyze_watch},
        {"spawn", "how tasks were made, and what it cost", analyze_spawn},
        {"pickling", "CPU time that goes into pickling", analyze_pickling},
        {"what-if", "what the run would gain if one cause were gone", analyze_what_if},
        {"tree", "memory of all processes together", analyze_tree},
        {"peak", "the largest memory of all processes together", analyze_peak},
        {"overhead", "what recording cost", analyze_overhead},
        {"notes", "what could not be recorded, and why", analyze_notes},
};
const size_t n_analyses = ARRAY_LEN(analyses);

int report_build(struct report *r, const struct model *m, struct err *err)
{
	return report_build_opts(r, m, NULL, err);
}

int report_build_opts(struct report *r, const struct model *m, const struct analyze_opts *o,
                      struct err *err)
{
	memset(r, 0, sizeof(*r));
	r->m = m;
	if (o)
		r->opts = *o;
	for (size_t i = 0; i < n_analyses; i++) {
		int rc = analyses[i].run(r, err);

		if (rc) {
			report_release(r);
			if (err && !err->msg[0])
				err_set(err, rc, MT_EXIT_FAIL, "%s", strerror(-rc));
			return err_wrap(err, rc, "analysis \"%s\"", analyses[i].name);
		}
	}
	return 0;
}

void report_release(struct report *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->notes.n; i++)
		free(r->notes.v[i]);
	for (size_t i = 0; i < r->deadlocks.n; i++)
		vec_release(&r->deadlocks.v[i].edges);
	for (size_t i = 0; i < r->gils.n; i++)
		vec_release(&r->gils.v[i].tasks);
	for (size_t i = 0; i < r->watch.n; i++)
		vec_release(&r->watch.v[i].by);
	vec_release(&r->breakdown);
	vec_release(&r->shares);
	vec_release(&r->proc_shares);
	vec_release(&r->serial);
	vec_release(&r->path);
	vec_release(&r->deadlocks);
	vec_release(&r->graph);
	vec_release(&r->what_if);
	vec_release(&r->gils);
	vec_release(&r->watch);
	waits_free(r->w);
	vec_release(&r->notes);
	vec_release(&r->checks);
	vec_release(&r->locks);
	vec_release(&r->pickling);
	vec_release(&r->spawns);
	vec_release(&r->tree);
	memset(r, 0, sizeof(*r));
}

int note_add(struct report *r, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	if (vec_push(&r->notes, text)) {
		free(text);
		return -ENOMEM;
	}
	return 0;
}
