/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ranges_priv.h"

/* Names are hostile: what is longer than this is not a name. C++ reaches several KiB. */
#define NAME_MAX_BYTES 65536
/* How much of two names is compared to choose between aliases. Bounds the sort. */
#define NAME_CMP_BYTES 64

int ranges_add(struct ranges *t, uint64_t start, uint64_t end, uint32_t name, uint8_t rank)
{
	struct range_add a = {start, end, name, rank};

	if (end <= start)
		return 0;
	return vec_push(&t->added, a);
}

static int underscores(const char *s)
{
	int n = 0;

	while (n < NAME_CMP_BYTES && s[n] == '_')
		n++;
	return n;
}

/* Compares two aliases of one class by what they are called. */
static int cmp_names(const struct ranges *t, const struct range_add *a, const struct range_add *b)
{
	const char *na, *nb;
	int d;

	if (a->name >= t->names.n || b->name >= t->names.n)
		return a->rank - b->rank;
	na = (const char *)t->names.p + a->name;
	nb = (const char *)t->names.p + b->name;
	d = underscores(na) - underscores(nb);
	if (!d)
		d = a->rank - b->rank;
	if (!d) /* __lll_lock_wait rather than __GI___lll_lock_wait */
		d = (int)strnlen(na, NAME_CMP_BYTES) - (int)strnlen(nb, NAME_CMP_BYTES);
	return d ? d : strncmp(na, nb, NAME_CMP_BYTES);
}

static int cmp_added(const void *pa, const void *pb, void *ctx)
{
	const struct range_add *a = pa, *b = pb;
	int d;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->rank >> 1 != b->rank >> 1)
		return a->rank >> 1 < b->rank >> 1 ? -1 : 1;
	d = cmp_names(ctx, a, b);
	if (d)
		return d;
	if (a->end != b->end)
		return a->end > b->end ? -1 : 1;
	return a->name < b->name ? -1 : a->name > b->name;
}

/* The symbols open at the sweep's position, innermost on top. */
struct sweep {
	struct ranges *t;
	uint64_t pos;
	VEC(struct range_add) open;
};

static int emit(struct ranges *t, uint64_t start, uint64_t end, const struct range_add *a)
{
	uint64_t size = a->end - a->start;
	struct range r = {start, end, a->start, a->name,
	                  (uint32_t)(size < UINT32_MAX ? size : UINT32_MAX)};
	struct range *last = t->v.n ? &t->v.v[t->v.n - 1] : NULL;

	if (last && last->end == start && last->sym_start == a->start && last->name == a->name) {
		last->end = end;
		return 0;
	}
	return vec_push(&t->v, r);
}

/* Names everything from the position up to `to` and drops what ended before. */
static int sweep_to(struct sweep *w, uint64_t to)
{
	while (w->open.n && w->pos < to) {
		const struct range_add *top = &w->open.v[w->open.n - 1];
		uint64_t end = top->end < to ? top->end : to;

		if (top->end > w->pos) {
			if (emit(w->t, w->pos, end, top))
				return -ENOMEM;
			w->pos = end;
		}
		if (top->end <= w->pos)
			w->open.n--;
	}
	while (w->open.n && w->open.v[w->open.n - 1].end <= to)
		w->open.n--;
	w->pos = to;
	return 0;
}

/* Opens the symbols [from, to) of one start, best on top; next: where the following ones start. */
static int sweep_open(struct sweep *w, size_t from, size_t to, uint64_t next)
{
	const struct range_add *a = w->t->added.v;
	bool sized = false;
	size_t i;

	/* Sized symbols win over unsized ones: those have the higher ranks. */
	for (i = to; i-- > from;) {
		if (a[i].rank & RANGE_UNSIZED)
			continue;
		sized = true;
		if (vec_push(&w->open, a[i]))
			return -ENOMEM;
	}
	if (!sized && !w->open.n) {
		struct range_add best = a[from];

		if (best.end > next)
			best.end = next;
		return vec_push(&w->open, best) ? -ENOMEM : 0;
	}
	return 0;
}

int ranges_finish(struct ranges *t)
{
	struct sweep w = {.t = t};
	size_t i, j, n = t->added.n;
	int err = 0;

	if (n)
		qsort_r(t->added.v, n, sizeof(t->added.v[0]), cmp_added, t);
	for (i = 0; i < n && !err; i = j) {
		uint64_t start = t->added.v[i].start, next;

		for (j = i + 1; j < n && t->added.v[j].start == start;)
			j++;
		next = j < n ? t->added.v[j].start : UINT64_MAX;
		err = sweep_to(&w, start);
		if (!err)
			err = sweep_open(&w, i, j, next);
		if (!err)
			err = sweep_to(&w, next);
	}
	vec_release(&w.open);
	vec_release(&t->added);
	return err;
}

const struct range *ranges_find(const struct ranges *t, uint64_t addr)
{
	size_t lo = 0, hi = t->v.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->v.v[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->v.n && t->v.v[lo].start <= addr ? &t->v.v[lo] : NULL;
}

const char *ranges_name(const struct ranges *t, uint32_t name)
{
	const char *s = (const char *)t->names.p + name;
	size_t left;

	if (name >= t->names.n || !*s)
		return NULL;
	left = t->names.n - name;
	return memchr(s, 0, left < NAME_MAX_BYTES ? left : NAME_MAX_BYTES) ? s : NULL;
}

void ranges_release(struct ranges *t)
{
	vec_release(&t->added);
	vec_release(&t->v);
	buf_release(&t->names);
}
