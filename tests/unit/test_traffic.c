/* SPDX-License-Identifier: MIT */
/* Messages and bytes of channels, from TRAFFIC records to the report. */
#include "report_test.h"

static void moved(struct tb *tb, uint32_t task, uint32_t file, bool write, uint64_t messages,
                  uint64_t bytes)
{
	struct rec_traffic r = {.task = task,
	                        .file = file,
	                        .write = write,
	                        .messages = messages,
	                        .bytes = bytes,
	                        .unsized = 0};

	tb_raw(tb, REC_K_TRAFFIC, TB_EPOCH + 20 * MS, &r);
}

/* Two producers send through a pipe to a consumer; both ends of a connection; an epoll, and a
 * file that nobody described. */
static struct tb *busy(bool counted)
{
	struct tb *tb = tb_new();
	uint32_t pipe, near, far, poll;

	tb_task(tb, 1, "consumer");
	tb_fork(tb, 2, 1, "producer", 0);
	tb_fork(tb, 3, 1, "producer", 0);
	for (uint32_t i = 1; i <= 3; i++) {
		tb_on(tb, i, i);
		tb_run(tb, i, 0, 20 * MS);
		tb_exit(tb, i, 0);
	}
	pipe = tb_file(tb, FD_PIPE, 77, 0, "pipe:[77]");
	near = tb_tcp(tb, 5432, 40000);
	far = tb_tcp(tb, 40000, 5432);
	poll = tb_file(tb, FD_ANON, 5, 0, "[eventpoll]");
	if (counted)
		tb_meta(tb, META_FEATURES, "prev-state," FEATURE_MESSAGES);
	moved(tb, 2, pipe, true, 30, 3000);
	moved(tb, 3, pipe, true, 10, 1000);
	moved(tb, 1, pipe, false, 80, 4000);
	moved(tb, 1, near, true, 5, 500);
	moved(tb, 2, far, false, 1, 500);
	moved(tb, 1, poll, false, 9, 72);
	moved(tb, 1, 4711, false, 9, 72);
	return tb;
}

static json_t *channel(json_t *doc, const char *kind)
{
	json_t *c;
	size_t i;

	json_array_foreach(at(doc, "channels"), i, c)
	{
		if (!strcmp(json_string_value(at(c, "kind")), kind))
			return c;
	}
	return NULL;
}

Test(traffic, sums_by_channel_and_task)
{
	struct model *m = with_slices(busy(true));
	json_t *doc = json_of(m), *pipe = channel(doc, "pipe"), *tcp = channel(doc, "TCP");

	cr_assert_eq(json_array_size(at(doc, "channels")), 2, "both ends are one; polls are none");
	cr_expect_eq(num(pipe, "messages_sent"), 40);
	cr_expect_eq(num(pipe, "bytes_sent"), 4000);
	cr_expect_eq(num(pipe, "messages_received"), 80);
	cr_expect_eq(num(pipe, "bytes_received"), 4000);
	cr_expect_eq(json_array_size(at(pipe, "tasks")), 3);
	cr_expect_eq(num(json_array_get(at(pipe, "tasks"), 0), "tid"), 1001, "most bytes first");
	cr_expect_eq(num(json_array_get(at(pipe, "tasks"), 1), "bytes_sent"), 3000);
	cr_expect_eq(num(tcp, "bytes_sent"), 500);
	cr_expect_eq(num(tcp, "messages_received"), 1);
	json_decref(doc);
	model_free(m);
}

Test(traffic, unknown_without_the_option)
{
	struct model *m = with_slices(busy(false));
	struct report_opts o = {.width = 100};
	char *text = text_of(m, &o);
	json_t *doc = json_of(m);

	cr_expect(json_is_null(at(channel(doc, "pipe"), "messages_sent")));
	cr_expect(json_is_null(at(channel(doc, "pipe"), "tasks")));
	cr_expect(!strstr(text, "traffic"), "%s", text);
	free(text);
	json_decref(doc);
	model_free(m);
}

Test(traffic, text)
{
	struct tb *tb = busy(true);
	struct report_opts o = {.width = 120};
	struct model *m;
	char *text;

	moved(tb, 0, 0, false, 3, 0);
	m = with_slices(tb);
	text = text_of(m, &o);
	cr_expect(strstr(text, "\ntraffic "), "%s", text);
	cr_expect(strstr(text,
	                 " 40  3.91 KB  100 B       80  producer 1002, producer 1003  consumer"),
	          "%s", text);
	cr_expect(strstr(text, "3 messages found no room: these counts are too low"), "%s", text);
	free(text);
	o.task = "worker";
	text = text_of(m, &o);
	cr_expect(!strstr(text, "\ntraffic "), "%s", text);
	free(text);
	model_free(m);
}

