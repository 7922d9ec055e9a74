/* SPDX-License-Identifier: MIT */
/* What went through pipes, sockets and queues (--messages), counted by bpf/traffic.bpf.c. */
#include <errno.h>
#include <string.h>
#include <bpf/bpf.h>

#include "collect_priv.h"

int traffic_write(const struct session_traffic *s, struct trace_writer *w)
{
	struct mt_traffic_key key, next;
	struct mt_traffic v;
	struct rec_traffic r;
	void *from = NULL;
	int rc = 0;

	while (!rc && !bpf_map_get_next_key(s->fd, from, &next)) {
		key = next;
		from = &key;
		if (bpf_map_lookup_elem(s->fd, &key, &v))
			continue;
		r = (struct rec_traffic){.task = key.task,
		                         .file = key.file,
		                         .write = key.write,
		                         .messages = v.messages,
		                         .bytes = v.bytes,
		                         .unsized = v.unsized};
		rc = trace_write(w, REC_K_TRAFFIC, now_ns(), &r);
	}
	if (!rc && s->lost) { /* of nobody, through nothing: how many found no room */
		r = (struct rec_traffic){.messages = s->lost, .unsized = s->lost};
		rc = trace_write(w, REC_K_TRAFFIC, now_ns(), &r);
	}
	return rc;
}
