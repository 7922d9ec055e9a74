/* SPDX-License-Identifier: MIT */
/* uframes.h: user stacks of a recording, through the library. (Apart from live.h, whose names are
 * the model's, too.) A model is loaded and freed by pyframes.h. */
#ifndef MT_LIVE_UFRAMES_H
#define MT_LIVE_UFRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UFRAMES_MAX 512

struct model;
/* How many waits have a user stack, how many of these are complete (STACK_END_BOTTOM), and how many
 * have one of more than `deep` frames, or one finished from a copy. */
struct uframes_count {
	uint64_t waits, complete, deep, copied;
};
struct uframes_count uframes_count(const struct model *m, unsigned deep);
/* How many of the programs called p<first> … p<last> have a task with a whole stack of more than 4
 * frames. */
unsigned uframes_tasks_complete(const struct model *m, unsigned first, unsigned last);
/* Addresses of a stack, innermost first; end: STACK_END_*. */
size_t uframes_get(const struct model *m, uint32_t stack, uint64_t *out, unsigned *end,
                   unsigned *flags);
/* The function's name of frame i: "" = unknown. Valid as long as the model. */
const char *uframes_name(const struct model *m, uint32_t stack, size_t i);
/* Whether an off-CPU stack has a frame of this function in a file whose name ends so, at that line.
 */
bool uframes_has_line(const struct model *m, const char *function, const char *file, unsigned line);
/* The n-th user stack that the task was blocked in; 0 = no more. */
uint32_t uframes_of_task(const struct model *m, uint32_t tid, size_t n);

#endif
