/* SPDX-License-Identifier: MIT */
/* connections_priv.h: channels as the text shows them. */
#ifndef MT_CONNECTIONS_PRIV_H
#define MT_CONNECTIONS_PRIV_H

#include "waits.h"

/* A channel, or several connections with one end in common ("TCP 127.0.0.1:6379 (20)"). */
struct connection {
	char name[192];
	uint64_t waits, wait_ns, max_ns, read_wait_ns, write_wait_ns;
	VEC(struct lock_task) waiters, blockers;
	uint64_t idle_ns; /* CPU time that was idle because of it */
	uint64_t bytes;   /* both ways, by the kernel's counters of TCP; … */
	bool bytes_known;
	bool any_bytes; /* … known of one of the list */
};
struct connections {
	struct connection *v;
	size_t n, cap;
};

/* Of those that were waited for. idle_ns: by channel (report.h), NULL = unknown. out: zeroed. 0 or
 * -ENOMEM; release it in either case. */
int connections_make(struct connections *out, const struct channel *v, size_t n,
                     const uint64_t *idle_ns);
void connections_release(struct connections *c);

#endif