static void flowed(struct tb *tb, uint64_t inode, uint64_t sent, uint64_t received, uint64_t flags)
{
	struct rec_flow r = {inode, sent, received, flags};

	tb_raw(tb, REC_K_FLOW, TB_EPOCH + 20 * MS, &r);
}

/* Two ends of one connection, the first of which was there before; more than one FILE of it; a
 * repeated and a smaller count; a socket that nobody waited for, and one of another kind. */
Test(traffic, the_kernels_counts_of_connections)
{
	struct tb *tb = tb_new();
	uint32_t near, far;
	struct report_opts o = {.width = 120};
	struct model *m;
	json_t *doc, *tcp;
	char *text;

	tb_task(tb, 1, "client");
	tb_fork(tb, 2, 1, "server", 0);
	tb_on(tb, 2, 1);
	near = tb_tcp(tb, 40000, 5432);
	far = tb_tcp(tb, 5432, 40000);
	tb_on_file(tb, 1, near);
	tb_run(tb, 1, 0, 1 * MS);
	tb_call(tb, 1, TB_NR_recvfrom, 3, FD_SOCKET, 10 * MS, 2);
	tb_run(tb, 2, 0, 20 * MS);
	tb_run(tb, 1, 10 * MS, 20 * MS);
	tb_exit(tb, 2, 0);
	tb_exit(tb, 1, 0);
	flowed(tb, 5000 + near, 1000, 2000, FLOW_F_FIRST);
	flowed(tb, 5000 + near, 1500, 2900, 0);
	flowed(tb, 5000 + near, 1400, 3000, 0);
	flowed(tb, 5000 + far, 1000, 500, 0);
	flowed(tb, 999999, 7, 7, 0);
	m = with_slices(tb);
	doc = json_of(m);
	tcp = channel(doc, "TCP");
	cr_assert(tcp);
	cr_expect_str_eq(json_string_value(at(tcp, "bytes_from")), "tcp");
	cr_expect_eq(json_array_size(at(tcp, "ends")), 2);
	cr_expect_eq(num(json_array_get(at(tcp, "ends"), 0), "bytes_sent"), 500);
	cr_expect_eq(num(json_array_get(at(tcp, "ends"), 0), "bytes_received"), 1000);
	cr_expect_eq(num(tcp, "bytes_sent"), 1500);
	cr_expect_eq(num(tcp, "bytes_received"), 1500);
	cr_expect(json_is_null(at(tcp, "messages_sent")));
	text = text_of(m, &o);
	cr_expect(strstr(text, "1.46 KB"), "%s", text);
	free(text);
	json_decref(doc);
	model_free(m);
}

/* Reads and writes of a task are what the counters grew by; unknown where they were not read. */
Test(traffic, reads_and_writes)
{
	for (unsigned known = 0; known < 2; known++) {
		struct rec_base base = {.task = 1,
		                        .flags = CNT_F_IO,
		                        .reads = 5,
		                        .writes = 6,
		                        .read_bytes = 700,
		                        .written_bytes = 800};
		struct rec_end end = {.task = 1,
		                      .flags = known ? CNT_F_IO : 0,
		                      .reads = 15,
		                      .writes = 8,
		                      .read_bytes = 1700,
		                      .written_bytes = 801};
		struct tb *tb = tb_new();
		struct model *m;
		json_t *doc, *io;

		tb_task(tb, 1, "app");
		tb_run(tb, 1, 0, 10 * MS);
		tb_no_end(tb, 1);
		tb_exit(tb, 1, 0);
		tb_raw(tb, REC_K_BASE, TB_EPOCH + 1, &base);
		tb_raw(tb, REC_K_END, TB_EPOCH + 10 * MS, &end);
		m = with_slices(tb);
		doc = json_of(m);
		io = at(json_array_get(at(doc, "tasks"), 0), "io");
		if (known) {
			cr_expect_eq(num(io, "reads"), 10);
			cr_expect_eq(num(io, "writes"), 2);
			cr_expect_eq(num(io, "read_bytes"), 1000);
			cr_expect_eq(num(io, "written_bytes"), 1);
		} else {
			cr_expect(json_is_null(at(io, "reads")));
			cr_expect(json_is_null(at(io, "written_bytes")));
		}
		json_decref(doc);
		model_free(m);
	}
}

/* Any numbers a file may have: sums end at the top. */
Test(traffic, hostile_counts)
{
	struct tb *tb = busy(true);
	struct report_opts o = {.width = 100, .top = 1};
	struct model *m;
	char *text;
	json_t *doc;

	moved(tb, 1, 1, false, UINT64_MAX, UINT64_MAX);
	moved(tb, UINT32_MAX, 1, true, UINT64_MAX, UINT64_MAX);
	moved(tb, 0, 1, true, 0, 0);
	m = with_slices(tb);
	text = text_of(m, &o);
	doc = json_of(m);
	cr_expect(strstr(text, "… and 1 channel more with"), "%s", text);
	free(text);
	json_decref(doc);
	model_free(m);
}
