/* SPDX-License-Identifier: MIT */
/* Slices become waits. */
#include <errno.h>
#include <string.h>

#include "locks_priv.h"

static const char *call_of(const struct model *m, uint32_t site)
{
	const struct site *s = model_site(m, site);
	const char *arch = model_meta(m, META_MACHINE), *name = NULL;

	if (s && !s->arch && arch)
		name = syscall_name(arch, s->nr);
	return name ? name : "";
}

bool slice_posted(const struct model *m, const struct slice *s)
{
	const char *call;

	if (!s->waker)
		return false;
	call = call_of(m, s->waker_site);
	if (s->cause == BLOCK_FUTEX)
		return !*call || !strncmp(call, "futex", 5) || !strncmp(call, "exit", 4);
	return true;
}

static enum wait_kind kind_of(const struct slice *s)
{
	switch ((enum block_cause)s->cause) {
	case BLOCK_FUTEX:
	case BLOCK_JOIN:
		return WAIT_LOCK;
	case BLOCK_PIPE:
	case BLOCK_SOCKET:
		return s->waker ? WAIT_CHANNEL : WAIT_EXTERNAL;
	case BLOCK_POLL:
		if (s->waker_flags & WK_F_TIMER)
			return WAIT_TIMER;
		return s->waker ? WAIT_CHANNEL : WAIT_POLL;
	case BLOCK_FILE:
		return WAIT_IO;
	case BLOCK_SLEEP:
		return WAIT_TIMER;
	case BLOCK_CHILD:
		return WAIT_CHILD;
	case BLOCK_FAULT:
		return WAIT_FAULT;
	case BLOCK_STOPPED:
		return WAIT_STOPPED;
	case BLOCK_OTHER:
	case BLOCK_N:
		break;
	}
	return WAIT_OTHER;
}

static int lock_of(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock)
{
	*lock = 0;
	if (s->cause == BLOCK_JOIN)
		return locks_join(b, t, s, lock);
	if (s->futex && s->futex <= b->futex_locks.n)
		*lock = b->futex_locks.v[s->futex - 1];
	return 0;
}

static bool is_wait(const struct slice *s)
{
	return s->queued_ns > s->out_ns || s->futex || s->cause == BLOCK_JOIN;
}

/* Waits of one task while they are being put together. */
struct stitch {
	const struct task *t;
	struct wait last; /* kind LOCK: may go on */
	bool have, may_go_on;
	uint64_t ran_ns; /* since it */
};

static int flush(struct build *b, struct stitch *st)
{
	int err = st->have ? vec_push(&b->w->waits, st->last) : 0;

	st->have = false;
	return err;
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
	        .kind = kind_of(s),
	};
	int err = lock_of(b, st->t, s, &x.lock);

	if (err)
		return err;
	if (x.kind == WAIT_LOCK && !x.lock)
		x.kind = WAIT_OTHER;
	x.open = i + 1 == st->t->slices.n && !s->waker && s->queued_ns == s->end_ns;
	if (st->have && st->may_go_on && x.lock && x.lock == st->last.lock &&
	    st->ran_ns < WAIT_STITCH_NS) {
		st->last.end_ns = x.end_ns;
		st->last.in_ns = x.in_ns;
		st->last.blocked_ns += x.blocked_ns;
		st->last.n_slices = i + 1 - st->last.slice;
		st->last.waker = x.waker;
		st->last.open = x.open;
	} else {
		err = flush(b, st);
		st->last = x;
		st->have = true;
	}
	st->may_go_on = x.kind == WAIT_LOCK && !slice_posted(b->m, s);
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
	return vec_push(&w->task_waits, (uint32_t)w->waits.n);
}
