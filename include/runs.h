/* SPDX-License-Identifier: MIT */
/*
 * runs.h: sorting of what is in order for long stretches already, as what several tasks did is when
 * it stands task by task: natural merge sort, n × log(stretches) comparisons, stable.
 *
 * Inline, so that the compiler knows size and comparison where it is used.
 */
#ifndef MT_RUNS_H
#define MT_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define RUNS_INLINE static inline __attribute__((always_inline))

/* Does a have to come before b? */
typedef bool (*runs_before)(const void *a, const void *b);

RUNS_INLINE size_t runs_end_(const char *v, size_t from, size_t n, size_t size, runs_before before)
{
	size_t to = from + (from < n);

	while (to < n && !before(v + to * size, v + (to - 1) * size))
		to++;
	return to;
}

RUNS_INLINE void runs_merge_(const char *x, size_t n_x, const char *y, size_t n_y, char *out,
			     size_t size, runs_before before)
{
	while (n_x && n_y) {
		bool second = before(y, x);

		memcpy(out, second ? y : x, size);
		out += size;
		y += second ? size : 0;
		x += second ? 0 : size;
		n_x -= !second;
		n_y -= second;
	}
	memcpy(out, n_x ? x : y, (n_x + n_y) * size);
}

/* Sorts n elements of `size` bytes at v; `other` has room for as many. Returns which of the two
 * holds them then. */
RUNS_INLINE void *runs_sort(void *v, void *other, size_t n, size_t size, runs_before before)
{
	size_t runs = 2;

	if (runs_end_(v, 0, n, size, before) == n)
		return v;
	while (runs > 1) {
		char *from = v, *to = other;

		runs = 0;
		for (size_t at = 0, mid, end; at < n; at = end, runs++) {
			mid = runs_end_(from, at, n, size, before);
			end = runs_end_(from, mid, n, size, before);
			runs_merge_(from + at * size, mid - at, from + mid * size, end - mid,
				    to + at * size, size, before);
		}
		v = to;
		other = from;
	}
	return v;
}

#endif
