/* SPDX-License-Identifier: MIT */
/*
 * cgroup.c: what a control group leaves of the machine (kernel: Documentation/admin-guide/
 * cgroup-v2.rst, and cgroup-v1/memory.rst, scheduler/sched-bwc.rst). A limit of a group holds
 * for all below it, so the tightest one on the way up counts. In a container the upper levels
 * are not there to see; what is there is its own root.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "collect_priv.h"

#define V1_NO_LIMIT (1ull << 60) /* its "none" is a number, about the largest */

static bool read_numbers(const char *dir, const char *group, const char *file, double *a, double *b)
{
	struct buf text = {0};
	char path[4352];
	int n = 0;

	if (snprintf(path, sizeof(path), "%s%s/%s", dir, group, file) < (int)sizeof(path) &&
	    !read_file_at(AT_FDCWD, path, 4096, &text) && !buf_put(&text, "", 1))
		n = sscanf((char *)text.p, "%lf %lf", a, b); /* "max": none */
	buf_release(&text);
	return n == (b ? 2 : 1);
}

static void lower(double *least, double v)
{
	if (v > 0 && (*least <= 0 || v < *least))
		*least = v;
}

static void look_at_cpus(const char *dir, const char *group, double *least)
{
	double quota, period;

	if (read_numbers(dir, group, "cpu.max", &quota, &period) && period > 0)
		lower(least, quota / period);
	if (read_numbers(dir, group, "cpu.cfs_quota_us", &quota, NULL) &&
	    read_numbers(dir, group, "cpu.cfs_period_us", &period, NULL) && period > 0)
		lower(least, quota / period);
}

static void look_at_memory(const char *dir, const char *group, double *least)
{
	double bytes;

	if (read_numbers(dir, group, "memory.max", &bytes, NULL))
		lower(least, bytes);
	if (read_numbers(dir, group, "memory.limit_in_bytes", &bytes, NULL) &&
	    bytes < (double)V1_NO_LIMIT)
		lower(least, bytes);
}

/* The group and all above it. */
static void climb(const char *dir, const char *group,
                  void (*look)(const char *dir, const char *group, double *least), double *least)
{
	char path[4096], *slash;

	if (snprintf(path, sizeof(path), "%s", group) >= (int)sizeof(path))
		return;
	while ((slash = strrchr(path, '/'))) {
		look(dir, path, least);
		*slash = 0;
	}
	look(dir, "", least);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (; list; list = strchr(list, ','), list += list ? 1 : 0)
		if (!strncmp(list, word, n) && (!list[n] || list[n] == ','))
			return true;
	return false;
}

/* A line of /proc/PID/cgroup: number, controllers (none: version 2), group. */
static void look_at_line(char *line, const char *mount, double *cpus, double *memory)
{
	char dir[4096], *controllers = strchr(line, ':'), *group;

	group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return;
	controllers++;
	*group++ = 0;
	if (!*controllers) {
		climb(mount, group, look_at_cpus, cpus);
		climb(mount, group, look_at_memory, memory);
		return;
	}
	if (snprintf(dir, sizeof(dir), "%s/%s", mount, controllers) >= (int)sizeof(dir))
		return;
	if (has_word(controllers, "cpu"))
		climb(dir, group, look_at_cpus, cpus);
	if (has_word(controllers, "memory"))
		climb(dir, group, look_at_memory, memory);
}

void cgroup_limits_in(const char *mount, char *text, struct cgroup_limits *out)
{
	double memory = 0;
	char *save = NULL;

	*out = (struct cgroup_limits){0};
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		look_at_line(l, mount, &out->cpus, &memory);
	out->memory_bytes = memory < (double)V1_NO_LIMIT ? (uint64_t)memory : 0;
}

void cgroup_limits(uint32_t pid, struct cgroup_limits *out)
{
	struct buf b = {0};
	char path[48];

	*out = (struct cgroup_limits){0};
	snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
	if (!read_file_at(AT_FDCWD, path, 65536, &b) && !buf_put(&b, "", 1))
		cgroup_limits_in("/sys/fs/cgroup", (char *)b.p, out);
	buf_release(&b);
}
