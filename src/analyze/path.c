/* SPDX-License-Identifier: MIT */
/*
 * The critical path: from the end of the run back to its start, at each moment the one task whose
 * doing the run's end waited for. It begins at the task that ends last, not counting those that
 * were killed while they waited, or that another thread's exit_group took along. Where all live
 * on, it is the first process's main thread; but where that did nothing than wait for the outside
 * (a server's master, an event loop without events), the task that ran most. Where that task runs
 * or is ready, the path is its own; where it was blocked, the path goes on with the task that ended
 * the wait, from then on back, also before the wait began: when somebody is waited for, what it
 * did before is what made it late. But not where that one took no part in the work and slept until
 * a clock woke it (a housekeeper that is told to stop, and looks at its next turn): it would have
 * been asleep whenever somebody had come, so before the wait the path is the waiter's again. Before
 * a task's birth the path is its creator's. So it tiles the wall, in time linear in the spans that
 * it touches. (The last-arriving edge of Miller and Yang's program activity graph: Critical Path
 * Analysis for the Execution of Parallel and Distributed Programs, 1988.)
 *
 * While somebody waits for a lock, or for another's work, the path below it says so (cause, lock):
 * that part of the path is bound by it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "chains_priv.h"
#include "spans_priv.h"

#define DEEPEST 64
#define BUSIER  4 /* so many times the main thread's CPU time is worth looking at instead */

/* A wait on the path: of what comes after lo_ns somebody waits for the rest. */
struct above {
	uint64_t lo_ns;
	uint8_t cause; /* of running pieces */
	uint32_t lock, channel;
	const struct task *waiter;
};

struct walk {
	struct report *r;
	const struct task *t;
	uint64_t at_ns, lo_ns; /* the path is known from at_ns on; it is to be back to lo_ns */
	struct above above[DEEPEST];
	unsigned depth;
	const struct task *back; /* who waited for w->t until the path came to before that wait */
	uint64_t part_ns;        /* on a CPU for less: took no part in the work */
	const struct task *passed[DEEPEST]; /* without a step back */
	unsigned n_passed;
};

/* Pieces come from the last to the first. */
static int emit(struct walk *w, const struct path_row *row)
{
	struct path_row *next = w->r->path.n ? &w->r->path.v[w->r->path.n - 1] : NULL;

	if (row->end_ns <= row->start_ns)
		return 0;
	w->at_ns = row->start_ns;
	w->n_passed = 0;
	if (next && next->start_ns == row->end_ns && next->task == row->task &&
	    next->state == row->state && next->cause == row->cause && next->lock == row->lock &&
	    next->channel == row->channel) {
		next->start_ns = row->start_ns;
		if (row->ustack)
			next->ustack = row->ustack;
		if (row->kstack)
			next->kstack = row->kstack;
		return 0;
	}
	return vec_push(&w->r->path, *row);
}

static uint8_t cause_of_lock(const struct report *r, uint32_t lock)
{
	return lock && lock <= r->w->locks.n && r->w->locks.v[lock - 1].kind == LOCK_GIL
	               ? CAUSE_GIL
	               : CAUSE_LOCK;
}

static uint8_t cause_blocked(const struct report *r, const struct span *s)
{
	static const uint8_t causes[WAIT_KIND_N] = {
	        [WAIT_CHANNEL] = CAUSE_CHANNEL,
	        [WAIT_CHILD] = CAUSE_CHILD,
	        [WAIT_IO] = CAUSE_IO,
	        [WAIT_TIMER] = CAUSE_SLEEP,
	        [WAIT_EXTERNAL] = CAUSE_EXTERNAL,
	        [WAIT_FAULT] = CAUSE_FAULT,
	        [WAIT_STOPPED] = CAUSE_EXTERNAL,
	        [WAIT_POLL] = CAUSE_EXTERNAL,
	        [WAIT_OTHER] = CAUSE_UNATTRIBUTED,
	};

	if (s->kind == WAIT_LOCK)
		return cause_of_lock(r, s->lock);
	return s->kind < WAIT_KIND_N ? causes[s->kind] : CAUSE_UNATTRIBUTED;
}

