/* SPDX-License-Identifier: MIT */
/* A report boiled down to the figures that are compared. */
#include <math.h>
#include <string.h>

#include "compare.h"

const char *compare_key(unsigned figure)
{
	static const char *const keys[] = {
#define X(NAME, key, text, unit) key,
	        COMPARE_FIGURES(X)
#undef X
	};

	return figure < COMPARE_CAUSE0 ? keys[figure] : cause_key(figure - COMPARE_CAUSE0);
}

const char *compare_text(unsigned figure)
{
	static const char *const texts[] = {
#define X(NAME, key, text, unit) text,
	        COMPARE_FIGURES(X)
#undef X
	};

	return figure < COMPARE_CAUSE0 ? texts[figure] : cause_text(figure - COMPARE_CAUSE0);
}

char compare_unit(unsigned figure)
{
	static const char units[] = {
#define X(NAME, key, text, unit) unit,
	        COMPARE_FIGURES(X)
#undef X
	};

	return figure < COMPARE_CAUSE0 ? units[figure] : '%';
}

static void add_tasks(struct compare_run *run, const struct model *m)
{
	double *v = run->v;

	v[COMPARE_TASKS] = (double)model_n_tasks(m);
	v[COMPARE_PROCS] = (double)model_n_procs(m);
	v[COMPARE_CPU] = v[COMPARE_READY] = v[COMPARE_VOLUNTARY] = v[COMPARE_INVOLUNTARY] = 0;
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *t = model_task_at(m, i);

		v[COMPARE_CPU] += (double)t->run_ns;
		v[COMPARE_READY] += (double)t->runnable_ns;
		v[COMPARE_VOLUNTARY] += (double)t->voluntary;
		v[COMPARE_INVOLUNTARY] += (double)t->involuntary;
	}
}

static void add_waits(struct compare_run *run, const struct report *r)
{
	double *v = run->v;

	if (!r->w)
		return;
	v[COMPARE_LOCK_WAIT] = v[COMPARE_LOCK_WAITS] = 0;
	v[COMPARE_CHANNEL_WAIT] = v[COMPARE_CHANNEL_WAITS] = 0;
	for (size_t i = 0; i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];

		/* The end of a thread is awaited, not contended for; the GIL has its own rows. */
		if (l->kind == LOCK_GIL || l->kind == LOCK_JOIN)
			continue;
		v[COMPARE_LOCK_WAIT] += (double)l->wait_ns;
		v[COMPARE_LOCK_WAITS] += (double)l->waits;
	}
	for (size_t i = 0; i < r->w->channels.n; i++) {
		v[COMPARE_CHANNEL_WAIT] += (double)r->w->channels.v[i].wait_ns;
		v[COMPARE_CHANNEL_WAITS] += (double)r->w->channels.v[i].waits;
	}
}

static void add_gils(struct compare_run *run, const struct report *r)
{
	double *v = run->v;

	if (!r->gils.n)
		return;
	run->python = true;
	v[COMPARE_GIL_WAIT] = v[COMPARE_GIL_HOLD] = 0;
	for (size_t i = 0; i < r->gils.n; i++) {
		v[COMPARE_GIL_WAIT] += (double)r->gils.v[i].wait_ns;
		v[COMPARE_GIL_HOLD] += (double)r->gils.v[i].time.hold_ns;
	}
}

static unsigned spawn_figure(const char *method)
{
	static const struct {
		const char *method;
		unsigned figure;
	} rows[] = {{"thread", COMPARE_SPAWN_THREAD},
	            {"fork", COMPARE_SPAWN_FORK},
	            {"exec", COMPARE_SPAWN_EXEC},
	            {"spawn", COMPARE_SPAWN_SPAWN},
	            {"forkserver", COMPARE_SPAWN_FORKSERVER}};

	for (size_t i = 0; method && i < ARRAY_LEN(rows); i++)
		if (!strcmp(rows[i].method, method))
			return rows[i].figure;
	return COMPARE_SPAWN_FORK;
}

/* A first wait says little of when work began: only what was seen at work counts. Before its exec a
 * process is not the program that was to be started. */
static uint64_t began_ns(const struct spawn_row *s)
{
	if (s->ready_off_ns != SPAWN_UNKNOWN)
		return s->ready_ns;
	return s->exec_ns != SPAWN_UNKNOWN ? s->exec_ns : s->first_run_ns;
}

static void add_spawns(struct compare_run *run, const struct report *r)
{
	double *v = run->v;

	for (unsigned f = COMPARE_SPAWN; f <= COMPARE_SPAWN_FORKSERVER; f++)
		v[f] = 0;
	v[COMPARE_SPAWNS] = (double)r->spawns.n;
	for (size_t i = 0; i < r->spawns.n; i++) {
		const struct spawn_row *s = &r->spawns.v[i];
		uint64_t ns = began_ns(s);

		if (ns == SPAWN_UNKNOWN)
			continue;
		v[COMPARE_SPAWN] += (double)ns;
		v[spawn_figure(s->method)] += (double)ns;
	}
}

