/* SPDX-License-Identifier: MIT */
/* Messages and bytes of channels (--messages) against the programs' own counts. */
#include <inttypes.h>
#include <string.h>

#include "live.h"

LIVE_SUITE(traffic);

/* What the task put in (or took out of) channels of that kind. */
static void sum_of(json_t *report, const char *kind, uint64_t tid, bool sent, uint64_t *messages,
                   uint64_t *bytes)
{
	json_t *channel, *task;
	size_t i, k;

	*messages = *bytes = 0;
	json_array_foreach(at(report, "channels"), i, channel)
	{
		if (strcmp(str_at(channel, "kind"), kind) != 0)
			continue;
		json_array_foreach(at(channel, "tasks"), k, task)
		{
			if (tid && u64_at(task, "tid") != tid)
				continue;
			*messages += u64_at(task, sent ? "messages_sent" : "messages_received");
			*bytes += u64_at(task, sent ? "bytes_sent" : "bytes_received");
		}
	}
}

Test(traffic, every_call_of_every_kind_of_channel)
{
	struct recording r = record(ARGS("--messages"), ARGS(workload("traffic")));
	size_t i, n = 0;
	json_t *line;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	check_recording(r.json, 0);
	json_array_foreach(r.truth, i, line)
	{
		const char *what;
		uint64_t messages, bytes;
		bool sent;

		if (strcmp(str_at(line, "t"), "traffic") != 0)
			continue;
		n++;
		what = str_at(line, "what");
		sent = u64_at(line, "write");
		sum_of(r.json, what, u64_at(line, "pid"), sent, &messages, &bytes);
		cr_expect_eq(messages, u64_at(line, "messages"), "%s, %s: %" PRIu64 " messages",
		             what, sent ? "sent" : "received", messages);
		cr_expect_eq(bytes, u64_at(line, "bytes"), "%s, %s: %" PRIu64 " bytes", what,
		             sent ? "sent" : "received", bytes);
	}
	cr_expect_geq(n, 6);
}

/* A Queue is a pipe, a Pipe a socket pair; each object has 4 bytes before it. */
Test(traffic, multiprocessing)
{
	struct recording r =
	        record(ARGS("--messages"), ARGS("/usr/bin/python3", workload("mp_traffic.py")));
	static const char *const kinds[] = {"pipe", "socket pair"};

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	for (size_t i = 0; i < 2; i++) {
		json_t *line = NULL, *l;
		uint64_t sent, bytes, received, got;
		size_t k;

		json_array_foreach(r.truth, k, l)
		{
			if (!strcmp(str_at(l, "t"), "pickled") &&
			    !strcmp(str_at(l, "what"), kinds[i]))
				line = l;
		}
		cr_assert(line);
		sum_of(r.json, kinds[i], 0, true, &sent, &bytes);
		sum_of(r.json, kinds[i], 0, false, &received, &got);
		/* Large objects are written after their headers. */
		cr_expect_eq(sent, u64_at(line, "messages") + 2, "%s: %" PRIu64, kinds[i], sent);
		cr_expect_eq(bytes, u64_at(line, "bytes") + 4 * u64_at(line, "messages"),
		             "%s: %" PRIu64 " bytes", kinds[i], bytes);
		cr_expect_eq(got, bytes);
		cr_expect_geq(received, 2 * u64_at(line, "messages"), "header, object");
	}
}

Test(traffic, not_counted_is_null)
{
	struct recording r = record(NONE, ARGS(workload("traffic")));

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_assert_gt(json_array_size(at(r.json, "channels")), 0);
	cr_expect(null_at(r.json, "channels[0].messages_sent"));
	cr_expect(null_at(r.json, "channels[0].bytes_received"));
	cr_expect(null_at(r.json, "channels[0].tasks"));
}