static int emit_blocked(struct walk *w, const struct task *t, const struct span *s, uint64_t lo,
                        uint64_t hi)
{
	struct path_row row = {
	        .start_ns = lo,
	        .end_ns = hi,
	        .task = t->id,
	        .state = 'B',
	        .cause = cause_blocked(w->r, s),
	        .lock = s->lock,
	        .channel = s->channel,
	        .ustack = s->slice ? s->slice->ustack : 0,
	        .kstack = s->slice ? s->slice->kstack : 0,
	};

	return emit(w, &row);
}

/* The wait above the present moment, NULL = none. */
static const struct above *above_now(struct walk *w)
{
	while (w->depth && w->above[w->depth - 1].lo_ns >= w->at_ns)
		w->back = w->above[--w->depth].waiter;
	return w->depth ? &w->above[w->depth - 1] : NULL;
}

static void go_to(struct walk *w, const struct task *t)
{
	w->t = t;
	w->back = NULL;
}

/* What running means below this wait. The end of a task is waited for without being held up
 * by anything but its work. */
static void push_above(struct walk *w, const struct span *s)
{
	const struct lock *l =
	        s->lock && s->lock <= w->r->w->locks.n ? &w->r->w->locks.v[s->lock - 1] : NULL;
	struct above a = {.lo_ns = s->start_ns, .cause = CAUSE_WORK, .waiter = w->t};

	if (s->kind != WAIT_CHILD && !(l && l->kind == LOCK_JOIN)) {
		a.lock = s->lock;
		a.channel = s->channel;
		a.cause = CAUSE_SERIAL;
		if (s->kind == WAIT_LOCK && l && l->kind != LOCK_COND && !lock_is_barrier(l) &&
		    !lock_is_for_work(l))
			a.cause = cause_of_lock(w->r, s->lock);
	}
	if (w->depth == DEEPEST)
		memmove(w->above, w->above + 1, --w->depth * sizeof(w->above[0]));
	w->above[w->depth++] = a;
}

static int emit_own(struct walk *w, const struct span *s)
{
	const struct above *a = above_now(w);
	uint64_t lo = s->start_ns > w->lo_ns ? s->start_ns : w->lo_ns;
	struct path_row row = {
	        .start_ns = a && a->lo_ns > lo ? a->lo_ns : lo,
	        .end_ns = w->at_ns,
	        .task = w->t->id,
	        .state = s->state == SPAN_RUN ? 'R' : 'Q',
	        .cause = CAUSE_CPU_SHORTAGE,
	        .lock = a ? a->lock : 0,
	        .channel = a ? a->channel : 0,
	};

	if (s->state == SPAN_RUN)
		row.cause = a ? a->cause : CAUSE_WORK;
	return emit(w, &row);
}

static bool was_passed(const struct walk *w, const struct task *t)
{
	for (unsigned i = 0; i < w->n_passed; i++)
		if (w->passed[i] == t)
			return true;
	return t == w->t || w->n_passed == DEEPEST;
}

/* A new task is its creator's doing until it is ready to run. */
static uint64_t birth_ns(const struct walk *w, const struct task *t)
{
	const struct slice *first = &t->slices.v[0];

	if (!t->parent || t->start_ns <= w->lo_ns || first->cause != BLOCK_OTHER || first->site ||
	    first->out_ns > t->start_ns || first->queued_ns >= first->end_ns)
		return t->start_ns;
	return first->queued_ns > t->start_ns ? first->queued_ns : t->start_ns;
}

