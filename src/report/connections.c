/* SPDX-License-Identifier: MIT */
/* A server's connections are one row: channels of the internet that have an end in common. So are
 * the pipes of who starts one program after the other and waits for each. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report/connections_priv.h"
#include "report/figures_priv.h"

#define ENOUGH       3  /* connections with an end in common are told together */
#define MANY_PIPES   10 /* so many of one reader */
#define MAX_COMPARED 1000

struct ends {
	struct hmap count; /* address of an end -> channels that have it */
	struct strtab *names;
};

/* "TCP 10.0.0.1:4711 - 10.0.0.2:80": where the one end and the other begin, and how long they are;
 * false: no such name. */
static bool ends_of(const struct channel *c, const char *at[2], size_t n[2])
{
	size_t what = c->what ? strlen(c->what) : 0;
	const char *middle;

	if (!what || strncmp(c->name, c->what, what) || c->name[what] != ' ' ||
	    !strchr(c->name + what + 1, ':'))
		return false;
	at[0] = c->name + what + 1;
	middle = strstr(at[0], " - ");
	if (!middle)
		return false;
	n[0] = (size_t)(middle - at[0]);
	at[1] = middle + 3;
	n[1] = strlen(at[1]);
	return true;
}

/* "UNIX /run/a.sock 4711": how much of it is the server's. */
static size_t server_of(const struct channel *c)
{
	const char *last = c->what && !strcmp(c->what, "UNIX") ? strrchr(c->name, ' ') : NULL;

	return last && last > c->name + strlen("UNIX ") ? (size_t)(last - c->name) : 0;
}

/* What pipes of one reader have in common; false: more wait for it than one task. */
static bool reader_of(const struct channel *c, char *out, size_t n)
{
	if (c->waiters.n != 1 || !c->what || strncmp(c->name, c->what, strlen(c->what)) ||
	    strchr(c->name, ':') || strchr(c->name, '/'))
		return false;
	snprintf(out, n, "%s of %" PRIu32, c->what, c->waiters.v[0].task);
	return true;
}

static uint64_t *count_of(struct ends *e, const char *end, size_t n)
{
	uint32_t id = strtab_add(e->names, end, n, NULL);

	return id ? hmap_put(&e->count, id, 0, NULL) : NULL;
}

static int count_ends(struct ends *e, const struct channel *v, size_t n)
{
	const char *at[2];
	size_t len[2];
	char reader[64];

	for (size_t i = 0; i < n; i++) {
		size_t server = server_of(&v[i]);

		if (server) {
			uint64_t *count = count_of(e, v[i].name, server);

			if (!count)
				return -ENOMEM;
			++*count;
		} else if (reader_of(&v[i], reader, sizeof(reader))) {
			uint64_t *count = count_of(e, reader, strlen(reader));

			if (!count)
				return -ENOMEM;
			++*count;
		}
		for (int k = 0; k < 2 && ends_of(&v[i], at, len); k++) {
			uint64_t *count = count_of(e, at[k], len[k]);

			if (!count)
				return -ENOMEM;
			++*count;
		}
	}
	return 0;
}

static uint32_t shared_server(struct ends *e, const struct channel *c, char *name, size_t n)
{
	size_t server = server_of(c);
	const uint64_t *count = server ? count_of(e, c->name, server) : NULL;

	if (!count || *count < ENOUGH)
		return 0;
	snprintf(name, n, "%.*s (%llu)", (int)server, c->name, (unsigned long long)*count);
	return strtab_add(e->names, c->name, server, NULL);
}

static uint32_t shared_reader(struct ends *e, const struct channel *c, char *name, size_t n)
{
	char reader[64];
	const uint64_t *count = NULL;

	if (reader_of(c, reader, sizeof(reader)))
		count = count_of(e, reader, strlen(reader));
	if (!count || *count < MANY_PIPES)
		return 0;
	snprintf(name, n, "%s (%llu)", c->what, (unsigned long long)*count);
	return strtab_add(e->names, reader, strlen(reader), NULL);
}

