/* SPDX-License-Identifier: MIT */
/*
 * openmp [--rounds N]: two OpenMP threads that compute unevenly between barriers: 20 ms beside 2
 * ms, then the other way round. Truth: "computed" {ns}, the CPU time of both that was no waiting.
 */
#include <omp.h>

#include "truth.h"

#define LONG_NS  (20 * MS)
#define SHORT_NS (2 * MS)

static void work(void)
{
	bool first = !omp_get_thread_num();

	compute_ns(first ? LONG_NS : SHORT_NS);
#pragma omp barrier
	compute_ns(first ? SHORT_NS : LONG_NS);
}

int main(int argc, char **argv)
{
	uint64_t rounds = arg_u64(argc, argv, "--rounds", 10);

	truth_open(argc, argv);
	omp_set_num_threads(2);
	for (uint64_t i = 0; i < rounds; i++) {
#pragma omp parallel
		work();
	}
	truth("{\"t\":\"computed\",\"ns\":%llu}",
	      (unsigned long long)(rounds * 2 * (LONG_NS + SHORT_NS)));
	return 0;
}
