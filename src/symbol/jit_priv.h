/* SPDX-License-Identifier: MIT */
/*
 * jit_priv.h: names of code that a running program generated, from what it says of itself.
 *
 *   perf map  text, one "START SIZE name" a line, in hexadecimal; written by Node, CPython's perf
 *             trampoline, OpenJDK, .NET and others as /tmp/perf-PID.map
 *   jitdump   binary records of code loaded and moved, tools/perf/Documentation/
 *             jitdump-specification.txt of Linux
 *
 * Both only ever grow; where code was replaced, the later entry counts. Both are hostile.
 */
#ifndef MT_JIT_PRIV_H
#define MT_JIT_PRIV_H

#include "base.h"

#define JIT_NAME_MAX 1024

/* An address to be named: `at` from the caller, the rest filled in. */
struct jit_want {
	uint64_t at, start, size;
	uint32_t name; /* id in the names; 0 = none */
};
struct jit_names {
	struct jit_want *v; /* sorted by `at` */
	size_t n;
	struct strtab *names;
	uint64_t entries, hits; /* so far; both are limited */
};

/* Names what the file knows. Entries that make no sense are passed over. 0, -ENOEXEC (not such a
 * file), -E2BIG (a limit; what was read counts), -ENOMEM or -errno of reading. */
int jit_read_perf_map(struct jit_names *j, int fd);
int jit_read_dump(struct jit_names *j, int fd);

#endif
