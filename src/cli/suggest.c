/* SPDX-License-Identifier: MIT */
/* What a mistyped word was probably meant to be. */
#include <string.h>

#include "cli/opts.h"

#define MAX_WORD 32 /* longer ones are not typing mistakes of ours */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

unsigned edit_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned d[MAX_WORD + 1][MAX_WORD + 1];

	if (n > MAX_WORD || m > MAX_WORD)
		return (unsigned)(n > m ? n : m);
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned differ = a[i - 1] != b[j - 1];

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + differ);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[n][m];
}

const char *nearest_word(const char *typed, const char *(*choice)(void *ctx, size_t i), void *ctx)
{
	size_t len = strlen(typed);
	/* One letter in three may be wrong. */
	unsigned best = (len < 6 ? 1 : (unsigned)len / 3) + 1;
	const char *found = NULL, *word;

	if (!len)
		return NULL;
	for (size_t i = 0; (word = choice(ctx, i)); i++) {
		unsigned d = edit_distance(typed, word);

		/* The beginning of a longer word is a better guess than any mistake. */
		if (len >= 2 && !strncmp(word, typed, len))
			d = 0;
		if (d < best) {
			best = d;
			found = word;
		}
	}
	return found;
}
