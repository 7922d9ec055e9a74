/* SPDX-License-Identifier: MIT */
/*
 * Locks that the kernel itself has.
 *
 * On files: flock(), and those of fcntl(), which lockf() takes as well. Where the kernel has them
 * it has for each file; those of flock() and of fcntl() do not know each other.
 *
 * System V semaphores, a set of them at once: which of the set a call is for is in its caller's
 * memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "locks_priv.h"

/* Disks have a say only where the file system asks a server. */
bool slice_is_file_lock(const struct build *b, const struct slice *s)
{
	return s->cause == BLOCK_FILE && s->file && !(s->flags & SW_F_IOWAIT) &&
	       call_bits(b, s->site) & CALL_FILE_LOCK;
}

bool slice_is_sysv(const struct build *b, const struct slice *s)
{
	enum { SEMAPHORES = 2 }; /* trace.h, FILE */
	const struct mfile *f =
	        s->cause == BLOCK_OTHER && s->file ? model_file_at(b->m, s->file - 1) : NULL;

	return f && f->kind == FD_SYSV && f->dev == SEMAPHORES;
}

static uint64_t key_of(uint64_t dev, bool is_flock)
{
	return dev << 1 | is_flock;
}

const uint64_t *file_lock_of_hold(const struct build *b, const struct hold *h)
{
	return hmap_get(&b->file_locks, h->addr, key_of(h->space, h->evidence == HOLD_FLOCK));
}

/* A regular file has no channel; a name that it got later is that of the same inode. */
int locks_of_file(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock)
{
	const struct mfile *f = model_file_at(b->m, s->file - 1);
	const struct site *site = model_site(b->m, s->site);
	const char *call = site ? syscall_name(b->arch, site->nr) : NULL;
	struct lock l = {
	        .id = (uint32_t)b->w->locks.n + 1,
	        .kind = LOCK_FILE,
	        .shared = true,
	        .space = t->space,
	        .name_from = "file",
	};
	bool added = false;
	uint64_t *at;

	if (!f || !call)
		return 0;
	l.dev = f->dev;
	l.inode = f->inode;
	at = hmap_put(&b->file_locks, f->inode, key_of(f->dev, !strcmp(call, "flock")), &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = l.id;
		if (f->name && f->name[0])
			snprintf(l.name, sizeof(l.name), "file lock %s", f->name);
		else
			snprintf(l.name, sizeof(l.name), "file lock (inode %" PRIu64 ")", f->inode);
		if (vec_push(&b->w->locks, l) || vec_push(&b->lock_futex, (uint32_t)0))
			return -ENOMEM;
	}
	*lock = (uint32_t)*at;
	return 0;
}

int locks_of_sysv(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock)
{
	const struct mfile *f = model_file_at(b->m, s->file - 1);
	struct lock l = {
	        .id = (uint32_t)b->w->locks.n + 1,
	        .kind = LOCK_SEMAPHORE,
	        .shared = true,
	        .space = t->space,
	        .dev = f->dev,
	        .inode = f->inode,
	        .name_from = LOCK_NAMED_SYSV,
	};
	bool added = false;
	uint64_t *at = hmap_put(&b->file_locks, f->inode, UINT64_MAX, &added);

	if (!at)
		return -ENOMEM;
	if (added) {
		*at = l.id;
		snprintf(l.name, sizeof(l.name), "System V semaphore %" PRIu64, f->inode);
		if (vec_push(&b->w->locks, l) || vec_push(&b->lock_futex, (uint32_t)0))
			return -ENOMEM;
	}
	*lock = (uint32_t)*at;
	return 0;
}
