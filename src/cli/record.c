/* SPDX-License-Identifier: MIT */
/* What run and attach have in common: check everything, record, report. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define MAX_VARIANTS 10000 /* mpvtrace.1.mpv … */

void record_defaults(struct record_settings *set)
{
	*set = (struct record_settings){
	        .collect = {.freq_hz = DEFAULT_FREQ_HZ,
	                    .footprint_permille = DEFAULT_FOOTPRINT_PERMILLE,
	                    .stacks = STACKS_AUTO},
	};
}

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

/* collect() refuses as well, atomically; asking first gives the answer before any set-up. */
static int named_trace(const struct record_settings *set, struct err *err)
{
	const char *path = set->collect.output;
	struct stat st;

	/* A FIFO would wait for a reader, and none can be read back. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, MT_EXIT_OUTPUT,
		               "%s is %s: the trace must be a regular file, as it is read back for "
		               "the report; name another with -o",
		               path,
		               S_ISDIR(st.st_mode) ? "a directory" : "a pipe, terminal or device");
	if (set->collect.overwrite || !exists(path))
		return 0;
	return err_set(err, -EEXIST, MT_EXIT_OUTPUT,
	               "%s exists already: name another file with -o, or replace it with -f", path);
}

int choose_trace(struct record_settings *set, char *buf, size_t n, struct err *err)
{
	set->collect.overwrite = set->out.overwrite;
	if (set->collect.output)
		return named_trace(set, err);
	set->collect.output = DEFAULT_TRACE;
	if (set->collect.overwrite || !exists(DEFAULT_TRACE))
		return 0;
	for (unsigned i = 1; i < MAX_VARIANTS; i++) {
		snprintf(buf, n, "mpvtrace.%u.mpv", i);
		if (exists(buf))
			continue;
		set->collect.output = buf;
		set->other_name = true;
		return 0;
	}
	return err_set(err, -EEXIST, MT_EXIT_OUTPUT,
	               "%u trace files are here already: remove some, or name a file with -o",
	               MAX_VARIANTS);
}

/* Talk about how the recording ended; returns the exit status so far. */
static int say_result(const struct record_settings *set, const struct collect_result *res)
{
	char size[32];

	if (set->other_name)
		notice(DEFAULT_TRACE " existed already and was kept; this recording is in %s",
		       set->collect.output);
	if (res->disk_full) {
		fprintf(stderr,
		        "mpvtrace: the disk filled up while recording: %s (%s) holds what came "
		        "before; the "
		        "workload was not disturbed\n",
		        set->collect.output, fmt_bytes(size, sizeof(size), res->trace_bytes));
		return MT_EXIT_DISK_FULL;
	}
	if (res->still_running)
		notice("%s and is not disturbed further; the report ends at the end of the "
		       "recording",
		       set->collect.argv ? "the workload is still running"
		                         : "the processes are still running");
	return res->exit_status > 0 ? res->exit_status : MT_EXIT_OK;
}

static int show(const struct record_settings *set, int trace_fd, struct out_file *json,
                struct err *err)
{
	bool text = !set->no_report && json->f != stdout;
	struct model_opts opts;
	struct session s;
	int rc;

	if (!text && !json->f)
		return 0;
	view_model_opts(&set->view, &opts);
	rc = session_open_fd(&s, trace_fd, set->collect.output, err);
	s.wanted.watch = set->view.watch;
	s.wanted.task = set->view.task;
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (!rc)
		rc = view_render(&s, &set->view, json, text, err);
	session_release(&s);
	return rc;
}

/* Creates the trace file now, so that a wrong path is known before anything begins, and keeps it
 * open for reading: once the privileges are gone its directory may be closed to us (root in
 * somebody's home). collect() then writes to this same file. Returns the descriptor. */
static int create_trace(struct record_settings *set, struct out_file *trace, struct err *err)
{
	char path[40];
	int fd, rc;

	rc = out_open(trace, set->collect.output, set->collect.overwrite, err);
	if (rc == -EACCES || rc == -EROFS || rc == -EPERM)
		return err_set(err, rc, err->status, "%s; name a file in another directory with -o",
		               err->msg);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(trace->f));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, MT_EXIT_OUTPUT, "%s cannot be read back: %s",
		               set->collect.output, strerror(errno));
	set->collect.overwrite = true;
	return fd;
}

static bool is_empty(int fd)
{
	struct stat st;

	return fstat(fd, &st) || !st.st_size;
}

static int record_into(struct record_settings *set, int trace_fd, struct out_file *trace,
                       struct out_file *json, struct err *err)
{
	struct collect_result res = {.exit_status = -1};
	int rc, status;

	set->collect.progress = isatty(STDERR_FILENO) && log_level == LOG_WARN;
	rc = collect(&set->collect, &res, err);
	trace->created &= is_empty(trace_fd); /* what was recorded stays, whatever happens now */
	if (rc)
		return fail(rc, err);
	status = say_result(set, &res);
	rc = show(set, trace_fd, json, err);
	return rc ? fail(rc, err) : status;
}

/* One file has many names (./x, links), some of which only lead to it once it is there. */
static int check_names(const struct record_settings *set, struct err *err)
{
	const char *json = set->view.json, *trace = set->collect.output;
	struct stat a, b;
	bool same = json && strcmp(json, "-") && !stat(json, &a) && !stat(trace, &b) &&
	            a.st_dev == b.st_dev && a.st_ino == b.st_ino;

	if (!same && (!json || strcmp(json, trace)))
		return 0;
	return err_set(err, -EINVAL, MT_EXIT_USAGE, "%s cannot be both the trace and the JSON file",
	               json);
}

/* Options are fine: opens the outputs, records, reports. */
static int record_checked(struct record_settings *set, struct err *err)
{
	struct out_file trace = {}, json = {};
	int rc = collect_allowed(err), status, fd = -1;

	if (!rc && set->view.json)
		rc = out_open(&json, set->view.json, set->out.overwrite, err);
	if (!rc)
		rc = check_names(set, err);
	if (!rc)
		fd = rc = create_trace(set, &trace, err);
	status = rc < 0 ? fail(rc, err) : record_into(set, fd, &trace, &json, err);
	out_discard(&json);
	out_discard(&trace);
	if (fd >= 0)
		close(fd);
	return status;
}

int record(struct record_settings *set)
{
	struct err err = {};
	char name[64];
	int rc;

	rc = view_check(&set->view, &err);
	if (!rc)
		rc = choose_trace(set, name, sizeof(name), &err);
	if (!rc && !strcmp(set->collect.output, "-"))
		rc = err_set(&err, -EINVAL, MT_EXIT_USAGE,
		             "the trace must be a file: stdout is the report's");
	if (!rc)
		rc = check_names(set, &err);
	return rc ? fail(rc, &err) : record_checked(set, &err);
}
