/* SPDX-License-Identifier: MIT */
/*
 * What the whole run would have taken if one cause were gone, by replays of the recording:
 *  - without a GIL: the same threads as processes, each with an interpreter of its own;
 *  - without a lock: as finely divided as can be, nobody ever waits for it;
 *  - with more CPUs.
 *
 * A replay with nothing changed should take as long as the run did. What it takes less or more
 * (other programs on the CPUs, wake-ups, what replay_priv.h says it does not know) scales the
 * prediction, and the range reaches from what it would be without that scaling.
 * Its ends are also the best and the worst order in which the CPUs may have been given, the speed
 * that the same code may have beside others and, for processes, an interpreter to start in each.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "chains_priv.h"
#include "replay_priv.h"

#define MAX_LOCKS    3
#define MAX_GILS     8
#define WORTH_A_LOOK 50   /* a lock that was waited for less than 1 part in this of the wall */
#define WORTH_A_ROW  1.02 /* a gain of CPUs below this */
#define SPEED_DOUBT  0.04 /* the same code beside others: caches, memory, frequency */
/* Threads that pass an interpreter's data from CPU to CPU have used up to this much more CPU time
 * than processes for the same count of loops. */
#define GIL_DOUBT    0.25
#define TOO_FAR      3   /* a replay that is off by this factor knows nothing */
#define START_STACKS 256 /* of a process that are looked at for its first own work */
#define STEPS \
	(24u << 20) /* of all replays together, so that a long recording does not take minutes */

/* A row, and on what terms to replay for it. */
struct change {
	struct what_if_row row;
	bool *without;
	double cpus, extra_ns; /* extra_ns: that it may take longer */
	bool lighter;          /* the work itself may take less CPU time */
};

struct what_if {
	struct report *r;
	struct replay p;
	VEC(struct change) changes;
	double scale, steps;
	bool crowded;
};

/* --- replays --- */

static uint64_t to_ns(double ns)
{
	return ns > 0 && ns < 1e19 ? (uint64_t)(ns + 0.5) : 0;
}

/* Fewest and most ns that it takes, beside what it does when CPUs are shared. */
static int replay_orders(const struct what_if *f, const struct change *c, double *shared,
                         double *low, double *high)
{
	struct replay_terms terms = {.cpus = c->cpus, .without = c->without};
	struct replay_result result;
	int err = replay_run(&f->p, &terms, &result);

	*shared = *low = *high = result.wall_ns;
	if (err || !result.crowded)
		return err;
	for (terms.order = REPLAY_LONG_FIRST; !err && terms.order <= REPLAY_SHORT_FIRST;
	     terms.order++) {
		err = replay_run(&f->p, &terms, &result);
		*low = fmin(*low, result.wall_ns);
		*high = fmax(*high, result.wall_ns);
	}
	return err;
}

/* Fills in the row's times. */
static int predict(const struct what_if *f, struct change *c)
{
	struct what_if_row *row = &c->row;
	double shared, low, high, wall = (double)f->r->wall_ns;
	int err = replay_orders(f, c, &shared, &low, &high);

	if (err)
		return err;
	low *= fmin(1, f->scale) / (1 + SPEED_DOUBT);
	high = (high + c->extra_ns) * fmax(1, f->scale) * (1 + SPEED_DOUBT);
	row->wall_ns = to_ns(shared * f->scale);
	row->wall_low_ns = to_ns(low);
	row->wall_high_ns = to_ns(high);
	if (!row->wall_ns || !row->wall_low_ns || !row->wall_high_ns)
		return -ELOOP;
	row->speedup = wall / (shared * f->scale);
	row->low = wall / high;
	row->high = wall / low;
	if (c->lighter) {
		row->wall_low_ns = to_ns((double)row->wall_low_ns / (1 + GIL_DOUBT));
		row->high *= 1 + GIL_DOUBT;
	}
	return 0;
}

static int predict_one(void *ctx, size_t i)
{
	struct what_if *f = ctx;

	return predict(f, &f->changes.v[i]);
}

