/* SPDX-License-Identifier: MIT */
/*
 * gil_truth.h: what a recording says of GILs, and how right that is against uprobes in CPython.
 * Traces by path: tests that know nothing of the model use it.
 */
#ifndef MT_GIL_TRUTH_H
#define MT_GIL_TRUTH_H

#include "uprobe.h"

/* gil: index of the one that it held the longest. */
struct gil_holder {
	uint32_t tid;
	uint64_t hold_ns, wait_ns, most_ns;
	size_t gil;
};
struct gil_facts {
	size_t n_gils, n_mains;
	uint32_t version;              /* of the first one that has one; 0 = none */
	size_t n_used;                 /* GILs that were held or waited for */
	struct gil_holder holders[64]; /* of all GILs together, by task */
	size_t n_holders;
	uint64_t unknown_ns; /* held by nobody that is known */
	bool tiled;          /* spans without gap or overlap, on every GIL */
	uint64_t wait_ns;    /* blocked on any of their words */
};
/* 0, or an error with *err. */
int gil_facts(const char *trace, struct gil_facts *out, struct err *err);
const struct gil_holder *gil_holder(const struct gil_facts *f, uint32_t tid); /* NULL = none */

enum { GIL_TAKEN, GIL_DROPPED }; /* uprobe_hit.which */
/* Probes take_gil's return and drop_gil's entry: false = this build has no such symbols. */
bool gil_truth_probe(struct uprobe_log *l, const char *libpython);

/* Sleep inside waits for the GIL, compared with who truly held it. Times in ns. */
struct gil_truth {
	uint64_t asleep;       /* in all */
	uint64_t held;         /* … while somebody held it, as the probes saw */
	uint64_t right, wrong; /* of that, blamed on the right thread, on another one … */
	uint64_t none;         /* … and on nobody: taken as free or unknown */
	uint64_t free_blamed;  /* it was free, but a thread was blamed */
	uint64_t waits, changes;
};
/* All processes of the recording in one: use it with one Python process that has one GIL. */
int gil_truth_compare(const char *trace, const struct uprobe_hit *hits, size_t n,
                      struct gil_truth *out, struct err *err);

#endif
