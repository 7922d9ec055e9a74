/* SPDX-License-Identifier: MIT */
/* Records of many ring buffers come out as one stream by time. The rings are files in memory, laid
 * out as the kernel's; without wrapping around, as a file is not mapped twice in a row. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/bpf.h>

#include "collect/collect_priv.h"

#define RINGS_MOST 40
#define BYTES      65536u
#define STEP       ((sizeof(struct mt_hdr) + BPF_RINGBUF_HDR_SZ + 7) & ~7ul)

struct fake {
	int fd;
	uint8_t *p;
	size_t page;
};

static struct fake fake[RINGS_MOST];

static void make(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), all = 2 * page + 2 * BYTES;

	for (size_t i = 0; i < n; i++) {
		struct fake *f = &fake[i];

		f->page = page;
		f->fd = memfd_create("ring", 0);
		cr_assert(f->fd >= 0 && !ftruncate(f->fd, (off_t)all));
		f->p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
		cr_assert(f->p != MAP_FAILED);
	}
}

static struct rings *open_rings(size_t n)
{
	int fds[RINGS_MOST];
	struct rings *r;
	struct err err = {0};

	for (size_t i = 0; i < n; i++)
		fds[i] = fake[i].fd;
	r = rings_new(fds, n, BYTES, -1, 0, &err);
	cr_assert(r, "%s", err.msg);
	return r;
}

static unsigned long *producer(size_t ring)
{
	return (unsigned long *)(fake[ring].p + fake[ring].page);
}

/* As the kernel's: the place is taken first (busy), then it is written, then committed. */
static uint32_t *put(size_t ring, uint64_t ts, uint32_t task, uint32_t flags)
{
	uint8_t *at = fake[ring].p + 2 * fake[ring].page + *producer(ring);
	struct mt_hdr *h = (struct mt_hdr *)(at + BPF_RINGBUF_HDR_SZ);

	*(uint32_t *)at = sizeof(struct mt_hdr) | flags;
	h->ts = ts;
	h->task = task;
	*producer(ring) += STEP;
	return (uint32_t *)at;
}

Test(rings, one_stream_by_time)
{
	for (size_t n = 1; n <= RINGS_MOST; n = n * 3 + 1) {
		uint64_t last = 0, ts[RINGS_MOST] = {0};
		size_t total = 0, seen = 0;
		struct rings *r;
		uint32_t len;
		unsigned seed = 7;

		make(n);
		r = open_rings(n);
		for (unsigned round = 0; round < 20; round++) {
			uint64_t until = (round + 1) * 1000;
			const struct mt_hdr *h;

			for (size_t i = 0; i < n; i++)
				for (int k = rand_r(&seed) % 20; k > 0; k--) {
					ts[i] += (uint64_t)rand_r(&seed) % 100;
					if (ts[i] < last)
						ts[i] = last; /* none comes that late */
					put(i, ts[i], (uint32_t)i, 0);
					total++;
				}
			rings_refresh(r);
			while ((h = rings_next(r, until, &len))) {
				cr_assert_eq(len, sizeof(struct mt_hdr));
				cr_assert(h->ts >= last && h->ts <= until);
				last = h->ts;
				seen++;
			}
			rings_release_consumed(r);
			for (size_t i = 0; i < n; i++)
				cr_assert(*(unsigned long *)fake[i].p <= *producer(i));
		}
		while (rings_next(r, UINT64_MAX, &len))
			seen++;
		cr_expect_eq(seen, total, "%zu of %zu records of %zu rings", seen, total, n);
		rings_release_consumed(r);
		for (size_t i = 0; i < n; i++) {
			cr_expect_eq(*(unsigned long *)fake[i].p, *producer(i), "given back");
			close(fake[i].fd);
		}
		rings_free(r);
	}
}