/* Before its birth its creator is on the path; nobody's child has no past. */
static int before_birth(struct walk *w)
{
	const struct task *creator = w->t->parent ? model_task(w->r->m, w->t->parent) : NULL;
	struct path_row row = {.start_ns = w->lo_ns,
	                       .end_ns = w->at_ns,
	                       .task = w->t->id,
	                       .state = 'B',
	                       .cause = CAUSE_NO_TASK};

	/* In a damaged recording a task may be its own creator's creator. */
	if (!creator || !creator->slices.n || creator->start_ns >= w->at_ns ||
	    was_passed(w, creator))
		return emit(w, &row);
	w->passed[w->n_passed++] = w->t;
	go_to(w, creator);
	return 0;
}

/* The task's span that ends at at_ns, or contains it. False: it has none, as it has gone. */
static bool span_until(const struct walk *w, struct span *out)
{
	const struct task *t = w->t;
	size_t lo = 0, hi = t->slices.n;
	struct spans spans;

	while (lo < hi) { /* the first slice that does not end before */
		size_t mid = lo + (hi - lo) / 2;

		if (t->slices.v[mid].end_ns < w->at_ns)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->slices.n)
		return false;
	spans_begin(&spans, w->r->w, t, lo ? t->slices.v[lo - 1].end_ns : 0);
	while (spans_next(&spans, out))
		if (out->end_ns >= w->at_ns)
			return true;
	return false;
}

/* After the last that is known of it: it lives on as it was, or it has gone, and who waited for it
 * does not run yet. */
static int after_end(struct walk *w)
{
	const struct slice *last = &w->t->slices.v[w->t->slices.n - 1];
	uint64_t lo = last->end_ns > w->lo_ns ? last->end_ns : w->lo_ns;
	struct span s = {.start_ns = lo, .end_ns = w->at_ns, .kind = WAIT_OTHER};

	if (!w->t->alive || last->in_ns >= last->end_ns)
		return emit_blocked(w, w->t, &s, lo, w->at_ns);
	s.state = SPAN_RUN;
	return emit_own(w, &s);
}

/* Who ended the wait, if the path can go on with it from some moment of the wait; NULL = no. */
static const struct task *ender_of(const struct walk *w, const struct span *s, uint64_t lo)
{
	const struct task *t = s->task ? model_task(w->r->m, s->task) : NULL;

	if (!t || !t->slices.n || was_passed(w, t) || birth_ns(w, t) >= w->at_ns ||
	    t->slices.v[t->slices.n - 1].end_ns <= lo)
		return NULL;
	return t;
}

static bool is_clock(const struct span *s)
{
	return s->kind == WAIT_TIMER ||
	       (s->slice && !s->slice->waker && s->slice->waker_flags & WK_F_TIMER);
}

/* Nobody is known who ended the wait. */
static int pass_alone(struct walk *w, const struct span *s, uint64_t lo)
{
	const struct above *a = above_now(w);
	bool begins = a && a->lo_ns > lo; /* … the wait above it, while this one sleeps */
	const struct task *waiter = begins ? a->waiter : w->back;
	int err = 0;

	if (!is_clock(s) || w->t->on_cpu_ns >= w->part_ns || !waiter || waiter == w->t)
		return emit_blocked(w, w->t, s, lo, w->at_ns);
	if (begins)
		err = emit_blocked(w, w->t, s, a->lo_ns, w->at_ns);
	go_to(w, waiter);
	return err;
}

static int pass_blocked(struct walk *w, const struct span *s)
{
	uint64_t lo = s->start_ns > w->lo_ns ? s->start_ns : w->lo_ns, end;
	const struct task *ender = ender_of(w, s, lo);
	int err = 0;

	if (!ender)
		return pass_alone(w, s, lo);
	end = ender->slices.v[ender->slices.n - 1].end_ns;
	if (end < w->at_ns && !ender->alive)
		err = emit_blocked(w, ender, s, end, w->at_ns);
	push_above(w, s);
	w->passed[w->n_passed++] = w->t;
	go_to(w, ender);
	return err;
}

