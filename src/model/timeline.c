/* SPDX-License-Identifier: MIT */
/*
 * How many tasks run at each moment. A switch between two of our tasks changes nothing
 * and is not stored, so a recording of ten million events takes some tens of megabytes;
 * the window is applied at the end, when it is known.
 */
#include <errno.h>
#include <stdlib.h>

#include "model_priv.h"

static int put_varint(struct timeline *tl, uint64_t v)
{
	if (vec_reserve(&tl->bytes, 10))
		return -ENOMEM;
	while (v >= 0x80) {
		tl->bytes.v[tl->bytes.n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	tl->bytes.v[tl->bytes.n++] = (uint8_t)v;
	return 0;
}

static uint64_t get_varint(const struct timeline *tl, size_t *pos)
{
	uint64_t v = 0;

	for (unsigned shift = 0; *pos < tl->bytes.n && shift < 64; shift += 7) {
		uint8_t b = tl->bytes.v[(*pos)++];

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			break;
	}
	return v;
}

/* change is +1 or -1. One task that follows another on a CPU at the same moment undoes the
 * change before. */
int timeline_add(struct timeline *tl, uint64_t ts, int64_t change)
{
	uint64_t step = sat_sub(ts, tl->last_ts);

	if (ts < tl->last_ts || step >> 63)
		return timeline_late(tl, ts, change);
	if (!step && tl->undo_change == -change) {
		tl->bytes.n = tl->undo_n;
		tl->last_ts = tl->undo_ts;
		tl->undo_change = 0;
		return 0;
	}
	tl->undo_n = tl->bytes.n;
	tl->undo_ts = tl->last_ts;
	tl->undo_change = change;
	tl->last_ts = ts;
	return put_varint(tl, step << 1 | (change > 0));
}

int timeline_late(struct timeline *tl, uint64_t ts, int64_t change)
{
	return vec_push(&tl->late, ((struct delta){.ts = ts, .d = change}));
}

static int by_time(const void *a, const void *b)
{
	const struct delta *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

static int histogram_add(struct timeline *tl, int64_t level, uint64_t ns)
{
	size_t i = level > 0 ? (size_t)level : 0;

	while (tl->histogram.n <= i)
		if (vec_push(&tl->histogram, (uint64_t)0))
			return -ENOMEM;
	tl->histogram.v[i] += ns;
	return 0;
}

struct walk {
	size_t pos, late;
	bool have; /* next holds the change read from bytes, not yet handed out */
	struct delta next;
};

/* The earliest change not yet seen, of both lists. */
static bool next_change(const struct timeline *tl, struct walk *w, struct delta *out)
{
	if (!w->have && w->pos < tl->bytes.n) {
		uint64_t v = get_varint(tl, &w->pos);

		w->next.ts += v >> 1;
		w->next.d = v & 1 ? 1 : -1;
		w->have = true;
	}
	if (w->late < tl->late.n && (!w->have || tl->late.v[w->late].ts <= w->next.ts)) {
		*out = tl->late.v[w->late++];
		return true;
	}
	*out = w->next;
	if (!w->have)
		return false;
	w->have = false;
	return true;
}

/* Adds each stretch of [lo, hi] to the level it has: sums to hi - lo. */
int timeline_histogram(struct timeline *tl, uint64_t lo, uint64_t hi)
{
	struct walk w = {0};
	struct delta d;
	uint64_t at = lo;
	int64_t level = 0;

	if (tl->late.n)
		qsort(tl->late.v, tl->late.n, sizeof(*tl->late.v), by_time);
	tl->histogram.n = 0;
	while (next_change(tl, &w, &d)) {
		uint64_t until = d.ts < hi ? d.ts : hi;

		if (until > at) {
			if (histogram_add(tl, level, until - at))
				return -ENOMEM;
			at = until;
		}
		level += d.d;
	}
	return hi > at ? histogram_add(tl, level, hi - at) : 0;
}

void timeline_release(struct timeline *tl)
{
	vec_release(&tl->bytes);
	vec_release(&tl->late);
	vec_release(&tl->histogram);
}
