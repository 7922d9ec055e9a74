/* SPDX-License-Identifier: MIT */
/*
 * graph.h: a flame graph for a browser to look at: app's main waits 6 ms in a futex, worker-a 4
 * and worker-b 2 ms in lock_wait, which is called by a function whose name is markup that sets
 * data-evil on the document, if it is ever run.
 */
#ifndef MT_TESTS_GRAPH_H
#define MT_TESTS_GRAPH_H

/* Writes it to path, with `script` at its end. Aborts when it cannot. */
void graph_write(const char *path, const char *script);

#endif
