/* SPDX-License-Identifier: MIT */
/*
 * badframe: sleeps --rounds N (500) times for 0.2 ms with a frame pointer that points to where
 * no memory is, another place each time, as code without frame pointers has it. (x86-64; elsewhere
 * it just sleeps.)
 */
#include "truth.h"

static void nap(uint64_t frame)
{
	struct timespec ts = {.tv_nsec = 200000};
#if defined(__x86_64__)
	long rc;

	/* The red zone is skipped by hand: push would write into it. */
	__asm__ volatile(
	        "lea -128(%%rsp), %%rsp\n\tpush %%rbp\n\tmov %[frame], %%rbp\n\tsyscall\n\t"
	        "pop %%rbp\n\tlea 128(%%rsp), %%rsp"
	        : "=a"(rc)
	        : "a"(SYS_nanosleep), "D"(&ts), "S"(0), [frame] "r"(frame)
	        : "rcx", "r11", "memory");
	(void)rc;
#else
	(void)frame;
	nanosleep(&ts, NULL);
#endif
}

int main(int argc, char **argv)
{
	const char *n = arg(argc, argv, "--rounds");
	uint64_t rounds = n ? strtoull(n, NULL, 10) : 500;

	for (uint64_t i = 0; i < rounds; i++)
		nap(0x10000000 + i * 4096);
	return 0;
}
