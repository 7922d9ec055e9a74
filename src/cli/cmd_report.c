/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "cli/cli.h"

static int report_file(const char *path, const struct report_settings *set, struct out_file *json,
                       struct err *err)
{
	struct model_opts opts;
	struct session s;
	int rc, status = MT_EXIT_OK;

	view_model_opts(&set->view, &opts);
	rc = session_open(&s, path, err);
	if (!rc)
		rc = out_spares(set->view.json, &s, err);
	if (!rc && set->view.json)
		rc = out_open(json, set->view.json, set->out.overwrite, err);
	s.wanted.task = set->view.task;
	if (!rc)
		s.wanted.watch = set->view.watch;
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (!rc && set->view.task && !report_has_task(&s.report, set->view.task))
		rc = err_set(err, -ENOENT, MT_EXIT_USAGE, "%s: no task has the id or name \"%s\"",
		             strcmp(path, "-") ? path : "stdin", set->view.task);
	if (!rc)
		rc = view_render(&s, &set->view, json, json->f != stdout, err);
	if (!rc) {
		fflush(stdout); /* the report before the talk about it, on a terminal */
		status = session_quality(&s);
	}
	session_release(&s);
	return rc ? fail(rc, err) : status;
}

int cmd_report(const struct command *cmd, int argc, char **argv)
{
	struct report_settings set = {};
	struct out_file json = {};
	struct err err = {};
	int first, status;

	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0)
		status = check_operands(cmd, argc, argv, first, 1);
	if (status >= 0)
		return status;
	if (view_check(&set.view, &err))
		return fail_usage(cmd, "%s", err.msg);
	status = report_file(first < argc ? argv[first] : DEFAULT_TRACE, &set, &json, &err);
	out_discard(&json);
	return status;
}
