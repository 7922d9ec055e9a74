/* SPDX-License-Identifier: MIT */
/* rnd.h: numbers that look random, the same sequence on every machine (Marsaglia's xorshift64). */
#ifndef MT_TEST_RND_H
#define MT_TEST_RND_H

#include <stdint.h>

/* *state is never 0. */
static inline uint64_t rnd_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The same, whose low bits are good, too (xorshift64*). */
static inline uint64_t rnd_star(uint64_t *state)
{
	return rnd_next(state) * 0x2545f4914f6cdd1dull;
}

/* 0 … below - 1 out of a sequence that each test program has for itself. */
static inline uint64_t rnd(uint64_t below)
{
	static uint64_t state = 88172645463325252ull;
	uint64_t next = rnd_next(&state);

	return below ? next % below : 0;
}

#endif
