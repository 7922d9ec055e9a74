/* SPDX-License-Identifier: MIT */
/* Slices become waits: which of them belong together, and what each is for. */
#include <errno.h>
#include <stdlib.h>

#include "locks_priv.h"

#define WK_INTERRUPT (WK_F_IRQ | WK_F_SOFTIRQ | WK_F_NMI)

/* --- what for ------------------------------------------------------------------------ */

static bool is_poll(const struct slice *s)
{
	return s->cause == BLOCK_POLL;
}

/* Through a descriptor: known, or told by who ended it. */
static void set_io(struct build *b, const struct slice *s, struct wait *x)
{
	x->channel = channel_of_file(b, s->file);
	if (!x->channel && is_poll(s))
		x->channel = channel_of_file(b, s->waker_file);
	if (s->waker)
		x->kind = WAIT_CHANNEL;
	else if (is_poll(s) && s->waker_flags & WK_F_TIMER)
		x->kind = WAIT_TIMER;
	else if (s->waker_flags & WK_INTERRUPT)
		/* Of the calls that poll, only io_uring's waits count as I/O with the kernel. */
		x->kind = is_poll(s) && s->flags & SW_F_IOWAIT ? WAIT_IO : WAIT_EXTERNAL;
	else if (x->channel)
		x->kind = WAIT_CHANNEL; /* blame.c looks who else uses it */
	else
		x->kind = is_poll(s) ? WAIT_POLL : WAIT_EXTERNAL;
}

/* Off the CPU in no call and for no page: a thread that is never in user space. */
static bool is_of_kernel(const struct slice *s)
{
	return s->flags & SW_F_VOLUNTARY &&
	       !(s->flags & (SW_F_SYSCALL | SW_F_FAULT | SW_F_FUTEX | SW_F_DEAD));
}

static int set_other(struct build *b, const struct task *t, const struct slice *s, struct wait *x)
{
	unsigned bits = call_bits(b, s->site);

	if (slice_is_sysv(b, s))
		return locks_of_sysv(b, t, s, &x->lock);
	x->channel = channel_of_file(b, s->file);
	if (x->channel)
		set_io(b, s, x);
	else if (bits & CALL_SIGNAL)
		x->kind = WAIT_EXTERNAL;
	else if (bits & (CALL_READ | CALL_WRITE) && !s->waker)
		x->kind = WAIT_EXTERNAL; /* a terminal, a device */
	else if (!s->waker && is_of_kernel(s))
		x->kind = WAIT_EXTERNAL; /* for something to do */
	else
		x->kind = WAIT_OTHER;
	return 0;
}

static int set_sleep(struct build *b, const struct slice *s, struct wait *x)
{
	struct kind_vote vote;
	int err = kind_of_stack(b, s->ustack, &vote);

	x->kind = WAIT_TIMER;
	x->look_out = vote.look_out;
	return err;
}

static int set_purpose(struct build *b, const struct task *t, const struct slice *s, struct wait *x)
{
	int err = 0;

	x->kind = WAIT_OTHER;
	switch ((enum block_cause)s->cause) {
	case BLOCK_FUTEX:
		x->lock = s->futex && s->futex <= b->futex_locks.n ? b->futex_locks.v[s->futex - 1]
		                                                   : 0;
		break;
	case BLOCK_JOIN:
		err = locks_join(b, t, s, &x->lock);
		break;
	case BLOCK_PIPE:
	case BLOCK_SOCKET:
	case BLOCK_POLL:
		set_io(b, s, x);
		break;
	case BLOCK_FILE:
		x->kind = WAIT_IO;
		if (slice_is_file_lock(b, s))
			err = locks_of_file(b, t, s, &x->lock);
		break;
	case BLOCK_SLEEP:
		err = set_sleep(b, s, x);
		break;
	case BLOCK_CHILD:
		x->kind = WAIT_CHILD;
		break;
	case BLOCK_FAULT:
		x->kind = WAIT_FAULT;
		break;
	case BLOCK_STOPPED:
		x->kind = WAIT_STOPPED;
		break;
	case BLOCK_OTHER:
	case BLOCK_N:
		err = set_other(b, t, s, x);
		break;
	}
	if (x->lock)
		x->kind = WAIT_LOCK;
	return err;
}

/* --- stitching ----------------------------------------------------------------------- */

/* A task's last wait while later slices may still belong to it. */
struct stitch {
	const struct task *t;
	struct wait last;
	bool have, may_go_on;
	uint64_t ran_ns, pause_ns; /* since it; as much as may lie between its slices */
};

static bool is_wait(const struct slice *s)
{
	return s->queued_ns > s->out_ns || s->futex || s->cause == BLOCK_JOIN;
}

/* After a fatal signal a task only goes away. */
static bool goes_away(const struct task *t, uint32_t i)
{
	enum { LAST_STEPS = 8 };

	if (t->alive || i + LAST_STEPS < t->slices.n)
		return false;
	for (i++; i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (is_wait(s) && s->cause != BLOCK_OTHER && s->cause != BLOCK_FAULT)
			return false;
	}
	return true;
}

/* Ended by the end of the recording, or by the task's own: killed, it never got what it waited
 * for. */
static bool is_open(struct build *b, const struct task *t, uint32_t i)
{
	const struct slice *s = &t->slices.v[i];
	bool last = i + 1 == t->slices.n;

	if (last && s->queued_ns == s->end_ns && !s->waker && !s->waker_flags)
		return true;
	if (slice_posted(b, t, s) || slice_timed_out(s))
		return false;
	return (last && s->in_ns == s->end_ns) || goes_away(t, i);
}

