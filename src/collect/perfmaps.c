/* SPDX-License-Identifier: MIT */
/*
 * perfmaps.c: executable mappings as they come to be. A dummy perf event per CPU makes the
 * kernel report every executable mmap (with the file's build id, since 5.12) and every
 * exec, so that a process which is gone a millisecond later can still be symbolized.
 * Records: include/uapi/linux/perf_event.h, PERF_RECORD_MMAP2 and PERF_RECORD_COMM.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/perf_event.h>

#include "collect_priv.h"

#define PERF_PAGES 64 /* 256 KiB per CPU: some 1,600 mappings */
#define RECORD_MAX 65536

struct cpu_ring {
	int fd;
	struct perf_event_mmap_page *meta;
	const uint8_t *data;
	uint64_t pos, limit;
	uint64_t head_ts; /* of the record at pos; 0 = none */
};

struct perfmaps {
	size_t n, page, bytes;
	uint64_t lost;
	uint8_t record[RECORD_MAX];
	struct cpu_ring cpu[];
};

static int open_dummy(int cpu, bool build_id)
{
	struct perf_event_attr attr = {
	        .type = PERF_TYPE_SOFTWARE,
	        .size = sizeof(attr),
	        .config = PERF_COUNT_SW_DUMMY,
	        .sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
	        .sample_id_all = 1,
	        .mmap = 1,
	        .mmap2 = 1,
	        .build_id = build_id,
	        .comm = 1,
	        .comm_exec = 1,
	        .use_clockid = 1,
	        .clockid = CLOCK_MONOTONIC,
	        .exclude_kernel = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static int open_cpu(struct perfmaps *p, int cpu)
{
	struct cpu_ring *c = &p->cpu[p->n];
	void *m;

	c->fd = open_dummy(cpu, true);
	if (c->fd < 0 && errno == EINVAL)
		c->fd = open_dummy(cpu, false); /* before 5.12 */
	if (c->fd < 0)
		return errno == ENODEV || errno == ENXIO ? 0 : -errno;
	m = mmap(NULL, p->page + p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (m == MAP_FAILED) {
		int rc = -errno;

		close(c->fd);
		return rc;
	}
	c->meta = m;
	c->data = (uint8_t *)m + p->page;
	p->n++;
	return 0;
}

struct perfmaps *perfmaps_new(struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct perfmaps *p;
	int rc = 0;

	if (cpus < 1)
		cpus = 1;
	p = calloc(1, sizeof(*p) + (size_t)cpus * sizeof(p->cpu[0]));
	if (!p) {
		err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory to follow executable mappings");
		return NULL;
	}
	p->page = (size_t)sysconf(_SC_PAGESIZE);
	p->bytes = PERF_PAGES * p->page;
	for (int cpu = 0; cpu < cpus && !rc; cpu++)
		rc = open_cpu(p, cpu);
	if (rc) {
		err_set(err, rc, MT_EXIT_FAIL, "cannot follow executable mappings: %s",
		        strerror(-rc));
		perfmaps_free(p);
		return NULL;
	}
	return p;
}

void perfmaps_free(struct perfmaps *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++) {
		munmap(p->cpu[i].meta, p->page + p->bytes);
		close(p->cpu[i].fd);
	}
	free(p);
}

uint64_t perfmaps_lost(const struct perfmaps *p)
{
	return p->lost;
}

/* Copies the record at the ring's position out (it may wrap); its size, 0 = none. */
static size_t peek(struct perfmaps *p, struct cpu_ring *c, size_t want)
{
	struct perf_event_header h;
	size_t mask = p->bytes - 1, at = c->pos & mask, n;

	if (c->pos >= c->limit)
		c->limit = __atomic_load_n(&c->meta->data_head, __ATOMIC_ACQUIRE);
	if (c->pos + sizeof(h) > c->limit)
		return 0;
	memcpy(&h, c->data + at, sizeof(h)); /* 8-byte aligned: a header never wraps */
	if (h.size < sizeof(h) || c->pos + h.size > c->limit)
		return 0;
	n = want && want < h.size ? want : h.size;
	for (size_t i = 0; i < n; i++)
		p->record[i] = c->data[(at + i) & mask];
	return h.size;
}

static void step(struct cpu_ring *c, size_t size)
{
	c->pos += size;
	c->head_ts = 0;
	__atomic_store_n(&c->meta->data_tail, c->pos, __ATOMIC_RELEASE);
}

/* Time of the record at the position: the last word of the trailing sample_id. */
static uint64_t head_time(struct perfmaps *p, struct cpu_ring *c)
{
	size_t mask = p->bytes - 1, size;
	uint64_t ts = 0;

	if (c->head_ts)
		return c->head_ts;
	size = peek(p, c, sizeof(struct perf_event_header));
	if (!size)
		return 0;
	memcpy(&ts, c->data + ((c->pos + size - sizeof(ts)) & mask), sizeof(ts));
	c->head_ts = ts ? ts : 1;
	return c->head_ts;
}

struct mmap2 {
	struct perf_event_header h;
	uint32_t pid, tid;
	uint64_t addr, len, pgoff;
	union {
		struct {
			uint32_t maj, min;
			uint64_t ino, ino_generation;
		};
		struct {
			uint8_t build_id_size, reserved[3];
			uint8_t build_id[20];
		};
	};
	uint32_t prot, flags;
	char filename[];
};

static bool parse_mmap(const uint8_t *rec, size_t size, struct map_event *out)
{
	const struct mmap2 *m = (const void *)rec;

	/* + the trailing pid, tid and time */
	if (size <= sizeof(*m) + 16 || !memchr(m->filename, 0, size - 16 - sizeof(*m)))
		return false;
	out->pid = m->pid;
	out->start = m->addr;
	out->end = m->addr + m->len;
	out->offset = m->pgoff;
	out->file = m->filename;
	if (m->h.misc & PERF_RECORD_MISC_MMAP_BUILD_ID) {
		out->build_id_n = m->build_id_size <= 20 ? m->build_id_size : 0;
		memcpy(out->build_id, m->build_id, out->build_id_n);
	} else {
		out->dev = m->maj << 20 | m->min;
		out->inode = m->ino;
	}
	return true;
}

/* Is the record of a kind that we want? Fills *out. */
static bool parse(struct perfmaps *p, size_t size, uint64_t ts, struct map_event *out)
{
	struct perf_event_header h;
	uint32_t pid;
	uint64_t lost;

	memset(out, 0, sizeof(*out));
	out->ts = ts;
	memcpy(&h, p->record, sizeof(h));
	switch (h.type) {
	case PERF_RECORD_MMAP2:
		return parse_mmap(p->record, size, out);
	case PERF_RECORD_COMM:
		if (!(h.misc & PERF_RECORD_MISC_COMM_EXEC) || size < sizeof(h) + sizeof(pid))
			return false;
		memcpy(&pid, p->record + sizeof(h), sizeof(pid));
		out->pid = pid;
		out->is_exec = true;
		return true;
	case PERF_RECORD_LOST:
		if (size >= sizeof(h) + 16) {
			memcpy(&lost, p->record + sizeof(h) + 8, sizeof(lost));
			p->lost += lost;
		}
		return false;
	default:
		return false;
	}
}

int perfmaps_next(struct perfmaps *p, uint64_t until_ts, struct map_event *out)
{
	for (;;) {
		struct cpu_ring *best = NULL;
		uint64_t ts = 0;
		size_t size;

		for (size_t i = 0; i < p->n; i++) {
			uint64_t t = head_time(p, &p->cpu[i]);

			if (t && (!best || t < ts)) {
				best = &p->cpu[i];
				ts = t;
			}
		}
		if (!best || ts > until_ts)
			return 0;
		size = peek(p, best, 0);
		step(best, size);
		if (parse(p, size, ts, out))
			return 1;
	}
}
