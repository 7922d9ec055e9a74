/* SPDX-License-Identifier: MIT */
/*
 * What the whole run would have taken if one cause were gone, by replays of the recording:
 *  - without a GIL: the same threads as processes, each with an interpreter of its own;
 *  - without a lock: as finely divided as can be, nobody ever waits for it;
 *  - with more CPUs.
 *
 * A replay with nothing changed should take as long as the run did. What it takes less or more
 * (other programs on the CPUs, wake-ups, what replay_priv.h says it does not know) scales the
 * prediction, and the range reaches from what it would be without that scaling. Not so without a
 * GIL: most of what such a run takes longer is the GIL's being handed on (who gets it is woken on a
 * CPU that is still busy, while another one is idle), and that ends with it. There the CPUs are
 * those that other programs left, and what it takes longer is the range's business only.
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
#include "whatif_priv.h"

#define MAX_LOCKS    3
#define MAX_GILS     8
#define WORTH_A_LOOK 50   /* a lock that was waited for less than 1 part in this of the wall */
#define WORTH_A_ROW  1.02 /* a gain of CPUs below this */
#define SPEED_DOUBT  0.04 /* the same code beside others: caches, memory, frequency */
/* Threads that pass an interpreter's data from CPU to CPU have used up to this much more CPU time
 * than processes for the same count of loops. */
#define GIL_DOUBT 0.25
#define TOO_FAR   3 /* a replay that is off by this factor knows nothing */
#define STEPS \
	(24u << 20) /* of all replays together, so that a long recording does not take minutes */

/* A row, and on what terms to replay for it. */
struct change {
	struct what_if_row row;
	bool *without;
	bool *apart; /* … as well, at best, see replay_apart(); NULL = nothing */
	double cpus;
	/* Of a GIL: */
	bool gil;
	float *start_ns; /* by task: its process, before it begins */
	double extra_ns; /* that it may take longer */
	struct cpus_left left;
};

struct what_if {
	struct report *r;
	struct replay p;
	VEC(struct change) changes;
	double scale, steps;
	bool crowded;
	double gil_ns, gil_least_ns; /* CPU time with the GIL that was had longest, and at least */
};

/* --- replays --- */

static uint64_t to_ns(double ns)
{
	return ns > 0 && ns < 1e19 ? (uint64_t)(ns + 0.5) : 0;
}

/* Fewest and most ns that it takes, beside what it does when CPUs are shared: those that are to be
 * had, and (alone) all. */
static int replay_orders(const struct what_if *f, const struct change *c, double *shared,
                         double *low, double *high, double *alone)
{
	const struct {
		double cpus;
		enum replay_order order;
	} others[] = {
	        {c->cpus, REPLAY_SHARED},
	        {c->cpus, REPLAY_LONG_FIRST},
	        {c->left.worst, REPLAY_SHORT_FIRST},
	};
	struct replay_terms terms = {
	        .cpus = c->left.fair, .without = c->without, .start_ns = c->start_ns};
	struct replay_result result;
	int err = replay_run(&f->p, &terms, &result);

	*shared = *low = *high = *alone = result.wall_ns;
	for (size_t i = 0; !err && result.crowded && i < ARRAY_LEN(others); i++) {
		terms.cpus = others[i].cpus;
		terms.order = others[i].order;
		err = replay_run(&f->p, &terms, &result);
		result.crowded = true;
		*low = fmin(*low, result.wall_ns);
		*high = fmax(*high, result.wall_ns);
		if (!i)
			*alone = result.wall_ns;
	}
	return err;
}

/* Threads that take turns in a semaphore meet at the GIL in the order of these turns, and a replay
 * keeps that order where there are no turns any more: at best nobody waits for the GIL either. */
static int replay_apart(const struct what_if *f, const struct change *c, double *low)
{
	struct replay_terms terms = {.cpus = c->left.fair, .without = c->apart};
	struct replay_result result;
	int err = c->apart ? replay_run(&f->p, &terms, &result) : 0;

	if (!err && c->apart)
		*low = fmin(*low, result.wall_ns);
	return err;
}

/* Who has a GIL is alone with it on any number of CPUs; threads that something else kept apart
 * never had to wait for it, so the replay does not know that they would. */
