/* SPDX-License-Identifier: MIT */
/*
 * rings.c: consumer of the BPF ring buffers (layout: kernel/bpf/ringbuf.c, uapi): a
 * page with the consumer's position, a page with the producer's, and the data mapped
 * twice in a row so that no record wraps. Records are read in place; the rings are merged
 * by time. libbpf's own consumer hands over one ring at a time, and would have to copy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/bpf.h>

#include "collect_priv.h"

/* No record is longer: of the second mapping only so much is ever looked at. All of it would be
 * counted as our memory once more. */
#define RECORD_MAX 65536
_Static_assert(sizeof(struct mt_copy) + BPF_RINGBUF_HDR_SZ <= RECORD_MAX, "a longer record");

struct ring {
	size_t mapped; /* bytes, from the producer's page on */
	int fd;
	size_t size;
	unsigned long *cons;
	const unsigned long *prod;
	const uint8_t *data;
	unsigned long pos, limit;  /* our position; the producer's when last looked at */
	const struct mt_hdr *head; /* next record, NULL = none that is ready */
	uint32_t head_len;
};

struct rings {
	size_t n;
	bool handed_out; /* the first one's head is with the caller, not yet stepped over */
	/* Those that have a head, as a binary heap: the earliest head first. */
	struct ring **heap;
	size_t n_heads;
	struct ring r[];
};

static void ring_peek(struct ring *r)
{
	r->head = NULL;
	while (r->pos < r->limit) {
		const uint32_t *lenp = (const void *)(r->data + (r->pos & (r->size - 1)));
		uint32_t len = __atomic_load_n(lenp, __ATOMIC_ACQUIRE);

		if (len & BPF_RINGBUF_BUSY_BIT)
			return; /* being written at this moment */
		r->head_len = len & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		if (!(len & BPF_RINGBUF_DISCARD_BIT)) {
			r->head = (const void *)((const uint8_t *)lenp + BPF_RINGBUF_HDR_SZ);
			return;
		}
		r->pos += (r->head_len + BPF_RINGBUF_HDR_SZ + 7) & ~7UL;
	}
}

/* --- the earliest of many --------------------------------------------------------------------- */

/* Equal times: the ring of the lower number, so that the order is always the same. */
static bool before(const struct ring *a, const struct ring *b)
{
	return a->head->ts < b->head->ts || (a->head->ts == b->head->ts && a < b);
}

static void heap_push(struct rings *rs, struct ring *r)
{
	size_t i = rs->n_heads++, up;

	for (; i && before(r, rs->heap[up = (i - 1) / 2]); i = up)
		rs->heap[i] = rs->heap[up];
	rs->heap[i] = r;
}

/* r takes the first place, and goes down to its own. */
static void heap_sink(struct rings *rs, struct ring *r)
{
	size_t i = 0, down;

	while ((down = 2 * i + 1) < rs->n_heads) {
		if (down + 1 < rs->n_heads && before(rs->heap[down + 1], rs->heap[down]))
			down++;
		if (before(r, rs->heap[down]))
			break;
		rs->heap[i] = rs->heap[down];
		i = down;
	}
	rs->heap[i] = r;
}

/* --- life ------------------------------------------------------------------------------------- */

static int ring_map(struct ring *r, int fd, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *p;

	r->fd = fd;
	r->size = bytes;
	p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	r->cons = (void *)p;
	r->mapped = page + bytes + (bytes < RECORD_MAX ? bytes : RECORD_MAX);
	p = mmap(NULL, r->mapped, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (p == MAP_FAILED)
		return -errno;
	r->prod = (void *)p;
	r->data = p + page;
	return 0;
}

struct rings *rings_new(const int *map_fds, size_t n, size_t bytes_each, struct err *err)
{
	struct rings *rs = calloc(1, sizeof(*rs) + n * sizeof(rs->r[0]));

	if (rs)
		rs->heap = calloc(n, sizeof(struct ring *));
	if (!rs || !rs->heap) {
		free(rs);
		err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory for ring buffers");
		return NULL;
	}
	rs->n = n;
	for (size_t i = 0; i < n; i++) {
		int rc = ring_map(&rs->r[i], map_fds[i], bytes_each);

		if (rc) {
			err_set(err, rc, MT_EXIT_FAIL,
			        "cannot map ring buffer %zu of %zu bytes: %s", i, bytes_each,
			        strerror(-rc));
			rings_free(rs);
			return NULL;
		}
	}
	return rs;
}

void rings_free(struct rings *rs)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!rs)
		return;
	for (size_t i = 0; i < rs->n; i++) {
		if (rs->r[i].cons)
			munmap(rs->r[i].cons, page);
		if (rs->r[i].prod)
			munmap((void *)rs->r[i].prod, rs->r[i].mapped);
	}
	free(rs->heap);
	free(rs);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void ring_step(struct ring *r)
{
	r->pos += (r->head_len + BPF_RINGBUF_HDR_SZ + 7) & ~7UL;
	ring_peek(r);
	/* Give room back in pieces: often enough that a fast producer finds some, seldom
	 * enough not to bounce its cache line with every record. */
	if (r->pos - __atomic_load_n(r->cons, __ATOMIC_RELAXED) > r->size / 32)
		__atomic_store_n(r->cons, r->pos, __ATOMIC_RELEASE);
}

unsigned rings_refresh(struct rings *rs)
{
	unsigned most = 0;

	for (size_t i = 0; i < rs->n; i++) {
		struct ring *r = &rs->r[i];
		unsigned fill;

		r->limit = __atomic_load_n(r->prod, __ATOMIC_ACQUIRE);
		fill = (unsigned)((r->limit - r->pos) * 1000 / r->size);
		if (fill > most)
			most = fill;
		if (r->head)
			continue;
		ring_peek(r);
		if (r->head)
			heap_push(rs, r);
	}
	return most;
}

/* Over the record that the caller is done with. */
static void step_over(struct rings *rs)
{
	struct ring *r = rs->heap[0];

	if (!rs->handed_out)
		return;
	rs->handed_out = false;
	ring_step(r);
	if (!r->head)
		r = rs->heap[--rs->n_heads];
	if (rs->n_heads)
		heap_sink(rs, r);
}

const struct mt_hdr *rings_next(struct rings *rs, uint64_t until_ts, uint32_t *len)
{
	const struct ring *first;

	step_over(rs);
	first = rs->n_heads ? rs->heap[0] : NULL;
	if (!first || first->head->ts > until_ts)
		return NULL;
	rs->handed_out = true;
	*len = first->head_len;
	return first->head;
}

void rings_release_consumed(struct rings *rs)
{
	step_over(rs);
	for (size_t i = 0; i < rs->n; i++)
		__atomic_store_n(rs->r[i].cons, rs->r[i].pos, __ATOMIC_RELEASE);
}

int rings_epoll_add(struct rings *rs, int epoll_fd)
{
	for (size_t i = 0; i < rs->n; i++) {
		/* Edge-triggered: only a forced wake-up counts, not that data is there. */
		struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = 100 + i};

		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, rs->r[i].fd, &ev))
			return -errno;
	}
	return 0;
}
