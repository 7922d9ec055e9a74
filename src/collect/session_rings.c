/* SPDX-License-Identifier: MIT */
/* session_rings.c: the ring buffers of a recording: how many, how large, by which way records go
 * there. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"

#define RING_BYTES_PER_CPU (16ull << 20) /* half a second and more of the fastest switching */
#define RING_BYTES_MAX     (128ull << 20)
#define RING_BYTES_MIN     (16ull << 20)
#define RING_BYTES_LEAST   (256u << 10) /* of one */
#define RING_MEMORY_SHARE  64           /* at most this part of the machine's memory */
#define RING_GROUP_SHARE   16 /* of what a container may have; the rest of us needs 50 MiB */
#define STAGES_A_RING      16 /* a ring holds so many pages, or records go into it directly */

static unsigned log2_floor(uint64_t x)
{
	return x ? 63 - (unsigned)__builtin_clzll(x) : 0;
}

static uint64_t default_ring_bytes(long cpus)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t most = memory / RING_MEMORY_SHARE;
	uint64_t bytes = cpus > 0 ? (uint64_t)cpus * RING_BYTES_PER_CPU : 0;
	struct cgroup_limits limits;

	if (bytes > most)
		bytes = most;
	if (bytes > RING_BYTES_MAX)
		bytes = RING_BYTES_MAX;
	if (bytes < RING_BYTES_MIN)
		bytes = RING_BYTES_MIN;
	/* The kernel's memory for maps and rings counts as ours. */
	cgroup_limits((uint32_t)getpid(), &limits);
	if (limits.memory_bytes && bytes > limits.memory_bytes / RING_GROUP_SHARE)
		bytes = limits.memory_bytes / RING_GROUP_SHARE;
	return bytes;
}

/* All rings or none; 0 or -errno. */
static int rings_of(struct session *s, size_t bytes_each)
{
	for (size_t i = 0; i < s->n_rings; i++) {
		int rc;

		s->ring_fds[i] = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "mpvtrace_ring", 0, 0,
		                                (uint32_t)bytes_each, NULL);
		if (s->ring_fds[i] >= 0)
			continue;
		rc = -errno;
		while (i--) {
			close(s->ring_fds[i]);
			s->ring_fds[i] = -1;
		}
		return rc;
	}
	s->ring_bytes = bytes_each;
	return 0;
}

/* Before 5.19 install_rings() takes 10 ms for each. */
static size_t most_rings(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return RINGS_MAX_OLD;
	return major > 5 || (major == 5 && minor >= 19) ? RINGS_MAX : RINGS_MAX_OLD;
}

/* The highest number of a CPU that is online; -1 = unknown. */
static long last_cpu(void)
{
	struct buf b = {0};
	long last = -1;

	if (!read_file_at(AT_FDCWD, "/sys/devices/system/cpu/online", 65536, &b) &&
	    !buf_put(&b, "", 1)) { /* "0-3,8" */
		const char *p = (const char *)b.p + strlen((const char *)b.p);

		while (p > (const char *)b.p && !isdigit((unsigned char)p[-1]))
			p--;
		while (p > (const char *)b.p && isdigit((unsigned char)p[-1]))
			p--;
		if (isdigit((unsigned char)*p))
			last = strtol(p, NULL, 10);
	}
	buf_release(&b);
	return last;
}

/* Do records gather in pages first? Where each CPU has a ring, and that holds many pages. */
static void choose_stages(struct session *s)
{
	int possible = libbpf_num_possible_cpus();
	long last = last_cpu();

	s->staged = possible > 0 && last >= 0 && (size_t)last < s->n_rings &&
	            s->ring_bytes >= STAGES_A_RING * sizeof(struct mt_stage);
	s->n_stages = 1;
	if (s->staged)
		s->n_stages = (size_t)possible > s->n_rings ? (size_t)possible : s->n_rings;
}

/* One ring per CPU up to most_rings(), as CPUs that share one wait for each other in it; CPUs that
 * are online, as virtual machines may have many that are not. Sizes are powers of two as the kernel
 * wants them. Unless the user said how large, less will do where memory is limited (a
 * container). */
int session_rings_create(struct session *s, const struct collect_opts *o, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t total = o->buffer_bytes ? o->buffer_bytes : default_ring_bytes(cpus);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes;
	int rc;

	s->n_rings = 1u << log2_floor(cpus > 0 ? (uint64_t)cpus : 1);
	if (cpus > 0 && s->n_rings < (size_t)cpus)
		s->n_rings *= 2;
	if (s->n_rings > most_rings())
		s->n_rings = most_rings();
	bytes = 1ull << log2_floor(total / s->n_rings);
	if (bytes < page)
		bytes = page;
	rc = rings_of(s, bytes);
	while (rc == -ENOMEM && !o->buffer_bytes && bytes > RING_BYTES_LEAST) {
		bytes /= 2;
		rc = rings_of(s, bytes);
		if (!rc)
			log_info("memory is short: ring buffers of %zu KiB", bytes >> 10);
	}
	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL,
		               "cannot create %zu ring buffers of %zu bytes: %s (try a smaller "
		               "--buffer)",
		               s->n_rings, bytes, strerror(-rc));
	choose_stages(s);
	return 0;
}

void session_rings_configure(struct session *s, volatile struct mt_cfg *cfg)
{
	cfg->ring_mask = (uint32_t)s->n_rings - 1;
	cfg->wake_bytes = s->ring_bytes / 8;
	cfg->staged = s->staged;
	bpf_map__set_max_entries(s->skel->maps.rings, (uint32_t)s->n_rings);
	bpf_map__set_max_entries(s->skel->maps.stages, (uint32_t)s->n_stages);
}

/* Each update of a map of maps waits for an RCU grace period (10 ms): one for all, if it can be
 * (Linux 5.19: 9263dddc7b6f). */
static int install_rings(struct session *s)
{
	int map = bpf_map__fd(s->skel->maps.rings);
	uint32_t keys[RINGS_MAX], n = (uint32_t)s->n_rings;
	LIBBPF_OPTS(bpf_map_batch_opts, opts);

	for (uint32_t i = 0; i < n; i++)
		keys[i] = i;
	if (!bpf_map_update_batch(map, keys, s->ring_fds, &n, &opts))
		return 0;
	for (uint32_t i = 0; i < s->n_rings; i++)
		if (bpf_map_update_elem(map, &i, &s->ring_fds[i], 0))
			return -errno;
	return 0;
}

int session_rings_open(struct session *s, struct err *err)
{
	int rc = install_rings(s);

	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL, "cannot install the ring buffers: %s",
		               strerror(-rc));
	s->rings = rings_new(s->ring_fds, s->n_rings, s->ring_bytes,
	                     bpf_map__fd(s->skel->maps.stages), s->staged ? s->n_stages : 0, err);
	return s->rings ? 0 : -ENOMEM;
}

void session_rings_none(struct session *s)
{
	for (size_t i = 0; i < RINGS_MAX; i++)
		s->ring_fds[i] = -1;
}

void session_rings_close(struct session *s)
{
	rings_free(s->rings);
	for (size_t i = 0; i < RINGS_MAX; i++)
		if (s->ring_fds[i] >= 0)
			close(s->ring_fds[i]);
}
