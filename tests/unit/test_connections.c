/* SPDX-License-Identifier: MIT */
/* Channels as the text shows them: a server's connections are one row. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "report/connections_priv.h"

static struct channel channel(const char *what, const char *name, uint64_t wait_ns)
{
	struct channel c = {.what = what, .waits = 1, .wait_ns = wait_ns, .max_ns = wait_ns};

	snprintf(c.name, sizeof(c.name), "%s", name);
	return c;
}

Test(connections, of_one_server_are_one_row)
{
	struct lock_task waiter = {.task = 7, .waits = 1, .wait_ns = 10};
	struct channel v[] = {
	        channel("TCP", "TCP 127.0.0.1:4001 - 127.0.0.1:80", 10),
	        channel("pipe", "pipe:[77]", 5),
	        channel("TCP", "TCP 127.0.0.1:80 - 127.0.0.1:4002", 20),
	        channel("TCP", "TCP 127.0.0.1:4003 - 127.0.0.1:80", 30),
	        channel("TCP", "TCP 127.0.0.1:9 - 127.0.0.1:10", 1),
	        channel("TCP", "TCP with a strange name", 1),
	};
	struct connections c = {0};

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(vec_push(&v[i].waiters, waiter), 0);
	cr_assert_eq(connections_make(&c, v, sizeof(v) / sizeof(*v), NULL), 0);
	cr_assert_eq(c.n, 4);
	cr_expect_str_eq(c.v[0].name, "TCP 127.0.0.1:80 (3)");
	cr_expect_eq(c.v[0].waits, 3);
	cr_expect_eq(c.v[0].wait_ns, 60);
	cr_expect_eq(c.v[0].max_ns, 30);
	cr_assert_eq(c.v[0].waiters.n, 1, "the same task");
	cr_expect_eq(c.v[0].waiters.v[0].wait_ns, 30);
	cr_expect_str_eq(c.v[1].name, "pipe:[77]");
	cr_expect_str_eq(c.v[2].name, "TCP 127.0.0.1:9 - 127.0.0.1:10");
	cr_expect_str_eq(c.v[3].name, "TCP with a strange name");
	connections_release(&c);
	for (unsigned i = 0; i < 4; i++)
		vec_release(&v[i].waiters);
}

/* A database's, by its path; two are no crowd. */
Test(connections, of_one_unix_server_are_one_row)
{
	struct channel v[] = {
	        channel("UNIX", "UNIX /run/db.sock 11", 10),
	        channel("UNIX", "UNIX /run/x y 12", 9),
	        channel("UNIX", "UNIX /run/db.sock 13", 30),
	        channel("UNIX", "UNIX /run/x y 14", 5),
	        channel("UNIX", "UNIX /run/db.sock 15", 20),
	        channel("UNIX", "UNIX nothing", 1),
	        channel("UNIX", "UNIX", 1),
	};
	struct connections c = {0};

	cr_assert_eq(connections_make(&c, v, sizeof(v) / sizeof(*v), NULL), 0);
	cr_assert_eq(c.n, 5);
	cr_expect_str_eq(c.v[0].name, "UNIX /run/db.sock (3)");
	cr_expect_eq(c.v[0].wait_ns, 60);
	cr_expect_str_eq(c.v[1].name, "UNIX /run/x y 12");
	cr_expect_str_eq(c.v[2].name, "UNIX /run/x y 14");
	connections_release(&c);
}

/* Who starts one program after the other reads from a pipe of each; a few pipes stay apart. */
Test(connections, of_one_reader_are_one_row)
{
	enum { MANY = 12, FEW = 3 };
	struct channel v[MANY + FEW];
	struct connections c = {0};
	char name[32];

	for (uint32_t i = 0; i < MANY + FEW; i++) {
		struct lock_task waiter = {.task = i < MANY ? 7 : 8, .waits = 1, .wait_ns = 10};
		struct lock_task writer = {.task = 20 + i, .waits = 1, .wait_ns = 10};

		snprintf(name, sizeof(name), "pipe %u", 1000 + i);
		v[i] = channel("pipe", name, 10);
		cr_assert_eq(vec_push(&v[i].waiters, waiter), 0);
		cr_assert_eq(vec_push(&v[i].blockers, writer), 0);
	}
	cr_assert_eq(connections_make(&c, v, MANY + FEW, NULL), 0);
	cr_assert_eq(c.n, 1 + FEW);
	cr_expect_str_eq(c.v[0].name, "pipe (12)");
	cr_expect_eq(c.v[0].wait_ns, MANY * 10);
	cr_expect_eq(c.v[0].waiters.n, 1);
	cr_expect_eq(c.v[0].blockers.n, MANY);
	cr_expect_str_eq(c.v[1].name, "pipe 1012");
	connections_release(&c);
	for (uint32_t i = 0; i < MANY + FEW; i++) {
		vec_release(&v[i].waiters);
		vec_release(&v[i].blockers);
	}
}
