/* SPDX-License-Identifier: MIT */
/*
 * The critical path: from the start to the end of the run, at each moment the one task
 * whose doing the run's end waited for. It begins at the task that ends last, not counting those
 * that were killed while they waited, or that another thread's exit_group took along. Where all
 * live on, it is the first process's main thread; but where that did nothing than wait for
 * the outside (a server's master, an event loop without events), the task that ran most. Where
 * that task runs or is ready, the path is its own; where it was blocked, the path is what those did
 * meanwhile that it waited for, and so on down the chain. Before a task's birth the path
 * is its creator's. So it tiles the wall, however deep the chain, in time linear in the
 * spans that it touches.
 *
 * A piece below a wait for a lock, or for another's work, says so (cause, lock): that part
 * of the path is bound by it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "spans_priv.h"

#define DEEPEST 64
#define BUSIER  4 /* so many times the main thread's CPU time is worth looking at instead */

/* One task being followed over [at, hi]. */
struct follow {
	const struct task *t;
	struct spans spans;
	uint64_t at_ns, hi_ns;
	struct span why; /* the wait above that led here; kind is meaningless at the bottom */
	uint8_t cause;   /* of running pieces */
	uint32_t lock, channel;
	bool begun;
};

struct walk {
	struct report *r;
	struct follow stack[DEEPEST];
	unsigned depth;
};

static int emit(struct walk *w, const struct path_row *row)
{
	struct path_row *last = w->r->path.n ? &w->r->path.v[w->r->path.n - 1] : NULL;

	if (row->end_ns <= row->start_ns)
		return 0;
	if (last && last->end_ns == row->start_ns && last->task == row->task &&
	    last->state == row->state && last->cause == row->cause && last->lock == row->lock &&
	    last->channel == row->channel) {
		last->end_ns = row->end_ns;
		if (!last->ustack)
			last->ustack = row->ustack;
		if (!last->kstack)
			last->kstack = row->kstack;
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

static bool is_followed(const struct walk *w, const struct task *t)
{
	for (unsigned i = 0; i < w->depth; i++)
		if (w->stack[i].t == t)
			return true;
	return false;
}

/* Follows t over [lo, hi]; false: it cannot be followed. */
static bool follow(struct walk *w, const struct task *t, uint64_t lo, uint64_t hi)
{
	struct follow *f;

	if (!t || !t->slices.n || w->depth == DEEPEST || is_followed(w, t))
		return false;
	f = &w->stack[w->depth++];
	*f = (struct follow){.t = t, .at_ns = lo, .hi_ns = hi, .cause = CAUSE_WORK};
	return true;
}

/* What running means below this wait. The end of a task is waited for without being held up
 * by anything but its work. */
static void set_why(struct walk *w, const struct span *s)
{
	struct follow *f = &w->stack[w->depth - 1];
	const struct lock *l =
	        s->lock && s->lock <= w->r->w->locks.n ? &w->r->w->locks.v[s->lock - 1] : NULL;

	f->why = *s;
	if (s->kind == WAIT_CHILD || (l && l->kind == LOCK_JOIN))
		return;
	f->lock = s->lock;
	f->channel = s->channel;
	f->cause = CAUSE_SERIAL;
	if (s->kind == WAIT_LOCK && l && l->kind != LOCK_COND && l->kind != LOCK_BARRIER)
		f->cause = cause_of_lock(w->r, s->lock);
}

static int emit_own(struct walk *w, const struct follow *f, const struct span *s, uint64_t hi)
{
	struct path_row row = {
	        .start_ns = f->at_ns,
	        .end_ns = hi,
	        .task = f->t->id,
	        .state = s->state == SPAN_RUN ? 'R' : 'Q',
	        .cause = s->state == SPAN_RUN ? f->cause : CAUSE_CPU_SHORTAGE,
	        .lock = f->lock,
	        .channel = f->channel,
	};

	return emit(w, &row);
}

/* Before its birth its creator is followed; nobody's child has no past. */
static int before_birth(struct walk *w, struct follow *f)
{
	uint64_t lo = f->at_ns, hi = f->hi_ns < f->t->start_ns ? f->hi_ns : f->t->start_ns;
	struct path_row row = {.start_ns = lo, .end_ns = hi, .task = f->t->id, .state = 'B'};

	f->at_ns = hi;
	row.cause = CAUSE_NO_TASK;
	if (f->t->parent && follow(w, model_task(w->r->m, f->t->parent), lo, hi))
		return 0;
	return emit(w, &row);
}

/* One more span of the task on top. */
static int step(struct walk *w)
{
	struct follow *f = &w->stack[w->depth - 1];
	struct span s;
	uint64_t lo = f->at_ns, hi;

	if (lo >= f->hi_ns) {
		w->depth--;
		return 0;
	}
	if (lo < f->t->start_ns)
		return before_birth(w, f);
	if (!f->begun)
		spans_begin(&f->spans, w->r->w, f->t, lo);
	f->begun = true;
	if (!spans_next(&f->spans, &s)) {
		/* It has gone, and who waited for it does not run yet. */
		f->at_ns = f->hi_ns;
		return emit_blocked(w, f->t, &f->why, lo, f->hi_ns);
	}
	hi = s.end_ns < f->hi_ns ? s.end_ns : f->hi_ns;
	if (s.state != SPAN_BLOCKED) {
		int err = emit_own(w, f, &s, hi);

		f->at_ns = hi;
		return err;
	}
	f->at_ns = hi;
	if (!s.task || !follow(w, model_task(w->r->m, s.task), lo, hi))
		return emit_blocked(w, f->t, &s, lo, hi);
	set_why(w, &s);
	return 0;
}

/* --- whose end --- */

static const struct task *asked_for(const struct report *r)
{
	for (size_t i = 0; i < model_n_tasks(r->m); i++)
		if (task_is_called(model_task_at(r->m, i), r->opts.task))
			return model_task_at(r->m, i);
	return NULL;
}

/* When it last had anything to do with the run's end. */
static uint64_t done_ns(const struct report *r, const struct task *t)
{
	size_t n;
	const struct wait *waits = waits_of(r->w, t->id, &n);

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
static const struct task *last_to_end(const struct report *r, bool killed_too)
{
	const struct task *last = NULL;
	uint64_t last_ns = 0;

	for (size_t i = 0; i < model_n_tasks(r->m); i++) {
		const struct task *t = model_task_at(r->m, i);
		uint64_t t_ns = killed_too ? t->end_ns : done_ns(r, t);

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

static int walk(struct walk *w, const struct task *t, uint64_t lo, uint64_t hi)
{
	int err = 0;

	if (t && lo < hi)
		follow(w, t, lo, hi);
	while (!err && w->depth)
		err = step(w);
	return err;
}

/* What was killed takes its time to go. */
static int walk_all(struct walk *w)
{
	const struct recording *rec = model_recording(w->r->m);
	const struct task *last = last_to_end(w->r, false), *end = busy_instead(w->r, last);
	uint64_t until = end && !end->alive && end->end_ns < rec->wall_end_ns ? end->end_ns
	                                                                      : rec->wall_end_ns;
	int err = walk(w, end, rec->wall_start_ns, until);

	if (end != last)
		w->r->path_of = end->id;
	return err ? err : walk(w, last_to_end(w->r, true), until, rec->wall_end_ns);
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
	rc = end ? walk(w, end, rec->wall_start_ns, end->end_ns) : walk_all(w);
	free(w);
	return rc ? rc : set_stacks(r);
}