/* One more span of the task, or over to another one. */
static int step(struct walk *w)
{
	struct span s;

	if (w->at_ns <= birth_ns(w, w->t))
		return before_birth(w);
	if (!span_until(w, &s))
		return after_end(w);
	return s.state == SPAN_BLOCKED ? pass_blocked(w, &s) : emit_own(w, &s);
}

/* --- whose end --- */

static const struct task *asked_for(const struct report *r)
{
	for (size_t i = 0; i < model_n_tasks(r->m); i++)
		if (task_is_called(model_task_at(r->m, i), r->opts.task))
			return model_task_at(r->m, i);
	return NULL;
}

/* Who was joined lets the other go on before it is gone. By task: when. */
static int find_joined(const struct report *r, struct hmap *joined)
{
	const struct waits *w = r->w;

	for (size_t i = 0; i < w->waits.n; i++) {
		const struct wait *x = &w->waits.v[i];
		const struct lock *l = x->lock ? &w->locks.v[x->lock - 1] : NULL;
		uint64_t *at;

		if (!l || l->kind != LOCK_JOIN || !l->join_task || x->waker != l->join_task)
			continue;
		at = hmap_put(joined, x->waker, 0, NULL);
		if (!at)
			return -ENOMEM;
		*at = x->end_ns;
	}
	return 0;
}

/* When it last had anything to do with the run's end. */
static uint64_t done_ns(const struct report *r, const struct hmap *joined, const struct task *t)
{
	size_t n;
	const struct wait *waits = waits_of(r->w, t->id, &n);
	const uint64_t *at = t->alive ? NULL : hmap_get(joined, t->id, 0);

	if (at && *at < t->end_ns)
		return *at;
	/* Going away waits for pages and kernel locks. */
	while (n && (waits[n - 1].kind == WAIT_FAULT || waits[n - 1].kind == WAIT_OTHER))
		n--;
	return !t->alive && n && waits[n - 1].open ? waits[n - 1].start_ns : t->end_ns;
}

/* Does a end after b? Those that live on end together (what is known of each ends a little
 * earlier or later): then the first process's first thread is meant. */
static bool ends_later(const struct task *a, uint64_t a_ns, const struct task *b, uint64_t b_ns)
{
	if (a->alive != b->alive)
		return a->alive;
	if (!a->alive && a_ns != b_ns)
		return a_ns > b_ns;
	return task_is_first(a) && !task_is_first(b);
}

static bool taken_along(const struct report *r, const struct task *t)
{
	uint32_t ender = waits_ender(r->w, t->proc);

	return ender && ender != t->id;
}

/* Killed ones only if they are asked for. */
static const struct task *last_to_end(const struct report *r, const struct hmap *joined,
                                      bool killed_too)
{
	const struct task *last = NULL;
	uint64_t last_ns = 0;

	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);
		uint64_t t_ns = killed_too ? t->end_ns : done_ns(r, joined, t);

		if (!t->slices.n || (!killed_too && taken_along(r, t)))
			continue;
		if (!last || ends_later(t, t_ns, last, last_ns)) {
			last = t;
			last_ns = t_ns;
		}
	}
	return last;
}

/* For half of the run it waited for nothing of ours. */
static bool mostly_outside(const struct report *r, const struct task *t)
{
	size_t n;
	const struct wait *waits = waits_of(r->w, t->id, &n);
	uint64_t left = r->wall_ns / 2;

	for (size_t i = 0; i < n && left; i++)
		if (waits[i].kind == WAIT_EXTERNAL || waits[i].kind == WAIT_POLL ||
		    waits[i].kind == WAIT_TIMER)
			left -= waits[i].blocked_ns < left ? waits[i].blocked_ns : left;
	return !left;
}

