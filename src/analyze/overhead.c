/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "analyze_priv.h"

/* Cost names that the recorder gives its own totals; the others are BPF programs measured
 * for a while, which "bpf total" extends to the whole recording. */
#define COST_RECORDER "recorder cpu"
#define COST_BPF      "bpf total"

int analyze_overhead(struct report *r, struct err *err)
{
	const struct bpf_cost *costs;
	size_t n = model_costs(r->m, &costs);

	(void)err;
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(costs[i].name, COST_RECORDER)) {
			r->self_cpu_ns = costs[i].ns;
			r->costs_known = true;
		} else if (!strcmp(costs[i].name, COST_BPF)) {
			r->bpf_ns = costs[i].ns;
			r->bpf_runs = costs[i].count;
		}
	}
	return 0;
}
