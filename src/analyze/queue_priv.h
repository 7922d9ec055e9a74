/* SPDX-License-Identifier: MIT */
/* queue_priv.h: a heap of the numbers 0 … n - 1, each at most once, smallest key first; of equal
 * keys the smaller number. Any of them can be taken out. */
#ifndef MT_QUEUE_PRIV_H
#define MT_QUEUE_PRIV_H

#include "base.h"

struct queue {
	uint32_t *heap, *place; /* place: index in heap + 1; 0 = not in it */
	double *keys;           /* by number */
	size_t n;
};

int queue_init(struct queue *q, size_t size); /* numbers below size. 0 or -ENOMEM */
void queue_release(struct queue *q);
void queue_add(struct queue *q, uint32_t i, double key); /* i is not in it */
void queue_remove(struct queue *q, uint32_t i);          /* no-op when it is not in it */

static inline uint32_t queue_first(const struct queue *q)
{
	return q->heap[0];
}
static inline double queue_first_key(const struct queue *q)
{
	return q->keys[q->heap[0]];
}

#endif
