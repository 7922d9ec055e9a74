/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report/table_priv.h"
#include "report/utf8_priv.h"

#define GAP        "  "
#define TIGHT_NAME 6

/* How the columns are shown on one page. */
struct layout {
	bool shown[TABLE_COLS], open[TABLE_COLS], close[TABLE_COLS]; /* open, close: parentheses */
	bool brief, tight; /* tight: names shorter than their .min */
	unsigned natural[TABLE_COLS], width[TABLE_COLS];
};

void table_column(struct table *tab, const struct column *c)
{
	if (tab->n_cols == TABLE_COLS) {
		tab->err = -E2BIG;
		return;
	}
	tab->cols[tab->n_cols++] = *c;
}

static void add(struct table *tab, const char *text, bool nothing)
{
	struct cell c = {.text = tab->texts.n, .nothing = nothing};

	if (buf_put(&tab->texts, text, strlen(text) + 1) || vec_push(&tab->cells, c))
		tab->err = -ENOMEM;
}

void table_cell(struct table *tab, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		tab->err = -ENOMEM;
		return;
	}
	add(tab, s, false);
	free(s);
}

void table_name(struct table *tab, const char *name)
{
	char safe[512];

	add(tab, fmt_safe(safe, sizeof(safe), name), false);
}

void table_job(struct table *tab, const struct jobs *j, uint32_t task)
{
	const char *job = task ? job_of(j, task) : NULL;

	if (job)
		table_name(tab, job);
	else
		table_nothing(tab, "");
}

void table_nothing(struct table *tab, const char *text)
{
	add(tab, text, true);
}

void table_ns(struct table *tab, uint64_t ns)
{
	char s[32];

	add(tab, ns ? fmt_ns(s, sizeof(s), ns) : "0", !ns);
}

void table_bytes(struct table *tab, uint64_t bytes)
{
	char s[32];

	add(tab, bytes ? fmt_bytes(s, sizeof(s), bytes) : "0", !bytes);
}

void table_count(struct table *tab, uint64_t count)
{
	char s[32];

	add(tab, fmt_count(s, sizeof(s), count), !count);
}

static size_t n_rows(const struct table *tab)
{
	return tab->n_cols ? tab->cells.n / tab->n_cols : 0;
}

static const struct cell *cell_at(const struct table *tab, size_t row, unsigned col)
{
	return &tab->cells.v[row * tab->n_cols + col];
}

static const char *text_at(const struct table *tab, size_t row, unsigned col)
{
	return (const char *)tab->texts.p + cell_at(tab, row, col)->text;
}

static const char *heading(const struct table *tab, const struct layout *l, unsigned col)
{
	const struct column *c = &tab->cols[col];

	return l->brief && c->brief ? c->brief : c->head;
}

static const char *glue(const struct table *tab, unsigned col)
{
	return tab->cols[col].glue ? tab->cols[col].glue : GAP;
}

static bool says_something(const struct table *tab, unsigned col)
{
	for (size_t row = 0; row < n_rows(tab); row++) {
		if (!cell_at(tab, row, col)->nothing)
			return true;
	}
	return false;
}

/* Widths of the columns in full, and where the parentheses of the groups are. */
static void measure(const struct table *tab, struct layout *l)
{
	bool inside = false;
	unsigned last = 0;

	memset(l->open, 0, sizeof(l->open));
	memset(l->close, 0, sizeof(l->close));
	for (unsigned c = 0; c < tab->n_cols; c++) {
		if (!l->shown[c])
			continue;
		l->open[c] = tab->cols[c].paren && !inside;
		if (inside && !tab->cols[c].paren)
			l->close[last] = true;
		inside = tab->cols[c].paren;
		last = c;
	}
	if (inside)
		l->close[last] = true;
	for (unsigned c = 0; c < tab->n_cols; c++) {
		size_t w = utf8_width(heading(tab, l, c)) + l->open[c] + l->close[c];

		for (size_t row = 0; row < n_rows(tab); row++) {
			size_t k = utf8_width(text_at(tab, row, c)) + l->close[c];

			w = k > w ? k : w;
		}
		l->natural[c] = (unsigned)w;
	}
}

/* Sets the widths so that the row takes at most `width`, if need be by shortening names; false:
 * not possible. */
static bool fit(const struct table *tab, struct layout *l, unsigned width, bool shorten)
{
	unsigned total = 0, first = 1;

	measure(tab, l);
	for (unsigned c = 0; c < tab->n_cols; c++) {
		if (!l->shown[c])
			continue;
		total += l->natural[c] + (first ? 0 : (unsigned)utf8_width(glue(tab, c)));
		l->width[c] = l->natural[c];
		first = 0;
	}
	/* The last name gives way first: the first one says whose row it is. */
	for (unsigned c = tab->n_cols; shorten && c-- > 0 && total > width;) {
		unsigned min = tab->cols[c].min, head = (unsigned)utf8_width(heading(tab, l, c));
		unsigned spare;

		if (!l->shown[c] || !min)
			continue;
		min = l->tight && min > TIGHT_NAME ? TIGHT_NAME : min < head ? head : min;
		spare = l->natural[c] > min ? l->natural[c] - min : 0;
		spare = spare < total - width ? spare : total - width;
		l->width[c] -= spare;
		total -= spare;
	}
	return total <= width;
}

/* Headings in full, then short ones, then short names. */
static bool fit_any(const struct table *tab, struct layout *l, unsigned width)
{
	l->brief = false;
	if (fit(tab, l, width, false))
		return true;
	l->brief = true;
	return fit(tab, l, width, true);
}

