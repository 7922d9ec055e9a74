/* SPDX-License-Identifier: MIT */
/* Who ended a process: of its threads, the one whose exit_group woke the others to die. */
#include <errno.h>

#include "locks_priv.h"

enum { LAST_STEPS = 8 }; /* of a killed thread, from the wake-up that kills it on */

static int see(struct build *b, const struct task *t, const struct slice *s)
{
	const struct task *waker = s->waker ? model_task(b->m, s->waker) : NULL;
	uint64_t *slot;

	if (!waker || waker == t || waker->proc != t->proc ||
	    !(call_bits(b, s->waker_site) & CALL_EXIT_GROUP))
		return 0;
	slot = hmap_put(&b->w->enders, t->proc, 0, NULL);
	if (!slot)
		return -ENOMEM;
	*slot = waker->id;
	return 0;
}

int waits_find_enders(struct build *b)
{
	int err = 0;

	for (size_t i = 0; i < model_n_tasks(b->m) && !err; i++) {
		const struct task *t = model_task_at(b->m, i);
		size_t n = t->slices.n;

		for (size_t k = n > LAST_STEPS ? n - LAST_STEPS : 0; !t->alive && k < n && !err;
		     k++)
			err = see(b, t, &t->slices.v[k]);
	}
	return err;
}

uint32_t waits_ender(const struct waits *w, uint32_t proc)
{
	const uint64_t *ender = hmap_get(&w->enders, proc, 0);

	return ender ? (uint32_t)*ender : 0;
}
