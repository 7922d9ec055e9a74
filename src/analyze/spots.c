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

/* --- the place of most --- */

#define LOOKED_AT 64 /* stacks, those of most first: names cost a look at each frame */

struct seen {
	char text[220];
	size_t name_n; /* of text, what comes before the line */
	uint64_t weight;
	const void *of;
};

struct seen_list {
	struct seen v[LOOKED_AT];
	size_t n;
};

/* "function (file:line)": all but the line. */
static size_t without_line(const char *text)
{
	const char *colon = strrchr(text, ':'), *end = strchr(text, '\0');

	if (!colon || end == text || end[-1] != ')')
		return (size_t)(end - text);
	return (size_t)(colon - text);
}

/* What has no name is no place. */
static void add_seen(struct seen_list *l, const struct model *m, uint32_t ustack, uint64_t weight,
                     const void *of)
{
	struct seen *x = &l->v[l->n];

	x->name_n = without_line(place(m, ustack, x->text, sizeof(x->text)));
	x->weight = weight;
	x->of = of;
	l->n += *x->text != '\0';
}

static bool same_function(const struct seen *x, const struct seen *y)
{
	return x->name_n == y->name_n && !memcmp(x->text, y->text, x->name_n);
}

static bool same_line(const struct seen *x, const struct seen *y)
{
	return !strcmp(x->text, y->text);
}

/* The first of those that together weigh most; only of function `of`, unless it is NULL. */
static const struct seen *heaviest(const struct seen_list *l, const struct seen *of,
                                   bool (*same)(const struct seen *, const struct seen *))
{
	const struct seen *best = NULL;
	uint64_t most = 0;

	for (size_t i = 0; i < l->n; i++) {
		uint64_t weight = 0;

		if (of && !same_function(&l->v[i], of))
			continue;
		for (size_t k = i; k < l->n; k++)
			if (same(&l->v[i], &l->v[k]))
				weight += l->v[k].weight;
		if (weight > most) {
			most = weight;
			best = &l->v[i];
		}
	}
	return best;
}

/* One function's time is spread over as many stacks as there are ways into it and out of it: so it
 * is places that are weighed, first functions, then the lines of the one that it is. */
static const void *most_of(const struct seen_list *l)
{
	const struct seen *function = heaviest(l, NULL, same_function);
	const struct seen *line = function ? heaviest(l, function, same_line) : NULL;

	return line ? line->of : NULL;
}

const struct spot *spots_most(const struct model *m, const struct sweep *s,
                              const struct cause_row *row, uint32_t task)
{
	struct seen_list l = {.n = 0};
	size_t n;
	const struct spot *spot = spots_of(s, row->cause, row->id, &n), *first = NULL, *best;

	for (size_t i = 0; i < n && l.n < LOOKED_AT; i++) {
		if (task && spot[i].task != task)
			continue;
		first = first ? first : &spot[i];
		add_seen(&l, m, spot[i].ustack, spot[i].count, &spot[i]);
	}
	best = most_of(&l);
	return best ? best : first;
}

static bool blocks_so(uint8_t block, uint8_t cause)
{
	switch (cause) {
	case CAUSE_IO:
		return block == BLOCK_FILE;
	case CAUSE_FAULT:
		return block == BLOCK_FAULT;
	case CAUSE_SLEEP:
		return block == BLOCK_SLEEP;
	case CAUSE_CHANNEL:
		return block == BLOCK_PIPE || block == BLOCK_SOCKET;
	case CAUSE_EXTERNAL:
		return block == BLOCK_POLL || block == BLOCK_SOCKET || block == BLOCK_PIPE ||
		       block == BLOCK_OTHER || block == BLOCK_STOPPED;
	default:
		return false;
	}
}

const struct stack_row *waits_most(const struct model *m, const struct cause_row *row)
{
	struct seen_list l = {.n = 0};
	const struct stack_row *rows, *first = NULL, *best;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n && l.n < LOOKED_AT; i++) {
		if ((row->task && rows[i].task != row->task) ||
		    !blocks_so(rows[i].cause, row->cause))
			continue;
		first = first ? first : &rows[i];
		add_seen(&l, m, rows[i].ustack, rows[i].blocked_ns, &rows[i]);
	}
	best = most_of(&l);
	return best ? best : first;
}
