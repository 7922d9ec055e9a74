/* SPDX-License-Identifier: MIT */
/*
 * symbolizer_priv.h: which file is mapped where, in which address space, since when.
 *
 * A space keeps two things: its layout, the mappings as they are now (sorted, disjoint), and
 * its history, every mapping in order of arrival. A forked space shares its parent's layout
 * until one of the two maps something, so 5,000 children cost little more than one. Spaces
 * that no process has any longer are forgotten, so a million children cost no more.
 */
#ifndef MT_SYMBOLIZER_PRIV_H
#define MT_SYMBOLIZER_PRIV_H

#include "base.h"

/* Mappings of one space that are kept; no honest process comes near. */
#define SPACE_MAX_MAPS 16384

struct mapping {
	uint64_t start, end, offset, ts;
	uint32_t file; /* 0 = no file: nothing to name */
};

struct spaces;
struct spaces *spaces_new(void);
void spaces_free(struct spaces *t);
/* Declares a space; parent 0 = fresh. Spaces used before they are declared are fresh until then. */
int spaces_add(struct spaces *t, uint32_t id, uint32_t parent, uint64_t ts);
int spaces_set_pid(struct spaces *t, uint32_t id, uint32_t pid);
uint32_t spaces_pid(const struct spaces *t, uint32_t id); /* 0 = none */
/* 0, 1 when it changes nothing, or -ENOMEM. */
int spaces_map(struct spaces *t, uint32_t id, const struct mapping *m);
/* The mapping of addr, decided by the layout alone. NULL: not mapped, or the layout is younger
 * than ts; then ask spaces_find_at() when all mappings are known. Valid until the next change. */
const struct mapping *spaces_find(const struct spaces *t, uint32_t id, uint64_t ts, uint64_t addr);
/* The same from the histories of the space and its ancestors. When nothing was mapped there by
 * then, what was mapped next: maps of a process found running are read after its first stacks. */
const struct mapping *spaces_find_at(const struct spaces *t, uint32_t id, uint64_t ts,
                                     uint64_t addr);
/* Mappings of files that start at or below addr, nearest first, each file once. How many. */
size_t spaces_below(const struct spaces *t, uint32_t id, uint64_t addr, const struct mapping **out,
                    size_t max);
/* Counts the processes that have the space. True: the last one has just left. */
bool spaces_use(struct spaces *t, uint32_t id, int more);
bool spaces_ended(const struct spaces *t, uint32_t id); /* known, and no process has it */
/* The caller's count of what it still has to ask about the space. NULL: no memory. */
uint32_t *spaces_waiting(struct spaces *t, uint32_t id);
/* The space is as never known. Its children keep what they inherited. */
void spaces_forget(struct spaces *t, uint32_t id);
size_t spaces_count(const struct spaces *t);
uint64_t spaces_dropped(const struct spaces *t); /* mappings over the limit */

#endif
