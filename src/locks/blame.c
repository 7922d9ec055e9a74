/* SPDX-License-Identifier: MIT */
/* Of whom each wait waited. */
#include <errno.h>

#include "locks_priv.h"

static struct blame whole(const struct build *b, const struct wait *x)
{
	const struct task *t = model_task(b->m, x->task);
	const struct slice *s = &t->slices.v[x->slice + x->n_slices - 1];
	const struct lock *l = x->lock ? &b->w->locks.v[x->lock - 1] : NULL;
	struct blame out = {
	        .start_ns = x->start_ns,
	        .end_ns = x->end_ns,
	        .state = BLAME_NOBODY,
	};
	uint32_t owner = 0;

	if (x->kind == WAIT_TIMER)
		return out;
	if (l && l->join_task) {
		out.task = l->join_task;
		out.evidence = EVIDENCE_OWNER;
	} else if (x->waker) {
		out.task = x->waker;
		out.evidence = slice_posted(b->m, s) ? EVIDENCE_POSTER : EVIDENCE_WAKER;
	}
	if (s->flags & SW_F_OWNER && s->owner)
		owner = model_task_by_ns_tid(b->m, l && l->shared ? 0 : t->proc, s->owner,
		                             s->out_ns);
	if (owner && owner != x->task && s->cause == BLOCK_FUTEX) {
		out.agrees = !out.task ? 0 : out.task == owner ? 1 : 2;
		out.task = owner;
		out.evidence = EVIDENCE_OWNER;
	}
	if (out.task)
		out.state = BLAME_HELD;
	return out;
}

int waits_blame(struct build *b)
{
	for (size_t i = 0; i < b->w->waits.n; i++) {
		struct wait *x = &b->w->waits.v[i];

		x->blame = (uint32_t)b->w->blames.n;
		x->n_blame = 1;
		if (vec_push(&b->w->blames, whole(b, x)))
			return -ENOMEM;
	}
	return 0;
}
