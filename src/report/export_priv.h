/* SPDX-License-Identifier: MIT */
/* export_priv.h: the run functions of the exporters, for the table in exporters.c. */
#ifndef MT_REPORT_EXPORT_PRIV_H
#define MT_REPORT_EXPORT_PRIV_H

#include "report.h"

int export_folded(const struct report *r, const struct export_opts *o, FILE *out, struct err *err);
int export_svg(const struct report *r, const struct export_opts *o, FILE *out, struct err *err);

#endif
