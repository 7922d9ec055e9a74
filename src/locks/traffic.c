/* SPDX-License-Identifier: MIT */
/* Messages and bytes of channels, by task (--messages). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "locks_priv.h"

static void add(struct channel_task *to, const struct traffic *t)
{
	if (t->write) {
		to->sent = sat_add(to->sent, t->messages);
		to->sent_bytes = sat_add(to->sent_bytes, t->bytes);
	} else {
		to->received = sat_add(to->received, t->messages);
		to->received_bytes = sat_add(to->received_bytes, t->bytes);
	}
	to->unsized = sat_add(to->unsized, t->unsized);
}

/* Most bytes first. */
static int by_bytes(const void *a, const void *b)
{
	const struct channel_task *x = a, *y = b;
	uint64_t m = sat_add(x->sent_bytes, x->received_bytes);
	uint64_t n = sat_add(y->sent_bytes, y->received_bytes);

	if (m != n)
		return m > n ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

bool traffic_is_news(const struct mfile *f)
{
	return f->kind != FD_ANON || strstr(f->name, "eventfd");
}

int traffic_sum(struct build *b)
{
	const struct traffic *all;
	size_t n = model_traffic(b->m, &all);
	struct hmap places = {0}; /* (channel, task) -> place in its list */
	struct waits *w = b->w;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		uint32_t channel = channel_of_file(b, all[i].file);
		struct channel *c = channel ? &w->channels.v[channel - 1] : NULL;
		struct channel_task fresh = {.task = all[i].task};
		bool added = false;
		uint64_t *at;

		if (!c)
			continue;
		at = hmap_put(&places, channel, all[i].task, &added);
		if (at && added) {
			*at = c->traffic.n;
			err = vec_push(&c->traffic, fresh);
		}
		if (!at || err) {
			err = -ENOMEM;
			break;
		}
		add(&c->traffic.v[*at], &all[i]);
		add(&c->total, &all[i]);
	}
	hmap_release(&places);
	for (size_t i = 0; i < w->channels.n; i++)
		if (w->channels.v[i].traffic.n)
			qsort(w->channels.v[i].traffic.v, w->channels.v[i].traffic.n,
			      sizeof(struct channel_task), by_bytes);
	return err;
}