bool wait_posted(const struct build *b, const struct wait *x)
{
	return slice_posted(b, model_task(b->m, x->task), wait_last_slice(b, x));
}

static bool nobody_posts(const struct lock *l)
{
	return l->kind == LOCK_COND || l->kind == LOCK_SEMAPHORE || l->kind == LOCK_FUTEX;
}

/* Its timeout came, and the task had something to do then. */
static bool is_clock(struct build *b, const struct stitch *st)
{
	const struct wait *x = &st->last;

	return x->lock && nobody_posts(&b->w->locks.v[x->lock - 1]) && st->ran_ns >= st->pause_ns &&
	       slice_timed_out(wait_last_slice(b, x));
}

static void make_sleep(struct wait *x)
{
	x->kind = WAIT_TIMER;
	x->lock = 0;
}

static int flush(struct build *b, struct stitch *st)
{
	int err;

	if (st->have && is_clock(b, st))
		make_sleep(&st->last);
	err = st->have ? vec_push(&b->w->waits, st->last) : 0;

	st->have = false;
	return err;
}

static uint64_t pause_after(uint64_t blocked_ns)
{
	uint64_t ns = blocked_ns / WAIT_STITCH_PART;

	if (ns < WAIT_STITCH_NS)
		return WAIT_STITCH_NS;
	return ns < WAIT_STITCH_MAX_NS ? ns : WAIT_STITCH_MAX_NS;
}

static void go_on(struct wait *x, const struct wait *more)
{
	x->end_ns = more->end_ns;
	x->in_ns = more->in_ns;
	x->blocked_ns += more->blocked_ns;
	x->n_slices = more->slice + 1 - x->slice;
	x->waker = more->waker;
	x->timed_out = more->timed_out;
	x->timed = more->timed;
	x->open = more->open;
}

static int add_slice(struct build *b, struct stitch *st, uint32_t i)
{
	const struct slice *s = &st->t->slices.v[i];
	struct wait x = {
	        .start_ns = s->out_ns,
	        .end_ns = s->queued_ns,
	        .in_ns = s->in_ns,
	        .blocked_ns = s->queued_ns - s->out_ns,
	        .task = st->t->id,
	        .slice = i,
	        .n_slices = 1,
	        .waker = s->waker,
	        .open = is_open(b, st->t, i),
	        .timed_out = slice_timed_out(s),
	        .timed = (call_bits(b, s->site) & (CALL_FUTEX | CALL_TIMED)) != CALL_FUTEX,
	};
	int err = set_purpose(b, st->t, s, &x);

	if (err)
		return err;
	if (st->have && st->may_go_on && x.lock && x.lock == st->last.lock &&
	    st->ran_ns < st->pause_ns) {
		go_on(&st->last, &x);
	} else {
		err = flush(b, st);
		st->last = x;
		st->have = true;
	}
	st->may_go_on = x.kind == WAIT_LOCK && !slice_posted(b, st->t, s);
	st->pause_ns = pause_after(x.blocked_ns);
	st->ran_ns = 0;
	return err;
}

static int stitch_task(struct build *b, const struct task *t)
{
	struct stitch st = {.t = t};
	int err = 0;

	for (uint32_t i = 0; !err && i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (is_wait(s))
			err = add_slice(b, &st, i);
		st.ran_ns += s->end_ns - s->in_ns;
	}
	return err ? err : flush(b, &st);
}

/* --- sleeping on a lock -------------------------------------------------------------- */

/* A wait with a timeout, on what nobody ever posted to, is a way to sleep. */
static int find_sleeps(struct build *b)
{
	struct waits *w = b->w;
	bool *posted = calloc(w->locks.n + 1, sizeof(*posted));

	if (!posted)
		return -ENOMEM;
	for (size_t i = 0; i < b->words.n; i++)
		if (b->words.v[i].posted)
			posted[b->futex_locks.v[i]] = true;
	/* The kernel's own have no words. */
	for (size_t i = 0; i < w->waits.n; i++)
		if (w->waits.v[i].lock && !b->lock_futex.v[w->waits.v[i].lock - 1] &&
		    wait_posted(b, &w->waits.v[i]))
			posted[w->waits.v[i].lock] = true;
	for (size_t i = 0; i < w->waits.n; i++) {
		struct wait *x = &w->waits.v[i];
		const struct slice *s = x->lock ? wait_last_slice(b, x) : NULL;

		if (!s || posted[x->lock] || !nobody_posts(&w->locks.v[x->lock - 1]))
			continue;
		if (slice_timed_out(s) || call_bits(b, s->site) & CALL_TIMED)
			make_sleep(x);
	}
	free(posted);
	return 0;
}

int waits_stitch(struct build *b)
{
	struct waits *w = b->w;

	for (size_t i = 0; i < model_n_tasks(b->m); i++) {
		const struct task *t = model_task_at(b->m, i);
		uint64_t *at = hmap_put(&w->task_index, t->id, 0, NULL);

		if (!at || vec_push(&w->task_waits, (uint32_t)w->waits.n) || stitch_task(b, t))
			return -ENOMEM;
		*at = i;
	}
	if (vec_push(&w->task_waits, (uint32_t)w->waits.n))
		return -ENOMEM;
	return find_sleeps(b);
}
