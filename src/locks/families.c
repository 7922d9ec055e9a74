/* SPDX-License-Identifier: MIT */
/*
 * Locks that are made of many words. Where a runtime or a database brings its own locks, each
 * thread parks on a word of its own (a JVM's monitors, PostgreSQL's lightweight locks), and who
 * lets go wakes the next one there. By word there are as many "locks" as threads, each with one
 * waiter, and none is the lock. What tells them is who wakes whom: each is woken by several others
 * who park on such words themselves, and wakes them. (In a pipeline each is woken by its
 * neighbour; workers are woken by one who hands out work and does not park among them.)
 * Where the place says that it is a lock (a JVM's monitor), who takes turns so regularly that each
 * is woken by the same one all the time belongs to it as well; and it is one however few wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

enum {
	MEMBERS = 3,  /* at least, where no place says that it is a lock */
	WAKERS = 2,   /* of each member */
	NOTABLE = 20, /* a waker counts from this part of the waiting on */
	MOST_WAKERS = 64,
	DEEPEST = 24, /* frames in which a lock's own function is looked for */
};

/* Parts of the names of functions that wait for a lock's owner, and for nothing else. */
static const char *const lock_functions[] = {"ObjectMonitor::Enter", "ObjectMonitor::enter"};

struct families {
	const struct model *m;
	struct waits *w;
	struct hmap own;       /* task -> its word's lock index + 1 */
	uint32_t *up;          /* by lock: its head's index, in the end */
	uint32_t *size, *most; /* by head: members; the index of the one waited for most */
	bool *named;           /* by lock: it is waited for where a lock's owner is */
	bool *mutual; /* by lock: most of its waiting is for others that park, and several */
};

static bool is_parking(const struct model *m, const struct lock *l)
{
	return (l->kind == LOCK_COND || l->kind == LOCK_SEMAPHORE || l->kind == LOCK_FUTEX) &&
	       l->waiters.n == 1 && l->blockers.n &&
	       !(l->sites.n && stack_waits_for_work(m, l->sites.v[0].ustack));
}

static bool alike(const struct lock *x, const struct lock *y)
{
	if (x->kind != y->kind || x->shared != y->shared)
		return false;
	return x->shared ? x->dev == y->dev && x->inode == y->inode : x->space == y->space;
}

/* A thread's own word: if it has several, where it waits most. */
static int find_own(struct families *f)
{
	for (size_t i = 0; i < f->w->locks.n; i++) {
		const struct lock *l = &f->w->locks.v[i];
		uint64_t *at;

		if (!is_parking(f->m, l))
			continue;
		at = hmap_put(&f->own, l->waiters.v[0].task, 0, NULL);
		if (!at)
			return -ENOMEM;
		if (!*at || f->w->locks.v[*at - 1].wait_ns < l->wait_ns)
			*at = i + 1;
	}
	return 0;
}

static bool wakes(uint32_t task, const struct lock *l)
{
	for (size_t k = 0; k < l->blockers.n && k < MOST_WAKERS; k++)
		if (l->blockers.v[k].task == task)
			return true;
	return false;
}

static bool is_named(const struct model *m, const struct lock *l)
{
	struct frame frames[DEEPEST];
	uint32_t ustack = l->sites.n ? l->sites.v[0].ustack : 0;
	size_t n = ustack ? model_frames(m, ustack, frames, DEEPEST) : 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; frames[i].name && k < ARRAY_LEN(lock_functions); k++)
			if (strstr(frames[i].name, lock_functions[k]))
				return true;
	return false;
}

/* The blocker's own word, like this lock, where this lock's waiter wakes it in turn, or both are
 * known to be a lock's; NULL = none. */
static const struct lock *own_of(const struct families *f, const struct lock *l, uint32_t task)
{
	const uint64_t *at = hmap_get(&f->own, task, 0);
	const struct lock *own = at ? &f->w->locks.v[*at - 1] : NULL;

	if (!own || own == l || !alike(own, l))
		return NULL;
	if (f->named[l->id - 1] && f->named[own->id - 1])
		return own;
	return wakes(l->waiters.v[0].task, own) ? own : NULL;
}

static void look_at(struct families *f, size_t i)
{
	const struct lock *l = &f->w->locks.v[i];
	const uint64_t *own =
	        is_parking(f->m, l) ? hmap_get(&f->own, l->waiters.v[0].task, 0) : NULL;
	uint64_t by_parking = 0;
	unsigned wakers = 0;

	if (!own || *own != i + 1)
		return;
	for (size_t k = 0; k < l->blockers.n && k < MOST_WAKERS; k++) {
		const struct lock_task *b = &l->blockers.v[k];

		if (!own_of(f, l, b->task))
			continue;
		by_parking = sat_add(by_parking, b->wait_ns);
		wakers += b->wait_ns >= l->wait_ns / NOTABLE;
	}
	f->mutual[i] = wakers >= (f->named[i] ? 1 : WAKERS) && by_parking >= l->wait_ns / 2;
}

static uint32_t head_of(struct families *f, uint32_t i)
{
	while (f->up[i] != i)
		i = f->up[i] = f->up[f->up[i]];
	return i;
}

static void join(struct families *f, uint32_t i)
{
	const struct lock *l = &f->w->locks.v[i];

	for (size_t k = 0; k < l->blockers.n && k < MOST_WAKERS; k++) {
		const struct lock *own = own_of(f, l, l->blockers.v[k].task);
		uint32_t a, b;

		if (!own || !f->mutual[own->id - 1])
			continue;
		a = head_of(f, i);
		b = head_of(f, own->id - 1);
		f->up[a < b ? b : a] = a < b ? a : b;
	}
}

static void group(struct families *f)
{
	uint32_t n = (uint32_t)f->w->locks.n;

	for (uint32_t i = 0; i < n; i++)
		f->named[i] =
		        is_parking(f->m, &f->w->locks.v[i]) && is_named(f->m, &f->w->locks.v[i]);
	for (uint32_t i = 0; i < n; i++)
		look_at(f, i);
	for (uint32_t i = 0; i < n; i++)
		f->up[i] = i;
	for (uint32_t i = 0; i < n; i++)
		if (f->mutual[i])
			join(f, i);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t head = head_of(f, i);

		if (!f->size[head]++ ||
		    f->w->locks.v[i].wait_ns > f->w->locks.v[f->most[head]].wait_ns)
			f->most[head] = i;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t head = head_of(f, i), most = f->most[head];

		if (f->size[head] < MEMBERS && !f->named[most])
			continue;
		f->w->locks.v[i].family = most + 1;
		f->w->locks.v[most].family_n = f->size[head];
		f->w->locks.v[most].family_held = f->named[most];
	}
}

int locks_find_families(struct build *b)
{
	size_t n = b->w->locks.n + 1;
	struct families f = {
	        .m = b->m,
	        .w = b->w,
	        .named = calloc(n, sizeof(*f.named)),
	        .up = calloc(n, sizeof(*f.up)),
	        .size = calloc(n, sizeof(*f.size)),
	        .most = calloc(n, sizeof(*f.most)),
	        .mutual = calloc(n, sizeof(*f.mutual)),
	};
	int err = f.named && f.up && f.size && f.most && f.mutual ? find_own(&f) : -ENOMEM;

	if (!err)
		group(&f);
	hmap_release(&f.own);
	free(f.named);
	free(f.up);
	free(f.size);
	free(f.most);
	free(f.mutual);
	return err;
}
