/* SPDX-License-Identifier: MIT */
/*
 * Runs the tasks of a replay on so many CPUs: from one moment at which something changes to the
 * next. A task that has work in front of it asks for a CPU (cpu_need) up to its next
 * stop, which is an edge to fire or a wait; the CPUs say who reaches his stop next, and when.
 *
 * Shared equally, all ready tasks advance at one speed: what each has still to do is kept as
 * the reading of a clock of common progress at which it will be done, so that nothing needs to
 * be touched when the number of ready tasks, and with it the speed, changes.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "queue_priv.h"
#include "replay_priv.h"

/* Less than this is no work: a float of a long part of work is no more exact. */
#define NO_WORK_NS 0.5

struct run_state {
	uint32_t part, edge; /* where it is; next edge to fire, from its first */
	double done_ns;      /* of the part */
	double stop_ns;      /* of the part, when it has a CPU or waits for one */
	double left_ns;      /* not shared: of the work to its stop */
	bool blocked, ended;
};

struct run {
	const struct replay *p;
	const struct replay_terms *terms;
	struct run_state *tasks;
	uint16_t *needs;     /* by wait: edges that have not fired */
	struct queue timers; /* by the time that they end */
	struct queue ready;  /* shared: by progress at their stop; else those without CPU by rank */
	struct queue on_cpu, last; /* not shared: by time at their stop; by -rank */
	double now_ns, progress_ns, speed, end_ns;
	size_t cpus; /* not shared */
	size_t counted;
	bool crowded;
};

/* Those of libm are calls: they must look for NaN, which is never here. */
static inline double least(double a, double b)
{
	return a < b ? a : b;
}

static inline double most(double a, double b)
{
	return a > b ? a : b;
}

/* --- CPUs --- */

static bool shared(const struct run *r)
{
	return r->terms->order == REPLAY_SHARED;
}

static double rank(const struct run *r, uint32_t i)
{
	double work = r->p->tasks.v[i].work_ns;

	return r->terms->order == REPLAY_SHORT_FIRST ? work : -work;
}

static void cpu_need(struct run *r, uint32_t i, double work_ns)
{
	struct run_state *s = &r->tasks[i];

	s->stop_ns = s->done_ns + work_ns;
	s->left_ns = work_ns;
	queue_add(&r->ready, i, shared(r) ? r->progress_ns + work_ns : rank(r, i));
}

static void cpu_give(struct run *r, uint32_t i)
{
	queue_remove(&r->ready, i);
	queue_add(&r->on_cpu, i, r->now_ns + r->tasks[i].left_ns / r->speed);
	queue_add(&r->last, i, -rank(r, i));
}

static void cpu_take(struct run *r, uint32_t i)
{
	r->tasks[i].left_ns = (r->on_cpu.keys[i] - r->now_ns) * r->speed;
	queue_remove(&r->on_cpu, i);
	queue_remove(&r->last, i);
	queue_add(&r->ready, i, rank(r, i));
}

static void cpu_assign(struct run *r)
{
	while (r->ready.n) {
		uint32_t next = queue_first(&r->ready);

		if (r->on_cpu.n >= r->cpus) {
			r->crowded = true;
			if (queue_first_key(&r->ready) >= -queue_first_key(&r->last))
				return;
			cpu_take(r, queue_first(&r->last));
		}
		cpu_give(r, next);
	}
}

static double share(const struct run *r)
{
	return least(1, r->terms->cpus / (double)r->ready.n);
}

/* When the next of them comes to its stop; INFINITY = none has work. */
static double cpu_next(struct run *r)
{
	if (!shared(r)) {
		cpu_assign(r);
		return r->on_cpu.n ? queue_first_key(&r->on_cpu) : INFINITY;
	}
	if (!r->ready.n)
		return INFINITY;
	r->crowded = r->crowded || (double)r->ready.n > r->terms->cpus;
	return r->now_ns + most(0, queue_first_key(&r->ready) - r->progress_ns) / share(r);
}

/* Time goes on to to_ns, at most cpu_next(). */
static void cpu_advance(struct run *r, double to_ns)
{
	if (shared(r) && r->ready.n)
		r->progress_ns += (to_ns - r->now_ns) * share(r);
	r->now_ns = to_ns;
}

static uint32_t cpu_pop(struct run *r)
{
	struct queue *q = shared(r) ? &r->ready : &r->on_cpu;
	uint32_t i = queue_first(q);

	if (shared(r))
		r->progress_ns = queue_first_key(q);
	queue_remove(q, i);
	if (!shared(r))
		queue_remove(&r->last, i);
	r->tasks[i].done_ns = r->tasks[i].stop_ns;
	return i;
}

/* --- tasks --- */

static void next_part(struct run_state *s)
{
	s->part++;
	s->done_ns = 0;
	s->blocked = false;
}

static void fire(struct run *r, const struct replay_edge *e)
{
	uint32_t i = e->waiter;
	struct run_state *s = &r->tasks[i];

	if (--r->needs[e->target])
		return;
	if (!s->blocked || r->p->tasks.v[i].first + s->part != e->target)
		return; /* it has not come there yet */
	s->blocked = false;
	queue_add(&r->timers, i, r->now_ns + (double)r->p->waits.v[e->target].delay_ns);
}

