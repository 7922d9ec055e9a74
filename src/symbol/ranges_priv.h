/* SPDX-License-Identifier: MIT */
/*
 * ranges_priv.h: address ranges with names, made disjoint so that one binary search
 * decides. Used for ELF functions, ELF objects and the kernel.
 *
 * Rules where symbols overlap
 *  - Same start: one with a size before one without; then the lowest class, fewer leading
 *    underscores, the one not minor, the shorter name, the first in alphabetical order.
 *  - Nested: the one that starts last covers its own range, the outer one the rest.
 *  - A symbol without a size fills only what no sized symbol covers, up to the next symbol
 *    or its `end`, whichever is first. What is left is a gap: it has no name.
 */
#ifndef MT_RANGES_PRIV_H
#define MT_RANGES_PRIV_H

#include "base.h"

/* Rank of a symbol: its class (0 to 63) and whether it is minor. */
#define RANGE_RANK(class, minor) ((class) << 1 | (minor))
enum { RANGE_UNSIZED = 0x80 }; /* or-ed to the rank: `end` is only the furthest possible */

struct range_add {
	uint64_t start, end;
	uint32_t name;
	uint8_t rank;
};
struct range {
	uint64_t start, end, sym_start;
	uint32_t name, size; /* size: of the whole symbol, at most UINT32_MAX */
};

struct ranges {
	VEC(struct range_add) added; /* freed by ranges_finish */
	VEC(struct range) v;         /* sorted, disjoint */
	struct buf names;            /* NUL-terminated strings; `name` is an offset into it */
};

/* Notes a symbol [start, end); empty and inverted ones are ignored. 0 or -ENOMEM. */
int ranges_add(struct ranges *t, uint64_t start, uint64_t end, uint32_t name, uint8_t rank);
/* Sorts out the overlaps. No ranges_add after it. 0 or -ENOMEM. */
int ranges_finish(struct ranges *t);
const struct range *ranges_find(const struct ranges *t, uint64_t addr); /* NULL in a gap */
/* The name at an offset of `names`, or NULL when it is empty or not a sane string. */
const char *ranges_name(const struct ranges *t, uint32_t name);
void ranges_release(struct ranges *t);

#endif
