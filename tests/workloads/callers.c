/* SPDX-License-Identifier: MIT */
/*
 * callers: --often-us N --seldom-us N --times N --seldom-times N --rounds N: one place to wait,
 * with two callers whose frames look alike, that wait for different times: --times waits of the
 * one, then --seldom-times of the other, --rounds times. Prints how long each waits, in ns: "often
 * N" and "seldom N"; not what it took, which is more by the time that it was ready and got no CPU.
 */
#include "truth.h"

#include <inttypes.h>
#include <sys/prctl.h>

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

/* Not in registers, so that those are the same in both. */
static volatile uint64_t turn, i;

int main(int argc, char **argv)
{
	uint64_t often_us = arg_u64(argc, argv, "--often-us", 1000);
	uint64_t seldom_us = arg_u64(argc, argv, "--seldom-us", 100000);
	uint64_t times = arg_u64(argc, argv, "--times", 9);
	uint64_t seldom_times = arg_u64(argc, argv, "--seldom-times", 1);
	uint64_t rounds = arg_u64(argc, argv, "--rounds", 20);

	prctl(PR_SET_TIMERSLACK, 1UL); /* or each wait is at least 50 us */
	for (turn = 0; turn < rounds; turn++) {
		for (i = 0; i < times; i++)
			often(often_us);
		for (i = 0; i < seldom_times; i++)
			seldom(seldom_us);
	}
	printf("often %" PRIu64 "\nseldom %" PRIu64 "\n", rounds * times * often_us * 1000,
	       rounds * seldom_times * seldom_us * 1000);
	return 0;
}
