/* SPDX-License-Identifier: MIT */
/* text.c: a str's characters as UTF-8. */
#include <string.h>

#include "python.h"

static uint32_t character(const uint8_t *p, unsigned size)
{
	uint32_t c = 0;

	for (unsigned i = 0; i < size; i++)
		c |= (uint32_t)p[i] << (8 * i);
	return c;
}

/* Bytes of c in out (room for 4). */
static size_t encode(uint32_t c, uint8_t *out)
{
	if (c >= 0xdc80 && c <= 0xdcff) { /* PEP 383: a byte that was no UTF-8 */
		out[0] = (uint8_t)(c & 0xff);
		return 1;
	}
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		c = 0xfffd;
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (c & 63));
	return 4;
}

size_t py_utf8(unsigned kind, bool ascii, const uint8_t *data, size_t n, char *out, size_t max)
{
	size_t len = 0;

	if (kind != 2 && kind != 4)
		kind = 1;
	if (ascii && kind == 1) {
		len = n < max ? n : max;
		memcpy(out, data, len);
		return len;
	}
	for (size_t i = 0; i + kind <= n; i += kind) {
		uint8_t c[4];
		size_t k = encode(character(data + i, kind), c);

		if (len + k > max)
			break;
		memcpy(out + len, c, k);
		len += k;
	}
	return len;
}