/* A record that is being written holds back its ring only; one that was discarded is no record. */
Test(rings, busy_and_discarded)
{
	const struct mt_hdr *h;
	uint32_t len, *busy;
	struct rings *r;

	make(2);
	r = open_rings(2);
	busy = put(0, 10, 1, BPF_RINGBUF_BUSY_BIT);
	put(0, 20, 2, 0);
	put(1, 15, 3, BPF_RINGBUF_DISCARD_BIT);
	put(1, 30, 4, 0);
	cr_expect_eq(rings_refresh(r), (unsigned)(2 * STEP * 1000 / BYTES));
	h = rings_next(r, 100, &len);
	cr_assert(h && h->task == 4, "ring 1 goes on");
	cr_expect_null(rings_next(r, 100, &len));
	*busy &= ~BPF_RINGBUF_BUSY_BIT;
	cr_expect_null(rings_next(r, 100, &len), "not looked yet");
	rings_refresh(r);
	h = rings_next(r, 15, &len);
	cr_assert(h && h->task == 1);
	cr_expect_null(rings_next(r, 15, &len), "later than asked for");
	h = rings_next(r, 100, &len);
	cr_assert(h && h->task == 2);
	cr_expect_null(rings_next(r, 100, &len));
	rings_release_consumed(r);
	cr_expect_eq(*(unsigned long *)fake[0].p, *producer(0));
	rings_free(r);
	rings_free(NULL);
}

/* Of equal times the lower ring's comes first, always. */
Test(rings, equal_times)
{
	struct rings *r;
	uint32_t len;

	make(9);
	r = open_rings(9);
	for (size_t i = 9; i-- > 0;)
		for (unsigned k = 0; k < 3; k++)
			put(i, 5, (uint32_t)(3 * i + k), 0);
	rings_refresh(r);
	for (uint32_t i = 0; i < 27; i++) {
		const struct mt_hdr *h = rings_next(r, 5, &len);

		cr_assert(h && h->task == i, "%u instead of %u", h ? h->task : 999, i);
	}
	cr_expect_null(rings_next(r, 5, &len));
	rings_free(r);
}

/* --- pages: where a CPU gathers records ------------------------------------------------------- */

static struct mt_stage *stages;
static int stages_fd;

static struct rings *open_staged(size_t n, size_t n_stages, size_t bytes)
{
	size_t all = n_stages * sizeof(struct mt_stage);
	int fds[RINGS_MOST];
	struct err err = {0};
	struct rings *r;

	stages_fd = memfd_create("stages", 0);
	cr_assert(stages_fd >= 0 && !ftruncate(stages_fd, (off_t)all));
	stages = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, stages_fd, 0);
	cr_assert(stages != MAP_FAILED);
	for (size_t i = 0; i < n; i++)
		fds[i] = fake[i].fd;
	r = rings_new(fds, n, bytes, stages_fd, n_stages, &err);
	cr_assert(r, "%s", err.msg);
	return r;
}

/* Whole records of what is in the page; as the kernel's side: the content first. */
static void gather(size_t cpu, uint64_t ts, uint32_t task, uint16_t kind, size_t bytes)
{
	struct mt_stage *s = &stages[cpu];
	struct mt_hdr h = {.ts = ts, .kind = kind, .task = task};
	uint64_t used = MT_STAGE_USED(s->where);

	cr_assert(used + bytes <= sizeof(s->data));
	memcpy(s->data + used, &h, sizeof(h));
	s->seen++;
	__atomic_store_n(&s->where, s->where + bytes, __ATOMIC_RELEASE);
}