static void find_gil_time(struct what_if *f)
{
	for (size_t i = 0; i < f->r->gils.n; i++) {
		const struct gil_time *t = &f->r->gils.v[i].time;

		if (!t->samples)
			continue;
		f->gil_ns = fmax(f->gil_ns, (double)t->cpu_hold_ns);
		f->gil_least_ns =
		        fmax(f->gil_least_ns, (double)t->cpu_hold_ns - (double)t->doubt_ns);
	}
}

/* Fills in the row's times. */
static int predict(const struct what_if *f, struct change *c)
{
	struct what_if_row *row = &c->row;
	double shared, low, high, alone, wall = (double)f->r->wall_ns;
	double scale = c->gil ? 1 : f->scale;
	int err = replay_orders(f, c, &shared, &low, &high, &alone);

	if (!err)
		err = replay_apart(f, c, &low);
	if (err)
		return err;
	if (!c->gil) {
		shared = fmax(shared, f->gil_ns);
		high = fmax(high, f->gil_ns);
		alone = fmax(alone, f->gil_ns);
		low = fmax(low, f->gil_least_ns);
	}
	low *= fmin(1, f->scale) / (1 + SPEED_DOUBT);
	high = (high + c->extra_ns) * fmax(1, f->scale) * (1 + SPEED_DOUBT);
	if (c->gil)
		low /= 1 + GIL_DOUBT;
	row->wall_ns = to_ns(shared * scale);
	row->free_ns = to_ns(alone);
	row->wall_low_ns = to_ns(low);
	row->wall_high_ns = to_ns(high);
	if (!row->wall_ns || !row->wall_low_ns || !row->wall_high_ns)
		return -ELOOP;
	row->speedup = wall / (shared * scale);
	row->low = wall / high;
	row->high = wall / low;
	return 0;
}

static int predict_one(void *ctx, size_t i)
{
	struct what_if *f = ctx;

	return predict(f, &f->changes.v[i]);
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
	f->steps += steps_of(f) * (f->crowded ? 4 : 1);
	return !f->r->what_if_cut;
}

/* On the terms of the recording; NULL: no memory. */
static struct change *add_change(struct what_if *f, enum cause cause)
{
	const struct change fresh = {
	        .row = {.cause = (uint8_t)cause,
	                .memory_bytes = WHAT_IF_UNKNOWN,
	                .spawn_ns = WHAT_IF_UNKNOWN},
	        .cpus = f->r->cpus,
	        .left = {f->r->cpus, f->r->cpus},
	        .gil = cause == CAUSE_GIL,
	};
	struct change *c;

	if (vec_push(&f->changes, fresh))
		return NULL;
	c = &f->changes.v[f->changes.n - 1];
	c->without = calloc(f->r->w->locks.n + 1, sizeof(*c->without));
	if (c->gil)
		c->start_ns = calloc(model_n_tasks(f->r->m) + 1, sizeof(*c->start_ns));
	return c->without && (c->start_ns || !c->gil) ? c : NULL;
}

static int without_gil(struct what_if *f, const struct lock *l, bool only)
{
	struct change *c = add_change(f, CAUSE_GIL);

	if (!c)
		return -ENOMEM;
	c->row.id = l->id;
	snprintf(c->row.change, sizeof(c->row.change), "Without the %.80s", only ? "GIL" : l->name);
	if (whatif_cost(f->r, whatif_proc(f->r, l), &c->row, c->start_ns))
		return -ENOMEM;
	c->extra_ns = whatif_more_ns(&c->row, c->cpus);
	c->left = whatif_cpus_left(f->r, c->cpus, c->row.processes);
	c->without[l->id - 1] = true;
	return 0;
}

static int without_all_gils(struct what_if *f)
{
	struct change *c = add_change(f, CAUSE_GIL);
	uint32_t workers = 0;

	if (!c)
		return -ENOMEM;
	snprintf(c->row.change, sizeof(c->row.change), "Without any GIL");
	for (size_t i = 0; i < f->r->w->locks.n; i++) {
		const struct lock *l = &f->r->w->locks.v[i];
		struct what_if_row one = c->row;

		if (l->kind != LOCK_GIL)
			continue;
		c->without[i] = true;
		/* Several of one process (sub-interpreters): once is enough. */
		if (whatif_cost(f->r, whatif_proc(f->r, l), &one, c->start_ns))
			return -ENOMEM;
		workers += one.processes;
		c->extra_ns = fmax(c->extra_ns, whatif_more_ns(&one, c->cpus));
	}
	c->left = whatif_cpus_left(f->r, c->cpus, workers);
	return 0;
}

