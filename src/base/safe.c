/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base.h"

size_t utf8_decode(const void *at, size_t n, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *s = at;
	size_t len;

	if (n && s[0] < 0x80) {
		*cp = s[0];
		return 1;
	}
	if (!n || s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (len > n)
		return 0;
	*cp = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (s[i] & 0x3fu);
	}
	if (*cp < least[len] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
		return 0;
	return len;
}

bool utf8_is_unsafe(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x061c || cp == 0x200e ||
	       cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) ||
	       cp == 0xfeff;
}

char *fmt_safe(char *out, size_t n, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t o = 0;

	if (!n)
		return out;
	while (*p) {
		char piece[24];
		uint32_t cp = 0;
		size_t len = utf8_decode(p, 4, &cp), put = 0;

		if (len && !utf8_is_unsafe(cp)) {
			memcpy(piece, p, len);
			put = len;
		} else {
			len = len ? len : 1;
			for (size_t i = 0; i < len; i++)
				put += (size_t)snprintf(piece + put, sizeof(piece) - put, "\\x%02x",
				                        p[i]);
		}
		if (o + put >= n)
			break; /* whole characters only */
		memcpy(out + o, piece, put);
		o += put;
		p += len;
	}
	out[o] = '\0';
	return out;
}
