/* SPDX-License-Identifier: MIT */
/*
 * record_priv.h: one recording; record.c runs it, record_begin.c and record_end.c are its
 * beginning and its end.
 */
#ifndef MT_RECORD_PRIV_H
#define MT_RECORD_PRIV_H

#include <signal.h>

#include "collect_priv.h"

enum { /* what epoll tells */ EV_SIGNAL = 1, EV_CHILD = 2, EV_TABLES = 3 };

struct recording_run {
	const struct collect_opts *o;
	struct collect_result *res;
	struct invoker who;
	struct target target;
	struct session *session;
	struct perfmaps *maps;
	struct pyspaces *pyspaces;
	struct tables *tables;
	struct symbolizer *sym;
	struct behind *behind; /* between w and the file */
	struct trace_writer *w;
	struct drain *d;
	struct footprint fp;
	struct busy busy;
	int nice; /* before us */
	int out_fd, kallsyms_fd, signal_fd, epoll_fd;
	sigset_t old_mask;
	uint64_t begin_ns, start_ns, follow_ns, flush_ns, sweep_ns, signal_ns, told_ns,
	        root_gone_ns;
	bool root_gone, done, mask_set;
	void (*old_pipe)(int), (*old_xfsz)(int);
	bool told_way_out, woken; /* woken: by the programs, before the time was over */
};

/* --- record_begin.c --------------------------------------------------------------------------- */

/* Everything but letting go: files, programs, the command held; with full privilege. */
int record_prepare(struct recording_run *r, struct err *err);
/* The recording begins, and with it the workload. */
int record_start(struct recording_run *r, struct err *err);
int record_mark(struct recording_run *r, uint64_t what, uint64_t ts, uint64_t value);

/* --- record_end.c ----------------------------------------------------------------------------- */

/* Nothing is recorded any more; what there is is in the trace. */
void record_stop(struct recording_run *r);
/* Stops and completes the file; rc: how the recording went. */
int record_finish(struct recording_run *r, int rc, struct err *err);
/* Detaches everything. May be called again. */
void record_close(struct recording_run *r);

#endif
