/* SPDX-License-Identifier: MIT */
/* Descriptors become channels: both ends of a pipe, a socket pair, a connection are one. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "locks_priv.h"

struct end {
	uint8_t addr[16];
	uint32_t port;
};

static bool is_internet(const struct mfile *f)
{
	return f->kind == FD_SOCKET && (f->family == AF_INET || f->family == AF_INET6);
}

static struct end end_of(const uint8_t *addr, uint32_t port)
{
	struct end e = {.port = port};

	memcpy(e.addr, addr, sizeof(e.addr));
	return e;
}

/* What both ends have in common. */
static void key_of(const struct mfile *f, uint32_t index, uint64_t *k0, uint64_t *k1)
{
	struct end ends[2] = {end_of(f->laddr, f->lport), end_of(f->raddr, f->rport)};
	struct end lower;

	*k0 = (uint64_t)f->kind << 56 ^ f->dev;
	*k1 = f->inode;
	if (f->kind == FD_ANON) { /* all of one kind share an inode */
		*k0 = (uint64_t)FD_ANON << 56;
		*k1 = index;
	} else if (f->kind == FD_SOCKET && f->peer) {
		*k1 = f->peer < f->inode ? f->peer : f->inode;
	} else if (is_internet(f) && f->rport) {
		if (memcmp(&ends[0], &ends[1], sizeof(lower)) > 0) {
			lower = ends[1];
			ends[1] = ends[0];
			ends[0] = lower;
		}
		*k0 = hash_bytes(ends, sizeof(ends), f->family);
		*k1 = hash_bytes(ends, sizeof(ends), ~(uint64_t)f->family);
	}
}

static const char *what_of(const struct mfile *f)
{
	switch (f->kind) {
	case FD_PIPE:
		return f->name[0] && strncmp(f->name, "pipe:", 5) != 0 ? "FIFO" : "pipe";
	case FD_SOCKET:
		if (is_internet(f))
			return "TCP";
		if (f->family != AF_UNIX)
			return "socket";
		return f->name[0] ? "UNIX" : f->peer ? "socket pair" : "UNIX socket";
	case FD_MQUEUE:
		return "message queue";
	case FD_SYSV:
		return "System V queue";
	case FD_CHAR:
		return "device";
	default:
		return strstr(f->name, "eventfd") ? "eventfd"
		       : strstr(f->name, "epoll") ? "epoll"
		                                  : "anonymous file";
	}
}