static int without_lock(struct what_if *f, const struct lock *l)
{
	const struct lock *locks = f->r->w->locks.v;
	size_t n = f->r->w->locks.n;
	struct change *c = add_change(f, CAUSE_LOCK);
	char kind[48];

	if (!c)
		return -ENOMEM;
	c->row.id = l->id;
	if (l->family_held)
		snprintf(c->row.change, sizeof(c->row.change), "Without the lock %.150s", l->name);
	else if (lock_names_itself(l))
		snprintf(c->row.change, sizeof(c->row.change), "Without the %.150s", l->name);
	else
		snprintf(c->row.change, sizeof(c->row.change), "Without the %s %.140s",
		         lock_kind_text(l, kind, sizeof(kind)), l->name);
	for (size_t i = 0; i < n; i++)
		c->without[i] = i == l->id - 1 || locks[i].family == l->id;
	if (!l->family)
		return 0;
	c->apart = malloc((n + 1) * sizeof(*c->apart));
	if (!c->apart)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		c->apart[i] =
		        c->without[i] || (locks[i].kind == LOCK_GIL && locks[i].space == l->space);
	return 0;
}

static int with_cpus(struct what_if *f, double cpus, const char *change)
{
	struct change *c = add_change(f, CAUSE_WORK);

	if (!c)
		return -ENOMEM;
	snprintf(c->row.change, sizeof(c->row.change), "%s", change);
	c->cpus = c->left.fair = c->left.worst = cpus;
	return 0;
}

/* Of words that are one lock in truth the first stands for all, where it is known what they are: in
 * Python's library, or by the functions that wait there. */
static bool is_removable(const struct lock *l)
{
	if (l->family && l->py)
		return l->family == l->id;
	if (l->family_held)
		return true;
	return l->kind != LOCK_GIL && lock_is_strong(l);
}

/* The waiting at each lock; of one that stands for several words, at all of them. */
static uint64_t *waiting_at(const struct report *r)
{
	const struct lock *locks = r->w->locks.v;
	size_t n = r->w->locks.n;
	uint64_t *ns = calloc(n + 1, sizeof(*ns));

	for (size_t i = 0; ns && i < n; i++) {
		uint32_t head =
		        locks[i].family && locks[i].family <= n ? locks[i].family : locks[i].id;

		ns[head - 1] = sat_add(ns[head - 1], locks[i].wait_ns);
	}
	return ns;
}

static bool is_worth(const struct report *r, const struct lock *l, bool gil, uint64_t waited)
{
	return (gil ? l->kind == LOCK_GIL : is_removable(l)) && waited > r->wall_ns / WORTH_A_LOOK;
}

/* The longest waited for first, at most max: lock indexes. */
static size_t pick(const struct report *r, const uint64_t *waited, bool gil, uint32_t *out,
                   size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < r->w->locks.n; i++) {
		const struct lock *l = &r->w->locks.v[i];
		size_t at = n;

		if (!is_worth(r, l, gil, waited[i]))
			continue;
		while (at && waited[out[at - 1]] < waited[i]) {
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
	uint64_t *waited = waiting_at(f->r);
	uint32_t gils[MAX_GILS], some[MAX_LOCKS];
	size_t n = waited ? pick(f->r, waited, true, gils, MAX_GILS) : 0;
	size_t m = waited ? pick(f->r, waited, false, some, MAX_LOCKS) : 0;
	int err = !waited ? -ENOMEM : n > 1 && has_time(f) ? without_all_gils(f) : 0;

	free(waited);
	for (size_t i = 0; i < n && !err && has_time(f); i++)
		err = without_gil(f, &locks[gils[i]], n == 1);
	for (size_t i = 0; i < m && !err && has_time(f); i++)
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
	find_gil_time(f);
	return all_rows(f);
}

static void release(struct what_if *f)
{
	for (size_t i = 0; i < f->changes.n; i++) {
		free(f->changes.v[i].without);
		free(f->changes.v[i].start_ns);
		free(f->changes.v[i].apart);
	}
	vec_release(&f->changes);
	replay_release(&f->p);
}

int analyze_what_if(struct report *r, struct err *err)
{
	struct what_if f = {.r = r};
	int rc;

	(void)err;
	whatif_others(r);
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
