/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* The format that a file called so has; the first when its name has no end, NULL when that is of
 * none of them. */
static const struct exporter *by_extension(const char *path)
{
	const char *dot = path ? strrchr(path_base(path), '.') : NULL;

	if (!dot)
		return &exporters[0];
	for (size_t i = 0; i < n_exporters; i++)
		for (size_t k = 0; exporters[i].exts[k]; k++)
			if (!strcmp(exporters[i].exts[k], dot + 1))
				return &exporters[i];
	return NULL;
}

/* The exporter and its view; a format that lacks the view is a usage error. */
static const struct exporter *choose(struct export_settings *set, struct err *err)
{
	const struct exporter *x =
	        set->format ? exporter_find(set->format) : by_extension(set->output);

	if (!x && !set->format) {
		err_set(err, -1, MT_EXIT_USAGE,
		        "%s: a name that ends so tells no format; .svg, .folded and .txt do, or "
		        "--format (the report as data: mpvtrace report --json FILE)",
		        set->output);
		return NULL;
	}
	if (!x) {
		err_set(err, -1, MT_EXIT_USAGE, "there is no format %s", set->format);
		return NULL;
	}
	if (!set->view)
		set->view = x->views[0];
	for (size_t i = 0; x->views[i]; i++)
		if (!strcmp(x->views[i], set->view))
			return x;
	err_set(err, -1, MT_EXIT_USAGE, "format %s has no view %s; see mpvtrace help export",
	        x->name, set->view);
	return NULL;
}

/* "0.5%", "0.5", "2px" as a share of the whole. */
static int parse_min(const char *s, double *ratio)
{
	char *end;
	double v;

	if (!s)
		return 0;
	v = strtod(s, &end);
	if (end == s || !isdigit((unsigned char)s[0]))
		return -EINVAL;
	if (!strcmp(end, "px"))
		*ratio = v / 1200;
	else if (!*end || !strcmp(end, "%"))
		*ratio = v / 100;
	else
		return -EINVAL;
	return *ratio >= 0 && *ratio <= 1 ? 0 : -EINVAL;
}

static bool needs_slices(const char *view)
{
#define X(NAME, name, slices, help) \
	if (!strcmp(view, name))    \
		return slices;
	VIEWS(X)
#undef X
	return false;
}

/* An empty file, or a graph of nothing, is no answer by itself. */
static void say_empty(const char *view)
{
	const char *why = "";

	if (!strcmp(view, "on-cpu"))
		why = ": no sample was taken (one in 1/--freq of a second on a CPU)";
	else if (!strcmp(view, "first-touch") || !strcmp(view, "cow"))
		why = ": a task's pages are sampled once in 128 KiB";
	log_warn("nothing was recorded for view %s%s", view, why);
}

static int export_file(const char *path, const struct exporter *x,
                       const struct export_settings *set, struct export_opts *o,
                       struct out_file *out, struct err *err)
{
	const struct model_opts opts = {
	        .since_ns = set->since_ns,
	        .until_ns = set->until_ns,
	        .flags = needs_slices(set->view) ? MODEL_SLICES : 0,
	};
	struct session s, base = {.fd = -1};
	int rc, status = MT_EXIT_OK;

	rc = session_open(&s, path, err);
	if (!rc && set->base)
		rc = session_open(&base, set->base, err);
	if (!rc)
		rc = out_spares(set->output, &s, err);
	if (!rc && set->base)
		rc = out_spares(set->output, &base, err);
	if (!rc)
		rc = out_open(out, set->output, set->out.overwrite, err);
	if (!rc)
		rc = session_load(&s, &opts, err);
	if (!rc && set->base)
		rc = session_load(&base, &opts, err);
	o->base = set->base ? &base.report : NULL;
	if (!rc)
		rc = x->run(&s.report, o, out->f, err);
	if (!rc)
		rc = out_close(out, err);
	if (!rc)
		status = session_quality(&s);
	if (!rc && *o->empty)
		say_empty(o->view);
	session_release(&base);
	session_release(&s);
	return rc ? fail(rc, err) : status;
}

int cmd_export(const struct command *cmd, int argc, char **argv)
{
	struct export_settings set = {};
	const struct exporter *x;
	struct export_opts o = {};
	struct out_file out = {};
	struct err err = {};
	const char *path;
	int first, status;
	bool empty = false;

	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0)
		status = check_operands(cmd, argc, argv, first, 1);
	if (status >= 0)
		return status;
	x = choose(&set, &err);
	if (!x)
		return fail_usage(cmd, "%s", err.msg);
	if (parse_min(set.min, &o.min_ratio))
		return fail_usage(
		        cmd,
		        "--min: \"%s\" is neither a share of all (0.5%%) nor pixels (2px) of 1200",
		        set.min);
	if (set.until_ns && set.since_ns >= set.until_ns)
		return fail_usage(cmd, "--since is not before --until");
	path = first < argc ? argv[first] : DEFAULT_TRACE;
	o.view = set.view;
	o.task = set.task;
	o.by = set.by;
	o.reverse = set.reverse;
	o.no_marks = set.no_marks;
	o.empty = &empty;
	o.trace_path = strcmp(path, "-") ? path : NULL;
	status = export_file(path, x, &set, &o, &out, &err);
	out_discard(&out);
	return status;
}
