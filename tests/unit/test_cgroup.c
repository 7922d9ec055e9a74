/* SPDX-License-Identifier: MIT */
/* What control groups leave, from a tree of files as the kernel shows them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collect/collect_priv.h"

static char root[] = "/tmp/mpvtrace-cgroup.XXXXXX";

static void begin(void)
{
	cr_assert(mkdtemp(root));
}

static void end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = begin, .fini = end);

/* Writes root/path, making its directories. */
static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(full, 0755);
		*p = '/';
	}
	f = fopen(full, "w");
	cr_assert(f && fputs(text, f) >= 0 && !fclose(f), "%s", full);
}

static struct cgroup_limits limits(const char *proc)
{
	struct cgroup_limits l;
	char *text = strdup(proc);

	cgroup_limits_in(root, text, &l);
	free(text);
	return l;
}

Test(cgroup, version_2_the_tightest_on_the_way_up)
{
	struct cgroup_limits l;

	put("a/b/cpu.max", "max 100000\n");
	put("a/cpu.max", "150000 100000\n");
	put("a/b/memory.max", "536870912\n");
	put("a/memory.max", "max\n");
	l = limits("0::/a/b\n");
	cr_expect_float_eq(l.cpus, 1.5, 1e-9);
	cr_expect_eq(l.memory_bytes, 512u << 20);
	l = limits("0::/a\n");
	cr_expect_float_eq(l.cpus, 1.5, 1e-9);
	cr_expect_eq(l.memory_bytes, 0, "the group's below");
	l = limits("0::/\n");
	cr_expect(l.cpus == 0 && l.memory_bytes == 0);
}

Test(cgroup, version_1_each_controller_its_tree)
{
	struct cgroup_limits l;

	put("cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n");
	put("cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
	put("cpuset/x/cpu.cfs_quota_us", "1\n");
	put("cpuset/x/cpu.cfs_period_us", "100000\n");
	put("memory/y/memory.limit_in_bytes", "9223372036854771712\n");
	put("memory/memory.limit_in_bytes", "83886080\n");
	l = limits("5:cpuset:/x\n4:memory:/y\n3:cpu,cpuacct:/x\n0::/\n");
	cr_expect_float_eq(l.cpus, 0.5, 1e-9);
	cr_expect_eq(l.memory_bytes, 80u << 20);
	put("cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
	cr_expect(limits("3:cpu,cpuacct:/x\n").cpus == 0);
}

/* In a container the file tells of groups above, which are not mounted: its own root is. */
Test(cgroup, groups_that_are_not_to_be_seen)
{
	put("memory/memory.limit_in_bytes", "83886080\n");
	cr_expect_eq(limits("4:memory:/docker/0123\n").memory_bytes, 80u << 20);
	put("memory.max", "1000000\n");
	cr_expect_eq(limits("0::/../..\n").memory_bytes, 1000000);
}

Test(cgroup, what_makes_no_sense)
{
	char longest[8000] = "0::/";

	put("cpu.max", "100000 0\n");
	put("memory.max", "-5\n");
	memset(longest + 4, 'a', sizeof(longest) - 5);
	for (const char *const *t =
	             (const char *const[]){"", "\n", "0", "0:", "0::", ":::", "::/", longest, NULL};
	     *t; t++) {
		struct cgroup_limits l = limits(*t);

		cr_expect(l.cpus == 0 && l.memory_bytes == 0, "%.20s", *t);
	}
}
