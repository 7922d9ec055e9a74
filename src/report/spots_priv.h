/* SPDX-License-Identifier: MIT */
/*
 * spots_priv.h: where tasks were blocked: off-CPU time summed by the names of the stack's frames
 * and the cause, over all tasks (a thousand processes of one program share a spot).
 */
#ifndef MT_REPORT_SPOTS_PRIV_H
#define MT_REPORT_SPOTS_PRIV_H

#include "report/names_priv.h"

struct spot {
	uint32_t text;  /* stack_text(): the program's frames; the kernel's only when there are none
	                 */
	uint32_t stack; /* one of those that read so */
	uint8_t cause;
	uint64_t ns;
	size_t first, n; /* parts[first … first+n), by task */
};

/* A row of the model that belongs to a spot. */
struct spot_part {
	uint32_t spot; /* before sorting */
	uint32_t task;
	uint64_t ns;
};

struct spots {
	const struct model *m;
	struct stack_names names;
	struct hmap ids;
	VEC(struct spot) list; /* most time first */
	VEC(struct spot_part) parts;
	uint64_t total, without; /* blocked time; of it, where no stack is known */
};

/* Of the tasks that `task` (--task) wants. 0, -ENOMEM, or -E2BIG (see stack_names.err). On
 * error the spots must be released as well. */
int spots_init(struct spots *s, const struct model *m, const char *task);
void spots_release(struct spots *s);
/* Is the frame one that every program or call begins or ends with, such as "_start"? */
bool frame_is_dull(const char *frame, size_t n);

#endif
