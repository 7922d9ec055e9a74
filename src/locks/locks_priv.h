/* SPDX-License-Identifier: MIT */
/*
 * locks_priv.h: from slices to waits. Inside src/locks only.
 *
 * In this order: futex words become lock objects (objects.c, kinds.c, names.c), descriptors
 * channels (channels.c), slices waits (stitch.c), each wait gets its blame (blame.c, gil.c),
 * and locks their sums (stats.c).
 */
#ifndef MT_LOCKS_PRIV_H
#define MT_LOCKS_PRIV_H

#include "waits.h"

struct build {
	const struct model *m;
	struct waits *w;
	VEC(uint32_t) futex_locks; /* futex index -> lock index + 1 */
	struct hmap joins;         /* task waited for, or address -> lock index + 1 */
	struct hmap channel_ids;
	VEC(uint32_t) file_channels; /* file index -> channel index + 1 */
};

static inline uint64_t locks_sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* --- objects.c ---------------------------------------------------------------------------- */

int locks_group(struct build *b);
/* The lock of a join: by the thread waited for, or by the word's address when that is unknown.
 * *lock: index + 1. */
int locks_join(struct build *b, const struct task *t, const struct slice *s, uint32_t *lock);

/* --- channels.c --------------------------------------------------------------------------- */

int channels_group(struct build *b);

/* --- stitch.c ----------------------------------------------------------------------------- */

int waits_stitch(struct build *b);
/* Was the blocked part of the slice ended by somebody who did what the wait was for? */
bool slice_posted(const struct model *m, const struct slice *s);

/* --- blame.c ------------------------------------------------------------------------------ */

int waits_blame(struct build *b);

/* --- stats.c ------------------------------------------------------------------------------ */

int waits_sum(struct build *b);

#endif
