/* SPDX-License-Identifier: MIT */
/*
 * uprobe.h: a log of when functions of a file are entered or left, by whom: the truth that
 * recordings are compared with. By perf events, so it shares nothing with the recorder. A hit
 * costs microseconds; not for measuring speed.
 */
#ifndef MT_UPROBE_H
#define MT_UPROBE_H

#include "base.h"

/* which: what uprobe_add() was given. ts: CLOCK_MONOTONIC. */
struct uprobe_hit {
	uint64_t ts;
	uint32_t tid;
	int which;
};
struct uprobe_log;
struct uprobe_log *uprobe_new(void); /* NULL: this kernel has none, or we may not */
/* Probes each function of the ELF file's symbol table that has this name, or this name and a
 * compiler's suffix (.constprop.0, but not .cold). on_return: where it returns. Returns how many
 * places (0: no such symbol), -errno. */
int uprobe_add(struct uprobe_log *l, const char *file, const char *function, bool on_return,
               int which);
int uprobe_start(struct uprobe_log *l); /* collects in a thread of its own */
/* Stops; all hits by time. lost: how many the kernel threw away. */
const struct uprobe_hit *uprobe_stop(struct uprobe_log *l, size_t *n, uint64_t *lost);
void uprobe_free(struct uprobe_log *l);

#endif
