/* SPDX-License-Identifier: MIT */
/* gil_priv.h: what the two files about GILs share. */
#ifndef MT_GIL_PRIV_H
#define MT_GIL_PRIV_H

#include "analyze_priv.h"

struct gil_sums {
	struct report *r;
	struct gil_timeline *tl;
	struct hmap rows; /* (gil, task) -> index of its row + 1 */
	uint32_t *gil_of; /* of each futex of the model the index of its GIL + 1; 0 = none's */
	const struct gil *gils;
	size_t n;
};

/* The task's row of r->gils.v[gil], made when it has none; NULL = no memory. */
struct gil_task *gil_task_row(struct gil_sums *g, size_t gil, uint32_t task);

/*
 * gil_share.c. hold_ns of r->gils and of their tasks is what the timeline says: takes the estimate
 * instead where there is one, and fills in the rest of their `time`. 0 or -ENOMEM.
 */
int gil_share(struct gil_sums *g);

#endif
