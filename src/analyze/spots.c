/* SPDX-License-Identifier: MIT */
/* What tasks were seen at while something was charged to them. */
#include <stdlib.h>
#include <string.h>

#include "analyze_priv.h"
#include "capacity_priv.h"

static int by_place(const struct spot *x, uint8_t cause, uint32_t id)
{
	if (x->cause != cause)
		return x->cause < cause ? -1 : 1;
	return x->id < id ? -1 : x->id > id;
}

static int by_count(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;
	int order = by_place(x, y->cause, y->id);

	if (order)
		return order;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->ustack != y->ustack)
		return x->ustack < y->ustack ? -1 : 1;
	return x->kstack < y->kstack ? -1 : x->kstack > y->kstack;
}

void spots_sort(struct sweep *s)
{
	if (s->spots.n)
		qsort(s->spots.v, s->spots.n, sizeof(*s->spots.v), by_count);
}

const struct spot *spots_of(const struct sweep *s, uint8_t cause, uint32_t id, size_t *n)
{
	size_t lo = 0, hi = s->spots.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (by_place(&s->spots.v[mid], cause, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (hi = lo; hi < s->spots.n && !by_place(&s->spots.v[hi], cause, id);)
		hi++;
	*n = hi - lo;
	return s->spots.n ? s->spots.v + lo : NULL;
}

/* --- the place seen most --- */

#define LOOKED_AT 64 /* stacks, the most frequent first: names cost a look at each frame */

struct seen {
	char text[220];
	size_t name_n; /* of text, what comes before the line */
	const struct spot *spot;
};

/* "function (file:line)": all but the line. */
static size_t without_line(const char *text)
{
	const char *colon = strrchr(text, ':'), *end = strchr(text, '\0');

	if (!colon || end == text || end[-1] != ')')
		return (size_t)(end - text);
	return (size_t)(colon - text);
}

static bool same_function(const struct seen *x, const struct seen *y)
{
	return x->name_n == y->name_n && !memcmp(x->text, y->text, x->name_n);
}

static bool same_line(const struct seen *x, const struct seen *y)
{
	return !strcmp(x->text, y->text);
}

/* The first of those that together were seen most; only of function `of`, unless it is NULL. */
static const struct seen *most(const struct seen *v, size_t n, const struct seen *of,
                               bool (*same)(const struct seen *, const struct seen *))
{
	const struct seen *best = NULL;
	uint64_t best_count = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t count = 0;

		if (of && !same_function(&v[i], of))
			continue;
		for (size_t k = i; k < n; k++)
			if (same(&v[i], &v[k]))
				count += v[k].spot->count;
		if (count > best_count) {
			best_count = count;
			best = &v[i];
		}
	}
	return best;
}

/* One function's time is spread over as many stacks as there are ways into it and out of it: so it
 * is places that are counted, first functions, then the lines of the one that it is. */
const struct spot *spots_most(const struct model *m, const struct sweep *s,
                              const struct cause_row *row, uint32_t task)
{
	struct seen seen[LOOKED_AT];
	const struct seen *best;
	size_t n, k = 0;
	const struct spot *spot = spots_of(s, row->cause, row->id, &n), *first = NULL;

	for (size_t i = 0; i < n && k < LOOKED_AT; i++) {
		struct seen *x = &seen[k];

		if (task && spot[i].task != task)
			continue;
		first = first ? first : &spot[i];
		x->spot = &spot[i];
		x->name_n = without_line(place(m, spot[i].ustack, x->text, sizeof(x->text)));
		k += *x->text != '\0';
	}
	best = most(seen, k, NULL, same_function);
	best = best ? most(seen, k, best, same_line) : NULL;
	return best ? best->spot : first;
}
