/* SPDX-License-Identifier: MIT */
/* compare: two trace files, or two commands run now. */
#include <errno.h>
#include <string.h>

#include "cli/cli.h"

/* "threads.mpv: python3 job.py --threads" */
static void name_side(struct compare_side *side, const struct session *s)
{
	char raw[sizeof(side->name)];
	const uint8_t *p = NULL;
	size_t n = model_meta_bytes(s->model, META_ARGV, &p), at = 0, used;

	snprintf(raw, sizeof(raw), "%s", s->path);
	used = strlen(raw);
	while (p && at < n && used + 2 < sizeof(raw)) {
		size_t len = strnlen((const char *)p + at, n - at);

		used += (size_t)snprintf(raw + used, sizeof(raw) - used, "%s%.*s", at ? " " : ": ",
		                         (int)(len < sizeof(raw) ? len : sizeof(raw)),
		                         (const char *)p + at);
		at += len + 1;
	}
	fmt_safe(side->name, sizeof(side->name), raw);
}

/* One file after the other: only one model at a time is in memory. */
static int load_file(struct session *s, const struct compare_settings *set,
                     struct compare_side *side, int *status, struct err *err)
{
	struct compare_run run;
	struct model_opts opts;
	int rc;

	view_model_opts(&set->view, &opts);
	s->wanted.watch = set->view.watch;
	rc = session_load(s, &opts, err);
	if (rc)
		return rc;
	compare_run_of(&run, &s->report);
	name_side(side, s);
	*status = session_quality(s) ? MT_EXIT_TRACE_DAMAGED : *status;
	return vec_push(&side->runs, run)
	               ? err_set(err, -ENOMEM, MT_EXIT_FAIL, "%s", strerror(ENOMEM))
	               : 0;
}

static int load_files(char **paths, const struct compare_settings *set, struct out_file *json,
                      struct compare *c, int *status, struct err *err)
{
	struct session s[2] = {{.fd = -1}, {.fd = -1}};
	int rc = 0;

	/* Both are opened while the caller's privileges last. */
	for (unsigned i = 0; i < 2 && !rc; i++) {
		rc = session_open(&s[i], paths[i], err);
		if (!rc)
			rc = out_spares(set->view.json, &s[i], err);
	}
	if (!rc && set->view.json)
		rc = out_open(json, set->view.json, set->out.overwrite, err);
	for (unsigned i = 0; i < 2; i++) {
		if (!rc)
			rc = load_file(&s[i], set, &c->side[i], status, err);
		session_release(&s[i]);
	}
	return rc;
}

static int print(const struct compare *c, const struct compare_settings *set, struct out_file *json,
                 struct err *err)
{
	struct report_opts o;
	int rc = 0, rc_text = 0;

	view_report_opts(&set->view, &o);
	if (json->f)
		rc = compare_json(c, json->f, err);
	if (!rc && json->f)
		rc = out_close(json, err);
	/* The runs may have taken hours, and their traces are gone. */
	if (json->f != stdout)
		rc_text = compare_text_out(c, &o, stdout, rc ? NULL : err);
	return rc ? rc : rc_text;
}

static int compare(const struct compare_settings *set, char **paths, struct err *err)
{
	struct out_file json = {};
	struct compare c = {};
	int rc = 0, status = MT_EXIT_OK;

	if (!paths && set->view.json)
		rc = out_open(&json, set->view.json, set->out.overwrite, err);
	if (!rc)
		rc = paths ? load_files(paths, set, &json, &c, &status, err)
		           : compare_record(set, &c, err);
	if (!rc)
		rc = privileges_drop(err);
	if (!rc)
		rc = compare_build(&c, err);
	if (!rc)
		rc = print(&c, set, &json, err);
	out_discard(&json);
	compare_release(&c);
	return rc ? fail(rc, err) : status;
}

int cmd_compare(const struct command *cmd, int argc, char **argv)
{
	struct compare_settings set = {};
	struct err err = {};
	int first, status;
	bool now;

	status = begin_command(cmd, argc, argv, &set, &first);
	if (status < 0)
		status = check_operands(cmd, argc, argv, first, 2);
	if (status >= 0)
		return status;
	now = set.command[0] || set.command[1];
	if (now && first < argc)
		return fail_usage(cmd, "compare: either two traces, or --a and --b");
	if (now && (!set.command[0] || !set.command[1]))
		return fail_usage(cmd, "compare: --%c is missing: the command to compare with",
		                  set.command[0] ? 'b' : 'a');
	if (!now && argc - first != 2)
		return fail_usage(
		        cmd,
		        "compare: which two? For example: mpvtrace compare before.mpv after.mpv");
	if (!now && (set.runs || set.warmup || set.keep || set.user))
		return fail_usage(cmd, "compare: --runs, --warmup, --output and --user are for --a "
		                       "and --b");
	return compare(&set, now ? NULL : argv + first, &err);
}
