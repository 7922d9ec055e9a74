/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/figures_priv.h"

#define SHORT_STEM 2 /* bytes before the number that are repeated rather than left out */

/* The name with each number replaced by '#'. */
static uint32_t pattern_id(struct strtab *tab, const char *name)
{
	char p[128];
	size_t n = 0;

	while (*name && n + 1 < sizeof(p)) {
		if (!isdigit((unsigned char)*name)) {
			p[n++] = *name++;
			continue;
		}
		p[n++] = '#';
		while (isdigit((unsigned char)*name))
			name++;
	}
	return strtab_add(tab, p, n, NULL);
}

struct order {
	uint32_t *group_of;
	const struct group_item *items;
};

static int by_group(const void *a, const void *b, void *ctx)
{
	const struct order *o = ctx;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const struct group_item *ix = &o->items[x], *iy = &o->items[y];

	if (o->group_of[x] != o->group_of[y])
		return o->group_of[x] < o->group_of[y] ? -1 : 1;
	if (ix->weight != iy->weight)
		return ix->weight > iy->weight ? -1 : 1;
	return (x > y) - (x < y);
}

static int by_weight(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

/* Numbers the groups in order of their first item. Returns how many, or -ENOMEM. */
static ssize_t assign(const struct group_item *items, size_t n, enum group_level level,
                      uint32_t *group_of)
{
	struct strtab *patterns = strtab_new();
	struct hmap map = {0};
	uint32_t count = 0;
	int err = patterns ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !err; i++) {
		bool added = true;
		uint64_t *slot = NULL;

		if (level == GROUP_SINGLE) {
			group_of[i] = count++;
			continue;
		}
		uint32_t id = pattern_id(patterns, items[i].name);
		if (id)
			slot = hmap_put(&map, id,
			                level == GROUP_FINE ? items[i].fine : items[i].coarse,
			                &added);
		if (!slot) {
			err = -ENOMEM;
			break;
		}
		if (added)
			*slot = count++;
		group_of[i] = (uint32_t)*slot;
	}
	hmap_release(&map);
	strtab_free(patterns);
	return err ? err : (ssize_t)count;
}

/* Brings the items of each group together and lists the groups. */
static int collect(struct groups *g, struct group_item *items, size_t n, uint32_t *group_of,
                   bool by_sum)
{
	size_t *at = malloc(n * sizeof(*at));
	struct group_item *sorted = malloc(n * sizeof(*sorted));
	struct order o = {.group_of = group_of, .items = items};
	int err = at && sorted ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !err; i++)
		at[i] = i;
	if (!err)
		qsort_r(at, n, sizeof(*at), by_group, &o);
	for (size_t i = 0; i < n && !err; i++) {
		struct group *last = g->list.n ? &g->list.v[g->list.n - 1] : NULL;

		sorted[i] = items[at[i]];
		if (last && group_of[at[i]] == group_of[at[i - 1]]) {
			last->n++;
			if (by_sum)
				last->weight = sat_add(last->weight, sorted[i].weight);
		} else {
			struct group one = {.first = i, .n = 1, .weight = sorted[i].weight};

			err = vec_push(&g->list, one);
		}
	}
	if (!err) {
		memcpy(items, sorted, n * sizeof(*items));
		qsort(g->list.v, g->list.n, sizeof(*g->list.v), by_weight);
	}
	free(at);
	free(sorted);
	return err;
}

int groups_make(struct groups *g, struct group_item *items, size_t n, size_t max, bool by_sum)
{
	uint32_t *group_of;
	ssize_t count = 0;
	int err;

	*g = (struct groups){0};
	if (!n)
		return 0;
	group_of = calloc(n, sizeof(*group_of));
	if (!group_of)
		return -ENOMEM;
	g->level = n <= max ? GROUP_SINGLE : GROUP_FINE;
	count = assign(items, n, g->level, group_of);
	if (count > 0 && (size_t)count > max && g->level == GROUP_FINE) {
		g->level = GROUP_COARSE;
		count = assign(items, n, g->level, group_of);
	}
	err = count < 0 ? (int)count : collect(g, items, n, group_of, by_sum);
	free(group_of);
	if (err)
		groups_release(g);
	return err;
}

