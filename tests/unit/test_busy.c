/* SPDX-License-Identifier: MIT */
/* How much of the CPUs was idle, from texts like /proc/stat's. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "collect/collect_priv.h"

static cpu_set_t all(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	return set;
}

static int idle(const char *text, cpu_set_t set, uint64_t *ticks, unsigned *cpus)
{
	return busy_idle(text, &set, sizeof(set), ticks, cpus);
}

#define STAT                                 \
	"cpu  10 20 30 1000 100 0 0 0 0 0\n" \
	"cpu0 5 10 15 400 60 0 0 0 0 0\n"    \
	"cpu1 5 10 15 600 40 0 0 0 0 0\n"    \
	"intr 5 cpu7 1 2 3 4\n"              \
	"ctxt 1\n"

/* Waiting for a disk leaves a CPU free, too. The line of all CPUs together is none of them. */
Test(busy, idle_and_iowait_of_each_cpu)
{
	uint64_t ticks;
	unsigned cpus;

	cr_assert_eq(idle(STAT, all(), &ticks, &cpus), 0);
	cr_expect_eq(ticks, 1100);
	cr_expect_eq(cpus, 2);
}

Test(busy, only_cpus_that_the_workload_may_use)
{
	cpu_set_t one;
	uint64_t ticks;
	unsigned cpus;

	CPU_ZERO(&one);
	CPU_SET(1, &one);
	cr_assert_eq(idle(STAT, one, &ticks, &cpus), 0);
	cr_expect_eq(ticks, 640);
	cr_expect_eq(cpus, 1);
	CPU_ZERO(&one);
	CPU_SET(5, &one);
	cr_expect_eq(idle(STAT, one, &ticks, &cpus), -ENODATA);
}

Test(busy, texts_that_say_nothing)
{
	static const char *const texts[] = {"",
	                                    "\n",
	                                    "cpu0",
	                                    "cpu0 1 2 3\n",
	                                    "cpu 1 2 3 4 5\n",
	                                    "cpu99999 1 2 3 4 5\n",
	                                    "cpu4294967295 1 2 3 4 5\n",
	                                    "cpu-1 1 2 3 4 5\n"};
	uint64_t ticks;
	unsigned cpus;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		cr_expect_eq(idle(texts[i], all(), &ticks, &cpus), -ENODATA, "%s", texts[i]);
}
