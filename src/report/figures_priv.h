/* SPDX-License-Identifier: MIT */
/*
 * figures_priv.h: figures derived from the model in one place, so that text and JSON cannot
 * disagree, and sums of what a file says, which must not wrap.
 */
#ifndef MT_REPORT_FIGURES_PRIV_H
#define MT_REPORT_FIGURES_PRIV_H

#include "report.h"

/* "51.4 %" of a whole: "0 %", "<0.1 %"; "?" of nothing. Returns out. */
char *fmt_share(char *out, size_t n, uint64_t part, uint64_t whole);
/* "1 task", "1,204 tasks". */
char *fmt_n(char *out, size_t n, uint64_t count, const char *one, const char *many);

/* Are the kernel's counters known at both ends of the task's recorded life? */
bool counters_known(const struct task *t);
/* Bytes of pages that the task was the first to write. false: not known. */
bool first_touch_bytes(const struct task *t, uint64_t page_size, uint64_t *bytes);
#endif
