/* SPDX-License-Identifier: MIT */
/*
 * schema.h: is a JSON report what schema mpvtrace.report/1 says? Every key with its type, and
 * the sums that must be right to the ns. The table is the schema as a list; what the report has
 * beside it is allowed.
 */
#ifndef MT_TESTS_SCHEMA_H
#define MT_TESTS_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What is wrong, one line each, at most n bytes in out; the number of findings. lossy: events
 * were lost, or a window was cut: sums over waits need not equal those over tasks. */
size_t schema_check(json_t *doc, bool lossy, char *out, size_t n);

#endif
