/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

int buf_put(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return 0;
	if (vec_grow_((void **)&b->p, &b->cap, b->n, n, 1))
		return -ENOMEM;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if (vec_grow_((void **)&b->p, &b->cap, b->n, (size_t)n + 1, 1))
		return -ENOMEM;
	va_start(ap, fmt);
	vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
	return 0;
}

void buf_release(struct buf *b)
{
	if (!b)
		return;
	free(b->p);
	*b = (struct buf){0};
}
