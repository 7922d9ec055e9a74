/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "base.h"

int vec_grow_(void **v, size_t *cap, size_t n, size_t more, size_t size)
{
	size_t need, want, bytes;
	void *p;

	if (__builtin_add_overflow(n, more, &need))
		return -ENOMEM;
	if (need <= *cap)
		return 0;
	want = *cap + *cap / 2;
	if (want < need)
		want = need;
	if (want < 8)
		want = 8;
	if (__builtin_mul_overflow(want, size, &bytes) || bytes > PTRDIFF_MAX)
		return -ENOMEM;
	p = realloc(*v, bytes);
	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = want;
	return 0;
}

void vec_free_(void **v)
{
	free(*v);
	*v = NULL;
}
