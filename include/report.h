/* SPDX-License-Identifier: MIT */
/*
 * report.h: the result structure and its renderers. Analyses fill `struct report`;
 * text and JSON are two views of it, so a number is never computed twice. The JSON is
 * schema mpvtrace.report/1 (README): keys that no analysis here fills are null.
 */
#ifndef MT_REPORT_H
#define MT_REPORT_H

#include "base.h"
#include "model.h"

/* What analyses produce beyond the model's own totals. */
struct report_check { const char *name; uint64_t recorded, kernel; bool ok, known; uint64_t tasks, tasks_ok; };
struct report_lock {		/* a futex word now, a lock object later */
	uint32_t id; const struct futex *futex; const char *kind; char name[160];
	uint64_t p50_ns, p99_ns;
};
struct report {
	const struct model *m;
	const char *mode;		/* single, threaded, multiprocess, mixed */
	uint64_t wall_ns; double cpus;	/* 0 = unknown */
	double avg_parallelism;
	VEC(struct report_check) checks;	/* voluntary, involuntary, run_ns, runnable_ns, faults … */
	VEC(struct report_lock) locks;		/* by wait_ns, largest first */
	uint64_t self_cpu_ns, bpf_ns, bpf_runs;	/* mpvtrace's own cost; see costs_known */
	bool costs_known;
	VEC(char *) notes;		/* owned sentences for quality.notes */
};
/* An analysis: a row of the table in analyze/registry.c. run() reads r->m, fills r. 0 or -errno. */
struct analysis { const char *name, *help; int (*run)(struct report *r, struct err *err); };
extern const struct analysis analyses[];
extern const size_t n_analyses;
/* Runs them all. The report borrows the model. */
int report_build(struct report *r, const struct model *m, struct err *err);
void report_release(struct report *r);

struct report_opts {
	const char *sort;	/* task column: run, runnable, blocked, switches, faults, start; NULL = run */
	unsigned top;		/* rows per table; 0 = default 10 */
	const char *task;	/* only tasks with this tid or name; NULL = all */
	unsigned width;		/* columns of the terminal; 0 = 100 (not a terminal) */
	bool colour;
	const char *trace_path;	/* for the "recording" and "next" lines; may be NULL */
};
/* Is it a sort key that report_text understands? */
bool report_sort_known(const char *key);
const char *report_sort_keys(void);		/* "run, runnable, …" for help and errors */
/* What is wrong with a damaged file, in words: "2 of 9 blocks (4 KB) could not be read". Returns out. */
const char *report_damage(char *out, size_t n, const struct trace_info *info);
/* 0 or -errno of the stream. */
int report_text(const struct report *r, const struct report_opts *o, FILE *out, struct err *err);
int report_json(const struct report *r, const struct report_opts *o, FILE *out, struct err *err);

/* --- export: a table of formats and a table of views ---------------------------------------- */

struct export_opts { const char *view; bool by_task; const char *task; };
struct exporter {
	const char *name, *ext, *help;
	const char *const *views;	/* NULL-terminated */
	int (*run)(const struct model *m, const struct export_opts *o, FILE *out, struct err *err);
};
extern const struct exporter exporters[];
extern const size_t n_exporters;
const struct exporter *exporter_find(const char *name);

#endif
