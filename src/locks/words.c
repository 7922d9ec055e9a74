/* SPDX-License-Identifier: MIT */
/* What all waits on each futex word say of it together. */
#include <errno.h>

#include "locks_priv.h"

static int add_wait(struct build *b, const struct task *t, const struct slice *s)
{
	struct word *w = &b->words.v[s->futex - 1];
	struct kind_vote v;
	int err = kind_of_stack(b, s->ustack, &v);

	if (err)
		return err;
	if (v.kind < LOCK_KIND_N)
		w->votes[v.kind]++;
	w->waits++;
	w->py_votes += v.py;
	w->park_votes += v.park;
	w->gomp_votes += v.gomp;
	w->posted += slice_posted(b, t, s);
	w->owners += slice_owner(b, t, s, !model_futex_at(b->m, s->futex - 1)->is_private) != 0;
	w->python += v.python;
	return 0;
}

static int add_task(struct build *b, const struct task *t)
{
	int err = 0;

	for (size_t i = 0; !err && i < t->slices.n; i++) {
		const struct slice *s = &t->slices.v[i];

		if (s->futex && s->futex <= b->words.n)
			err = add_wait(b, t, s);
	}
	return err;
}

int words_gather(struct build *b)
{
	enum { LOCK_PI = 6, WAIT_BITSET = 9, LOCK_PI2 = 13 };
	int err = 0;

	for (size_t i = 0; i < model_n_futexes(b->m); i++) {
		const struct futex *f = model_futex_at(b->m, i);
		struct word w = {
		        .pi = f->op == LOCK_PI || f->op == LOCK_PI2,
		        .bitset = f->op == WAIT_BITSET,
		};

		if (vec_push(&b->words, w))
			return -ENOMEM;
	}
	for (size_t i = 0; !err && i < model_n_tasks(b->m); i++)
		err = add_task(b, model_task_at(b->m, i));
	return err;
}