/* Into the ring. Without `anew` more came while it was sent: what is there is sent again. */
static void send(size_t ring, size_t cpu, bool anew)
{
	struct mt_stage *s = &stages[cpu];
	uint64_t used = MT_STAGE_USED(s->where), len = offsetof(struct mt_stage, data) + used;
	uint8_t *at = fake[ring].p + 2 * fake[ring].page + *producer(ring);

	if (!used)
		return;
	s->h.kind = MT_EV_BATCH;
	s->h.cpu = (uint16_t)cpu;
	memcpy(at + BPF_RINGBUF_HDR_SZ, s, len);
	*(uint32_t *)at = (uint32_t)len;
	__atomic_store_n(producer(ring), *producer(ring) + ((len + BPF_RINGBUF_HDR_SZ + 7) & ~7ul),
	                 __ATOMIC_RELEASE);
	if (anew)
		__atomic_store_n(&s->where, ((s->where >> MT_STAGE_BITS) + used) << MT_STAGE_BITS,
		                 __ATOMIC_RELEASE);
}

static void gather_some(size_t cpu, uint64_t ts, uint32_t task)
{
	static const struct {
		uint16_t kind;
		size_t bytes;
	} kinds[] = {{MT_EV_SWITCH, sizeof(struct mt_switch)},
	             {MT_EV_SWITCH_IN, sizeof(struct mt_switch_in)},
	             {MT_EV_PREEMPT, sizeof(struct mt_preempt)},
	             {MT_EV_WAKING, sizeof(struct mt_waking)},
	             {MT_EV_WAKING_EXT, sizeof(struct mt_waking_ext)}};
	size_t k = task % 5;

	if (MT_STAGE_USED(stages[cpu].where) + kinds[k].bytes > sizeof(stages[cpu].data))
		send(cpu, cpu, true);
	gather(cpu, ts, task, kinds[k].kind, kinds[k].bytes);
}

/* Each record once and in order, whether it was read from its page, from the ring, or could be from
 * both. Direct ones come behind what was gathered before them. */
Test(rings, by_pages)
{
	uint64_t ts = 0, last = 0, seen, lost;
	uint32_t len, direct = 0, of_page = 0;
	const struct mt_hdr *h;
	struct rings *r;
	unsigned seed = 3;

	make(3);
	r = open_staged(3, 3, 2 * BYTES);
	for (unsigned round = 0; round < 200; round++) {
		for (int k = rand_r(&seed) % 30; k > 0; k--) {
			size_t cpu = (size_t)rand_r(&seed) % 3;
			unsigned what = (unsigned)rand_r(&seed) % 16;

			if (*producer(cpu) > BYTES)
				continue; /* it does not wrap */
			if (what < 13) {
				ts++;
				gather_some(cpu, ts, (uint32_t)ts);
			} else if (what < 14) {
				send(cpu, cpu, false);
			} else {
				send(cpu, cpu, true);
				put(cpu, ++ts, 0, 0);
			}
		}
		rings_refresh(r);
		while ((h = rings_next(r, round % 3 ? ts - 5 : ts, &len))) {
			cr_assert_eq(h->ts, last + 1, "%lu behind %lu", (unsigned long)h->ts, last);
			cr_assert_eq(len == sizeof(struct mt_hdr), !h->kind || h->kind == 2);
			last = h->ts;
			direct += !h->kind;
			of_page += h->kind != 0;
		}
		rings_release_consumed(r);
		for (size_t i = 0; i < 3; i++)
			cr_assert(*(unsigned long *)fake[i].p <= *producer(i));
	}
	rings_refresh(r);
	while ((h = rings_next(r, UINT64_MAX, &len)))
		cr_assert_eq(h->ts, ++last);
	cr_expect_eq(last, ts, "up to the last one");
	cr_expect(direct > 50 && of_page > 500, "%u, %u", direct, of_page);
	rings_staged(r, &seen, &lost);
	cr_expect(seen >= of_page && !lost);
	rings_free(r);
}

/* A page that is sent and begun anew while it is read. */
static void *producing(void *arg)
{
	uint64_t n = *(uint64_t *)arg;
	unsigned seed = 5;

	for (uint64_t ts = 1; ts <= n; ts++) {
		gather_some(0, ts, (uint32_t)ts);
		if (rand_r(&seed) % 24 == 0)
			send(0, 0, true);
	}
	return NULL;
}

