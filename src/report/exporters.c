/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "report/export_priv.h"

static const char *const stack_views[] = {
#define X(NAME, name, slices, help) name,
        VIEWS(X)
#undef X
                NULL,
};

static const char *const folded_exts[] = {"folded", "txt", NULL}, *const svg_exts[] = {"svg", NULL};

/* A format is a row. The first view is the default. */
const struct exporter exporters[] = {
        {
                .name = "folded",
                .exts = folded_exts,
                .help = "call stacks one to a line with a weight (µs, samples or bytes), as "
                        "scripts for flame graphs read them; marks kernel _[k], inlined _[i] and "
                        "Python _[p]",
                .views = stack_views,
                .run = export_folded,
        },
        {
                .name = "svg",
                .exts = svg_exts,
                .help = "a flame graph to open in a browser: click to zoom, search by regular "
                        "expression, ? shows the keys; one file that needs nothing else",
                .views = stack_views,
                .run = export_svg,
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
