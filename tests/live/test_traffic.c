/* SPDX-License-Identifier: MIT */
/* Messages and bytes of channels (--messages) against the programs' own counts. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "live.h"
#include "mt_abi.h"

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

/* The kernel's own counters of the end with that port; or NULL. */
static json_t *end_at(json_t *report, uint64_t port)
{
	const char *address = fmt("127.0.0.1:%" PRIu64, port);
	json_t *channel, *end;
	size_t i, k;

	json_array_foreach(at(report, "channels"), i, channel)
	{
		if (!json_is_array(at(channel, "ends")))
			continue;
		json_array_foreach(at(channel, "ends"), k, end)
		{
			if (!strcmp(str_at(end, "address"), address))
				return end;
		}
	}
	return NULL;
}

static void expect_moved(json_t *report, json_t *truth, const char *what, uint64_t more_sent,
                         uint64_t more_received)
{
	json_t *line, *end = NULL;
	size_t i;

	json_array_foreach(truth, i, line)
	{
		if (strcmp(str_at(line, "t"), "moved") || strcmp(str_at(line, "what"), what))
			continue;
		end = end_at(report, u64_at(line, "client"));
		cr_assert(end, "%s: no such end", what);
		cr_expect_eq(u64_at(end, "bytes_sent"), u64_at(line, "sent") + more_sent,
		             "%s: %" PRIu64 " bytes", what, u64_at(end, "bytes_sent"));
		cr_expect_eq(u64_at(end, "bytes_received"),
		             u64_at(line, "received") + more_received, "%s: %" PRIu64 " bytes",
		             what, u64_at(end, "bytes_received"));
	}
	cr_expect(end, "%s", what);
}

/* Without --messages: bytes of connections by the kernel's counters, of one that is open when the
 * recording ends, and of one that closed with data that nobody read. */
Test(traffic, bytes_of_connections)
{
	struct recording r = record(ARGS("-d", slow_machine() ? "30" : "3"),
	                            ARGS("/usr/bin/python3", workload("tcp_open.py")));

	cr_assert(truth_line(r.truth, "done", NULL, 0), "%s", r.p.err);
	/* the early part is the same connection's */
	expect_moved(r.json, r.truth, "open", 5000, 1000);
	expect_moved(r.json, r.truth, "closed", 0, 0);
	kill(-r.p.pid, SIGKILL);
}

/* What went through a connection before the recording is not counted. */
Test(traffic, bytes_of_a_connection_that_was_there)
{
	struct proc w, p;
	json_t *report;

	proc_start(&w,
	           ARGS("/usr/bin/python3", workload("tcp_open.py"), "--wait",
	                slow_machine() ? "20" : "3", "--truth", fmt("%s/truth", live_dir)),
	           NULL);
	cr_assert(file_holds(fmt("%s/truth", live_dir), "early", 20));
	p = run(ARGS(mpvtrace(), "attach", "-p", fmt("%d", (int)w.pid), "-d",
	             slow_machine() ? "30" : "4", "-o", "t.mpv", "--json", "a.json"));
	cr_assert_eq(p.status, 0, "%s", p.err);
	kill(w.pid, SIGKILL);
	proc_wait(&w);
	report = load_json(fmt("%s/a.json", live_dir));
	cr_assert(file_holds(fmt("%s/truth", live_dir), "done", 0.1));
	expect_moved(report, load_truth(fmt("%s/truth", live_dir)), "open", 0, 0);
	expect_moved(report, load_truth(fmt("%s/truth", live_dir)), "closed", 0, 0);
}

/* Both ways of counting, side by side; and each task's reads and writes. */
Test(traffic, the_kernel_counts_the_same)
{
	struct recording r = record(ARGS("--messages"), ARGS(workload("traffic")));
	uint64_t sent = 0, received = 0, messages, bytes, writes = 0;
	json_t *channel, *end, *task;
	size_t i, k;

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	json_array_foreach(at(r.json, "channels"), i, channel)
	{
		if (strcmp(str_at(channel, "kind"), "TCP") != 0)
			continue;
		cr_expect_eq(json_array_size(at(channel, "ends")), 2);
		json_array_foreach(at(channel, "ends"), k, end)
		{
			sent += u64_at(end, "bytes_sent");
			received += u64_at(end, "bytes_received");
		}
	}
	sum_of(r.json, "TCP", 0, true, &messages, &bytes);
	cr_expect_eq(sent, bytes);
	cr_expect_eq(received, bytes);
	json_array_foreach(at(r.json, "tasks"), i, task) writes += u64_at(task, "io.written_bytes");
	sum_of(r.json, "FIFO", 0, true, &messages, &bytes);
	cr_expect_geq(writes, bytes, "what went into the FIFO is among the writes");
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

/* Connections of UNIX sockets have the path that the server listens at, at both ends: each channel
 * is waited for by server and client. */
Test(traffic, unix_paths)
{
	const char *deep = fmt("%s/a-directory-with-a-name-of-some-length", live_dir);
	const char *paths[] = {fmt("%s/s", live_dir), "@mpvtrace abstract",
	                       fmt("%s/and-a-socket", deep)};

	cr_assert_eq(mkdir(deep, 0755), 0);
	for (size_t i = 0; i < 3; i++) {
		struct recording r =
		        record(NONE, ARGS("/usr/bin/python3", workload("unix.py"), paths[i], "3"));
		const char *name = paths[i];
		size_t k, found = 0;
		json_t *c;

		cr_assert_eq(r.p.status, 0, "%s", r.p.err);
		if (strlen(name) > MT_LEAF - 1)
			name = fmt("…%s", name + strlen(name) - (MT_LEAF - 1));
		json_array_foreach(at(r.json, "channels"), k, c)
		{
			found += json_array_size(at(c, "waiters")) == 2 &&
			         !strcmp(str_at(c, "kind"), "UNIX") &&
			         !strncmp(str_at(c, "name"), fmt("UNIX %s ", name),
			                  strlen(name) + 6);
		}
		cr_expect_eq(found, 3, "%zu connections are called %s:\n%s", found, name,
		             json_dumps(at(r.json, "channels"), JSON_INDENT(1)));
	}
}

Test(traffic, not_counted_is_null)
{
	/* Without counts a channel is known by who waited for it: here each waits for the other. */
	struct recording r =
	        record(NONE, ARGS(workload("pingpong"), "--rounds", "200", "--pin", "0"));

	cr_assert_eq(r.p.status, 0, "%s", r.p.err);
	cr_assert_gt(json_array_size(at(r.json, "channels")), 0);
	cr_expect(null_at(r.json, "channels[0].messages_sent"));
	cr_expect(null_at(r.json, "channels[0].bytes_from"));
	cr_expect(null_at(r.json, "channels[0].bytes_received"));
	cr_expect(null_at(r.json, "channels[0].tasks"));
}
