/* SPDX-License-Identifier: MIT */
/*
 * cli.h: the commands. One table (commands[]) says what they are called, take and do; help,
 * completion and man page are printed from it. Only this directory prints errors and decides
 * the exit status.
 */
#ifndef MT_CLI_CLI_H
#define MT_CLI_CLI_H

#include "collect.h"
#include "compare.h"
#include "model.h"
#include "opts.h"
#include "report.h"

#define DEFAULT_TRACE              "mpvtrace.mpv"
#define DEFAULT_FREQ_HZ            99
#define DEFAULT_FOOTPRINT_PERMILLE 5
#define DEFAULT_RUNS               3
#define HELP_WIDTH                 80

struct example {
	const char *command, *does;
};

struct command {
	const char *name;
	const char *operands; /* "FILE", "[--] CMD [ARG...]" or "" */
	const char *summary;  /* one line for the list of commands */
	const char *about;    /* paragraphs, each one line ended by '\n' */
	struct opt_set opts;
	enum opt_complete complete;     /* operands */
	bool hidden;                    /* for the build or for ourselves: not in help */
	const struct example *examples; /* ended by a NULL command; NULL = none */
	/* argv[0] is the command's name. Returns the exit status; says why when it fails. */
	int (*run)(const struct command *cmd, int argc, char **argv);
};

extern const struct command commands[];
extern const size_t n_commands;
const struct command *command_find(const char *name); /* NULL unknown */

/* Settings that groups of options fill. */
struct general {
	unsigned verbose;
	bool quiet;
};
struct output_settings {
	bool overwrite;
};
enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };
struct view_settings {
	const char *json; /* file, "-" = stdout instead of the text, NULL = none */
	const char *sort, *task, *watch;
	unsigned top;
	uint64_t since_ns, until_ns;
	int color; /* enum color_mode */
};
struct record_settings {
	struct general general;
	struct output_settings out;
	struct collect_opts collect;
	struct pid_list pids;
	struct view_settings view;
	bool no_report;
	bool other_name; /* the default name was taken: the trace has another one */
};
struct report_settings {
	struct general general;
	struct output_settings out;
	struct view_settings view;
};
struct export_settings {
	struct general general;
	struct output_settings out;
	const char *format, *output, *view, *task, *min, *base;
	int by; /* enum export_by */
	bool reverse, no_marks;
	uint64_t since_ns, until_ns;
};
struct compare_settings {
	struct general general;
	struct output_settings out;
	struct view_settings view;     /* json, watch, color */
	const char *command[2], *user; /* --a, --b */
	const char *keep;              /* prefix of the traces' names; NULL = they are not kept */
	unsigned runs;                 /* 0 = DEFAULT_RUNS */
	unsigned warmup;               /* so many before, of each */
};
struct plain_settings {
	struct general general;
};

extern const struct opt_group general_group, output_group, record_group, user_group, attach_group,
        view_group, export_group, snapshot_group, compare_group, commands_group;

/* The program, with argv as from the shell. Returns the exit status; stdout has been checked. */
int cli_main(int argc, char **argv);

int cmd_run(const struct command *cmd, int argc, char **argv);
int cmd_snapshot(const struct command *cmd, int argc, char **argv);
int cmd_attach(const struct command *cmd, int argc, char **argv);
int cmd_report(const struct command *cmd, int argc, char **argv);
int cmd_export(const struct command *cmd, int argc, char **argv);
int cmd_compare(const struct command *cmd, int argc, char **argv);
int cmd_check(const struct command *cmd, int argc, char **argv);
int cmd_help(const struct command *cmd, int argc, char **argv);
int cmd_man(const struct command *cmd, int argc, char **argv);
int cmd_completion(const struct command *cmd, int argc, char **argv);
int cmd_selftest_workload(const struct command *cmd, int argc, char **argv);

/* --- help.c ---------------------------------------------------------------------- */

void print_overview(FILE *out);
void print_command_help(FILE *out, const struct command *cmd);
void print_exit_statuses(FILE *out);
void print_formats(FILE *out, unsigned indent, unsigned width);
void print_views(FILE *out, unsigned indent, unsigned width);
void print_man(FILE *out);
void print_completion(FILE *out);

/* --- shared by commands ------------------------------------------------------------ */

/* Parses a command's options into settings (which begin with a struct general) and sets the log
 * level. Returns -1 to go on, else the exit status (help was printed, or a usage error said). */
