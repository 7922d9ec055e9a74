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
#include "waits.h"

/* What analyses produce beyond the model's own totals. */
struct report_check { const char *name; uint64_t recorded, kernel; bool ok, known; uint64_t tasks, tasks_ok; };
struct report_lock {		/* a futex word now, a lock object later */
	uint32_t id; const struct futex *futex; const char *kind; char name[160];
	uint64_t p50_ns, p99_ns;
};

/* --- where serialization happens (analyze/causes.c and its neighbours fill these) --------------- */

/* X(NAME, json key, for a person). Order = order of equals. Append-only. */
#define CAUSES(X) \
	X(WORK, "work", "work") X(GIL, "gil", "GIL") X(LOCK, "lock", "lock") \
	X(SERIAL, "serial-section", "serial") X(CHANNEL, "channel", "channel") X(CHILD, "child", "child") \
	X(IO, "io", "I/O") X(FAULT, "fault", "page fault") X(SLEEP, "sleep", "sleep") \
	X(EXTERNAL, "external", "outside") X(CPU_SHORTAGE, "cpu-shortage", "no CPU free") \
	X(NO_TASK, "no-task", "no task") X(UNATTRIBUTED, "unattributed", "unattributed")
enum cause {
#define X(NAME, key, text) CAUSE_##NAME,
	CAUSES(X)
#undef X
	CAUSE_N
};
/* One share of capacity. id: lock id, channel id or task id, by cause; 0 = none. They add up
 * to capacity_ns to the ns. stack: what ran there (serial section, holder), most often; 0 none. */
struct cause_row {
	uint8_t cause; uint32_t id; char name[160];
	uint64_t ns; double uncertainty_ratio;
	uint32_t task, ustack, kstack;	/* the holder (or runner) most often, and its commonest stack */
};
struct share_row { uint32_t task; uint64_t height_ns, critical_ns; };	/* Σ dt/running, Σ dt/(running + runnable) */
struct serial_row { uint32_t task; uint64_t ns, count; uint32_t ustack, kstack; };	/* one task running, others waiting */
/* A piece of the critical path, in time order, tiling the wall. state: 'R' running, 'Q' runnable, 'B' blocked. */
struct path_row {
	uint64_t start_ns, end_ns; uint32_t task; char state;
	uint8_t cause;			/* enum cause: what the piece is */
	uint32_t lock, channel, ustack, kstack;
};
struct deadlock_edge {
	uint32_t task, holds, waits_for;	/* lock ids */
	uint32_t ustack, kstack; uint8_t evidence;
	uint64_t since_ns;
	bool before;			/* as in graph_row */
};
struct deadlock { VEC(struct deadlock_edge) edges; };
/* What a task does as the recording ends. state: 'R' running, 'Q' ready, 'B' blocked; then kind … evidence
 * are those of its open wait: waits_for is the task that it waits for, 0 = none of ours is known. */
struct graph_row {
	uint32_t task; char state;
	uint8_t kind, evidence;		/* enum wait_kind, enum evidence */
	uint32_t lock, channel, waits_for;
	uint64_t since_ns;
	bool before;			/* it waited already when recording began: since_ns is that moment */
	bool for_good;			/* for a lock of its own process, without a timeout */
	uint32_t deadlock;		/* index + 1 into deadlocks */
	uint32_t ustack, kstack;	/* where it waits; where a running one was last seen */
};
/* The whole run if one cause were gone, from a replay (analyze/replay_priv.h). change: "Without the GIL".
 * cause, id: as in cause_row; id 0 of a GIL: all GILs; CAUSE_WORK: more CPUs. speedup, low, high:
 * wall / predicted wall, and its range; wall_ns, wall_low_ns (fastest), wall_high_ns: the predicted wall;
 * free_ns: the same if no other program used the CPUs.
 * Of a GIL, what processes instead of threads would cost: processes, how many (0 = does not apply),
 * memory_bytes and spawn_ns of each; WHAT_IF_UNKNOWN = not measured. memory_bytes: what the process had of its own
 * (anonymous) before its first thread: the most that a forked one has to copy (measured: 7/8 of 69 MB when it looks
 * at all of its objects, 1 to 2 MB when it only computes), and what a spawned one has if it makes all that anew
 * (and 2 MB). spawn_ns: from the process's last exec through its imports to its first own work, less waiting for a CPU. */
