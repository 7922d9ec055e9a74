/* SPDX-License-Identifier: MIT */
/* The comparison for a person: the two sides, one table, what explains it, what follows. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "compare.h"
#include "report/table_priv.h"
#include "report/utf8_priv.h"

#define MAX_PARTS 5
#define MIN_PART  0.02 /* of the larger wall time; smaller parts are summed up */

static uint64_t whole(double v)
{
	return v > 0 && v < 1e19 ? (uint64_t)(v + 0.5) : 0;
}

static void put_value(char *out, size_t n, char unit, double v)
{
	if (isnan(v))
		snprintf(out, n, "-");
	else if (unit == '%')
		fmt_share(out, n, whole(v * 1e6), 1000000);
	else if (unit == 'f')
		snprintf(out, n, "%.2f", v);
	else if (!whole(v))
		snprintf(out, n, "0");
	else if (unit == 's')
		fmt_ns(out, n, whole(v));
	else if (unit == 'b')
		fmt_bytes(out, n, whole(v));
	else
		fmt_count(out, n, whole(v));
}

static void value_cell(struct table *tab, char unit, const struct compare_stat *s)
{
	char text[48];

	put_value(text, sizeof(text), unit, s->median);
	if (isnan(s->median))
		table_nothing(tab, text);
	else
		table_cell(tab, "%s", text);
}

static void range_cell(struct table *tab, char unit, const struct compare_stat *s)
{
	char low[48], high[48];

	put_value(low, sizeof(low), unit, s->min);
	put_value(high, sizeof(high), unit, s->max);
	if (s->n < 2)
		table_nothing(tab, "");
	else if (!strcmp(low, high))
		table_cell(tab, "=");
	else
		table_cell(tab, "%s … %s", low, high);
}

/* Shares as difference in points of a hundred, everything else as "times". */
static void difference_cell(struct table *tab, char unit, double a, double b)
{
	double points = 100 * (b - a);

	if (isnan(a) || isnan(b))
		table_nothing(tab, "");
	else if (unit == '%' && fabs(points) < 0.05)
		table_cell(tab, "=");
	else if (unit == '%')
		table_cell(tab, "%+.1f points", points);
	else if (a == b)
		table_cell(tab, "=");
	else if (a <= 0 || b <= 0)
		table_cell(tab, a <= 0 ? "only B" : "only A");
	else if (b / a >= 1000 || b / a < 0.001)
		table_cell(tab, b > a ? "× >1000" : "× <0.001");
	else
		table_cell(tab, "× %.*f", compare_decimals(b / a), b / a);
}

static bool says_something(const struct compare *c, unsigned figure)
{
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median;

	return (!isnan(a) && a != 0) || (!isnan(b) && b != 0);
}

/* A share of this much is worth a row. */
#define MIN_SHARE 0.005

/* What the table has room for. How long the GIL was held is a sum over processes that tells nothing
 * beside their waits; RSS counts shared pages several times, which PSS does not. JSON has them. */
static bool has_row(const struct compare *c, unsigned figure)
{
	double a = c->stat[0][figure].median, b = c->stat[1][figure].median;

	switch (figure) {
	case COMPARE_QUIET:
		return c->busy;
	case COMPARE_GIL_HOLD:
		return false;
	case COMPARE_RSS:
		return !c->stat[0][COMPARE_PSS].n || !c->stat[1][COMPARE_PSS].n;
	case COMPARE_SPAWNS:
		return a + b !=
		       c->stat[0][COMPARE_TASKS].median + c->stat[1][COMPARE_TASKS].median - 2;
	default:
		return compare_unit(figure) == '%' ? fmax(a, b) >= MIN_SHARE
		                                   : says_something(c, figure);
	}
}

static void add_row(struct table *tab, const struct compare *c, unsigned figure, const char *label)
{
	char unit = compare_unit(figure);

	table_cell(tab, "%s", label);
	for (unsigned side = 0; side < 2; side++) {
		value_cell(tab, unit, &c->stat[side][figure]);
		range_cell(tab, unit, &c->stat[side][figure]);
	}
	difference_cell(tab, unit, c->stat[0][figure].median, c->stat[1][figure].median);
}

static void add_columns(struct table *tab)
{
	table_column(tab, &(struct column){.head = "", .left = true});
	table_column(tab, &(struct column){.head = "A"});
	table_column(tab, &(struct column){.head = "A's runs", .drop = 1, .together = true});
	table_column(tab, &(struct column){.head = "B"});
	table_column(tab, &(struct column){.head = "B's runs", .drop = 1, .together = true});
	table_column(tab, &(struct column){.head = "B to A"});
}

