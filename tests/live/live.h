/* SPDX-License-Identifier: MIT */
/*
 * live.h: what the live tests share: running mpvtrace on a workload, its report as JSON, the
 * workload's truth, and the checks that hold for every recording. Tests run as root, one at a
 * time, each in a temporary directory of its own that is its working directory.
 *
 * Environment: MPVTRACE_BUILD (default build), the build directory, relative to the directory
 * that the test binary was started in (the root of the sources). MPVTRACE_PYTHONS: see
 * live_pythons().
 */
#ifndef MT_LIVE_H
#define MT_LIVE_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define MS  1000000ull
#define SEC 1000000000ull

/* A test suite of live tests: skipped with the reason where they cannot run. */
#define LIVE_SUITE(name) TestSuite(name, .init = live_init, .fini = live_fini, .timeout = 400)

void live_init(void);
void live_fini(void);
extern char live_dir[];     /* the test's directory, absolute, mode 0755 */
const char *mpvtrace(void); /* absolute path of the program */
/* Absolute path of a workload: a binary, or a script when the name has a dot. Each call has its
 * own buffer, freed at the end of the test. */
const char *workload(const char *name);
/* GOCACHE=PATH, one for all tests: Go compiles its whole library before the first program. */
const char *go_cache(void);
/* Under emulation (MT_SLOW_MACHINE set) a switch takes so long that the moments of the kernel's
 * clock and of ours lie far apart, and big workloads would take minutes. */
bool slow_machine(void);
const char *scaled(unsigned n); /* n as text; a tenth of it on a slow machine */
bool kernel_before(unsigned major, unsigned minor);
const char *rounds(unsigned n); /* a fiftieth: a switch costs milliseconds under emulation */
/* printf into a buffer freed at the end of the test. */
const char *fmt(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- processes --------------------------------------------------------------- */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NONE      ((const char *const[]){NULL})

struct proc_opts {
	const char *input;      /* file for stdin; NULL = /dev/null */
	const char *const *env; /* "NAME=value", added to ours; NULL = none */
	const char *cwd;        /* NULL = live_dir */
	unsigned timeout_s;     /* kills it (and its process group) then; 0 = 60 */
};
struct proc {
	pid_t pid;
	char out_path[256], err_path[256];
	uint64_t deadline_ns;
	int status;      /* shell form; -1: had to be killed */
	char *out, *err; /* after proc_wait; freed at the end of the test */
	long maxrss_kb;
};
/* Starts it in a process group of its own. */
void proc_start(struct proc *p, const char *const *argv, const struct proc_opts *o);
void proc_wait(struct proc *p);
/* Waits until the file holds the text; false after the seconds. */
bool file_holds(const char *path, const char *text, double seconds);
/* Waits until the process has n tasks. Asserts. */
void await_tasks(pid_t pid, size_t n);
/* Waits until mpvtrace, started with -v, records. Asserts. */
void await_recording(const struct proc *p);
struct proc run(const char *const *argv); /* start and wait, default options */
struct proc run_with(const char *const *argv, const struct proc_opts *o);
/* CPythons that are on this machine, from 3.8 to below 3.`before`: the system's, pyenv's, and those
 * that MPVTRACE_PYTHONS names (paths, with a blank between). How many; at most max. */
size_t live_pythons(char out[][256], size_t max, unsigned before);
char *slurp(const char *path); /* "" when missing; freed at the end of the test */
bool have_command(const char *name);
void sleep_s(double seconds);
uint64_t mono_ns(void);

/* --- a recording ---------------------------------------------------------------- */

struct recording {
	struct proc p;
	json_t *json;  /* the report; freed at the end of the test */
	json_t *truth; /* array of the workload's lines */
	char trace[256], json_path[256], truth_path[256];
};
/* `mpvtrace run -o … --json … OPTS -- CMD --truth …`; asserts that a report came. The truth
 * option is appended; "TRUTH" among the arguments stands for the file's path instead. */
struct recording record(const char *const *opts, const char *const *cmd);
struct recording record_with(const char *const *opts, const char *const *cmd,
                             const struct proc_opts *o);
/* The same in two steps, to do something meanwhile. */
void record_start(struct recording *r, const char *const *opts, const char *const *cmd,
                  const struct proc_opts *o);
void record_finish(struct recording *r);
json_t *load_json(const char *path); /* asserts; freed at the end of the test */
json_t *load_truth(const char *path);

/* --- JSON ---------------------------------------------------------------------------- */

/* By a path such as "tasks[0].switches.voluntary"; asserts that it is there. */
json_t *at(json_t *root, const char *path);
uint64_t u64_at(json_t *root, const char *path); /* asserts a non-negative integer */
double real_at(json_t *root, const char *path);
const char *str_at(json_t *root, const char *path);
bool null_at(json_t *root, const char *path);
/* The first truth line of that type (and, when name is not NULL, member name == value). */
json_t *truth_line(json_t *truth, const char *type, const char *name, int64_t value);
uint64_t part_count(json_t *report, const char *name); /* of quality.overhead.parts; 0 = none */
json_t *task_by_tid(json_t *report, uint64_t tid);     /* the first; NULL when none */

/* --- what holds for every recording ----------------------------------------------------- */

enum {
	LENIENT_ALIVE = 1 << 0, /* tasks may be alive at the end: run_ns has a tick's play */
	LENIENT_LOSS = 1 << 1
}; /* events may be lost: only what must tile is checked */
/* Per task: switches equal the kernel's, run and runnable within the tolerances, states tile
 * the life, causes add up; histogram adds up to the wall; nothing lost; every quality check ok. */
void check_recording(json_t *report, unsigned lenient);
/* Number of tasks, lower bounds of every "task" line, "reaped" processes exactly. */
void check_truth(const struct recording *r);

/* --- the trace file itself ------------------------------------------------------------------ */

struct trace_facts {
	uint64_t seen, written, lost, startup_ns, start_ts, events, samples;
	bool complete, truncated;
	uint64_t damaged;
};
struct trace_facts trace_facts(const char *path);

#endif
