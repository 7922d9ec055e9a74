/* SPDX-License-Identifier: MIT */
/* Records of many ring buffers come out as one stream by time. The rings are files in memory, laid
 * out as the kernel's; without wrapping around, as a file is not mapped twice in a row. */
#include <criterion/criterion.h>
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
	r = rings_new(fds, n, BYTES, &err);
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
