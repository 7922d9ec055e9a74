/* SPDX-License-Identifier: MIT */
/* snapshot: a short recording that nobody keeps, and who waits for whom at its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define DEFAULT_NS 500000000ull
#define FREQ_HZ    499 /* half a second must do to see where running tasks run */

static int load(struct session *s, int fd, struct err *err)
{
	const struct model_opts opts = {.flags = MODEL_SLICES};
	int rc = session_open_fd(s, fd, "the snapshot", err);

	return rc ? rc : session_load(s, &opts, err);
}

static int print(const struct session *s, struct out_file *json, struct err *err)
{
	const struct view_settings view = {};
	struct report_opts o;
	int rc = 0, rc_text = 0;

	view_report_opts(&view, &o);
	if (json->f)
		rc = report_json(&s->report, &o, json->f, err);
	if (!rc && json->f)
		rc = out_close(json, err);
	/* There is no second chance: what can be shown is. */
	if (json->f != stdout)
		rc_text = report_graph_text(&s->report, &o, stdout, rc ? NULL : err);
	return rc ? rc : rc_text;
}

static int take(struct record_settings *set, int fd, struct out_file *trace, struct out_file *json,
                struct err *err)
{
	struct collect_result res = {.exit_status = -1};
	struct session s = {.fd = -1};
	int rc = collect(&set->collect, &res, err);

	/* Open descriptors are enough from here on; nobody should find it. */
	out_discard(trace);
	if (!rc)
		rc = load(&s, fd, err);
	if (!rc)
		rc = print(&s, json, err);
	session_release(&s);
	return rc;
}

static int snapshot(struct record_settings *set)
{
	struct out_file trace = {}, json = {};
	struct err err = {};
	char path[256], self[40];
	int fd = -1, rc;

	rc = collect_allowed(&err);
	if (!rc)
		rc = secret_name(path, sizeof(path), &err);
	if (!rc && set->view.json)
		rc = out_open(&json, set->view.json, set->out.overwrite, &err);
	if (!rc)
		rc = out_open(&trace, path, false, &err);
	if (!rc) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(trace.f));
		fd = open(self, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			rc = err_set(&err, -errno, MT_EXIT_OUTPUT, "%s cannot be read back: %s",
			             path, strerror(errno));
	}
	if (!rc) {
		set->collect.output = path;
		set->collect.overwrite = true;
		rc = take(set, fd, &trace, &json, &err);
	}
	out_discard(&trace);
	out_discard(&json);
	if (fd >= 0)
		close(fd);
	return rc ? fail(rc, &err) : MT_EXIT_OK;
}

int cmd_snapshot(const struct command *cmd, int argc, char **argv)
{
	struct record_settings set;
	int first, status;

	record_defaults(&set);
	set.collect.duration_ns = DEFAULT_NS;
	set.collect.freq_hz = FREQ_HZ;
	set.collect.footprint_permille = 0;
	set.collect.stacks = STACKS_ALL;
	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0 && first < argc)
		status = fail_usage(cmd, "snapshot: \"%s\": processes are named with -p PID",
		                    argv[first]);
	if (status < 0 && !set.pids.pids.n)
		status = fail_usage(
		        cmd,
		        "snapshot: which processes? For example: sudo mpvtrace snapshot -p 4711");
	if (status < 0) {
		threads_to_processes(&set.pids);
		set.collect.pids = set.pids.pids.v;
		set.collect.n_pids = set.pids.pids.n;
		status = snapshot(&set);
	}
	vec_release(&set.pids.pids);
	return status;
}