#define WHAT_IF_UNKNOWN UINT64_MAX
struct what_if_row {
	char change[192]; uint8_t cause; uint32_t id; double speedup, low, high;
	uint64_t wall_ns, wall_low_ns, wall_high_ns, free_ns;
	uint32_t processes; uint64_t memory_bytes, spawn_ns;
};
/* hold: how long it was held. While others waited for it, or the holder was not running, that is recorded; of who
 * ran with nobody waiting it is an estimate from samples, each of which looked whether the task had it
 * (analyze/gil_share.c): right to within doubt_ns, two standard deviations. samples 0: there are
 * none, and it is the most that it can have been. cpu_ns: CPU time since the GIL was first seen (of the
 * row: of all threads of its process, including those that never had it); cpu_hold_ns: of that with the GIL. */
struct gil_time { uint64_t hold_ns, doubt_ns, cpu_ns, cpu_hold_ns, samples; };
struct gil_task { uint32_t task; struct gil_time time; uint64_t wait_ns, waits; };
/* others: Python ran without it, too, in a sub-interpreter whose own GIL is not known. */
struct gil_row { uint32_t gil, proc; struct gil_time time; uint64_t wait_ns, switches; bool others; VEC(struct gil_task) tasks; };
struct watch_by { uint32_t task; uint8_t cause; uint64_t ns; };
/* at_work_ns: ready, or kept by a lock, in the middle of its work, so that it is in no delay. */
struct watch_row { uint32_t task; uint64_t waits, p50_ns, p99_ns, max_ns, at_work_ns; VEC(struct watch_by) by; };
/* OPENMP: in its library, in a function without a name. YIELD: nobody who has something to do gives up the CPU all
 * the time. */
enum spin_kind { SPIN_NONE, SPIN_LOCK, SPIN_BARRIER, SPIN_OPENMP, SPIN_MPI, SPIN_YIELD, SPIN_KERNEL, N_SPINS };
enum verdict { VERDICT_UNKNOWN, VERDICT_SERIALIZED, VERDICT_CPU_BOUND, VERDICT_IO_BOUND, VERDICT_CPU_STARVED,
	       VERDICT_IMBALANCED, VERDICT_PARALLEL, VERDICT_IDLE };
const char *verdict_key(enum verdict v);	/* "serialized", …; NULL for UNKNOWN */
const char *cause_key(enum cause c);
const char *cause_text(enum cause c);

/* A weight at a place, for flame graphs. Stack ids; 0 = none. */
struct view_row {
	uint32_t task, ustack, kstack;
	uint32_t waker, waker_ustack, waker_kstack;	/* view wake */
	uint32_t lock, channel;				/* view futex; critical-path */
	uint8_t cause;					/* enum cause or enum block_cause, by view */
	char state;					/* critical-path: R, Q, B; wake without a waker:
							 * T timer, I interrupt or kernel thread */
	uint64_t weight;				/* ns; on-cpu: samples; first-touch, cow: bytes */
};
/* Rows of a view: on-cpu, off-cpu, futex, wake, critical-path, serial … . 0, -ENOENT for an unknown view,
 * -ENODATA when the recording has not what it needs (*err says what), -ENOMEM. */
struct view_rows { VEC(struct view_row) rows; const char *unit; /* "us", "samples", "bytes" */ };
struct report;
int report_view(const struct report *r, const char *view, struct view_rows *out, struct err *err);