/* The id of the end that it shares with enough others, and the name for all of them; 0 = none. */
static uint32_t shared_end(struct ends *e, const struct channel *c, char *name, size_t n)
{
	const char *at[2];
	size_t len[2];
	uint64_t most = ENOUGH - 1;
	uint32_t best = 0;

	for (int k = 0; k < 2 && ends_of(c, at, len); k++) {
		const uint64_t *count = count_of(e, at[k], len[k]);

		if (!count || *count <= most)
			continue;
		most = *count;
		best = strtab_add(e->names, at[k], len[k], NULL);
		snprintf(name, n, "%s %.*s (%llu)", c->what, (int)len[k], at[k],
		         (unsigned long long)most);
	}
	if (!best)
		best = shared_server(e, c, name, n);
	return best ? best : shared_reader(e, c, name, n);
}

static int merge_list(struct connection *into, const struct lock_task *v, size_t n, bool blockers)
{
	for (size_t i = 0; i < n; i++) {
		size_t have = blockers ? into->blockers.n : into->waiters.n, k = 0;
		struct lock_task *old = blockers ? into->blockers.v : into->waiters.v;

		while (k < have && k < MAX_COMPARED && old[k].task != v[i].task)
			k++;
		if (k < have && old[k].task == v[i].task)
			old[k].wait_ns += v[i].wait_ns;
		else if (blockers ? vec_push(&into->blockers, v[i])
		                  : vec_push(&into->waiters, v[i]))
			return -ENOMEM;
	}
	return 0;
}

/* What one end put in and the other took out is the same data: the larger number is nearer to it.
 */
static uint64_t bytes_of(const struct channel *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->ends.n; i++) {
		const struct channel_end *x = &c->ends.v[i],
		                         *other = c->ends.n == 2 ? &c->ends.v[1 - i] : NULL;
		uint64_t arrived = other ? other->received_bytes : 0;

		sum = sat_add(sum, x->sent_bytes > arrived ? x->sent_bytes : arrived);
		sum = other ? sum : sat_add(sum, x->received_bytes);
	}
	return sum;
}

static int merge(struct connection *into, const struct channel *c, uint64_t idle_ns)
{
	int err;

	into->idle_ns = sat_add(into->idle_ns, idle_ns);
	into->bytes = sat_add(into->bytes, bytes_of(c));
	into->bytes_known |= c->ends.n > 0;
	into->waits += c->waits;
	into->wait_ns += c->wait_ns;
	into->read_wait_ns += c->read_wait_ns;
	into->write_wait_ns += c->write_wait_ns;
	into->max_ns = c->max_ns > into->max_ns ? c->max_ns : into->max_ns;
	err = merge_list(into, c->waiters.v, c->waiters.n, false);
	return err ? err : merge_list(into, c->blockers.v, c->blockers.n, true);
}

static int add(struct connections *out, struct ends *e, struct hmap *rows, const struct channel *c,
               uint64_t idle_ns)
{
	struct connection fresh = {0};
	bool added = true;
	uint32_t end = shared_end(e, c, fresh.name, sizeof(fresh.name));
	uint64_t *at = end ? hmap_put(rows, end, 0, &added) : NULL;

	if (end && !at)
		return -ENOMEM;
	if (!end)
		snprintf(fresh.name, sizeof(fresh.name), "%s", c->name);
	if (added) {
		if (at)
			*at = out->n;
		if (vec_push(out, fresh))
			return -ENOMEM;
	}
	return merge(&out->v[at ? *at : out->n - 1], c, idle_ns);
}

int connections_make(struct connections *out, const struct channel *v, size_t n,
                     const uint64_t *idle_ns)
{
	struct ends e = {.names = strtab_new()};
	struct hmap rows = {0};
	int err = e.names ? count_ends(&e, v, n) : -ENOMEM;
	bool any = false;

	for (size_t i = 0; !err && i < n; i++)
		if (v[i].waits)
			err = add(out, &e, &rows, &v[i], idle_ns ? idle_ns[i] : 0);
	for (size_t i = 0; i < out->n; i++)
		any |= out->v[i].bytes_known;
	for (size_t i = 0; i < out->n; i++)
		out->v[i].any_bytes = any;
	hmap_release(&rows);
	hmap_release(&e.count);
	strtab_free(e.names);
	return err;
}

void connections_release(struct connections *c)
{
	for (size_t i = 0; i < c->n; i++) {
		vec_release(&c->v[i].waiters);
		vec_release(&c->v[i].blockers);
	}
	vec_release(c);
}