/* --- what processes cost --- */

static const struct proc *proc_of_gil(const struct report *r, const struct lock *l)
{
	for (size_t i = 0; i < r->gils.n; i++)
		if (r->gils.v[i].gil == l->gil)
			return model_proc(r->m, r->gils.v[i].proc);
	return NULL;
}

static const struct task *next_thread(const struct model *m, const struct proc *p, size_t *i)
{
	while (*i < model_n_tasks(m)) {
		const struct task *t = model_task_at(m, (*i)++);

		if (t->proc == p->id)
			return t;
	}
	return NULL;
}

/* Threads beside the first that do at least a hundredth of the process's work. */
static uint32_t count_workers(const struct model *m, const struct proc *p, uint64_t *first_ns)
{
	uint64_t work = 0;
	uint32_t n = 0;
	const struct task *t;

	for (size_t i = 0; (t = next_thread(m, p, &i));)
		work += t->run_ns;
	*first_ns = UINT64_MAX;
	for (size_t i = 0; (t = next_thread(m, p, &i));) {
		if (t->id == p->id || t->run_ns < work / 100)
			continue;
		n++;
		if (t->start_ns < *first_ns)
			*first_ns = t->start_ns;
	}
	return n;
}

/* What a process had of its own before its first thread: a new one needs that again. */
static uint64_t own_bytes(const struct proc *p, uint64_t before_ns)
{
	uint64_t bytes = WHAT_IF_UNKNOWN;

	for (size_t i = 0; i < p->rss.n && p->rss.v[i].t_ns <= before_ns; i++)
		bytes = p->rss.v[i].anon_bytes;
	return bytes;
}

/* Is that a Python program at work, not the interpreter's own start? */
static bool is_own_work(const struct model *m, uint32_t ustack)
{
	enum { FRAMES = 128 };
	struct frame frames[FRAMES];
	const struct mstack *k = model_stack(m, ustack);
	size_t n = k && k->n_py ? model_frames(m, ustack, frames, FRAMES) : 0;

	while (n-- > 0)
		if (frames[n].kind == FRAME_PYTHON)
			return frames[n].src && strncmp(frames[n].src, "<frozen", 7) != 0;
	return false;
}

/* When it was first seen at work of its own; 0 = never. */
static uint64_t first_own_work(const struct model *m, const struct task *t)
{
	const struct cpu_sample *samples;
	size_t n = model_samples(m, &samples), left = START_STACKS;
	uint64_t at = 0;

	for (size_t i = 0; i < t->slices.n && left && !at; i++) {
		const struct slice *s = &t->slices.v[i];

		left -= s->ustack != 0;
		if (s->ustack && is_own_work(m, s->ustack))
			at = s->out_ns;
	}
	left = START_STACKS;
	for (size_t i = 0; i < n && left && (!at || samples[i].ts < at); i++) {
		if (samples[i].task != t->id || !samples[i].ustack)
			continue;
		left--;
		if (is_own_work(m, samples[i].ustack))
			at = samples[i].ts;
	}
	return at;
}

/* Of [lo, hi], when it was ready and had no CPU. */
static uint64_t without_cpu(const struct task *t, uint64_t lo, uint64_t hi)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < t->slices.n && t->slices.v[i].queued_ns < hi; i++) {
		const struct slice *s = &t->slices.v[i];
		uint64_t from = s->queued_ns > lo ? s->queued_ns : lo;
		uint64_t to = s->in_ns < hi ? s->in_ns : hi;

		if (to > from)
			ns += to - from;
	}
	return ns;
}

/* What it takes the process on a free CPU to get from its exec to work of its own. */
static uint64_t start_ns(const struct model *m, const struct proc *p)
{
	const struct task *t = model_task(m, p->id);
	uint64_t ready = t && t->exec_ns ? first_own_work(m, t) : 0;

	if (!t || !t->exec_ns || ready <= t->exec_ns)
		return WHAT_IF_UNKNOWN;
	return ready - t->exec_ns - without_cpu(t, t->exec_ns, ready);
}

