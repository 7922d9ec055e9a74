/* SPDX-License-Identifier: MIT */
/*
 * syscall_loop: --calls N (5000000) cheap system calls; prints ns per call. The neighbour that
 * is not traced and must not get slower.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	uint64_t calls = arg_u64(argc, argv, "--calls", 5000000);
	uint64_t t0;

	if (arg(argc, argv, "--pin"))
		pin((int)arg_u64(argc, argv, "--pin", 0));
	t0 = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (uint64_t i = 0; i < calls; i++)
		syscall(SYS_getppid);
	printf("%.3f\n", (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - t0) / (double)calls);
	return 0;
}