Test(rings, a_page_that_is_begun_anew)
{
	uint64_t n = 300000, last = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = 64u << 20;
	struct fake *f = &fake[0];
	const struct mt_hdr *h;
	pthread_t producer_thread;
	struct rings *r;
	uint32_t len;

	f->page = page;
	f->fd = memfd_create("ring", 0);
	cr_assert(!ftruncate(f->fd, (off_t)(2 * page + 2 * bytes)));
	f->p = mmap(NULL, 2 * page + 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	cr_assert(f->p != MAP_FAILED);
	r = open_staged(1, 1, bytes);
	cr_assert(!pthread_create(&producer_thread, NULL, producing, &n));
	while (last < n) {
		rings_refresh(r);
		while ((h = rings_next(r, UINT64_MAX, &len))) {
			cr_assert_eq(h->ts, last + 1, "%lu behind %lu", (unsigned long)h->ts, last);
			cr_assert_eq(h->task, (uint32_t)h->ts);
			last = h->ts;
		}
		rings_release_consumed(r);
	}
	pthread_join(producer_thread, NULL);
	rings_free(r);
}

/* A CPU that was plugged in later and shares a ring sends each record; its positions are its own.
 */
Test(rings, page_of_another_cpu)
{
	const struct mt_hdr *h;
	struct rings *r;
	uint32_t len;

	make(1);
	r = open_staged(1, 2, BYTES);
	for (uint32_t i = 1; i <= 9; i++) {
		gather_some(i % 3 ? 0 : 1, i, i);
		if (i % 3 == 0)
			send(0, 1, true);
	}
	send(0, 0, true);
	rings_refresh(r);
	for (uint32_t n = 0, last = 0; n < 9; n++) {
		h = rings_next(r, 100, &len);
		cr_assert(h && h->ts == h->task);
		last |= 1u << h->task;
		cr_assert(n < 8 || last == 0x3fe, "each once: %x", last);
	}
	cr_expect_null(rings_next(r, 100, &len));
	rings_free(r);
}

/* What is in the page is newer than what is still being written in the ring. */
Test(rings, page_behind_a_busy_record)
{
	const struct mt_hdr *h;
	uint32_t len, *busy;
	struct rings *r;

	make(1);
	r = open_staged(1, 1, BYTES);
	busy = put(0, 1, 1, BPF_RINGBUF_BUSY_BIT);
	gather_some(0, 2, 2);
	rings_refresh(r);
	cr_expect_null(rings_next(r, 100, &len));
	*busy &= ~BPF_RINGBUF_BUSY_BIT;
	rings_refresh(r);
	for (uint32_t i = 1; i <= 2; i++) {
		h = rings_next(r, 100, &len);
		cr_assert(h && h->task == i);
	}
	cr_expect_null(rings_next(r, 100, &len));
	rings_free(r);
}

/* What is no record ends its page, not the recording. */
Test(rings, page_with_nonsense)
{
	const struct mt_hdr *h;
	struct rings *r;
	uint32_t len;

	make(1);
	r = open_staged(1, 1, BYTES);
	gather(0, 1, 1, MT_EV_SWITCH_IN, sizeof(struct mt_switch_in));
	gather(0, 2, 2, 999, 64);
	send(0, 0, true);
	gather(0, 3, 3, MT_EV_SWITCH, sizeof(struct mt_switch) - 8); /* cut */
	send(0, 0, true);
	gather(0, 4, 4, MT_EV_SWITCH_IN, sizeof(struct mt_switch_in));
	rings_refresh(r);
	h = rings_next(r, 100, &len);
	cr_assert(h && h->task == 1);
	h = rings_next(r, 100, &len);
	cr_assert(h && h->task == 4);
	cr_expect_null(rings_next(r, 100, &len));
	rings_free(r);
}
