/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cli/cli.h"

/* The exporter and its view; a format that lacks the view is a usage error. */
static const struct exporter *choose(struct export_settings *set, struct err *err)
{
	const struct exporter *x = set->format ? exporter_find(set->format) : &exporters[0];

	if (!x) {
		err_set(err, -1, MT_EXIT_USAGE, "there is no format %s", set->format);
		return NULL;
	}
	if (!set->view)
		set->view = x->views[0];
	for (size_t i = 0; x->views[i]; i++)
		if (!strcmp(x->views[i], set->view))
			return x;
	err_set(err, -1, MT_EXIT_USAGE, "format %s has no view %s; it has %s%s%s", x->name,
	        set->view, x->views[0], x->views[0] && x->views[1] ? ", " : "",
	        x->views[0] && x->views[1] ? x->views[1] : "");
	return NULL;
}

static int export_file(const char *path, const struct exporter *x,
                       const struct export_settings *set, struct out_file *out, struct err *err)
{
	const struct export_opts o = {
	        .view = set->view, .by_task = set->by_task, .task = set->task};
	const struct model_opts opts = {};
	struct session s;
	int rc, status = MT_EXIT_OK;

	rc = session_open(&s, path, err);
	if (!rc)
		rc = out_open(out, set->output, set->out.overwrite, err);
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (!rc)
		rc = x->run(s.model, &o, out->f, err);
	if (!rc)
		rc = out_close(out, err);
	if (!rc)
		status = session_quality(&s);
	session_release(&s);
	return rc ? fail(rc, err) : status;
}

int cmd_export(const struct command *cmd, int argc, char **argv)
{
	struct export_settings set = {};
	const struct exporter *x;
	struct out_file out = {};
	struct err err = {};
	int first, status;

	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0)
		status = check_operands(cmd, argc, argv, first, 1);
	if (status >= 0)
		return status;
	x = choose(&set, &err);
	if (!x)
		return fail_usage(cmd, "%s", err.msg);
	status = export_file(first < argc ? argv[first] : DEFAULT_TRACE, x, &set, &out, &err);
	out_discard(&out);
	return status;
}