static void cost_of_processes(const struct model *m, const struct proc *p, struct what_if_row *row)
{
	uint64_t first;

	row->processes = p ? count_workers(m, p, &first) : 0;
	if (!row->processes)
		return;
	row->memory_bytes = own_bytes(p, first);
	row->spawn_ns = start_ns(m, p);
}

/* --- changes --- */

static double steps_of(const struct what_if *f)
{
	return (double)f->p.waits.n + (double)f->p.edges.n + (double)f->p.tasks.n;
}

/* May another change be tried? Its replays count as done then. */
static bool has_time(struct what_if *f)
{
	f->r->what_if_cut = f->r->what_if_cut || f->steps > STEPS;
	f->steps += steps_of(f) * (f->crowded ? 3 : 1);
	return !f->r->what_if_cut;
}

/* On the terms of the recording; NULL: no memory. */
static struct change *add_change(struct what_if *f, enum cause cause)
{
	struct change c = {
	        .row = {.cause = (uint8_t)cause,
	                .memory_bytes = WHAT_IF_UNKNOWN,
	                .spawn_ns = WHAT_IF_UNKNOWN},
	        .without = calloc(f->r->w->locks.n + 1, sizeof(*c.without)),
	        .cpus = f->r->cpus,
	        .lighter = cause == CAUSE_GIL,
	};

	if (!c.without || vec_push(&f->changes, c)) {
		free(c.without);
		return NULL;
	}
	return &f->changes.v[f->changes.n - 1];
}

static int without_gil(struct what_if *f, const struct lock *l, bool only)
{
	struct change *c = add_change(f, CAUSE_GIL);

	if (!c)
		return -ENOMEM;
	c->row.id = l->id;
	snprintf(c->row.change, sizeof(c->row.change), "Without the %.80s", only ? "GIL" : l->name);
	cost_of_processes(f->r->m, proc_of_gil(f->r, l), &c->row);
	/* One after the other has to be made; starting is work for the CPUs. */
	if (c->row.processes && c->row.spawn_ns != WHAT_IF_UNKNOWN)
		c->extra_ns = (double)c->row.spawn_ns * fmax(1, c->row.processes / f->r->cpus);
	c->without[l->id - 1] = true;
	return 0;
}

static int without_all_gils(struct what_if *f)
{
	struct change *c = add_change(f, CAUSE_GIL);

	if (!c)
		return -ENOMEM;
	snprintf(c->row.change, sizeof(c->row.change), "Without any GIL");
	for (size_t i = 0; i < f->r->w->locks.n; i++)
		c->without[i] = f->r->w->locks.v[i].kind == LOCK_GIL;
	return 0;
}

static int without_lock(struct what_if *f, const struct lock *l)
{
	struct change *c = add_change(f, CAUSE_LOCK);

	if (!c)
		return -ENOMEM;
	c->row.id = l->id;
	snprintf(c->row.change, sizeof(c->row.change), "Without the %s %.70s",
	         lock_kind_key((enum lock_kind)l->kind), l->name);
	c->without[l->id - 1] = true;
	return 0;
}

static int with_cpus(struct what_if *f, double cpus, const char *change)
{
	struct change *c = add_change(f, CAUSE_WORK);

	if (!c)
		return -ENOMEM;
	snprintf(c->row.change, sizeof(c->row.change), "%s", change);
	c->cpus = cpus;
	return 0;
}

static bool is_worth(const struct report *r, const struct lock *l, bool gil)
{
	return l->wait_ns > r->wall_ns / WORTH_A_LOOK &&
	       (gil ? l->kind == LOCK_GIL : l->kind != LOCK_GIL && lock_is_strong(l));
}

/* The longest waited for first, at most max: lock indexes. */
static size_t pick(const struct report *r, bool gil, uint32_t *out, size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];
		size_t at = n;

		if (!is_worth(r, l, gil))
			continue;
		while (at && r->w->locks.v[out[at - 1]].wait_ns < l->wait_ns) {
			if (at < max)
				out[at] = out[at - 1];
			at--;
		}
		if (at < max) {
			out[at] = i;
			n += n < max;
		}
	}
	return n;
}

