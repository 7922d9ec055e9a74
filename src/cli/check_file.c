/* SPDX-License-Identifier: MIT */
/* check FILE: is the trace whole, who wrote it, what is in it, what was lost. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

/* A META value made safe for the terminal; "?" when the file has none. */
static const char *meta(const struct model *m, const char *key, char *out, size_t n)
{
	const char *value = model_meta(m, key);

	return fmt_safe(out, n, value && *value ? value : "?");
}

static void print_when(const struct model *m)
{
	char text[64] = "at an unknown time";
	uint64_t ns;
	struct tm tm;
	time_t t;

	if (model_meta_u64(m, META_WHEN, &ns)) {
		t = (time_t)(ns / 1000000000u);
		if (localtime_r(&t, &tm))
			strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm);
	}
	say("%s", text);
}

static void print_command(const struct model *m)
{
	const uint8_t *p = NULL;
	size_t n = model_meta_bytes(m, META_ARGV, &p), i = 0;
	char text[600], pids[200];

	say("command   %s", meta(m, META_COMMAND, text, sizeof(text)));
	if (model_meta(m, META_PIDS))
		say(" %s", meta(m, META_PIDS, pids, sizeof(pids)));
	while (p && i < n) {
		char arg[256];
		size_t len = strnlen((const char *)p + i, n - i);

		snprintf(arg, sizeof(arg), "%.*s", (int)(len < sizeof(arg) ? len : sizeof(arg) - 1),
		         (const char *)p + i);
		say(" %s", fmt_safe(text, sizeof(text), arg));
		i += len + 1;
	}
	say("\n");
}

static void print_origin(const struct model *m)
{
	char a[200], b[200], c[200], d[200];

	say("written   by mpvtrace %s, ", meta(m, META_VERSION, a, sizeof(a)));
	print_when(m);
	say("\nmachine   %s, Linux %s, %s, %s CPUs\n", meta(m, META_HOST, a, sizeof(a)),
	    meta(m, META_RELEASE, b, sizeof(b)), meta(m, META_MACHINE, c, sizeof(c)),
	    meta(m, META_NCPU, d, sizeof(d)));
	print_command(m);
}

static void print_contents(const struct trace_info *info)
{
	char a[32], b[32];
	uint64_t span = info->last_ts > info->first_ts ? info->last_ts - info->first_ts : 0;

	say("time      %s\n", fmt_ns(a, sizeof(a), span));
	say("records   %s in %s block%s\n", fmt_count(a, sizeof(a), info->records),
	    fmt_count(b, sizeof(b), info->blocks), info->blocks == 1 ? "" : "s");
	for (unsigned kind = 0; kind < REC_K_MAX; kind++)
		if (info->by_kind[kind])
			say("  %-12s %12s\n", rec_kind_name((enum rec_kind)kind),
			    fmt_count(a, sizeof(a), info->by_kind[kind]));
	if (info->unknown_records)
		say("  %-12s %12s  (of kinds that this version does not know)\n", "others",
		    fmt_count(a, sizeof(a), info->unknown_records));
}

static void print_state(const char *path, const struct trace_info *info, int status)
{
	char a[32], what[160], safe[1024];

	say("file      %s: %s, format %u.%u, %s\n", fmt_safe(safe, sizeof(safe), path),
	    fmt_bytes(a, sizeof(a), info->file_bytes), info->major, info->minor,
	    status            ? "DAMAGED"
	    : info->complete  ? "whole"
	    : info->truncated ? "not finished, and its last block is cut"
	                      : "not finished");
	if (info->damaged_blocks || info->skipped_bytes)
		say("damage    %s\n", report_damage(what, sizeof(what), info));
}

static void print_losses(const struct model *m)
{
	const struct recording *rec = model_recording(m);
	const struct loss *losses;
	size_t n = model_losses(m, &losses);
	char a[32], cause[100];

	say("lost      %s\n", rec->lost ? fmt_count(a, sizeof(a), rec->lost) : "nothing");
	for (size_t i = 0; i < n; i++)
		if (losses[i].count)
			say("  %-16s %12s\n", fmt_safe(cause, sizeof(cause), losses[i].cause),
			    fmt_count(a, sizeof(a), losses[i].count));
}

int check_trace_file(const char *path)
{
	const struct model_opts opts = {};
	const struct trace_info *info;
	struct err err = {};
	struct session s;
	int rc, status;

	rc = session_open(&s, path, &err);
	if (!rc)
		rc = session_load(&s, &opts, &err);
	if (rc) {
		session_release(&s);
		return fail(rc, &err);
	}
	info = model_trace_info(s.model);
	status = info->damaged_blocks || (info->complete && info->truncated) ? MT_EXIT_TRACE_DAMAGED
	                                                                     : MT_EXIT_OK;
	print_state(path, info, status);
	print_origin(s.model);
	print_contents(info);
	print_losses(s.model);
	say("\n");
	for (size_t i = 0; i < s.report.checks.n; i++)
		print_check(&s.report.checks.v[i]);
	session_release(&s);
	return status;
}
