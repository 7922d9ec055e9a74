/* SPDX-License-Identifier: MIT */
/* Shared by compare.c (figures), compare_choice.c (which side) and compare_why.c (reasons). */
#ifndef MT_COMPARE_PRIV_H
#define MT_COMPARE_PRIV_H

#include "compare.h"

#define NOTABLE    1.10 /* memory and CPU time closer than this are not worth a word */
#define SMALL_SIZE (1 << 20)

static inline char letter(unsigned side)
{
	return side ? 'B' : 'A';
}

/* The run with the median wall time. */
static inline const struct compare_run *typical(const struct compare *c, unsigned side)
{
	return &c->side[side].runs.v[c->typical[side]];
}

/* Of all pairs of a run of `side` and one of the other side: the share in which `side` has less,
 * equal ones half; NAN without two known runs of each. */
double compare_less(const struct compare *c, unsigned side, unsigned figure);

/* How many times side `of` has what the other has; NAN unknown. */
double compare_times(const struct compare *c, unsigned of, unsigned figure);

/* Are the sides told apart, `less` having less? With one run of a side nothing speaks against it.
 */
bool compare_told(const struct compare *c, unsigned less, unsigned figure);

/* Peak PSS where both have it, else the sum of the peak RSS, which overstates shared pages. */
unsigned compare_memory(const struct compare *c);

/* The median for a person. Returns out. */
const char *compare_value(char *out, size_t n, const struct compare *c, unsigned side,
                          unsigned figure);

/* Adds a sentence. 0 or -ENOMEM. */
int compare_say(struct compare *c, bool caveat, const char *fmt, ...) MT_PRINTF(3, 4);

/* Fills choice and verdict. Returns the side that reasons are to be given for, -1 for none. */
int compare_choose(struct compare *c);

/* Why `better` is the better side, and at what price. 0 or -ENOMEM. */
int compare_why(struct compare *c, unsigned better);

#endif
