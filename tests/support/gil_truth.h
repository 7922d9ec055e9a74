/* SPDX-License-Identifier: MIT */
/* gil_truth.h: how right a recording's GIL timeline is, against uprobes in CPython. */
#ifndef MT_GIL_TRUTH_H
#define MT_GIL_TRUTH_H

#include "uprobe.h"
#include "waits.h"

enum { GIL_TAKEN, GIL_DROPPED };	/* uprobe_hit.which */
/* Probes take_gil's return and drop_gil's entry: false = this build has no such symbols. */
bool gil_truth_probe(struct uprobe_log *l, const char *libpython);

/* Sleep inside waits for the GIL, compared with who truly held it. Times in ns. */
struct gil_truth {
	uint64_t asleep;	/* in all */
	uint64_t held;		/* … while somebody held it, as the probes saw */
	uint64_t right, wrong;	/* of that, blamed on the right thread, on another one … */
	uint64_t none;		/* … and on nobody: taken as free or unknown */
	uint64_t free_blamed;	/* it was free, but a thread was blamed */
	uint64_t waits, changes;
};
/* All processes of the recording in one: use it with one Python process. 0 or -ENOMEM. */
int gil_truth_compare(const struct model *m, const struct gil_timeline *tl, const struct uprobe_hit *hits,
		      size_t n, struct gil_truth *out);

#endif
