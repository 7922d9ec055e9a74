/* SPDX-License-Identifier: MIT */
#include "report/json_priv.h"

static json_t *lost_by(struct jout *j)
{
	const struct loss *loss = NULL;
	size_t n = model_losses(j->m, &loss);
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++) {
		json_t *key = j_text(loss[i].cause);

		if (key)
			j_set(j, o, json_string_value(key), j_u64(loss[i].count));
		json_decref(key);
	}
	return o;
}

static json_t *checks(struct jout *j)
{
	json_t *a = json_array();

	for (size_t i = 0; i < j->r->checks.n; i++) {
		const struct report_check *c = &j->r->checks.v[i];
		json_t *o = json_object();

		j_set(j, o, "name", j_text(c->name));
		j_set(j, o, "recorded", j_known(c->known, c->recorded));
		j_set(j, o, "kernel", j_known(c->known, c->kernel));
		j_set(j, o, "ok", c->known ? json_boolean(c->ok) : json_null());
		j_set(j, o, "tasks", j_u64(c->tasks));
		j_set(j, o, "tasks_ok", j_known(c->known, c->tasks_ok));
		j_add(j, a, o);
	}
	return a;
}

static json_t *overhead(struct jout *j)
{
	const char *startup = model_meta(j->m, META_START_NS);
	const struct bpf_cost *costs = NULL;
	size_t n = model_costs(j->m, &costs);
	json_t *o = json_object(), *parts = json_array();
	uint64_t ns = 0;

	for (size_t i = 0; i < n; i++) {
		json_t *part = json_object();

		j_set(j, part, "name", j_text(costs[i].name));
		j_set(j, part, "count", j_u64(costs[i].count));
		j_set(j, part, "ns", j_u64(costs[i].ns));
		j_add(j, parts, part);
	}
	j_set(j, o, "cpu_ns", j_known(j->r->costs_known, j->r->self_cpu_ns));
	j_set(j, o, "bpf_ns", j_known(j->r->bpf_runs, j->r->bpf_ns));
	j_set(j, o, "bpf_runs", j_known(j->r->bpf_runs, j->r->bpf_runs));
	j_set(j, o, "startup_ns",
	      startup && !parse_u64(startup, 0, UINT64_MAX, &ns) ? j_u64(ns) : json_null());
	j_set(j, o, "parts", parts);
	return o;
}

static json_t *notes(struct jout *j)
{
	json_t *a = json_array();
	char why[200];

	for (size_t i = 0; i < j->r->notes.n; i++)
		j_add(j, a, j_text(j->r->notes.v[i]));
	if (j->r->why_no_what_if[0]) {
		snprintf(why, sizeof(why), "what_if is null: %s", j->r->why_no_what_if);
		j_add(j, a, j_text(why));
	}
	return a;
}

static json_t *trace(struct jout *j)
{
	const struct trace_info *info = model_trace_info(j->m);
	json_t *o = json_object();

	j_set(j, o, "bytes", j_u64(info->file_bytes));
	j_set(j, o, "format_major", j_u64(info->major));
	j_set(j, o, "format_minor", j_u64(info->minor));
	j_set(j, o, "written_by", j_text(model_meta(j->m, META_VERSION)));
	j_set(j, o, "blocks", j_u64(info->blocks));
	j_set(j, o, "damaged_blocks", j_u64(info->damaged_blocks));
	j_set(j, o, "skipped_bytes", j_u64(info->skipped_bytes));
	j_set(j, o, "truncated", json_boolean(info->truncated));
	j_set(j, o, "unknown_records", j_u64(info->unknown_records));
	return o;
}

json_t *json_quality(struct jout *j)
{
	const struct recording *rec = model_recording(j->m);
	json_t *o = json_object();

	j_set(j, o, "events", j_u64(rec->events));
	j_set(j, o, "lost", j_u64(rec->lost));
	j_set(j, o, "lost_by", lost_by(j));
	j_set(j, o, "complete", json_boolean(rec->complete));
	j_set(j, o, "damaged", json_boolean(rec->damaged));
	j_set(j, o, "checks", checks(j));
	j_set(j, o, "overhead", overhead(j));
	j_set(j, o, "trace", trace(j));
	j_set(j, o, "notes", notes(j));
	return o;
}
