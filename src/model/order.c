/* SPDX-License-Identifier: MIT */
/*
 * Events of several CPUs reach the file a little out of order. A window of the last few
 * thousand is kept sorted by insertion, which costs next to nothing when they are nearly
 * sorted already; only keys move, the records stay in their slots.
 */
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

#define WINDOW 2048u

struct key {
	uint64_t ts;
	uint32_t slot;
};

/* keys: a ring that never wraps, sorted in [head, tail); moved to the front when it ends. */
struct order {
	size_t head, tail;
	uint32_t n_free;
	uint32_t free_slots[WINDOW];
	struct key keys[2 * WINDOW];
	struct event events[WINDOW];
};

struct order *order_new(void)
{
	struct order *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	for (uint32_t i = 0; i < WINDOW; i++)
		o->free_slots[i] = WINDOW - 1 - i;
	o->n_free = WINDOW;
	return o;
}

void order_free(struct order *o)
{
	free(o);
}

const struct event *order_pop(struct order *o)
{
	uint32_t slot;

	if (o->head == o->tail)
		return NULL;
	slot = o->keys[o->head++].slot;
	o->free_slots[o->n_free++] = slot;
	return &o->events[slot];
}

/* First place behind all keys that are not later: equal times keep the file's order. */
static size_t place(const struct order *o, uint64_t ts)
{
	size_t lo = o->head, hi = o->tail;

	if (lo == hi || o->keys[hi - 1].ts <= ts)
		return hi;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (o->keys[mid].ts <= ts)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct event *order_push(struct order *o, uint64_t ts, const struct event **out)
{
	uint32_t slot;
	size_t at;

	/* One slot stays free so that the event handed out is not the one being filled. */
	*out = o->n_free > 1 ? NULL : order_pop(o);
	slot = o->free_slots[*out ? 0 : o->n_free - 1];
	if (*out)
		o->free_slots[0] = o->free_slots[o->n_free - 1];
	o->n_free--;
	if (o->tail == 2 * WINDOW) {
		memmove(o->keys, o->keys + o->head, (o->tail - o->head) * sizeof(*o->keys));
		o->tail -= o->head;
		o->head = 0;
	}
	at = place(o, ts);
	memmove(o->keys + at + 1, o->keys + at, (o->tail - at) * sizeof(*o->keys));
	o->keys[at] = (struct key){.ts = ts, .slot = slot};
	o->tail++;
	o->events[slot].ts = ts;
	return &o->events[slot];
}