/* How a task was made. Times in ns since start_ns, the first sign of its creation (absolute: the call in
 * the parent where it is known, else the moment that the task existed); SPAWN_UNKNOWN = not known or
 * did not happen. call: until it existed (copy of the page tables included), or, of a vfork, until its
 * creator went on; first_run: it got a CPU;
 * exec: its first exec; ready: it began with work of its own. Of a Python process: the first function that is
 * neither the interpreter's library nor multiprocessing's, nor run by an import (for a worker of a pool:
 * its loop). Of a Python thread: what threading's Thread.run calls, or a run() of its own; of one made without
 * threading its first function. Unknown where it lies within no bounds of 200 µs or, either way, half of
 * its distance; ready_off says the bounds. Else its first wait after its exec; without one unknown, as it is at
 * work since its first run. teardown: from its exit until it had gone. */
#define SPAWN_UNKNOWN UINT64_MAX
struct spawn_row {
	uint32_t task;
	const char *method;		/* thread, fork, exec (fork or vfork + exec), spawn, forkserver */
	uint64_t start_ns, call_ns, first_run_ns, exec_ns, ready_ns, teardown_ns;
	uint64_t ready_off_ns;		/* ready_ns is right to within this; SPAWN_UNKNOWN: nobody can say */
	bool python;
};
/* On-CPU samples with Python frames: all of a process, and those inside (un)pickling. Times sample_ns they
 * are CPU time, give or take its square root. Where the interpreter has the C pickler inside and is stripped,
 * only what multiprocessing pickles is seen. */
