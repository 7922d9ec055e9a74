/* SPDX-License-Identifier: MIT */
/* model_check.h: what holds for every model of any recording, whole or damaged. */
#ifndef MT_MODEL_CHECK_H
#define MT_MODEL_CHECK_H

#include "model.h"

/* NULL when all holds, else what does not (static text): the states tile each task's life,
 * causes sum to blocked, slices tile (when kept), the histogram sums to the wall, rows and
 * futexes sum to the tasks' totals. */
const char *model_broken(const struct model *m, bool has_slices);

#endif
