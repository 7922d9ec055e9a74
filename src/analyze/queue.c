/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue_priv.h"

int queue_init(struct queue *q, size_t size)
{
	*q = (struct queue){
	        .heap = calloc(size + 1, sizeof(*q->heap)),
	        .place = calloc(size + 1, sizeof(*q->place)),
	        .keys = calloc(size + 1, sizeof(*q->keys)),
	};
	return q->heap && q->place && q->keys ? 0 : -ENOMEM;
}

void queue_release(struct queue *q)
{
	free(q->heap);
	free(q->place);
	free(q->keys);
	*q = (struct queue){0};
}

static bool before(const struct queue *q, uint32_t a, uint32_t b)
{
	return q->keys[a] != q->keys[b] ? q->keys[a] < q->keys[b] : a < b;
}

static void put(struct queue *q, size_t at, uint32_t i)
{
	q->heap[at] = i;
	q->place[i] = (uint32_t)at + 1;
}

static void rise(struct queue *q, size_t at, uint32_t i)
{
	while (at && before(q, i, q->heap[(at - 1) / 2])) {
		put(q, at, q->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(q, at, i);
}

static void sink(struct queue *q, size_t at, uint32_t i)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= q->n)
			break;
		if (child + 1 < q->n && before(q, q->heap[child + 1], q->heap[child]))
			child++;
		if (!before(q, q->heap[child], i))
			break;
		put(q, at, q->heap[child]);
		at = child;
	}
	put(q, at, i);
}

void queue_add(struct queue *q, uint32_t i, double key)
{
	q->keys[i] = key;
	rise(q, q->n++, i);
}

void queue_remove(struct queue *q, uint32_t i)
{
	size_t at = q->place[i];
	uint32_t last;

	if (!at--)
		return;
	q->place[i] = 0;
	last = q->heap[--q->n];
	if (last == i)
		return;
	if (at && before(q, last, q->heap[(at - 1) / 2]))
		rise(q, at, last);
	else
		sink(q, at, last);
}
