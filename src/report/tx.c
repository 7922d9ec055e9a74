/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/text_priv.h"
#include "report/utf8_priv.h"

#define RED   "\x1b[1;31m"
#define RESET "\x1b[0m"
#define JOINT " · "

/* '?' for characters of names. */
void report_ascii(FILE *out, const char *s, size_t n)
{
	static const struct {
		const char *utf8;
		char ascii;
	} own[] = {
	        {"·", '|'}, {"…", '~'}, {"→", '>'}, {"←", '<'}, {"×", 'x'}, {"µ", 'u'}, {"±", '~'},
	        {"█", '#'}, {"▓", '%'}, {"▒", '+'}, {"░", ':'}, {"─", '-'}, {"╌", '='},
	};

	for (size_t i = 0; i < n;) {
		char c = (unsigned char)s[i] < 0x80 ? s[i] : '?';
		size_t len = 1;

		while (c == '?' && i + len < n && ((unsigned char)s[i + len] & 0xc0) == 0x80)
			len++;
		for (size_t k = 0; k < ARRAY_LEN(own) && len > 1; k++)
			if (strlen(own[k].utf8) == len && !memcmp(own[k].utf8, s + i, len))
				c = own[k].ascii;
		for (size_t w = c == '?' && len > 1 ? utf8_width_n(s + i, len) : 1; w; w--)
			fputc(c, out);
		i += len;
	}
}

static void put_text(const struct tx *t, const char *s, size_t n)
{
	if (t->ascii)
		report_ascii(t->out, s, n);
	else
		fwrite(s, 1, n, t->out);
}

static void put_line(struct tx *t, enum tx_style style, const char *s, size_t n, const char *end)
{
	bool bad = t->colour && style == TX_BAD;

	while (n && s[n - 1] == ' ')
		n--;
	fputs(bad ? RED : "", t->out);
	put_text(t, s, n);
	put_text(t, end, strlen(end));
	fprintf(t->out, "%s\n", bad ? RESET : "");
	t->any = true;
}

void tx_line(struct tx *t, enum tx_style style, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		t->err = -ENOMEM;
		return;
	}
	if (utf8_width(s) > t->width)
		put_line(t, style, s, utf8_cut(s, t->width - 1), "…");
	else
		put_line(t, style, s, strlen(s), "");
	free(s);
}

/* A line that is being filled by tx_items. */
struct fill {
	struct tx *t;
	enum tx_style style;
	struct buf line;
	size_t used; /* columns */
	unsigned indent;
	bool fresh; /* nothing on it but the indent */
};

static void fill_put(struct fill *f, const char *s, size_t n)
{
	if (buf_put(&f->line, s, n))
		f->t->err = -ENOMEM;
	f->used += utf8_width_n(s, n);
}

static void fill_break(struct fill *f)
{
	put_line(f->t, f->style, (const char *)f->line.p, f->line.n, "");
	f->line.n = f->used = 0;
	for (unsigned i = 0; i < f->indent; i++)
		fill_put(f, " ", 1);
	f->fresh = true;
}

/* A word longer than the line is cut to pieces. */
static void fill_word(struct fill *f, const char *s, size_t n)
{
	size_t width = utf8_width_n(s, n);
	bool space = !f->fresh;

	if (f->used + space + width > f->t->width && !f->fresh) {
		fill_break(f);
		space = false;
	}
	if (space)
		fill_put(f, " ", 1);
	while (f->used + utf8_width_n(s, n) > f->t->width) {
		size_t k = utf8_cut(s, f->t->width - f->used);

		if (!k || k >= n)
			break;
		fill_put(f, s, k);
		s += k;
		n -= k;
		fill_break(f);
	}
	fill_put(f, s, n);
	f->fresh = false;
}

static bool is_unit(const char *s, size_t n)
{
	static const char *const units[] = {"%",  "µs", "ms", "s",  "min", "h",   "B",
	                                    "KB", "MB", "GB", "TB", "CPU", "CPUs"};

	/* "5 %)", "1.3 s," */
	while (n && memchr(".,;:)", s[n - 1], 5))
		n--;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (strlen(units[i]) == n && !memcmp(units[i], s, n))
			return true;
	return false;
}

static size_t to_space(const char *s, size_t n)
{
	const char *end = memchr(s, ' ', n);

	return end ? (size_t)(end - s) : n;
}

/* Bytes up to where a line may end: not between a number and its unit. */
static size_t word(const char *s, size_t n)
{
	size_t k = to_space(s, n), next = k < n ? to_space(s + k + 1, n - k - 1) : 0;

	if (k && next && isdigit((unsigned char)s[k - 1]) && is_unit(s + k + 1, next))
		return k + 1 + next;
	return k;
}

static void fill_item(struct fill *f, const char *s, size_t n, bool first)
{
	size_t width = utf8_width_n(s, n), joint = first ? 0 : utf8_width(JOINT);

	if (!first && f->used + joint + width > f->t->width) {
		fill_break(f);
	} else if (!first) {
		fill_put(f, JOINT, strlen(JOINT));
		f->fresh = true;
	}
	if (f->used + width <= f->t->width) {
		fill_put(f, s, n);
		f->fresh = false;
		return;
	}
	while (n) {
		size_t k = word(s, n);
		bool end = k < n;

		if (k)
			fill_word(f, s, k);
		s += k + end;
		n -= k + end;
	}
}

void tx_items(struct tx *t, enum tx_style style, const char *label, const char *text)
{
	struct fill f = {.t = t, .style = style, .indent = label ? TX_LABEL : 0, .fresh = true};
	bool first = true;

	if (label) {
		fill_put(&f, label, strlen(label));
		while (f.used < TX_LABEL)
			fill_put(&f, " ", 1);
	}
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n)
			fill_item(&f, text, n, first);
		first &= !n;
		text += n + (text[n] != '\0');
	}
	if (f.line.p)
		put_line(t, style, (const char *)f.line.p, f.line.n, "");
	buf_release(&f.line);
}

void tx_section(struct tx *t)
{
	if (t->any)
		fputc('\n', t->out);
}
