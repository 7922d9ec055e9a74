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

#define RECORD_BYTES(len)                                                                         \
	((((len) & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)) + BPF_RINGBUF_HDR_SZ + 7) & \
	 ~7UL)

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

	uint16_t cpu;
	const struct mt_stage *stage; /* its CPU's page; NULL = it has none */
	uint64_t taken;               /* position of the first record not yet read */
	const uint8_t *at, *end;      /* in a batch: the next record; NULL = in none */
	uint64_t copy_from;           /* position of copy's first byte */
	size_t copy_bytes;
	bool in_copy; /* `at` is in copy */
	bool other;   /* … in a page of another CPU that shares the ring */
	uint8_t *copy;
};

struct rings {
	size_t n;
	bool handed_out; /* the first one's head is with the caller, not yet stepped over */
	/* Those that have a head, as a binary heap: the earliest head first. */
	struct ring **heap;
	size_t n_heads;
	const struct mt_stage *stages; /* one for each ring, and more; NULL = none */
	size_t n_stages;
	uint8_t *copies;
	struct ring r[];
};

/* --- batches ---------------------------------------------------------------------------------- */

/* What goes by the page (stage.bpf.h); 0 = nothing that does. */
static uint32_t staged_size(uint16_t kind)
{
	switch (kind) {
	case MT_EV_SWITCH:
		return sizeof(struct mt_switch);
	case MT_EV_SWITCH_IN:
		return sizeof(struct mt_switch_in);
	case MT_EV_PREEMPT:
		return sizeof(struct mt_preempt);
	case MT_EV_WAKING:
		return sizeof(struct mt_waking);
	case MT_EV_WAKING_EXT:
		return sizeof(struct mt_waking_ext);
	default:
		return 0;
	}
}

/* The batch whose first byte has the position `from`: what of it is new. */
static void batch_enter(struct ring *r, const uint8_t *data, size_t bytes, uint64_t from)
{
	uint64_t skip = r->taken > from ? r->taken - from : 0;

	r->at = r->end = NULL;
	if (skip >= bytes)
		return;
	r->taken = from + skip;
	r->at = data + skip;
	r->end = data + bytes;
}

/* A copy in the ring, its page's head first. */
static void batch_from_ring(struct ring *r, const struct mt_stage *s, uint32_t len)
{
	size_t bytes = len - offsetof(struct mt_stage, data);
	uint64_t from = s->where >> MT_STAGE_BITS;

	if (len < offsetof(struct mt_stage, data))
		return;
	r->other = s->h.cpu != r->cpu;
	if (r->other) { /* it sends each record at once */
		r->at = s->data;
		r->end = s->data + bytes;
		return;
	}
	batch_enter(r, s->data, bytes, from);
}

/* The batch's next record as the head. false: there is none. */
static bool batch_peek(struct ring *r)
{
	const struct mt_hdr *h = (const void *)r->at;

	if (!r->at || (size_t)(r->end - r->at) < sizeof(*h))
		return false;
	r->head_len = staged_size(h->kind);
	if (!r->head_len || r->head_len > (size_t)(r->end - r->at))
		return false;
	r->head = h;
	return true;
}

/*
 * The page as it is now. It may be sent and begun anew meanwhile, so that what is copied is newer
 * than its positions say. But then it is in the ring already, where the caller looks afterwards,
 * and what has the same positions there is read first.
 */
static void stage_copy(struct ring *r)
{
	uint64_t where, from;
	size_t bytes;

	r->copy_bytes = 0;
	if (!r->stage)
		return;
	where = __atomic_load_n(&r->stage->where, __ATOMIC_ACQUIRE);
	bytes = MT_STAGE_USED(where);
	from = where >> MT_STAGE_BITS;
	if (bytes > sizeof(r->stage->data) || from + bytes <= r->taken)
		return;
	memcpy(r->copy, r->stage->data, bytes);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	r->copy_from = from;
	r->copy_bytes = bytes;
}

/* --- one ring --------------------------------------------------------------------------------- */