static void print_table(struct tx *t, const struct compare *c)
{
	struct table tab = {0};
	char label[64];

	add_columns(&tab);
	for (unsigned f = 0; f < COMPARE_CAUSE0; f++) {
		/* The account of capacity comes after how parallel it was. */
		for (unsigned k = 0; f == COMPARE_TASKS && k < CAUSE_N; k++) {
			snprintf(label, sizeof(label), "  %s", cause_text(k));
			if (has_row(c, COMPARE_CAUSE0 + k))
				add_row(&tab, c, COMPARE_CAUSE0 + k, label);
		}
		if (has_row(c, f))
			add_row(&tab, c, f, compare_text(f));
	}
	tx_section(t);
	table_print(&tab, t);
	table_release(&tab);
}

static void print_side(struct tx *t, const struct compare *c, unsigned side)
{
	const struct compare_side *s = &c->side[side];
	const struct compare_run *run = &s->runs.v[c->typical[side]];
	const char *verdict = verdict_key(run->verdict);
	char runs[48];
	struct buf b = {0};
	int err = buf_printf(&b, "%s", s->name);

	if (!err && *run->mode)
		err = buf_printf(&b, "\n%s", run->mode);
	if (!err && verdict)
		err = buf_printf(&b, "\n%s", verdict);
	if (!err && s->runs.n > 1)
		err = buf_printf(&b, "\nmedians of %s",
		                 fmt_n(runs, sizeof(runs), s->runs.n, "run", "runs"));
	if (err)
		t->err = err;
	else
		tx_items(t, TX_PLAIN, side ? "B" : "A", (const char *)b.p);
	buf_release(&b);
}

/* "B takes 0.93 s less\n−0.95 s GIL\n+0.06 s work" */
static int put_parts(struct buf *b, const struct compare *c)
{
	const struct compare_run *a = &c->side[0].runs.v[c->typical[0]];
	const struct compare_run *z = &c->side[1].runs.v[c->typical[1]];
	double diff = z->v[COMPARE_WALL] - a->v[COMPARE_WALL], rest = diff;
	double least = MIN_PART * fmax(a->v[COMPARE_WALL], z->v[COMPARE_WALL]);
	char text[32];
	/* Of an even number of runs none may be the median that the table has. */
	bool medians = a->v[COMPARE_WALL] == c->stat[0][COMPARE_WALL].median &&
	               z->v[COMPARE_WALL] == c->stat[1][COMPARE_WALL].median;
	int err = buf_printf(b, "B takes %s %s%s", fmt_ns(text, sizeof(text), whole(fabs(diff))),
	                     diff < 0 ? "less" : "more",
	                     medians ? "" : " (of the runs nearest to the medians)");

	for (size_t i = 0; i < c->parts.n && i < MAX_PARTS && !err; i++) {
		const struct compare_part *p = &c->parts.v[i];

		if (fabs(p->wall_ns) < least)
			break;
		rest -= p->wall_ns;
		err = buf_printf(b, "\n%s%s %s", p->wall_ns < 0 ? "-" : "+",
		                 fmt_ns(text, sizeof(text), whole(fabs(p->wall_ns))),
		                 cause_text(p->cause));
	}
	if (!err && fabs(rest) >= least / 4)
		err = buf_printf(b, "\n%s%s other", rest < 0 ? "-" : "+",
		                 fmt_ns(text, sizeof(text), whole(fabs(rest))));
	return err;
}

static void print_parts(struct tx *t, const struct compare *c)
{
	struct buf b = {0};

	if (!c->parts.n)
		return;
	tx_section(t);
	t->err = put_parts(&b, c);
	if (!t->err)
		tx_items(t, TX_PLAIN, "made of", (const char *)b.p);
	buf_release(&b);
}

static void print_verdict(struct tx *t, const struct compare *c)
{
	tx_section(t);
	tx_items(t, TX_PLAIN, "recommendation", c->verdict);
	for (size_t i = 0; i < c->reasons.n; i++)
		tx_items(t, TX_PLAIN, "", c->reasons.v[i]);
	for (size_t i = 0; i < c->caveats.n; i++)
		tx_items(t, TX_PLAIN, i ? "" : "note", c->caveats.v[i]);
}

int compare_text_out(const struct compare *c, const struct report_opts *o, FILE *out,
                     struct err *err)
{
	static const struct report_opts none;
	struct tx t = {.o = o ? o : &none, .out = out, .top = 1000};

	t.width = t.o->width ? t.o->width : 100;
	t.width = t.width < TX_MIN_WIDTH ? TX_MIN_WIDTH : t.width > 10000 ? 10000 : t.width;
	t.colour = t.o->colour;
	t.ascii = t.o->ascii;
	print_side(&t, c, 0);
	print_side(&t, c, 1);
	print_table(&t, c);
	print_parts(&t, c);
	print_verdict(&t, c);
	if (t.err)
		return err_set(err, t.err, MT_EXIT_FAIL, "cannot print the comparison: %s",
		               strerror(-t.err));
	return stream_end(out, "the comparison", err);
}
