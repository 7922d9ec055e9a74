/* SPDX-License-Identifier: MIT */
/* holds_priv.h: what holds.c and pylocks.c share. */
#ifndef MT_HOLDS_PRIV_H
#define MT_HOLDS_PRIV_H

#include "collect_priv.h"

/* A task that waits for a futex as the recording stops. */
struct held_wait {
	uint32_t task, pid, space, op;
	uint64_t word; /* the futex's address */
	uint64_t addr; /* the lock's: the same, or what the parking lot's entry says */
};

struct holds {
	struct drain *d;
	struct trace_writer *w;
	const struct pyspaces *py;
	uint64_t ts;
	struct hmap by_ns_tid; /* -> index + 1 */
	VEC(struct live_task) tasks;
	VEC(struct held_wait) waits;
};

/* Writes that the task holds what w waits for. */
int holds_put(struct holds *h, uint32_t task, const struct held_wait *w, uint64_t evidence);
/* The living task with that id in its own namespace, or NULL. */
const struct live_task *holds_task(const struct holds *h, uint32_t ns_tid);

/* Holders of locks on files, waited for or not. */
int filelocks_write(struct holds *h);

/* Holders of Python's own locks among the waits. */
int pylocks_write(struct holds *h);

#endif
