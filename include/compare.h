/* SPDX-License-Identifier: MIT */
/*
 * compare.h: two recordings, or several of each side, next to each other.
 *
 * A run is what a report boils down to: figures, each a number or unknown. A side is one or more
 * runs of the same thing. compare_build() works out per figure the median and the range over the
 * runs, what the difference of the wall times is made of, and what follows from all that:
 *
 *  - Explanation. In every run wall × CPUs = Σ of the shares of capacity, so the wall time is the
 *    sum of cause_ns / CPUs, and a difference of two wall times is the sum of the differences of
 *    these, exactly. Taken from the run of each side whose wall time is the median.
 *  - Recommendation. Two sides are told apart by a figure when in COMPARE_TOLD of all pairs of a run of
 *    each the same side has less (with a single run of a side nothing speaks against it). The wall times
 *    decide when their medians differ by COMPARE_SETTLED or more and tell the sides apart. When they differ
 *    by less than COMPARE_LITTLE and do not, the smaller memory decides, if it is told apart. A gain below
 *    COMPARE_LITTLE for COMPARE_MUCH times the memory is left to the reader. Anything else, and a failed,
 *    incomplete or attached run, settles nothing. Where other load (or the hypervisor) kept the CPUs from
 *    either side for COMPARE_BUSY of capacity or more, the same is asked of the times without that share
 *    (QUIET) instead, which must differ by COMPARE_BUSY_SETTLED, as they are an estimate.
 */
#ifndef MT_COMPARE_H
#define MT_COMPARE_H

#include "report.h"

#define COMPARE_SETTLED 0.05	/* wall times closer than this are equal */
#define COMPARE_BUSY 0.10
#define COMPARE_BUSY_SETTLED 0.15
#define COMPARE_LITTLE 1.20
#define COMPARE_MUCH 2.0
#define COMPARE_TOLD 0.9

/* X(NAME, json key, for a person, unit). Unit: s time (ns), b bytes, n count, f number, % share of
 * capacity (0 … 1). Order = order in table and JSON; the shares of capacity by cause stand behind CAPACITY. */
#define COMPARE_FIGURES(X) \
	X(WALL, "wall_ns", "wall time", 's') X(QUIET, "wall_with_cpus_free_ns", "  with CPUs free", 's') \
	X(CPU, "cpu_ns", "CPU time", 's') X(SPINNING, "spinning_ns", "  spinning (sampled)", 's') \
	X(PARALLELISM, "parallelism_average", "CPUs used", 'f') \
	X(TASKS, "tasks", "threads", 'n') X(PROCS, "processes", "processes", 'n') \
	X(READY, "ready_ns", "ready, no CPU", 's') \
	X(GIL_WAIT, "gil_wait_ns", "GIL waits", 's') X(GIL_HOLD, "gil_hold_ns", "GIL held", 's') \
	X(LOCK_WAIT, "lock_wait_ns", "lock waits", 's') X(LOCK_WAITS, "lock_waits", "  number", 'n') \
	X(CHANNEL_WAIT, "channel_wait_ns", "channel waits", 's') \
	X(CHANNEL_WAITS, "channel_waits", "  number", 'n') \
	X(MESSAGES, "messages", "messages sent", 'n') X(MESSAGE_BYTES, "message_bytes", "bytes sent", 'b') \
	X(PICKLING, "pickling_ns", "pickling (sampled)", 's') \
	X(SPAWNS, "spawns", "tasks started", 'n') X(SPAWN, "spawn_ns", "starting tasks", 's') \
	X(SPAWN_THREAD, "spawn_thread_ns", "  by thread", 's') X(SPAWN_FORK, "spawn_fork_ns", "  by fork", 's') \
	X(SPAWN_EXEC, "spawn_exec_ns", "  by exec", 's') X(SPAWN_SPAWN, "spawn_spawn_ns", "  by spawn", 's') \
	X(SPAWN_FORKSERVER, "spawn_forkserver_ns", "  by forkserver", 's') \
	X(PSS, "peak_pss_bytes", "peak memory (PSS)", 'b') X(RSS, "peak_rss_sum_bytes", "peak RSS, summed", 'b') \
	X(VOLUNTARY, "voluntary_switches", "switches to wait", 'n') \
	X(INVOLUNTARY, "involuntary_switches", "preemptions", 'n') \
	X(WATCH_P50, "watch_p50_ns", "watched: p50", 's') X(WATCH_P99, "watch_p99_ns", "watched: p99", 's') \
	X(WATCH_MAX, "watch_max_ns", "watched: max", 's')