static void print_end(char *out, size_t n, const struct mfile *f, const uint8_t *addr,
                      uint32_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (!inet_ntop((int)f->family, addr, text, sizeof(text)))
		text[0] = '\0';
	snprintf(out, n, f->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

/* A terminal is /dev/pts/0, of which the last part was recorded. */
static bool is_number(const char *name)
{
	return *name && !name[strspn(name, "0123456789")];
}

static void set_name(struct channel *c, const struct mfile *f)
{
	char local[INET6_ADDRSTRLEN + 16], remote[INET6_ADDRSTRLEN + 16];

	if (is_internet(f)) {
		print_end(local, sizeof(local), f, f->laddr, f->lport);
		print_end(remote, sizeof(remote), f, f->raddr, f->rport);
		snprintf(c->name, sizeof(c->name), "%s %s - %s", c->what, local, remote);
	} else if (f->kind == FD_SOCKET && f->name[0]) {
		snprintf(c->name, sizeof(c->name), "%s %s %" PRIu64, c->what, f->name, f->inode);
	} else if (f->kind == FD_CHAR && is_number(f->name)) {
		snprintf(c->name, sizeof(c->name), "%s %s", c->what, f->name);
	} else if (f->name[0]) {
		snprintf(c->name, sizeof(c->name), "%s", f->name);
	} else {
		snprintf(c->name, sizeof(c->name), "%s %llu", c->what,
		         (unsigned long long)f->inode);
	}
}

static bool is_channel(const struct mfile *f)
{
	return f->kind == FD_PIPE || f->kind == FD_SOCKET || f->kind == FD_CHAR ||
	       f->kind == FD_ANON || f->kind == FD_MQUEUE ||
	       (f->kind == FD_SYSV && f->dev == 1); /* a queue, no semaphores */
}

static int add_file(struct build *b, uint32_t index)
{
	const struct mfile *f = model_file_at(b->m, index);
	struct channel c = {
	        .id = (uint32_t)b->w->channels.n + 1, .kind = f->kind, .what = what_of(f)};
	uint64_t k0, k1, *at;
	bool added = false;

	if (!is_channel(f))
		return vec_push(&b->file_channels, (uint32_t)0);
	key_of(f, index, &k0, &k1);
	at = hmap_put(&b->channel_ids, k0, k1, &added);
	if (!at)
		return -ENOMEM;
	if (added) {
		*at = c.id;
		set_name(&c, f);
		if (vec_push(&b->w->channels, c))
			return -ENOMEM;
	}
	return vec_push(&b->file_channels, (uint32_t)*at);
}

/* Several FILEs may be of one socket. */
static int add_end(struct build *b, struct hmap *sockets, const struct mfile *f, uint32_t channel)
{
	struct channel_end end = {.sent_bytes = f->sent_bytes, .received_bytes = f->received_bytes};
	bool added = false;

	if (!channel || !f->bytes_known || !is_internet(f))
		return 0;
	if (!hmap_put(sockets, f->inode, 0, &added))
		return -ENOMEM;
	print_end(end.address, sizeof(end.address), f, f->laddr, f->lport);
	return added ? vec_push(&b->w->channels.v[channel - 1].ends, end) : 0;
}

int channels_group(struct build *b)
{
	struct hmap sockets = {0};
	int err = 0;

	for (size_t i = 0; !err && i < model_n_files(b->m); i++)
		err = add_file(b, (uint32_t)i);
	for (size_t i = 0; !err && i < model_n_files(b->m); i++)
		err = add_end(b, &sockets, model_file_at(b->m, i), b->file_channels.v[i]);
	hmap_release(&sockets);
	return err;
}

uint32_t channel_of_file(const struct build *b, uint32_t file)
{
	return file && file <= b->file_channels.n ? b->file_channels.v[file - 1] : 0;
}

static void mark_traffic(const struct build *b, uint32_t *used)
{
	const struct traffic *t;
	size_t n = model_traffic(b->m, &t);

	for (size_t i = 0; i < n; i++)
		if (t[i].file && traffic_is_news(model_file_at(b->m, t[i].file - 1)))
			used[channel_of_file(b, t[i].file)] = 1;
}

int channels_compact(struct build *b)
{
	struct waits *w = b->w;
	VEC(uint32_t) now = {0};
	uint32_t n = 0;

	if (vec_reserve(&now, w->channels.n + 1))
		return -ENOMEM;
	memset(now.v, 0, (w->channels.n + 1) * sizeof(*now.v));
	for (size_t i = 0; i < w->waits.n; i++)
		now.v[w->waits.v[i].channel] = 1;
	mark_traffic(b, now.v);
	now.v[0] = 0;
	for (size_t i = 0; i < w->channels.n; i++) {
		if (!now.v[i + 1]) {
			vec_release(&w->channels.v[i].ends);
			continue;
		}
		w->channels.v[n] = w->channels.v[i];
		now.v[i + 1] = w->channels.v[n].id = n + 1;
		n++;
	}
	w->channels.n = n;
	for (size_t i = 0; i < w->waits.n; i++)
		w->waits.v[i].channel = now.v[w->waits.v[i].channel];
	for (size_t i = 0; i < b->file_channels.n; i++)
		b->file_channels.v[i] = now.v[b->file_channels.v[i]];
	vec_release(&now);
	return 0;
}