int begin_command(const struct command *cmd, int argc, char **argv, void *settings, int *first);
/* Prints err's message to stderr and returns its exit status, never 0. rc: what the failing
 * function returned; -EPIPE is a reader that has seen enough and gets no words. */
int fail(int rc, const struct err *err);
/* Talk on stderr that -q silences: what the user should know but did not ask for. */
void notice(const char *fmt, ...) MT_PRINTF(1, 2);
/* The same for a usage error of a command, with where to read on. */
int fail_usage(const struct command *cmd, const char *fmt, ...) MT_PRINTF(2, 3);
/* More operands than `max`: usage error. Returns -1 to go on. */
int check_operands(const struct command *cmd, int argc, char **argv, int first, int max);

struct session;
/* A file that the user asked for besides the trace. Zeroed = none. */
struct out_file {
	const char *path;
	FILE *f;
	bool created; /* by us, and nothing good is in it yet */
};
/* Opens path as the invoking user; NULL or "-" = stdout. 0 or -errno with *err. */
int out_open(struct out_file *of, const char *path, bool overwrite, struct err *err);
/* Is path, where something is to be written, the file that s reads, under whatever name? Usage
 * error with *err, before out_open() empties it. path may be NULL. */
int out_spares(const char *path, const struct session *s, struct err *err);
/* Flushes and closes, and the file stays: 0 or -errno with *err. Leaves stdout alone. */
int out_close(struct out_file *of, struct err *err);
/* Closes, and removes what out_open() created, unless out_close() has finished it. */
void out_discard(struct out_file *of);

/* A trace file opened for reading, its model and its report. */
struct session {
	const char *path;
	int fd;
	struct trace_reader *reader;
	/* Set between opening and loading. A task that is not exactly one is ignored. */
	struct analyze_opts wanted;
	struct model *model;
	struct report report;
};
/* Opens the file ("-" = stdin) with the caller's privileges. session_release() in any case. */
int session_open(struct session *s, const char *path, struct err *err);
/* The same for a file that is open already; the caller keeps fd. */
int session_open_fd(struct session *s, int fd, const char *path, struct err *err);
/* Loads model and report, without privileges from here on. */
int session_load(struct session *s, const struct model_opts *opts, struct err *err);
void session_release(struct session *s);
/* Says on stderr what is wrong with the file; MT_EXIT_OK or MT_EXIT_TRACE_DAMAGED. */
int session_quality(const struct session *s);

/* Are the view's settings consistent? 0 or -EINVAL with *err. */
int view_check(const struct view_settings *v, struct err *err);
void view_model_opts(const struct view_settings *v, struct model_opts *o);
/* printf to stdout, in ASCII where the terminal shows no UTF-8. */
void say(const char *fmt, ...) MT_PRINTF(1, 2);
/* How the terminal wants it; trace_path is left NULL. */
void view_report_opts(const struct view_settings *v, struct report_opts *o);
/* Writes JSON (when json is open) and then, also when that failed, the text to stdout (when text).
 */
int view_render(const struct session *s, const struct view_settings *v, struct out_file *json,
                bool text, struct err *err);

/* The common end of run and attach: records, prints the report. Returns the exit status. */
int record(struct record_settings *set);
/* Chooses the trace file: the user's name, or the default, or its next free variant (in buf;
 * other_name tells). 0 or -errno with *err (it exists, nothing is free). */
int choose_trace(struct record_settings *set, char *buf, size_t n, struct err *err);
/* Threads among the ids become their processes, each once; says so. */
void threads_to_processes(struct pid_list *list);
/* Defaults of the options. */
void record_defaults(struct record_settings *set);

/* Runs both commands in turn, recorded, and adds a run to c's sides for each. Ctrl-C ends it after
 * what is there. 0 or -errno with *err. Privileges are still there afterwards. */
int compare_record(const struct compare_settings *set, struct compare *c, struct err *err);
/* A name that nobody guesses, for a file in a directory that all may write to. 0 or -errno. */
int secret_name(char *out, size_t n, struct err *err);

/* check FILE: prints what the file is and holds. Returns the exit status. */
int check_trace_file(const char *path);
/* check: records the known workload and prints each expectation. Returns the exit status. */
int check_self_recording(void);
/* A line for a comparison with the kernel's counters, none when those are unknown. Returns
 * whether they agree (or are unknown). */
bool print_check(const struct report_check *c);
/* One line of check's output; detail is printf style. */
void check_line(bool ok, const char *what, const char *fmt, ...) MT_PRINTF(3, 4);

#endif
