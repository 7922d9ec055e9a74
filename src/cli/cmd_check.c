/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define MAX_FEATURES 64
#define WHAT_COLUMN  26

void check_line(bool ok, const char *what, const char *fmt, ...)
{
	char detail[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	say("%-4s %-*s %s\n", ok ? "ok" : "no", WHAT_COLUMN, what, detail);
}

static const char *check_label(const char *name)
{
	static const struct {
		const char *name, *label;
	} labels[] = {
	        {"voluntary", "voluntary switches"},
	        {"involuntary", "involuntary switches"},
	        {"run_ns", "running time"},
	        {"runnable_ns", "waiting for a CPU"},
	        {"events", "events"},
	};

	for (size_t i = 0; i < ARRAY_LEN(labels); i++)
		if (!strcmp(labels[i].name, name))
			return labels[i].label;
	return name;
}

bool print_check(const struct report_check *c)
{
	char recorded[32], kernel[32], tasks[80] = "";
	size_t n = strlen(c->name);

	if (!c->known)
		return true;
	if (n > 3 && !strcmp(c->name + n - 3, "_ns")) {
		fmt_ns(recorded, sizeof(recorded), c->recorded);
		fmt_ns(kernel, sizeof(kernel), c->kernel);
	} else {
		fmt_count(recorded, sizeof(recorded), c->recorded);
		fmt_count(kernel, sizeof(kernel), c->kernel);
	}
	if (c->tasks)
		snprintf(tasks, sizeof(tasks), "; %" PRIu64 " of %" PRIu64 " tasks agree",
		         c->tasks_ok, c->tasks);
	check_line(c->ok, check_label(c->name), "%s; the kernel says %s%s", recorded, kernel,
	           tasks);
	return c->ok;
}

/* Returns whether everything that recording cannot do without is there. */
static bool print_features(void)
{
	struct feature_status rows[MAX_FEATURES];
	size_t n = collect_features(rows, MAX_FEATURES);
	bool all = true;

	for (size_t i = 0; i < n; i++) {
		const struct feature_status *f = &rows[i];

		check_line(f->ok, f->name, "%s%s", f->detail,
		           !f->ok && !f->required ? " (optional)" : "");
		if (!f->ok && *f->remedy)
			say("%*s%s\n", 5 + WHAT_COLUMN + 1, "", f->remedy);
		all &= f->ok || !f->required;
	}
	return all;
}

static int check_machine(void)
{
	bool able = print_features();
	int status;

	/* Even when a feature is missing: collect() knows the exact reason and its status. */
	status = check_self_recording();
	if (!status && !able)
		status = MT_EXIT_UNSUPPORTED;
	say("\n%s\n", !status ? "This machine can record."
	              : status == MT_EXIT_PRIVILEGE && geteuid()
	                      ? "Not as this user: try sudo mpvtrace check."
	                      : "Something is wrong: see the lines that begin with no.");
	return status;
}

int cmd_check(const struct command *cmd, int argc, char **argv)
{
	struct plain_settings set = {};
	int first, status;

	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0)
		status = check_operands(cmd, argc, argv, first, 1);
	if (status >= 0)
		return status;
	return first < argc ? check_trace_file(argv[first]) : check_machine();
}
