/* SPDX-License-Identifier: MIT */
/*
 * whatif_priv.h: what the predictions of whatif.c take into account beside the replay.
 *
 * ## Processes instead of threads
 * Each worker (a thread beside the first that runs Python and does at least a hundredth of its
 * process's work) becomes a forked process, the default of multiprocessing on Linux up to 3.13.
 * What that takes of CPU time is work that the replay does before the worker's own: PROCESS_NS, and
 * as much as the copy of its page tables takes (and their removal) by what the process had of its
 * own before. That is added to the prediction; that each is a new interpreter instead (`spawn`), or
 * copies all of the memory as it writes to it (reference counts), to the upper end of the range.
 *
 * ## CPUs that are to be had
 * Threads that wait for a GIL leave CPUs idle; what other programs used of these does not slow them
 * down, but will slow processes down. META_BUSY says how much that was. With as many tasks as
 * there are workers a fair scheduler leaves others no more than their share of the CPUs; at best
 * they keep away, at worst they use what they used.
 */
#ifndef MT_WHATIF_PRIV_H
#define MT_WHATIF_PRIV_H

#include "report.h"

/* CPU time of a process that multiprocessing forks beyond that of a thread: 5 to 7 ms in eight
 * recordings (CPython 3.8, 3.11 to 3.13; 6 to 10 MB), half of it the parent's. */
#define PROCESS_NS 6e6
/* To copy and to remove page tables: measured 3.0 to 3.7 ms for 500 MB to copy. */
#define PROCESS_NS_BY_BYTE (12e3 / (1 << 20))
/* A process that multiprocessing spawns imports its modules, too: CPython 3.8, 3.11 and 3.13
 * took 1.0 to 2.2 times the CPU time of spawn_ns. */
#define SPAWN_MORE 1.5
/* To copy a page that is written to: about 2 µs for 4 KiB. */
#define COPY_NS_BY_BYTE (2000.0 / 4096)

/* The process of that GIL's, NULL = unknown. */
const struct proc *whatif_proc(const struct report *r, const struct lock *gil);
/* Fills in row->processes, memory_bytes and spawn_ns. start_ns: by place among the model's tasks,
 * what each worker's process costs before it begins is added there. 0 or -ENOMEM. */
int whatif_cost(const struct report *r, const struct proc *p, struct what_if_row *row,
                float *start_ns);
/* What the row's processes may cost beyond that, in wall time on so many CPUs. */
double whatif_more_ns(const struct what_if_row *row, double cpus);

/* How many CPUs `tasks` tasks have for themselves beside other programs: at worst and as a fair
 * scheduler gives them. The same as cpus where it is not known what others did. */
struct cpus_left {
	double worst, fair;
};
struct cpus_left whatif_cpus_left(const struct report *r, double cpus, uint32_t tasks);
/* Fills in r->others_ns and recorder_ns. */
void whatif_others(struct report *r);

#endif
