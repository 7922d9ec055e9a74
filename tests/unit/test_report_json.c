/* SPDX-License-Identifier: MIT */
/* The report as data, schema mpvtrace.report/1. */
#include "report/json_priv.h"
#include "../support/schema.h"
#include "random_trace.h"
#include "report_test.h"

static void expect_document(json_t *doc)
{
	char what[4000];

	cr_expect_str_eq(json_string_value(at(doc, "schema")), "mpvtrace.report/1");
	cr_expect_eq(schema_check(doc, false, what, sizeof(what)), 0, "%s", what);
}

Test(report, json_is_whole)
{
	static struct tb *(*const recordings[])(void) = {workers, hostile, bare, crowd_200};

	for (size_t i = 0; i < 2 * ARRAY_LEN(recordings); i++) {
		struct model_opts o = {.flags = i % 2 ? MODEL_SLICES : 0};
		struct tb *tb = recordings[i / 2]();
		struct model *m = tb_load(tb, &o);
		json_t *doc;

		cr_assert(m);
		tb_free(tb);
		doc = json_of(m);
		expect_document(doc);
		cr_expect_eq(json_array_size(at(doc, "tasks")), model_n_tasks(m));
		cr_expect_eq(json_array_size(at(doc, "processes")), model_n_procs(m));
		cr_expect(i % 2 || json_is_null(at(doc, "critical_path")));
		json_decref(doc);
		model_free(m);
	}
}

/* Any trace: the schema and its sums hold. */
Test(report, json_of_random_traces)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct model_opts o = {.flags = MODEL_SLICES};
		struct tb *tb = anything(seed);
		struct model *m = tb_load(tb, &o);
		json_t *doc;

		cr_assert(m);
		tb_free(tb);
		doc = json_of(m);

		expect_document(doc);
		json_decref(doc);
		model_free(m);
	}
}

/* --- the JSON's values ----------------------------------------------------------------------- */

Test(report, json_values)
{
	struct model *m = loaded(workers());
	json_t *doc = json_of(m), *t = json_array_get(at(doc, "tasks"), 1), *p, *l;

	cr_expect_str_eq(json_string_value(json_array_get(at(doc, "workload.argv"), 1)),
	                 "--threads");
	cr_expect_eq(json_array_size(at(doc, "workload.argv")), 3);
	cr_expect_eq(num(doc, "workload.exit_status"), 3);
	cr_expect_eq(num(doc, "workload.wall_ns"), 84 * MS);
	cr_expect_eq(num(doc, "workload.start_ns"), TB_START);
	cr_expect_str_eq(json_string_value(at(doc, "workload.mode")), "threaded");
	cr_expect_str_eq(json_string_value(at(t, "comm")), "worker-0");
	cr_expect_eq(num(t, "tid"), 1002);
	cr_expect_eq(num(t, "ns_tid"), 2);
	cr_expect_eq(num(t, "pid"), 1001);
	cr_expect_eq(num(t, "start_ns"), TB_START + 1 * MS);
	cr_expect_eq(num(t, "run_ns"), 20 * MS);
	cr_expect_eq(num(t, "blocked.futex"), 30 * MS);
	cr_expect_eq(num(t, "faults.minor"), 100);
	cr_expect_eq(num(t, "faults.cow"), 2);
	cr_expect_eq(num(t, "first_touch_bytes"), 64 * 4096);
	cr_expect_eq(num(t, "kernel.run_ns"), 20 * MS);
	p = json_array_get(at(doc, "processes"), 0);
	cr_expect_eq(num(p, "pss_bytes"), 30 << 20);
	cr_expect_eq(num(p, "shared_bytes"), 12 << 20);
	cr_expect_eq(num(p, "cow_bytes"), 18 * 4096);
	cr_expect_eq(json_array_size(at(p, "samples")), 2);
	cr_expect_eq(num(json_array_get(at(p, "samples"), 1), "pss_bytes"), 30 << 20);
	cr_expect(json_is_null(at(json_array_get(at(p, "samples"), 0), "pss_bytes")));
	l = json_array_get(at(doc, "locks"), 0);
	cr_expect_eq(num(l, "waits"), 4);
	cr_expect_eq(num(l, "wait_ns"), 120 * MS);
	cr_expect_eq(num(l, "p99_wait_ns"), 30 * MS);
	cr_expect_eq(json_array_size(at(l, "waiters")), 4);
	cr_expect_eq(num(json_array_get(at(l, "waiters"), 0), "tid"), 1002);
	l = json_array_get(at(l, "sites"), 0);
	cr_expect_str_eq(json_string_value(json_array_get(at(l, "frames"), 2)), "lock_wait");
	cr_expect(json_is_null(at(doc, "gil")));
	json_decref(doc);
	model_free(m);
}

