/* SPDX-License-Identifier: MIT */
/*
 * callers: --often-us N --seldom-us N --times N --rounds N: one place to wait, with two callers
 * whose frames look alike, that wait for different times: --times waits of the one, then one
 * of the other, --rounds times. Prints how long each waits, in ns: "often N" and "seldom N"; not
 * what it took, which is more by the time that it was ready and got no CPU.
 */
#include "truth.h"

#include <inttypes.h>

static void __attribute__((noinline)) leaf(uint64_t us)
{
	struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};

	nanosleep(&t, NULL);
	__asm__ volatile("");
}

static void __attribute__((noinline)) often(uint64_t us)
{
	leaf(us);
	__asm__ volatile("");
}

static void __attribute__((noinline)) seldom(uint64_t us)
{
	leaf(us);
	__asm__ volatile("");
}

int main(int argc, char **argv)
{
	uint64_t often_us = arg_u64(argc, argv, "--often-us", 1000);
	uint64_t seldom_us = arg_u64(argc, argv, "--seldom-us", 100000);
	uint64_t times = arg_u64(argc, argv, "--times", 9);
	uint64_t rounds = arg_u64(argc, argv, "--rounds", 20);

	for (uint64_t r = 0; r < rounds; r++) {
		for (uint64_t i = 0; i < times; i++)
			often(often_us);
		seldom(seldom_us);
	}
	printf("often %" PRIu64 "\nseldom %" PRIu64 "\n", rounds * times * often_us * 1000,
	       rounds * seldom_us * 1000);
	return 0;
}
