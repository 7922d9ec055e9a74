/* SPDX-License-Identifier: MIT */
/* The document of schema mpvtrace.report/1: its members in order. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "report/json_priv.h"

#define SCHEMA "mpvtrace.report/1"

static json_t *real(bool known, double v)
{
	return known && isfinite(v) ? json_real(v) : json_null();
}

static json_t *argv_of(struct jout *j)
{
	const uint8_t *p = NULL;
	size_t n = model_meta_bytes(j->m, META_ARGV, &p), at = 0;
	json_t *argv;

	if (!p)
		return json_null();
	argv = json_array();
	while (at < n && argv) {
		size_t len = strnlen((const char *)p + at, n - at);

		j_add(j, argv, j_text_n(p + at, len));
		at += len + 1;
	}
	return argv;
}

static json_t *workload(struct jout *j)
{
	const struct recording *rec = model_recording(j->m);
	json_t *o = json_object();

	j_set(j, o, "argv", argv_of(j));
	j_set(j, o, "mode", j_text(j->r->mode));
	j_set(j, o, "launcher_processes", j_u64(j->r->launcher_procs));
	j_set(j, o, "launcher_ns", j_known(j->r->launcher_procs, j->r->launcher_ns));
	j_set(j, o, "wall_ns", j_u64(j->r->wall_ns));
	j_set(j, o, "start_ns", j_time(j, rec->wall_start_ns));
	j_set(j, o, "since_ns", j_u64(rec->since_ns));
	j_set(j, o, "whole_wall_ns", j_u64(rec->whole_ns));
	j_set(j, o, "cpus", real(j->r->cpus > 0, j->r->cpus));
	j_set(j, o, "exit_status", rec->attached ? json_null() : j_status(rec->exit_status));
	j_set(j, o, "attached", json_boolean(rec->attached));
	j_set(j, o, "pids", j_text(model_meta(j->m, META_PIDS)));
	j_set(j, o, "user", j_text(model_meta(j->m, META_USER)));
	j_set(j, o, "cwd", j_text(model_meta(j->m, META_CWD)));
	return o;
}

static json_t *machine(struct jout *j)
{
	static const char *const keys[][2] = {
	        {"release", META_RELEASE},
	        {"arch", META_MACHINE},
	        {"host", META_HOST},
	        {"cpus_online", META_NCPU},
	        {"cpu_model", META_CPU_MODEL},
	        {"page_size", META_PAGE_SIZE},
	        {"thp", META_THP},
	        {"memory_bytes", META_MEMORY},
	        {"libc", META_LIBC},
	};
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *text = model_meta(j->m, keys[i][1]);
		uint64_t number;

		if (text && !parse_u64(text, 0, UINT64_MAX, &number))
			j_set(j, o, keys[i][0], j_u64(number));
		else
			j_set(j, o, keys[i][0], j_text(text));
	}
	return o;
}

static json_t *parallelism(struct jout *j)
{
	size_t n = 0;
	const uint64_t *hist = model_running_histogram(j->m, &n);
	json_t *o = json_object(), *a = json_array();

	for (size_t i = 0; i < n; i++)
		j_add(j, a, j_u64(hist[i]));
	j_set(j, o, "average", real(j->r->wall_ns > 0, j->r->avg_parallelism));
	j_set(j, o, "histogram_ns", a);
	j_set(j, o, "tasks", json_shares(j, false));
	j_set(j, o, "processes", json_shares(j, true));
	return o;
}

static void put_locks(struct jout *j)
{
	const struct waits *w = j->r->w;

	j_array(j, "locks");
	for (size_t i = 0; w && i < w->locks.n && !j->err; i++) {
		if (w->locks.v[i].waits)
			j_element(j, json_lock(j, &w->locks.v[i]));
	}
	for (size_t i = 0; !w && i < j->r->locks.n && !j->err; i++) {
		if (j->r->locks.v[i].futex)
			j_element(j, json_futex(j, &j->r->locks.v[i]));
	}
	j_array_end(j);
}

static void put_members(struct jout *j)
{
	j_member(j, "schema", j_text(SCHEMA));
	j_member(j, "workload", workload(j));
	j_member(j, "machine", machine(j));
	j_member(j, "parallelism", parallelism(j));
	j_member(j, "serialization", json_serialization(j));
	j_array(j, "tasks");
	for (size_t i = 0; i < model_n_tasks(j->m) && !j->err; i++)
		j_element(j, json_task(j, model_task_at(j->m, i)));
	j_array_end(j);
	j_array(j, "processes");
	for (size_t i = 0; i < model_n_procs(j->m) && !j->err; i++)
		j_element(j, json_process(j, i));
	j_array_end(j);
	put_locks(j);
	json_causes(j);
	j_member(j, "pickling", json_pickling(j));
	j_member(j, "memory", json_memory(j));
	j_member(j, "off_cpu", json_off_cpu(j));
	j_member(j, "quality", json_quality(j));
}

int report_json(const struct report *r, const struct report_opts *o, FILE *out, struct err *err)
{
	struct jout j = {.r = r, .m = r->m, .out = out};

	(void)o; /* all tasks, always: a reader of data filters for himself */
	j.err = stack_names_init(&j.names, r->m);
	j.err = j.err ? j.err : jobs_init(&j.jobs, r->m);
	fputs("{\n", out);
	if (!j.err)
		put_members(&j);
	fputs("\n}\n", out);
	if (j.names.err == -ENOMEM)
		j.err = -ENOMEM;
	stack_names_release(&j.names);
	jobs_release(&j.jobs);
	if (j.err)
		return err_set(err, j.err, MT_EXIT_FAIL, "cannot make the JSON report: %s",
		               strerror(-j.err));
	return stream_end(out, "the JSON report", err);
}
