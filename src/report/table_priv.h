/* SPDX-License-Identifier: MIT */
/*
 * table_priv.h: a table of text that fits the page. When it is too wide it uses the short
 * headings, then shortens names in the middle, then drops columns, the least important first.
 * Columns whose cells all say "nothing" are left out from the start.
 *
 *	struct table tab = { 0 };
 *	table_column(&tab, &(struct column){ .head = "tasks", .left = true, .min = 12 });
 *	table_column(&tab, &(struct column){ .head = "running" });
 *	table_name(&tab, task->comm);
 *	table_cell(&tab, "%s", fmt_ns(b, sizeof(b), task->run_ns));
 *	table_print(&tab, t);
 *	table_release(&tab);
 *
 * Cells fill rows from left to right. The caller limits the number of rows. Running out of
 * memory is kept and reported by table_print() through the page.
 */
#ifndef MT_REPORT_TABLE_PRIV_H
#define MT_REPORT_TABLE_PRIV_H

#include "report/text_priv.h"

#define TABLE_COLS 24

struct column {
	const char *head;
	const char *brief; /* shorter heading for narrow pages, NULL = head */
	const char *glue;  /* between it and the column before, NULL = two spaces */
	bool left;         /* aligned to the left */
	bool list;         /* shortened at its end, not in the middle as names are */
	bool paren;        /* neighbours with it form a group: "(futex  file)" */
	unsigned drop;     /* 0 = always shown; the largest goes first */
	bool together;     /* dropped with all others of the same drop */
	unsigned min;      /* names: may be shortened to this many columns; 0 = never */
};

struct cell {
	size_t text;  /* offset in texts */
	bool nothing; /* a zero or an unknown */
};

struct table {
	struct column cols[TABLE_COLS];
	unsigned n_cols;
	struct buf texts;
	VEC(struct cell) cells;
	int err;
};

void table_column(struct table *tab, const struct column *c);
void table_cell(struct table *tab, const char *fmt, ...) MT_PRINTF(2, 3);
/* A name that the workload chose: made safe, at most 512 bytes of it. */
void table_name(struct table *tab, const char *name);
/* What Python runs in that thread. */
void table_job(struct table *tab, const struct jobs *j, uint32_t task);
/* A cell without news: text is "0" or "-" or "". A column of only these is not shown. */
void table_nothing(struct table *tab, const char *text);
/* The usual cells; zero = nothing. */
void table_ns(struct table *tab, uint64_t ns);
void table_bytes(struct table *tab, uint64_t bytes);
void table_count(struct table *tab, uint64_t count);
/* Would it fit in `width` columns when the columns with .drop above `keep` were left out? */
bool table_fits(const struct table *tab, unsigned width, unsigned keep);
void table_print(const struct table *tab, struct tx *t);
void table_release(struct table *tab);

#endif
