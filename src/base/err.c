/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base.h"

/* Copies as much as fits, never ending inside a UTF-8 sequence. */
static void msg_copy(char *out, size_t size, const char *s)
{
	size_t n = strnlen(s, size);

	if (n == size) {
		n = size - 1;
		while (n && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--;
	}
	memmove(out, s, n);
	out[n] = '\0';
}

int err_set(struct err *err, int code, int status, const char *fmt, ...)
{
	/* Larger than err->msg, and apart from it: an argument may be err->msg itself. */
	char msg[2 * sizeof(err->msg)];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	msg_copy(err->msg, sizeof(err->msg), msg);
	err->status = status;
	return code;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
	char msg[2 * sizeof(err->msg)];
	va_list ap;
	int n;

	if (!err)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n >= sizeof(err->msg))
		n = sizeof(err->msg) - 1;
	snprintf(msg + n, sizeof(msg) - (size_t)n, "%s%s", err->msg[0] ? ": " : "", err->msg);
	msg_copy(err->msg, sizeof(err->msg), msg);
	if (err->status == MT_EXIT_OK)
		err->status = MT_EXIT_FAIL;
	return code;
}
