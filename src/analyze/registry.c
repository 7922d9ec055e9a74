/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"

/* In this order, lane by lane. */
const struct analysis analyses[] = {
        {"sched", "mode, wall time, average parallelism", LANE_FIRST, analyze_sched},
        {"waits", "locks, channels and who waited for whom", LANE_FIRST, analyze_waits},
        {"gil", "GILs: who held them, who waited", LANE_FIRST, analyze_gil},
        {"checks", "recorded totals against the kernel's counters", LANE_MAIN, analyze_checks},
        {"futex", "futexes by waiting time", LANE_MAIN, analyze_futex},
        {"deadlocks", "cycles of tasks that wait for each other for ever", LANE_MAIN,
         analyze_deadlocks},
        {"graph", "who waits for whom when recording ends", LANE_MAIN, analyze_graph},
        {"spin", "CPU time that waits by spinning", LANE_MAIN, analyze_spin},
        {"causes", "where the CPUs' time went, and the verdict", LANE_MAIN, analyze_causes},
        {"path", "the critical path", LANE_MAIN, analyze_path},
        {"watch", "what kept chosen tasks from running", LANE_MAIN, analyze_watch},
        {"spawn", "how tasks were made, and what it cost", LANE_MAIN, analyze_spawn},
        {"pickling", "CPU time that goes into pickling", LANE_MAIN, analyze_pickling},
        {"tree", "memory of all processes together", LANE_MAIN, analyze_tree},
        {"peak", "the largest memory of all processes together", LANE_MAIN, analyze_peak},
        {"overhead", "what recording cost", LANE_MAIN, analyze_overhead},
        {"what-if", "what the run would gain if one cause were gone", LANE_REPLAY, analyze_what_if},
        {"notes", "what could not be recorded, and why", LANE_LAST, analyze_notes},
};
const size_t n_analyses = ARRAY_LEN(analyses);

struct lanes {
	struct report *r;
	struct err err[LANE_LAST + 1];
};

static int run_lane(struct lanes *l, enum analysis_lane lane)
{
	struct err *err = &l->err[lane];

	for (size_t i = 0; i < n_analyses; i++) {
		int rc = analyses[i].lane == lane ? analyses[i].run(l->r, err) : 0;

		if (!rc)
			continue;
		if (!err->msg[0])
			err_set(err, rc, MT_EXIT_FAIL, "%s", strerror(-rc));
		if (err->status == MT_EXIT_USAGE) /* what was asked for, not what was done */
			return rc;
		return err_wrap(err, rc, "analysis \"%s\"", analyses[i].name);
	}
	return 0;
}

static int run_beside(void *ctx, size_t i)
{
	return run_lane(ctx, LANE_MAIN + (enum analysis_lane)i);
}

static int run_all(struct lanes *l)
{
	int rc = run_lane(l, LANE_FIRST);

	if (!rc)
		rc = parallel(LANE_LAST - LANE_MAIN, run_beside, l);
	return rc ? rc : run_lane(l, LANE_LAST);
}

int report_build(struct report *r, const struct model *m, struct err *err)
{
	return report_build_opts(r, m, NULL, err);
}

int report_build_opts(struct report *r, const struct model *m, const struct analyze_opts *o,
                      struct err *err)
{
	struct lanes l = {.r = r};
	int rc;

	memset(r, 0, sizeof(*r));
	r->m = m;
	if (o)
		r->opts = *o;
	rc = run_all(&l);
	if (rc)
		report_release(r);
	for (size_t i = 0; rc && err && i < ARRAY_LEN(l.err); i++) {
		if (!l.err[i].msg[0])
			continue;
		*err = l.err[i];
		break;
	}
	return rc;
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
	vec_release(&r->lock_idle_ns);
	vec_release(&r->channel_idle_ns);
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
	free(r->proc_peaks);
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
