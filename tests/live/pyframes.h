/* SPDX-License-Identifier: MIT */
/* pyframes.h: the Python frames of a recording's stacks, through the library. (Apart from live.h,
 * whose names are the model's, too.) */
#ifndef MT_LIVE_PYFRAMES_H
#define MT_LIVE_PYFRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PYTEXT_MAX 16384

struct model;
struct model *pyframes_load(const char *path); /* NULL: not readable */
void pyframes_free(struct model *m);
/* "function@file:line" joined by " < ", innermost first, in out (PYTEXT_MAX); how many frames. */
size_t pyframes_text(const struct model *m, uint32_t stack, char *out);
/* The user stack that the task with this tid was blocked in longest; 0 = none. */
uint32_t pyframes_longest(const struct model *m, uint32_t tid);
/* User stacks of waits, one after the other: *pos starts at 0; 0 at the end. */
uint32_t pyframes_next(const struct model *m, size_t *pos);
/* A stack whose text begins so; 0 = none. */
uint32_t pyframes_find(const struct model *m, const char *start);
/* More Python frames than were recorded? */
bool pyframes_cut(const struct model *m, uint32_t stack);

#endif