static void end(struct run *r, uint32_t i)
{
	const struct replay_task *t = &r->p->tasks.v[i];
	struct run_state *s = &r->tasks[i];

	s->ended = true;
	while (s->edge < t->n_edges)
		fire(r, &r->p->edges.v[t->edges + s->edge++]);
	if (!t->counts)
		return;
	r->end_ns = r->now_ns;
	r->counted--;
}

/* The task is at its wait. False: it does not go on now. */
static bool is_left_out(const struct run *r, const struct replay_wait *x)
{
	return x->lock && r->terms->without && r->terms->without[x->lock - 1];
}

static bool pass_wait(struct run *r, uint32_t i, uint32_t wait)
{
	const struct replay_wait *x = &r->p->waits.v[wait];

	if (x->flags & REPLAY_OPEN) {
		end(r, i);
		return false;
	}
	if (is_left_out(r, x) || (x->flags & REPLAY_HANDED && is_left_out(r, x - 1)))
		return true;
	if (x->flags & REPLAY_TIMED && x->delay_ns > 0) {
		queue_add(&r->timers, i, r->now_ns + (double)x->delay_ns);
		return false;
	}
	r->tasks[i].blocked = r->needs[wait];
	return !r->needs[wait];
}

/* Work that comes before the recorded work of its part: it begins after its birth. */
static double before_ns(const struct run *r, uint32_t i, uint32_t part)
{
	return r->terms->start_ns && part == 1 ? (double)r->terms->start_ns[i] : 0;
}

static double part_ns(const struct run *r, uint32_t i, uint32_t part)
{
	const struct replay_task *t = &r->p->tasks.v[i];

	return before_ns(r, i, part) +
	       (part < t->n ? (double)r->p->waits.v[t->first + part].work_ns : t->rest_ns);
}

/* The next edge of this part that the task fires, NULL = none. */
static const struct replay_edge *edge_ahead(const struct run *r, uint32_t i)
{
	const struct replay_task *t = &r->p->tasks.v[i];
	const struct run_state *s = &r->tasks[i];
	const struct replay_edge *e = &r->p->edges.v[t->edges + s->edge];

	return s->edge < t->n_edges && e->part <= s->part ? e : NULL;
}

/* On until it needs a CPU, waits or ends. */
static void go_on(struct run *r, uint32_t i)
{
	const struct replay_task *t = &r->p->tasks.v[i];
	struct run_state *s = &r->tasks[i];

	while (!s->ended) {
		const struct replay_edge *e = edge_ahead(r, i);
		double stop = part_ns(r, i, s->part);

		if (e && e->part == s->part)
			stop = least(stop, before_ns(r, i, s->part) + (double)e->at_ns);
		if (!(e && e->part < s->part) && stop > s->done_ns + NO_WORK_NS) {
			cpu_need(r, i, stop - s->done_ns);
			return;
		}
		if (e) {
			s->edge++;
			fire(r, e);
		} else if (s->part >= t->n) {
			end(r, i);
		} else if (pass_wait(r, i, t->first + s->part)) {
			next_part(s);
		} else {
			return;
		}
	}
}

/* --- all --- */

static int run_init(struct run *r)
{
	size_t n = r->p->tasks.n;

	r->tasks = calloc(n + 1, sizeof(*r->tasks));
	r->needs = calloc(r->p->waits.n + 1, sizeof(*r->needs));
	if (!r->tasks || !r->needs || queue_init(&r->timers, n) || queue_init(&r->ready, n) ||
	    queue_init(&r->on_cpu, n) || queue_init(&r->last, n))
		return -ENOMEM;
	for (size_t i = 0; i < r->p->waits.n; i++)
		r->needs[i] = r->p->waits.v[i].needs;
	for (size_t i = 0; i < n; i++)
		r->counted += r->p->tasks.v[i].counts;
	r->cpus = 1;
	r->speed = 1;
	if (r->terms->cpus < (double)n + 1) {
		r->cpus = (size_t)most(1, ceil(r->terms->cpus));
		r->speed = least(1, r->terms->cpus / (double)r->cpus);
	} else if (!shared(r)) {
		r->cpus = n + 1;
	}
	return 0;
}

static void run_release(struct run *r)
{
	free(r->tasks);
	free(r->needs);
	queue_release(&r->timers);
	queue_release(&r->ready);
	queue_release(&r->on_cpu);
	queue_release(&r->last);
}

static int run_to_end(struct run *r)
{
	for (uint32_t i = 0; i < r->p->tasks.n; i++)
		go_on(r, i);
	while (r->counted) {
		double cpu = cpu_next(r);
		double timer = r->timers.n ? queue_first_key(&r->timers) : INFINITY;
		uint32_t i;

		if (isinf(cpu) && isinf(timer))
			return -ELOOP;
		cpu_advance(r, least(cpu, timer));
		if (timer <= cpu) {
			i = queue_first(&r->timers);
			queue_remove(&r->timers, i);
			next_part(&r->tasks[i]);
		} else {
			i = cpu_pop(r);
		}
		go_on(r, i);
	}
	return 0;
}

int replay_run(const struct replay *p, const struct replay_terms *terms, struct replay_result *out)
{
	struct run r = {.p = p, .terms = terms};
	int err = run_init(&r);

	if (!err)
		err = run_to_end(&r);
	*out = (struct replay_result){.wall_ns = r.end_ns, .crowded = r.crowded};
	run_release(&r);
	return err;
}
