/* SPDX-License-Identifier: MIT */
/*
 * late_priv.h: stacks that ended where a file's unwinding table was missing, with a copy of the
 * rest (mt_copy): they are gone on with when the table is there.
 */
#ifndef MT_LATE_PRIV_H
#define MT_LATE_PRIV_H

#include "builder_priv.h"

#define LATE_MAX 128 /* at once; up to 25 KiB each */

struct late;
struct late *late_new(struct tables *t); /* NULL: no memory */
void late_free(struct late *l);
/* The copy, and the stack that it belongs to, in either order. pid: the process, which may have
 * gone by now; then nothing comes of it. */
void late_copy(struct late *l, const struct mt_copy *e, uint32_t pid);
void late_stack(struct late *l, const struct mt_stack *e);
/* The mappings that the rest of the stack may lead to: where it ended, and where any word of the
 * copy points to, as return addresses do. pointed: by index of maps->v; set, never cleared. */
void late_pointed(const struct mt_copy *e, const struct proc_maps *maps, bool *pointed);

/* A whole one: the stack as it was sent, and its frames now. */
struct late_done {
	struct mt_stack *stack; /* the caller frees it */
	uint64_t frames[MT_MAX_USER_FRAMES];
	size_t n;
	unsigned end, flags;
};
/* The next one that has got longer; false: none now. force: do not wait for tables any more. */
bool late_next(struct late *l, bool force, struct late_done *out);

#endif