static void add_memory(struct compare_run *run, const struct report *r)
{
	double rss = 0;

	if (r->peak_memory_bytes)
		run->v[COMPARE_PSS] = (double)r->peak_memory_bytes;
	for (size_t i = 0; i < model_n_procs(r->m); i++) {
		const struct proc *p = model_proc_at(r->m, i);

		if (!p->rss_peak_bytes)
			rss = NAN;
		rss += (double)p->rss_peak_bytes;
	}
	if (model_n_procs(r->m))
		run->v[COMPARE_RSS] = rss;
}

static void add_traffic(struct compare_run *run, const struct report *r)
{
	double *v = run->v;

	if (r->sample_ns) {
		v[COMPARE_PICKLING] = 0;
		for (size_t i = 0; i < r->pickling.n; i++)
			v[COMPARE_PICKLING] +=
			        ((double)r->pickling.v[i].dumps + (double)r->pickling.v[i].loads) *
			        (double)r->sample_ns;
	}
	if (!r->w || !model_recording(r->m)->traffic_known)
		return;
	v[COMPARE_MESSAGES] = v[COMPARE_MESSAGE_BYTES] = 0;
	for (size_t i = 0; i < r->w->channels.n; i++) {
		v[COMPARE_MESSAGES] += (double)r->w->channels.v[i].total.sent;
		v[COMPARE_MESSAGE_BYTES] += (double)r->w->channels.v[i].total.sent_bytes;
	}
}

static void add_watch(struct compare_run *run, const struct report *r)
{
	double *v = run->v;

	for (size_t i = 0; i < r->watch.n; i++) {
		const struct watch_row *w = &r->watch.v[i];

		if (!w->waits)
			continue;
		v[COMPARE_WATCH_P50] = fmax(v[COMPARE_WATCH_P50], (double)w->p50_ns);
		v[COMPARE_WATCH_P99] = fmax(v[COMPARE_WATCH_P99], (double)w->p99_ns);
		v[COMPARE_WATCH_MAX] = fmax(v[COMPARE_WATCH_MAX], (double)w->max_ns);
	}
}

static void add_causes(struct compare_run *run, const struct report *r)
{
	uint64_t largest[CAUSE_N] = {0};

	run->causes_known = r->causes_known && r->capacity_ns;
	if (!run->causes_known)
		return;
	for (size_t i = 0; i < r->breakdown.n; i++) {
		const struct cause_row *row = &r->breakdown.v[i];

		if (row->cause >= CAUSE_N)
			continue;
		run->cause_ns[row->cause] += row->ns;
		if (row->ns <= largest[row->cause])
			continue;
		largest[row->cause] = row->ns;
		fmt_safe(run->cause_name[row->cause], sizeof(run->cause_name[0]), row->name);
	}
	if (r->holder_slept)
		snprintf(run->cause_name[CAUSE_SLEEP], sizeof(run->cause_name[0]),
		         "of who held %.140s", r->verdict_row.name);
	run->v[COMPARE_QUIET] = (double)r->undisturbed_ns;
	for (unsigned c = 0; c < CAUSE_N; c++)
		run->v[COMPARE_CAUSE0 + c] = (double)run->cause_ns[c] / (double)r->capacity_ns;
}

void compare_run_of(struct compare_run *run, const struct report *r)
{
	const struct recording *rec = model_recording(r->m);

	*run = (struct compare_run){.cpus = r->cpus, .verdict = r->verdict};
	for (unsigned f = 0; f < COMPARE_N; f++)
		run->v[f] = NAN;
	snprintf(run->mode, sizeof(run->mode), "%s", r->mode ? r->mode : "");
	run->attached = rec->attached;
	run->partial = !rec->complete || rec->damaged || rec->windowed;
	run->exit_status = rec->attached ? -1 : rec->exit_status;
	run->events = rec->events;
	run->lost = rec->lost;
	if (r->wall_ns) {
		run->v[COMPARE_WALL] = (double)r->wall_ns;
		run->v[COMPARE_PARALLELISM] = r->avg_parallelism;
	}
	add_tasks(run, r->m);
	if (r->samples)
		run->v[COMPARE_SPINNING] =
		        run->v[COMPARE_CPU] * (double)r->spinning / (double)r->samples;
	add_waits(run, r);
	add_gils(run, r);
	add_spawns(run, r);
	add_memory(run, r);
	add_traffic(run, r);
	add_watch(run, r);
	add_causes(run, r);
}
