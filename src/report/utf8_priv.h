/* SPDX-License-Identifier: MIT */
/*
 * utf8_priv.h: text as a terminal shows it. A column is what one Latin letter takes; East
 * Asian letters and emoji take two, combining marks none. Own tables: wcwidth() would depend
 * on the locale. Bytes that are no UTF-8 count as one column each and never break anything.
 */
#ifndef MT_REPORT_UTF8_PRIV_H
#define MT_REPORT_UTF8_PRIV_H

#include "base.h"

/* Columns of the n bytes at s. */
size_t utf8_width_n(const char *s, size_t n);
size_t utf8_width(const char *s);
/* Bytes of the longest beginning of s that takes at most `cols` columns. */
size_t utf8_cut(const char *s, size_t cols);
/* s in at most `cols` columns, shortened in the middle: "resize_…_fast". The end of names tells
 * more than their beginning (paths, versions), so it gets the larger half. Returns out. */
char *utf8_shorten(char *out, size_t n, const char *s, size_t cols);
/* A copy of the n bytes as valid UTF-8: what is none becomes U+FFFD. May hold NULs (*len has
 * the length). NULL = no memory; free() it. */
char *utf8_valid(const char *s, size_t n, size_t *len);

#endif