static void show_all(const struct table *tab, struct layout *l)
{
	for (unsigned c = 0; c < tab->n_cols; c++)
		l->shown[c] = !c || says_something(tab, c);
}

bool table_fits(const struct table *tab, unsigned width, unsigned keep)
{
	struct layout l = {0};

	show_all(tab, &l);
	for (unsigned c = 0; c < tab->n_cols; c++)
		l.shown[c] &= tab->cols[c].drop <= keep;
	return fit_any(tab, &l, width);
}

/* Leaves out the least important column; false: none is left that may go. */
static bool drop_one(const struct table *tab, struct layout *l)
{
	unsigned worst = TABLE_COLS;

	for (unsigned c = 0; c < tab->n_cols; c++) {
		if (l->shown[c] && tab->cols[c].drop &&
		    (worst == TABLE_COLS || tab->cols[c].drop >= tab->cols[worst].drop))
			worst = c;
	}
	if (worst == TABLE_COLS)
		return false;
	l->shown[worst] = false;
	for (unsigned c = 0; c < tab->n_cols; c++)
		if (tab->cols[worst].together && tab->cols[c].drop == tab->cols[worst].drop)
			l->shown[c] = false;
	return true;
}

static void choose(const struct table *tab, struct layout *l, unsigned width)
{
	show_all(tab, l);
	while (!fit_any(tab, l, width)) {
		if (l->tight)
			return; /* tx_line() will cut */
		l->tight = !drop_one(tab, l);
	}
}

/* The longest part that ends between two of its elements and leaves `room` columns; 0 = none. */
static size_t whole_elements(const char *text, const char *between, unsigned room)
{
	size_t most = 0, fits = utf8_cut(text, room);

	for (const char *p = strstr(text, between); p && (size_t)(p - text) <= fits;
	     p = strstr(p + 1, between))
		most = (size_t)(p - text);
	return most;
}

/* "worker-2 31 %, worker-0 27 %" between elements: "worker-2 31 %…"; of the first one the name
 * gives way, not its share: "work… 31 %…". */
static void shorten_list(char *out, size_t n, const char *text, unsigned width)
{
	size_t comma = whole_elements(text, ", ", width - 1);
	size_t arrow = whole_elements(text, " ← ", width - 1);
	size_t first = strcspn(text, ","), share = first;
	const char *more = text[first] ? "…" : "";
	unsigned tail;

	if (comma || arrow) {
		snprintf(out, n, "%.*s…", (int)(comma ? comma : arrow), text);
		return;
	}
	if (first > 2 && !strncmp(text + first - 2, " %", 2))
		for (share = first - 2; share && text[share - 1] != ' ';)
			share--;
	tail = (unsigned)(first - share) + 2 + !!*more;
	if (share < first && share && width > tail + 2)
		snprintf(out, n, "%.*s… %.*s%s", (int)utf8_cut(text, width - tail), text,
		         (int)(first - share), text + share, more);
	else
		snprintf(out, n, "%.*s…", (int)utf8_cut(text, width - 1), text);
}

/* Appends text at its place in the column; what is right-aligned leaves room for ")". */
static int put_cell(struct buf *line, const struct column *c, unsigned width, bool paren,
                    const char *text)
{
	char shorter[600];
	size_t used;

	if (utf8_width(text) > width && c->list && width) {
		shorten_list(shorter, sizeof(shorter), text, width);
		text = shorter;
	} else if (utf8_width(text) > width) {
		text = utf8_shorten(shorter, sizeof(shorter), text, width);
	}
	used = utf8_width(text) + paren;
	used = used < width ? width - used : 0;
	return buf_printf(line, "%*s%s%*s", c->left ? 0 : (int)used, "", text,
	                  (c->left ? (int)used : 0) + paren, "");
}

static int put_row(const struct table *tab, const struct layout *l, struct tx *t, size_t row,
                   bool head)
{
	struct buf line = {0};
	bool first = true;
	int err = 0;

	for (unsigned c = 0; c < tab->n_cols && !err; c++) {
		char title[64];

		if (!l->shown[c])
			continue;
		if (!first)
			err = buf_printf(&line, "%s", glue(tab, c));
		first = false;
		snprintf(title, sizeof(title), "%s%s%s", l->open[c] ? "(" : "", heading(tab, l, c),
		         l->close[c] ? ")" : "");
		err = err ? err
		          : put_cell(&line, &tab->cols[c], l->width[c], !head && l->close[c],
		                     head ? title : text_at(tab, row, c));
	}
	if (!err && line.p)
		tx_line(t, TX_PLAIN, "%s", (const char *)line.p);
	buf_release(&line);
	return err;
}

void table_print(const struct table *tab, struct tx *t)
{
	struct layout l = {0};
	int err = tab->err;

	if (err || !n_rows(tab)) {
		t->err = err ? err : t->err;
		return;
	}
	choose(tab, &l, t->width);
	/* So that its cells stand below the text of labelled lines. */
	if (tab->cols[0].left && l.shown[0] && l.width[0] < TX_LABEL - 2) {
		unsigned before = l.width[0], total = 0;

		for (unsigned c = 0; c < tab->n_cols; c++)
			total += l.shown[c] ? l.width[c] + (unsigned)utf8_width(glue(tab, c)) : 0;
		if (total - 2 - before + TX_LABEL - 2 <= t->width)
			l.width[0] = TX_LABEL - 2;
	}
	err = put_row(tab, &l, t, 0, true);
	for (size_t row = 0; row < n_rows(tab) && !err; row++)
		err = put_row(tab, &l, t, row, false);
	t->err = err ? err : t->err;
}

void table_release(struct table *tab)
{
	buf_release(&tab->texts);
	vec_release(&tab->cells);
}