enum compare_figure {
#define X(NAME, key, text, unit) COMPARE_##NAME,
	COMPARE_FIGURES(X)
#undef X
	COMPARE_CAUSE0,				/* + enum cause: its share of capacity */
	COMPARE_N = COMPARE_CAUSE0 + CAUSE_N
};
const char *compare_key(unsigned figure);	/* of a cause: cause_key() */
const char *compare_text(unsigned figure);
char compare_unit(unsigned figure);

/*
 * What each figure is: QUIET: the wall time less what other load took (report.undisturbed_ns). CPU: Σ of the
 * tasks' running time; SPINNING: of it, the share of the samples in code that waits by spinning. READY: Σ
 * runnable. GIL, LOCK, CHANNEL: Σ over tasks, so it can exceed the wall time.
 * MESSAGES, MESSAGE_BYTES: put into channels, with --messages. PICKLING: by samples, see report.h. SPAWN: Σ over
 * tasks made while recording, from the creating call to their own work where that is known (Python), else to their
 * first turn on a CPU; by method likewise. PSS: the largest sum over all processes at one moment, pages counted
 * once, carried on between readings (report.peak_memory_bytes). RSS: Σ of the processes' own peaks: pages that are shared count several times, and the peaks need not
 * coincide. WATCH: the worst of the tasks of --watch.
 */
struct compare_run {
	double v[COMPARE_N];		/* NAN = unknown */
	double cpus;			/* 0 = unknown */
	uint64_t cause_ns[CAUSE_N];
	char cause_name[CAUSE_N][160];	/* of its largest part: lock, channel …; "" = none */
	bool causes_known, python;	/* python: a GIL was seen */
	enum verdict verdict;
	char mode[24];
	bool attached, partial;		/* partial: incomplete, damaged or windowed */
	int exit_status;		/* -1 unknown */
	uint64_t events, lost;
};
/* r was built from a model loaded with MODEL_SLICES. */
void compare_run_of(struct compare_run *run, const struct report *r);

struct compare_side { char name[512]; /* made safe */ VEC(struct compare_run) runs; };
struct compare_stat { double median, min, max; unsigned n; };	/* NAN, n 0 = unknown */
struct compare_part { uint8_t cause; double wall_ns; };		/* B - A */
struct compare {
	struct compare_side side[2];	/* filled by the caller: A, B; at least one run each */
	struct compare_stat stat[2][COMPARE_N];
	double speedup;			/* wall A / wall B; NAN */
	bool busy;			/* judged by QUIET, not by WALL */
	bool by_memory;			/* the times are equal, memory decided */
	unsigned typical[2];		/* the run with the median wall time */
	VEC(struct compare_part) parts;	/* by size; none when causes or CPUs are not known */
	int choice;			/* 0 A, 1 B, -1 not settled */
	char verdict[400];		/* the recommendation, one or two sentences */
	VEC(char *) reasons;		/* owned sentences: why, and at what price */
	VEC(char *) caveats;		/* owned sentences */
};
int compare_build(struct compare *c, struct err *err);
void compare_release(struct compare *c);

/* As report_text, report_json (schema mpvtrace.compare/1). 0 or -errno of the stream. */
int compare_text_out(const struct compare *c, const struct report_opts *o, FILE *out, struct err *err);
int compare_json(const struct compare *c, FILE *out, struct err *err);

/* Of "so many times": three digits, as far as there are some behind the point. */
static inline int compare_decimals(double times)
{
	return times >= 100 ? 0 : times >= 10 ? 1 : times >= 0.1 ? 2 : 3;
}

#endif