void groups_release(struct groups *g)
{
	vec_release(&g->list);
}

/* Where b begins to differ from a, moved back to the start of the number or to the character
 * before it that is no letter: "worker-0", "worker-12" -> "-12". */
static const char *difference(const char *a, const char *b)
{
	size_t i = 0;

	while (a[i] && a[i] == b[i])
		i++;
	while (i && isdigit((unsigned char)b[i - 1]))
		i--;
	if (i && ispunct((unsigned char)b[i - 1]))
		i--;
	while (i && ((unsigned char)b[i] & 0xc0) == 0x80)
		i--;
	return b + i;
}

/* Bytes that both names have at their ends, from the last number on: "Thread-2 (run)" and
 * "Thread-10 (run)" have " (run)". */
static size_t common_end(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), n = 0;

	while (n < la && n < lb && a[la - n - 1] == b[lb - n - 1])
		n++;
	while (n &&
	       (isdigit((unsigned char)a[la - n]) || ((unsigned char)a[la - n] & 0xc0) == 0x80))
		n--;
	return n < la && isdigit((unsigned char)a[la - n - 1]) ? n : 0;
}

char *group_label(char *out, size_t n, const struct group_item *items, const struct group *g)
{
	const char *low = items[g->first].name, *high = low, *rest;
	char a[128], b[128], first[128];

	for (size_t i = g->first; i < g->first + g->n; i++) {
		if (strverscmp(items[i].name, low) < 0)
			low = items[i].name;
		if (strverscmp(items[i].name, high) > 0)
			high = items[i].name;
	}
	fmt_safe(a, sizeof(a), low[0] ? low : "?");
	if (!strcmp(low, high)) {
		snprintf(out, n, "%s", a);
		return out;
	}
	/* What all names end with is said once, after the last: "Thread-2 … -10 (run)". */
	snprintf(first, sizeof(first), "%.*s", (int)(strlen(low) - common_end(low, high)), low);
	rest = difference(low, high);
	/* "C1 … C2 Compiler", not "C1 … 2 Compiler": a short word is easier to read whole. */
	rest = rest - high <= SHORT_STEM ? high : rest;
	snprintf(out, n, "%s … %s", fmt_safe(a, sizeof(a), first), fmt_safe(b, sizeof(b), rest));
	return out;
}

static bool is_ambiguous(const struct group_item *items, const struct groups *g, size_t max,
                         size_t which)
{
	const char *name = items[g->list.v[which].first].name;

	for (size_t i = 0; i < g->list.n && i < max; i++) {
		if (i != which && !strcmp(items[g->list.v[i].first].name, name))
			return g->list.v[which].n == 1 && items[g->list.v[which].first].tid;
	}
	return false;
}

int groups_put(struct buf *b, const struct group_item *items, const struct groups *g, size_t max,
               uint64_t whole)
{
	char label[300], share[16];
	int err = 0;

	for (size_t i = 0; i < g->list.n && i < max && !err; i++) {
		const struct group *one = &g->list.v[i];

		group_label(label, sizeof(label), items, one);
		err = buf_printf(b, "%s%s", i ? ", " : "", label);
		if (!err && is_ambiguous(items, g, max, i))
			err = buf_printf(b, " %u", items[one->first].tid);
		if (!err && one->n > 1)
			err = buf_printf(b, " (%zu)", one->n);
		if (!err && whole && g->list.n > 1)
			err = buf_printf(b, " %s",
			                 fmt_share(share, sizeof(share), one->weight, whole));
	}
	if (!err && g->list.n > max)
		err = buf_printf(b, ", +%zu", g->list.n - max);
	return err;
}
