/* SPDX-License-Identifier: MIT */
#ifndef MT_PROBE_PRIV_H
#define MT_PROBE_PRIV_H

#include <stdbool.h>

struct btf;
/* How many arguments the kernel's tracepoint passes; 0 = there is no such tracepoint. */
int btf_tracepoint_args(const struct btf *btf, const char *name);
/* Does it keep sched_info.run_delay for each task? */
bool btf_counts_run_delay(const struct btf *btf);
/* Is there a sign of it when fork() begins to copy an address space? */
bool btf_tells_of_forks(const struct btf *btf);
/* Has it this function for BPF programs ("BPF_FUNC_find_vma")? */
bool btf_has_helper(const struct btf *btf, const char *name);

#endif
