/* SPDX-License-Identifier: MIT */
/*
 * text_priv.h: the text report's page (lines of at most `width` columns) and its sections.
 * Every line goes through tx_line() or tx_items(), which cut or wrap it, so no section can
 * overflow the terminal. Errors (no memory) are kept in the page; writing goes on harmlessly.
 */
#ifndef MT_REPORT_TEXT_PRIV_H
#define MT_REPORT_TEXT_PRIV_H

#include "report.h"
#include "report/figures_priv.h"
#include "report/names_priv.h"

#define TX_LABEL     17 /* columns of the labels at the left: "recording        " */
#define TX_MIN_WIDTH 40

enum tx_style { TX_PLAIN, TX_BAD };

struct tx {
	const struct report *r;
	const struct report_opts *o;
	FILE *out;
	unsigned width, top;
	bool colour, ascii;
	int err;
	bool any; /* something was printed: sections begin with an empty line */
	struct jobs jobs;
};

/* One line, cut with "…" when it is too long. */
void tx_line(struct tx *t, enum tx_style style, const char *fmt, ...) MT_PRINTF(3, 4);
/* Items (the lines of `text`) joined by " · ", broken between items where possible, else at
 * spaces; the first line begins with `label`, the others below its text. label NULL = none. */
void tx_items(struct tx *t, enum tx_style style, const char *label, const char *text);
/* A new section begins: an empty line, except at the very beginning. */
void tx_section(struct tx *t);

/* Appends s, made safe before, as a word of a shell's: in single quotes where it needs any. */
int put_shell_word(struct buf *b, const char *s);

/* Sections, in the order of text.c's table. Nothing to say = nothing printed. */
void text_headline(struct tx *t);
void text_deadlocks(struct tx *t);
void text_verdict(struct tx *t);
void text_account(struct tx *t);
void text_locks(struct tx *t);
void text_channels(struct tx *t);
void text_traffic(struct tx *t);
void text_pickling(struct tx *t);
/* Below the verdict, where it is much of what Python used. */
void text_much_pickling(struct tx *t);
void text_path(struct tx *t);
void text_serial(struct tx *t);
void text_threads(struct tx *t); /* below the verdict: could threads do it? */
void text_gil(struct tx *t);
void text_watch(struct tx *t);
void text_parallelism(struct tx *t);
void text_tasks(struct tx *t);
void text_spawn(struct tx *t);
void text_memory(struct tx *t);
void text_futexes(struct tx *t); /* instead of locks, when waits were not worked out */
void text_stacks(struct tx *t);
void text_recording(struct tx *t);

#endif
