/* SPDX-License-Identifier: MIT */
/* Futex words become locks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "locks_priv.h"

static int lock_new(struct build *b, enum lock_kind kind, uint32_t space, uint64_t addr,
                    uint32_t *number)
{
	struct lock l = {
	        .id = (uint32_t)b->w->locks.n + 1,
	        .kind = kind,
	        .space = space,
	        .addr = addr,
	        .name_from = "object",
	};

	*number = l.id;
	return vec_push(&b->w->locks, l);
}

int locks_group(struct build *b)
{
	for (size_t i = 0; i < model_n_futexes(b->m); i++) {
		const struct futex *f = model_futex_at(b->m, i);
		uint32_t number;

		if (lock_new(b, LOCK_FUTEX, f->space, f->addr, &number) ||
		    vec_push(&b->futex_locks, number))
			return -ENOMEM;
		snprintf(b->w->locks.v[number - 1].name, sizeof(b->w->locks.v->name),
		         "futex 0x%llx", (unsigned long long)f->addr);
	}
	return 0;
}

static uint32_t joined(const struct build *b, const struct task *t, const struct slice *s)
{
	const struct site *site = model_site(b->m, s->site);

	/* The thread's id was the value to wait for. */
	return site ? model_task_by_ns_tid(b->m, t->proc, (uint32_t)site->a[2], s->out_ns) : 0;
}

int locks_join(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock)
{
	const struct site *site = model_site(b->m, s->site);
	uint32_t other = joined(b, t, s);
	uint64_t addr = site ? site->a[0] : 0;
	bool added = false;
	uint64_t *at = other ? hmap_put(&b->joins, other, 0, &added)
	                     : hmap_put(&b->joins, addr, 1 + (uint64_t)t->space, &added);
	const struct task *thread = model_task(b->m, other);
	struct lock *l;
	int err;

	if (!at)
		return -ENOMEM;
	if (!added) {
		*lock = (uint32_t)*at;
		return 0;
	}
	err = lock_new(b, LOCK_JOIN, t->space, addr, lock);
	if (err)
		return err;
	*at = *lock;
	l = &b->w->locks.v[*lock - 1];
	l->join_task = other;
	l->name_from = "thread";
	snprintf(l->name, sizeof(l->name), "join of %s", thread ? thread->comm : "a thread");
	return 0;
}