struct pickle_row { uint32_t proc; uint64_t samples, dumps, loads; };
/* Memory of all processes together at one moment: sums of their readings. */
struct tree_sample { uint64_t t_ns, rss_bytes, pss_bytes, uss_bytes; uint32_t procs, unread; };
/* What is asked of the analyses. Zeroed = defaults. */
struct analyze_opts {
	const char *task;	/* critical path of this task (tid or name) instead of the run */
	const char *watch;	/* TID, NAME or "main": responsiveness of these tasks */
};
struct report {
	const struct model *m;
	struct waits *w;		/* owned; NULL when slices were not loaded */
	struct analyze_opts opts;
	const char *mode;		/* single, threaded, multiprocess, mixed: of the program, without … */
	/* … what launched it: other processes that had all ended when the recording's first process came to its
	 * last exec, in the first half of the run (a version manager's script before python). 0 = none;
	 * launcher_ns: until then. The account and all tables have them, but for channels that only they had: those the
	 * text counts. */
	size_t launcher_procs, launcher_tasks;
	uint64_t launcher_ns;
	uint64_t wall_ns; double cpus;	/* 0 = unknown */
	double avg_parallelism;
	VEC(struct report_check) checks;	/* voluntary, involuntary, run_ns, runnable_ns, faults … */
	VEC(struct report_lock) locks;		/* by wait_ns, largest first */
	bool causes_known;		/* the members below were worked out */
	bool chains_too_long;		/* why not: so many tasks wait for one another, one behind the other */
	uint64_t capacity_ns;		/* wall × CPUs, rounded down */
	/* The wall time less what other load (or the hypervisor) took, an estimate: ∫ dt × running / could,
	 * could = the least of running + ready and CPUs, ready without those who would only have
	 * waited for a lock; a stretch in which nothing could run counts whole. */
	uint64_t undisturbed_ns;
	VEC(struct cause_row) breakdown;	/* work first, then by ns */
	/* By index into w->locks, w->channels, when causes_known: the CPU time that was idle because of it. Of a lock
	 * also what its holder slept or read meanwhile, which the breakdown tells under that cause; of a family
	 * under its first. Waits that held nobody up have none. */
	VEC(uint64_t) lock_idle_ns, channel_idle_ns;
	VEC(struct share_row) shares, proc_shares;	/* by height; proc_shares.task = proc id */
	VEC(struct serial_row) serial;		/* by ns */
	VEC(struct path_row) path;
	uint32_t path_of;		/* the path is not that of the run's end, where everybody lives on, but of
					 * this task, as the one that ran most; 0 = of the end, or as asked */
	VEC(struct deadlock) deadlocks;
	VEC(struct graph_row) graph;	/* tasks that live when recording ends, in order of appearance */
	enum verdict verdict;
	/* The cause that the headline names; of a lock whose holders slept, with that. ns 0: none. */
	struct cause_row verdict_row;
	bool holder_slept;		/* it is such a lock: the account has most of it as sleep */
	char headline[640];		/* one sentence; of losses the renderers tell */
	char next_step[400];		/* what to look at next; "" = nothing */
	/* On-CPU samples, and those of them in code that waits by spinning (analyze/spin.c), which is work to
	 * the account; spin_note: a sentence when that is much, else "". */
	uint64_t samples, spinning;
	char spin_note[400];
	enum spin_kind spin_kind;	/* most of it; SPIN_NONE: no spin_note */
	char spin_place[240];		/* the program's function that spins most, "" = unknown */
	VEC(struct what_if_row) what_if;	/* GILs, locks, CPUs; each by wall_ns */
	bool what_if_known;		/* else why_no_what_if says why not */
	char why_no_what_if[160];
	bool what_if_cut;		/* the recording is long: not every change was tried */
	/* What a replay with nothing changed takes on free CPUs; 0 = unknown. How far it is from wall_ns tells
	 * how well the replay knows this program; that has scaled the predictions. */
	uint64_t replay_ns;
	uint64_t others_ns;			/* CPU time that other programs used meanwhile on the CPUs of the workload's
						 * affinity, not mpvtrace nor the hypervisor while the workload ran;
						 * WHAT_IF_UNKNOWN = not recorded */
	uint64_t recorder_ns;			/* CPU time of mpvtrace's in that time; WHAT_IF_UNKNOWN likewise */
	VEC(struct gil_row) gils;
	VEC(struct watch_row) watch;
	VEC(struct spawn_row) spawns;		/* by start_ns; tasks made during the recording */
	VEC(struct pickle_row) pickling;	/* processes with Python on a CPU; empty: no samples of any */
	uint64_t sample_ns;			/* CPU time that a sample stands for; 0 = unknown */
	VEC(struct tree_sample) tree;		/* in time order */
	struct tree_sample tree_peak;		/* largest PSS; t_ns 0 = never read */
	/* Largest PSS of all processes, an estimate where it falls between readings: the last ones, carried on
	 * by the growth of RSS and by what was copied (analyze/peak.c). While `unread` processes live it is at least
	 * that. t_ns 0 = never read; peak_memory_bytes: its PSS. */
	struct tree_sample peak;
	uint64_t peak_memory_bytes;
	/* By index of the process: what it was read with, carried on likewise, where its PSS was largest. t_ns 0:
	 * it was never read; USS is what it copied and touched. */
	struct footprint_sample *proc_peaks;
	uint64_t self_cpu_ns, bpf_ns, bpf_runs;	/* mpvtrace's own cost; see costs_known */
	bool costs_known;
	VEC(char *) notes;		/* owned sentences for quality.notes */
};
/* When an analysis runs: one after the other those that others build on; then each lane by itself,
 * beside the other; then what speaks of them all. */
enum analysis_lane { LANE_FIRST, LANE_MAIN, LANE_REPLAY, LANE_LAST };
/* An analysis: a row of the table in analyze/registry.c. run() reads r->m and what those before it in
 * its lane and in LANE_FIRST have filled in; fills parts of r that are its own. 0 or -errno. */
struct analysis {
	const char *name, *help;
	enum analysis_lane lane;
	int (*run)(struct report *r, struct err *err);
};
extern const struct analysis analyses[];
extern const size_t n_analyses;
/* Runs them all. The report borrows the model. */
int report_build(struct report *r, const struct model *m, struct err *err);
int report_build_opts(struct report *r, const struct model *m, const struct analyze_opts *o, struct err *err);
void report_release(struct report *r);

