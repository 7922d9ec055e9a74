/* SPDX-License-Identifier: MIT */
/*
 * turns_priv.h: many tasks of which each does a little alone, one after the other: processes that
 * are started and waited for, threads that queue for something. They are told as one.
 */
#ifndef MT_TURNS_PRIV_H
#define MT_TURNS_PRIV_H

#include "report.h"

#define TURNS_NAMES 3

struct turns {
	unsigned n;                     /* tasks; 0 = one of them stands for it */
	const char *names[TURNS_NAMES]; /* of the model; what they are called, most work first */
	unsigned n_names; /* how many different ones; those beyond TURNS_NAMES not listed */
	const char *at;   /* the lock at which they wait for each other, NULL = none */
};

/* top: the largest cause. */
void turns_find(const struct report *r, const struct cause_row *top, struct turns *out);
/* "what 4 tasks called x do one at a time, waiting for each other at y". */
void turns_text(const struct turns *t, char *out, size_t n);
/* Is the row one of theirs? */
bool turns_have(const struct report *r, const struct turns *t, const struct cause_row *row);

#endif
