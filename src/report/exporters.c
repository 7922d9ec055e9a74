/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "report/export_priv.h"

static const char *const stack_views[] = {"off-cpu", "on-cpu", NULL};

/* A format is a row. The first view is the default. */
const struct exporter exporters[] = {
        {
                .name = "folded",
                .ext = "folded",
                .help = "call stacks one to a line with a weight, as scripts for flame graphs read "
                        "them; off-cpu: µs that the task was blocked there (not the time it then "
                        "waited for a CPU), on-cpu: samples",
                .views = stack_views,
                .run = export_folded,
        },
};
const size_t n_exporters = ARRAY_LEN(exporters);

const struct exporter *exporter_find(const char *name)
{
	for (size_t i = 0; i < n_exporters; i++) {
		if (!strcmp(exporters[i].name, name))
			return &exporters[i];
	}
	return NULL;
}
