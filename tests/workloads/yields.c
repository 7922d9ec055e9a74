/* SPDX-License-Identifier: MIT */
/*
 * yields: --seconds N (10): on each CPU two threads that hand it to one another with
 * sched_yield, the densest switches there are. Prints how many yields there were.
 */
#include "truth.h"

#include <stdatomic.h>

#define MAX_THREADS 256

static atomic_bool stop;
static _Atomic uint64_t yields;

static void *yield_on(void *cpu)
{
	uint64_t n = 0;

	pin((int)(intptr_t)cpu);
	while (!stop) {
		sched_yield();
		n++;
	}
	yields += n;
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t seconds = arg_u64(argc, argv, "--seconds", 10);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[MAX_THREADS];
	int n = 0;

	for (long cpu = 0; cpu < cpus && n + 2 <= MAX_THREADS; cpu++)
		for (int i = 0; i < 2; i++)
			if (pthread_create(&threads[n++], NULL, yield_on, (void *)(intptr_t)cpu))
				return 1;
	sleep((unsigned)seconds);
	stop = true;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%llu\n", (unsigned long long)yields);
	return 0;
}
