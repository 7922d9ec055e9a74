/* SPDX-License-Identifier: MIT */
/*
 * The recording's proof: what it adds up to, per task, against the counters that the
 * kernel keeps anyway. Switches must be equal; times may differ by what two clocks and
 * the moments of reading them explain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"

struct pair {
	uint64_t recorded, kernel;
	bool known;
	uint64_t stolen; /* the clocks compared may differ by this much more */
	uint64_t whole;  /* the kernel's number for all of the recording: of a part it is that
	                    less what was recorded elsewhere, so that all differences are in it */
};

struct check {
	const char *name;
	struct pair (*of)(const struct task *t);
	double ratio;   /* allowed difference: this share of the kernel's whole number, */
	uint64_t least; /* or this much, whichever is more */
};

static struct pair voluntary(const struct task *t)
{
	return (struct pair){t->voluntary, t->kernel.voluntary, true, 0, 0};
}

static struct pair involuntary(const struct task *t)
{
	return (struct pair){t->involuntary, t->kernel.involuntary, true, 0, 0};
}

static struct pair run_ns(const struct task *t)
{
	return (struct pair){t->run_ns, t->kernel.run_ns, t->kernel_run_exact, 0,
	                     t->kernel_run_all_ns};
}

/* Time stolen on a CPU is in runnable_ns, but no run queue saw it. Stolen around a switch, our
 * clock and the run queue's place it on different sides of the switch. */
static struct pair runnable_ns(const struct task *t)
{
	uint64_t queue = t->runnable_ns > t->steal_ns ? t->runnable_ns - t->steal_ns : 0;

	return (struct pair){queue, t->kernel.runnable_ns, t->kernel_runnable_exact, t->steal_ns,
	                     t->kernel_runnable_all_ns};
}

static const struct check checks[] = {
        {"voluntary", voluntary, 0, 0},
        {"involuntary", involuntary, 0, 0},
        {"run_ns", run_ns, 0.001, 50000},
        {"runnable_ns", runnable_ns, 0.01, 100000},
};

static bool near_enough(const struct check *c, const struct pair *p)
{
	uint64_t diff = p->recorded > p->kernel ? p->recorded - p->kernel : p->kernel - p->recorded;

	diff = diff > p->stolen ? diff - p->stolen : 0;
	return diff <= c->least || (double)diff <= c->ratio * (double)p->whole;
}

static int check_tasks(struct report *r, const struct check *c)
{
	struct report_check row = {.name = c->name};

	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);
		struct pair p = c->of(t);

		if (!p.known || !t->has_base || !t->has_end)
			continue;
		row.tasks++;
		row.tasks_ok += near_enough(c, &p);
		row.recorded = sat_add(row.recorded, p.recorded);
		row.kernel = sat_add(row.kernel, p.kernel);
	}
	row.known = row.tasks > 0;
	/* A kernel that does not account run delays reports 0 for all of them. */
	if (c->of == runnable_ns && !row.kernel && row.recorded)
		row.known = false;
	row.ok = row.known && row.tasks == row.tasks_ok;
	return vec_push(&r->checks, row);
}

/* Events that the hooks offered: written, or counted as lost for want of room. */
static int check_events(struct report *r)
{
	struct report_check row = {.name = "events"};
	const struct loss *losses;
	size_t n = model_losses(r->m, &losses);

	row.known = model_meta_u64(r->m, META_WRITTEN, &row.recorded) &&
	            model_meta_u64(r->m, META_SEEN, &row.kernel);
	for (size_t i = 0; row.known && i < n; i++)
		if (!strcmp(losses[i].cause, "ring-full"))
			row.recorded = sat_add(row.recorded, losses[i].count);
	row.ok = row.known && row.recorded == row.kernel;
	return vec_push(&r->checks, row);
}

int analyze_checks(struct report *r, struct err *err)
{
	int rc = 0;

	(void)err;
	for (size_t i = 0; !rc && i < ARRAY_LEN(checks); i++)
		rc = check_tasks(r, &checks[i]);
	return rc ? rc : check_events(r);
}