/* What is a number is one. */
Test(report, json_of_the_machine)
{
	struct tb *tb = workers();
	struct model *m;
	json_t *doc;

	tb_meta(tb, META_NCPU, "8");
	tb_meta(tb, META_MEMORY, "1073741824");
	tb_meta(tb, META_LIBC, "glibc 2.36");
	m = loaded(tb);
	doc = json_of(m);
	cr_expect_eq(num(doc, "machine.cpus_online"), 8);
	cr_expect_eq(num(doc, "machine.memory_bytes"), 1 << 30);
	cr_expect_str_eq(json_string_value(at(doc, "machine.libc")), "glibc 2.36");
	cr_expect(json_is_null(at(doc, "machine.cpu_model")));
	json_decref(doc);
	model_free(m);
}

Test(report, unknown_is_null_not_zero)
{
	struct tb *tb = tb_new_attach();
	struct model *m;
	json_t *doc, *t;
	char *text;

	tb_meta(tb, META_CPUS, "");
	tb_meta(tb, META_PAGE_SIZE, "");
	tb_attached(tb, 1, 1, "daemon", 0, 1, TB_NR_poll, 0, 0);
	tb_no_end(tb, 1);
	tb_stop(tb, 10 * MS);
	m = loaded(tb);
	doc = json_of(m);
	t = json_array_get(at(doc, "tasks"), 0);
	cr_expect(json_is_null(at(doc, "workload.cpus")));
	cr_expect(json_is_null(at(doc, "workload.exit_status")));
	cr_expect(json_is_null(at(t, "exit_status")));
	cr_expect(json_is_null(at(t, "kernel.voluntary")));
	cr_expect(json_is_null(at(t, "kernel.run_ns")));
	cr_expect(json_is_null(at(t, "faults.minor")));
	cr_expect(json_is_null(at(t, "first_touch_bytes")));
	cr_expect(json_is_null(at(json_array_get(at(doc, "processes"), 0), "rss_peak_bytes")));
	cr_expect(json_is_null(at(json_array_get(at(doc, "processes"), 0), "start_method")));
	cr_expect(json_is_null(at(doc, "quality.overhead.cpu_ns")));
	json_decref(doc);
	text = text_of(m, NULL);
	cr_expect(strstr(text, "10 ms · single-threaded\n"), "%s", text);
	cr_expect(!strstr(text, " of 0 CPUs"));
	cr_expect(!strstr(text, "first touch"), "%s", text);
	free(text);
	model_free(m);
}

Test(report, json_keeps_names_as_valid_text)
{
	struct model *m = loaded(hostile());
	json_t *doc = json_of(m), *tasks = at(doc, "tasks");

	cr_expect_str_eq(json_string_value(at(json_array_get(tasks, 0), "comm")), "\x1b[31mred");
	cr_expect_str_eq(json_string_value(at(json_array_get(tasks, 2), "comm")), "a;b;c d");
	cr_expect_str_eq(json_string_value(at(json_array_get(tasks, 1), "comm")),
	                 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	json_decref(doc);
	model_free(m);
}

/* Nothing in it drives the terminal that it is printed to, and all of it comes back. */
Test(report, json_has_no_control_characters)
{
	static const char name[] = "\x1b[1m \xc2\x9b"
	                           "31m \x7f \xe2\x80\xae ä€𝄞";
	struct tb *tb = tb_new();
	struct model *m;
	json_t *doc;
	char *text;

	tb_task(tb, 1, name);
	tb_run(tb, 1, 0, MS);
	tb_exit(tb, 1, 0);
	m = loaded(tb);
	text = json_text_of(m);
	for (const char *p = text; *p; p++)
		cr_assert((*p >= 0x20 || *p == '\n' || *p < 0) && *p != 0x7f, "\\x%02x", *p);
	cr_expect(strstr(text, "ä€𝄞") && strstr(text, "\\u009B31m \\u007F \\u202E"), "%s", text);
	cr_expect(!strstr(text, "\xc2\x9b"));
	doc = json_of(m);
	cr_expect_str_eq(json_string_value(at(json_array_get(at(doc, "tasks"), 0), "comm")), name);
	json_decref(doc);
	free(text);
	model_free(m);
}

/* Signed 64 bits are all that JSON readers agree on. */
Test(report, json_numbers)
{
	json_t *large = j_u64(UINT64_MAX), *status = j_status(0), *none = j_status(-1);

	cr_expect_eq(json_integer_value(large), INT64_MAX);
	cr_expect(json_is_integer(status));
	cr_expect(json_is_null(none));
	json_decref(large);
	json_decref(status);
	json_decref(none);
}