struct report_opts {
	const char *sort;	/* task column: run, runnable, blocked, switches, faults, start; NULL = run */
	unsigned top;		/* rows per table; 0 = default 10 */
	const char *task;	/* only tasks with this tid or name; NULL = all */
	unsigned width;		/* columns of the terminal; 0 = 100 (not a terminal) */
	bool colour;
	bool ascii;		/* the terminal shows no UTF-8: "#" for bars, "->" … one character for one */
	const char *trace_path;	/* for the "recording" and "next" lines; may be NULL */
};
/* How this task was made; NULL = it was there before, or is unknown. */
const struct spawn_row *report_spawn(const struct report *r, uint32_t task);
/* Is there a task with this tid or name (a pattern), as report_opts.task has it? */
bool report_has_task(const struct report *r, const char *want);
/* Is it a sort key that report_text understands? */
bool report_sort_known(const char *key);
const char *report_sort_keys(void);		/* "run, runnable, …" for help and errors */
/* What is wrong with a damaged file, in words: "2 of 9 blocks (4 KB) could not be read". Returns out. */
const char *report_damage(char *out, size_t n, const struct trace_info *info);
/* 0 or -errno of the stream. */
int report_text(const struct report *r, const struct report_opts *o, FILE *out, struct err *err);
int report_json(const struct report *r, const struct report_opts *o, FILE *out, struct err *err);

/* Text of ours for a terminal that shows no UTF-8: one character for one, so that columns stay aligned. */
void report_ascii(FILE *out, const char *s, size_t n);

/* The wait-for graph at the end of the recording: deadlocks first, then each task that others wait
 * for with those below it, then the rest. (JSON: wait_graph of the report.) 0 or -errno of the stream. */
int report_graph_text(const struct report *r, const struct report_opts *o, FILE *out, struct err *err);

/* --- export: a table of formats and a table of views ---------------------------------------- */

/* Views that can be exported. X(NAME, name, needs slices, what the graph shows, for --help).
 * The first is the default. Append-only. */
#define VIEWS(X) \
	X(OFF_CPU, "off-cpu", false, "time blocked (not the time then spent waiting for a CPU)") \
	X(ON_CPU, "on-cpu", false, "samples of running code") \
	X(FUTEX, "futex", true, "time blocked, by the lock that was waited for") \
	X(WAKE, "wake", true, "time blocked, and below each stack who ended the wait") \
	X(SERIAL, "serial", true, "time in which one task ran and others waited for it") \
	X(CRITICAL_PATH, "critical-path", true, "what bounded the wall time") \
	X(FIRST_TOUCH, "first-touch", false, "bytes of memory that were touched first, sampled by bytes") \
	X(COW, "cow", false, "bytes copied because a fork shared them, sampled by bytes")
/* Whose time: first frames of each stack. NAME: process, then thread, by name. */
enum export_by { EXPORT_BY_NAME, EXPORT_BY_TASK, EXPORT_BY_PROCESS, EXPORT_BY_LOCK };
struct export_opts {
	const char *view;	/* NULL = the format's first */
	const char *task;	/* only tasks with this tid or name; NULL = all */
	int by;			/* enum export_by; view futex: NAME means LOCK */
	bool reverse;		/* innermost frame first: merges callers under callees */
	bool no_marks;		/* folded: no _[k], _[i], _[p] behind names */
	double min_ratio;	/* frames with a smaller share are summed up; 0 = the format's default */
	const char *trace_path;	/* for titles; may be NULL */
	bool *empty;		/* out: there is nothing in this view; may be NULL */
	const struct report *base;	/* the difference from this one: folded lines have two weights, base first; the
				 * graph is as wide as the run's own and coloured by growth; NULL = none */
};
struct exporter {
	const char *name, *help;
	const char *const *exts;	/* how names of its files end, without the dot; NULL-terminated */
	const char *const *views;	/* NULL-terminated */
	int (*run)(const struct report *r, const struct export_opts *o, FILE *out, struct err *err);
};
extern const struct exporter exporters[];
extern const size_t n_exporters;
const struct exporter *exporter_find(const char *name);

#endif