/* The next record in the ring itself, or a batch entered. false: there is none (yet). */
static bool ring_next(struct ring *r)
{
	while (r->pos < r->limit) {
		const uint32_t *lenp = (const void *)(r->data + (r->pos & (r->size - 1)));
		uint32_t len = __atomic_load_n(lenp, __ATOMIC_ACQUIRE);
		const struct mt_hdr *h = (const void *)((const uint8_t *)lenp + BPF_RINGBUF_HDR_SZ);

		if (len & BPF_RINGBUF_BUSY_BIT)
			return false; /* being written at this moment */
		r->head_len = len & ~BPF_RINGBUF_DISCARD_BIT;
		if (!(len & BPF_RINGBUF_DISCARD_BIT) && h->kind != MT_EV_BATCH) {
			r->head = h;
			return true;
		}
		if (!(len & BPF_RINGBUF_DISCARD_BIT)) {
			batch_from_ring(r, (const void *)h, r->head_len);
			if (batch_peek(r))
				return true;
		}
		r->at = NULL;
		r->pos += RECORD_BYTES(len);
	}
	return false;
}

static void ring_peek(struct ring *r)
{
	r->head = NULL;
	if (batch_peek(r))
		return;
	if (r->at && !r->in_copy) /* the batch is done */
		r->pos += RECORD_BYTES(*(const uint32_t *)(r->data + (r->pos & (r->size - 1))));
	r->at = NULL;
	if (r->in_copy || ring_next(r))
		return;
	/* All that is in the ring has been read: what is newer is in the page. */
	if (r->pos == r->limit && r->copy_bytes) {
		batch_enter(r, r->copy, r->copy_bytes, r->copy_from);
		r->in_copy = batch_peek(r);
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

static int stages_map(struct rings *rs, int fd, size_t n)
{
	void *p;

	rs->copies = malloc(rs->n * sizeof(struct mt_stage));
	if (!rs->copies)
		return -ENOMEM;
	p = mmap(NULL, n * sizeof(struct mt_stage), PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	rs->stages = p;
	rs->n_stages = n;
	for (size_t i = 0; i < rs->n; i++) {
		rs->r[i].stage = &rs->stages[i];
		rs->r[i].copy = rs->copies + i * sizeof(struct mt_stage);
	}
	return 0;
}

struct rings *rings_new(const int *map_fds, size_t n, size_t bytes_each, int stages_fd,
                        size_t n_stages, struct err *err)
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

		rs->r[i].cpu = (uint16_t)i;
		if (rc) {
			err_set(err, rc, MT_EXIT_FAIL,
			        "cannot map ring buffer %zu of %zu bytes: %s", i, bytes_each,
			        strerror(-rc));
			rings_free(rs);
			return NULL;
		}
	}
	if (n_stages) {
		int rc = stages_map(rs, stages_fd, n_stages);

		if (rc) {
			err_set(err, rc, MT_EXIT_FAIL, "cannot map the pages of %zu CPUs: %s", n,
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
	if (rs->stages)
		munmap((void *)rs->stages, rs->n_stages * sizeof(struct mt_stage));
	free(rs->copies);
	free(rs->heap);
	free(rs);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void ring_step(struct ring *r)
{
	if (r->at) {
		r->at += r->head_len;
		r->taken += r->in_copy || !r->other ? r->head_len : 0;
	} else {
		r->pos += RECORD_BYTES(r->head_len);
	}
	ring_peek(r);
	/* Give room back in pieces: often enough that a fast producer finds some, seldom
	 * enough not to bounce its cache line with every record. */
	if (r->pos - __atomic_load_n(r->cons, __ATOMIC_RELAXED) > r->size / 32)
		__atomic_store_n(r->cons, r->pos, __ATOMIC_RELEASE);
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

unsigned rings_refresh(struct rings *rs)
{
	unsigned most = 0;

	step_over(rs);
	rs->n_heads = 0;
	for (size_t i = 0; i < rs->n; i++) {
		struct ring *r = &rs->r[i];
		unsigned fill;

		/* The page first: what went from there into the ring meanwhile is found there. */
		stage_copy(r);
		r->limit = __atomic_load_n(r->prod, __ATOMIC_ACQUIRE);
		fill = (unsigned)((r->limit - r->pos) * 1000 / r->size);
		if (fill > most)
			most = fill;
		if (r->in_copy) { /* of the last look: it may be in the ring by now */
			r->in_copy = false;
			r->at = NULL;
			r->head = NULL;
		}
		if (!r->head)
			ring_peek(r);
		if (r->head)
			heap_push(rs, r);
	}
	return most;
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

void rings_staged(const struct rings *rs, uint64_t *seen, uint64_t *lost)
{
	*seen = *lost = 0;
	for (size_t i = 0; i < rs->n_stages; i++) {
		*seen += __atomic_load_n(&rs->stages[i].seen, __ATOMIC_RELAXED);
		*lost += __atomic_load_n(&rs->stages[i].lost, __ATOMIC_RELAXED);
	}
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
