/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base.h"

/* Folds the 128-bit product: every input bit reaches every output bit. */
static inline uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t load_tail(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p, n);
	return v;
}

/* Odd constants without pattern: digits of the square roots of 2, 3 and 5. */
#define K0 0x6a09e667f3bcc909ull
#define K1 0xbb67ae8584caa73bull
#define K2 0x3c6ef372fe94f82bull

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const uint8_t *s = p;
	uint64_t h = mix(seed ^ K0, (uint64_t)n ^ K1);

	for (; n >= 16; s += 16, n -= 16)
		h = mix(load_tail(s, 8) ^ h, load_tail(s + 8, 8) ^ K2 ^ (h >> 32));
	if (n >= 8) {
		h = mix(load_tail(s, 8) ^ h, K1);
		s += 8;
		n -= 8;
	}
	if (n)
		h = mix(load_tail(s, n) ^ h, K2 + n);
	return mix(h ^ K0, K1);
}
