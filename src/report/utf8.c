/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "report/utf8_priv.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define ELLIPSIS    "…"

struct range {
	uint32_t first, last;
};

/* clang-format off */
static const struct range no_columns[] = {
	{ 0x0300, 0x036f }, { 0x0483, 0x0489 }, { 0x0591, 0x05bd }, { 0x05bf, 0x05bf },
	{ 0x0610, 0x061a }, { 0x064b, 0x065f }, { 0x0670, 0x0670 }, { 0x06d6, 0x06dc },
	{ 0x0900, 0x0902 }, { 0x093c, 0x093c }, { 0x0941, 0x0948 }, { 0x0e31, 0x0e31 },
	{ 0x0e34, 0x0e3a }, { 0x0e47, 0x0e4e }, { 0x1ab0, 0x1aff }, { 0x1dc0, 0x1dff },
	{ 0x200b, 0x200f }, { 0x202a, 0x202e }, { 0x2060, 0x2064 }, { 0x20d0, 0x20ff },
	{ 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff }, { 0x1f3fb, 0x1f3ff },
	{ 0xe0100, 0xe01ef },
};
static const struct range two_columns[] = {
	{ 0x1100, 0x115f }, { 0x2329, 0x232a }, { 0x2e80, 0x303e }, { 0x3041, 0xa4cf },
	{ 0xa960, 0xa97c }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe6f },
	{ 0xff01, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff },
	{ 0x1f900, 0x1faff }, { 0x20000, 0x3fffd },
};
/* clang-format on */

static bool in_ranges(const struct range *r, size_t n, uint32_t cp)
{
	for (size_t i = 0; i < n && cp >= r[i].first; i++) {
		if (cp <= r[i].last)
			return true;
	}
	return false;
}

/* Bytes and columns of the character at s. */
static size_t step(const char *s, size_t n, size_t *cols)
{
	uint32_t cp;
	size_t len = utf8_decode(s, n, &cp);

	if (!len) {
		*cols = 1;
		return 1;
	}
	*cols = in_ranges(no_columns, ARRAY_LEN(no_columns), cp)     ? 0
	        : in_ranges(two_columns, ARRAY_LEN(two_columns), cp) ? 2
	                                                             : 1;
	return len;
}

size_t utf8_width_n(const char *s, size_t n)
{
	size_t width = 0, cols;

	while (n) {
		size_t len = step(s, n, &cols);

		width += cols;
		s += len;
		n -= len;
	}
	return width;
}

size_t utf8_width(const char *s)
{
	return utf8_width_n(s, strlen(s));
}

size_t utf8_cut(const char *s, size_t cols)
{
	size_t n = strlen(s), at = 0, used = 0, w;

	while (at < n) {
		size_t len = step(s + at, n - at, &w);

		if (used + w > cols)
			break;
		used += w;
		at += len;
	}
	return at;
}

/* Start of the shortest end of s that takes no more than `cols` columns. */
static const char *tail(const char *s, size_t cols)
{
	size_t width = utf8_width(s), w;

	while (*s && width > cols) {
		s += step(s, strlen(s), &w);
		width -= w;
	}
	return s;
}

char *utf8_shorten(char *out, size_t n, const char *s, size_t cols)
{
	size_t head;

	if (!n)
		return out;
	if (utf8_width(s) <= cols && strlen(s) < n) {
		memcpy(out, s, strlen(s) + 1);
		return out;
	}
	if (n < sizeof(ELLIPSIS) || !cols) {
		out[0] = '\0';
		return out;
	}
	/* A small out cuts harder than cols: at most four bytes a column. */
	if (cols > (n - sizeof(ELLIPSIS)) / 4 + 1)
		cols = (n - sizeof(ELLIPSIS)) / 4 + 1;
	head = utf8_cut(s, (cols - 1) / 2);
	snprintf(out, n, "%.*s" ELLIPSIS "%s", (int)head, s, tail(s, cols - 1 - (cols - 1) / 2));
	return out;
}

char *utf8_valid(const char *s, size_t n, size_t *len)
{
	struct buf b = {0};

	for (size_t at = 0; at < n;) {
		uint32_t cp;
		size_t k = utf8_decode(s + at, n - at, &cp);
		int err = k ? buf_put(&b, s + at, k) : buf_put(&b, REPLACEMENT, 3);

		if (err)
			goto fail;
		at += k ? k : 1;
	}
	*len = b.n;
	if (buf_put(&b, "", 1))
		goto fail;
	return (char *)b.p;
fail:
	buf_release(&b);
	return NULL;
}
