/* SPDX-License-Identifier: MIT */
#ifndef MT_PROBE_PRIV_H
#define MT_PROBE_PRIV_H

#include <stdbool.h>

#define KERNEL_TYPES "/sys/kernel/btf/vmlinux"

struct btf;
/* Why btf__load_vmlinux_btf() failed, which says -ESRCH whatever it was: -ENOENT = the kernel was
 * built without; never 0. */
int kernel_types_error(void);
/* How many arguments the kernel's tracepoint passes; 0 = there is no such tracepoint. */
int btf_tracepoint_args(const struct btf *btf, const char *name);
/* Does it keep sched_info.run_delay for each task? */
bool btf_counts_run_delay(const struct btf *btf);
/* Is there a sign of it when fork() begins to copy an address space? */
bool btf_tells_of_forks(const struct btf *btf);
/* Has it this function for BPF programs ("BPF_FUNC_find_vma")? */
bool btf_has_helper(const struct btf *btf, const char *name);

#endif