static int plan(struct what_if *f)
{
	const struct lock *locks = f->r->w->locks.v;
	uint32_t gils[MAX_GILS], some[MAX_LOCKS];
	size_t n = pick(f->r, true, gils, MAX_GILS);
	int err = n > 1 && has_time(f) ? without_all_gils(f) : 0;

	for (size_t i = 0; i < n && !err && has_time(f); i++)
		err = without_gil(f, &locks[gils[i]], n == 1);
	n = pick(f->r, false, some, MAX_LOCKS);
	for (size_t i = 0; i < n && !err && has_time(f); i++)
		err = without_lock(f, &locks[some[i]]);
	/* More CPUs change nothing where nobody had to wait for one. */
	if (!err && f->crowded && has_time(f))
		err = with_cpus(f, f->r->cpus + 1, "With one more CPU");
	if (!err && f->crowded && has_time(f))
		err = with_cpus(f, INFINITY, "With as many CPUs as it can use");
	return err;
}

static int all_rows(struct what_if *f)
{
	int err = plan(f);

	if (!err)
		err = parallel(f->changes.n, predict_one, f);
	for (size_t i = 0; !err && i < f->changes.n; i++) {
		const struct what_if_row *row = &f->changes.v[i].row;

		if (row->cause != CAUSE_WORK || row->speedup >= WORTH_A_ROW)
			err = vec_push(&f->r->what_if, *row);
	}
	return err;
}

/* --- all --- */

static int give_up(struct report *r, const char *why)
{
	r->what_if.n = 0;
	snprintf(r->why_no_what_if, sizeof(r->why_no_what_if), "%s", why);
	return 0;
}

/* By what factor the run took longer because tasks had to wait for CPUs, at most. */
static double crowding(const struct model *m)
{
	double run_ns = 1, ready_ns = 0;

	for (size_t i = 0; i < model_n_tasks(m); i++) {
		run_ns += (double)model_task_at(m, i)->run_ns;
		ready_ns += (double)model_task_at(m, i)->runnable_ns;
	}
	return 1 + ready_ns / run_ns;
}

static int run(struct what_if *f)
{
	struct report *r = f->r;
	struct replay_terms terms = {.cpus = r->cpus};
	struct replay_result self;
	int err = replay_run(&f->p, &terms, &self);

	if (err)
		return err;
	if (!(self.wall_ns > 0))
		return give_up(r, "nothing ran that could be replayed");
	r->replay_ns = to_ns(self.wall_ns);
	f->crowded = self.crowded;
	f->steps = steps_of(f);
	f->scale = (double)r->wall_ns / self.wall_ns;
	if (f->scale > TOO_FAR * crowding(r->m) || f->scale * TOO_FAR < 1)
		return give_up(r, "what the run waited for is not known well enough to replay it");
	r->what_if_known = true;
	return all_rows(f);
}

static void release(struct what_if *f)
{
	for (size_t i = 0; i < f->changes.n; i++)
		free(f->changes.v[i].without);
	vec_release(&f->changes);
	replay_release(&f->p);
}

int analyze_what_if(struct report *r, struct err *err)
{
	struct what_if f = {.r = r};
	int rc;

	(void)err;
	if (!r->w)
		return give_up(r, "it needs each switch, which was not loaded");
	if (!(r->cpus > 0) || r->cpus > 1e6 || !r->wall_ns)
		return give_up(r, "the number of CPUs is not known");
	rc = replay_build(&f.p, r->w);
	if (!rc)
		rc = run(&f);
	if (rc == -E2BIG)
		rc = give_up(r, "the recording is too long to be replayed");
	if (rc == -ELOOP)
		rc = give_up(r, "the recording contradicts itself and cannot be replayed");
	r->what_if_known = r->what_if_known && !r->why_no_what_if[0];
	release(&f);
	return rc;
}
