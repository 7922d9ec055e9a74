/* SPDX-License-Identifier: MIT */
/*
 * spans_priv.h: a task's life as a sequence of spans, in time order and without gaps: on a
 * CPU, ready, or blocked and then by whom. It joins the model's slices with the blame
 * segments of waits.h; a blocked stretch is cut where the blame changes.
 */
#ifndef MT_SPANS_PRIV_H
#define MT_SPANS_PRIV_H

#include "waits.h"

enum span_state { SPAN_RUN, SPAN_READY, SPAN_BLOCKED };

struct span {
	uint64_t start_ns, end_ns;
	uint8_t state;           /* enum span_state */
	uint8_t kind;            /* enum wait_kind: BLOCKED; READY after a wait */
	uint8_t blame;           /* enum blame_state, likewise */
	uint8_t evidence;        /* enum evidence, likewise */
	bool woken;              /* READY: because a wait ended, not because it was preempted */
	uint32_t task;           /* trace id of whom it waits for, 0 = nobody known; likewise */
	uint32_t lock, channel;  /* as in struct wait; likewise */
	const struct wait *wait; /* NULL: waits.h knows nothing of it */
	const struct slice *slice;
};

struct spans {
	const struct waits *w;
	const struct task *t;
	const struct wait *waits;
	size_t n_waits, wait, slice;
	uint32_t blame; /* into w->blames */
	uint64_t at_ns;
	struct span last; /* the last blocked one */
};

/* From the span that contains at_ns on (its start is cut to at_ns). 0 = the whole life. */
void spans_begin(struct spans *s, const struct waits *w, const struct task *t, uint64_t at_ns);
/* False at the end of the life. */
bool spans_next(struct spans *s, struct span *out);

#endif