/* The one to look at instead of a thread that lives on and has had little to do; itself if none. */
static const struct task *busy_instead(const struct report *r, const struct task *t)
{
	const struct task *busiest = t;

	if (!t || !t->alive || !mostly_outside(r, t))
		return t;
	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *o = model_task_at(r->m, i);

		if (o->alive && o->slices.n && o->run_ns > busiest->run_ns)
			busiest = o;
	}
	return busiest->run_ns / BUSIER > t->run_ns ? busiest : t;
}

static uint64_t part_ns(const struct model *m)
{
	uint64_t most = 0;

	for (size_t i = 0; i < model_n_tasks(m); i++)
		if (model_task_at(m, i)->on_cpu_ns > most)
			most = model_task_at(m, i)->on_cpu_ns;
	return most / TOOK_PART;
}

static int walk(struct walk *w, const struct task *t, uint64_t lo, uint64_t hi)
{
	int err = 0;

	if (!t || !t->slices.n)
		return 0;
	go_to(w, t);
	w->lo_ns = lo;
	w->at_ns = hi;
	w->depth = w->n_passed = 0;
	while (!err && w->at_ns > lo)
		err = step(w);
	return err;
}

static void turn_round(struct report *r)
{
	for (size_t i = 0, j = r->path.n; i + 1 < j; i++) {
		struct path_row row = r->path.v[i];

		r->path.v[i] = r->path.v[--j];
		r->path.v[j] = row;
	}
}

/* What was killed takes its time to go. */
static int walk_all(struct walk *w)
{
	const struct recording *rec = model_recording(w->r->m);
	struct hmap joined = {0};
	int err = find_joined(w->r, &joined);
	const struct task *last = last_to_end(w->r, &joined, false);
	const struct task *end = busy_instead(w->r, last);
	uint64_t until = end && !end->alive && end->end_ns < rec->wall_end_ns ? end->end_ns
	                                                                      : rec->wall_end_ns;

	if (!err)
		err = walk(w, last_to_end(w->r, &joined, true), until, rec->wall_end_ns);
	if (end != last)
		w->r->path_of = end->id;
	hmap_release(&joined);
	return err ? err : walk(w, end, rec->wall_start_ns, until);
}

/* --- where it ran --- */

static int by_task_ts(const void *a, const void *b)
{
	const struct cpu_sample *x = a, *y = b;

	if (x->task != y->task)
		return x->task < y->task ? -1 : 1;
	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

/* Running pieces get the stack of the first sample that fell into them. */
static int set_stacks(struct report *r)
{
	const struct cpu_sample *samples;
	size_t n = model_samples(r->m, &samples);
	struct cpu_sample *sorted = malloc((n + 1) * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	if (n)
		memcpy(sorted, samples, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_task_ts);
	for (size_t i = 0; i < r->path.n; i++) {
		struct path_row *row = &r->path.v[i];
		struct cpu_sample want = {.ts = row->start_ns, .task = row->task};
		size_t lo = 0, hi = n;

		if (row->state != 'R')
			continue;
		while (lo < hi) {
			size_t mid = lo + (hi - lo) / 2;

			if (by_task_ts(&sorted[mid], &want) < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo < n && sorted[lo].task == row->task && sorted[lo].ts < row->end_ns) {
			row->ustack = sorted[lo].ustack;
			row->kstack = sorted[lo].kstack;
		}
	}
	free(sorted);
	return 0;
}

int analyze_path(struct report *r, struct err *err)
{
	const struct recording *rec = model_recording(r->m);
	const struct task *end = NULL;
	struct walk *w;
	int rc;

	if (!r->w)
		return 0;
	if (r->opts.task)
		end = asked_for(r);
	if (r->opts.task && !end)
		return err_set(err, -ENOENT, MT_EXIT_USAGE, "no task has the id or name %s",
		               r->opts.task);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->r = r;
	w->part_ns = part_ns(r->m);
	rc = end ? walk(w, end, rec->wall_start_ns, end->end_ns) : walk_all(w);
	free(w);
	turn_round(r);
	return rc ? rc : set_stacks(r);
}
