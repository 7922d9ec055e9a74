/* SPDX-License-Identifier: MIT */
/*
 * flame_align.c: where the stacks of two recordings meet. Python's threads and processes do the
 * same work below different roots: a thread begins with its start function; a forked process with
 * all that its creator was doing, a spawned one with a program of its own; and each kind of pool
 * has functions of its own between these and the first one of the program. In a picture of the
 * difference nothing of that is to be seen, or all would be new.
 */
#include <string.h>

#include "report/flame_priv.h"

static bool ends_with(const char *text, const char *end)
{
	size_t n = text ? strlen(text) : 0, k = strlen(end);

	return n >= k && !strcmp(text + n - k, end);
}

/* The method that a thread or process of Python begins with; its qualified name from 3.11 on. */
static bool is_bootstrap(const struct frame *f)
{
	return f->kind == FRAME_PYTHON &&
	       ((ends_with(f->src, "/threading.py") &&
	         (ends_with(f->name, "_bootstrap_inner") || ends_with(f->name, "_bootstrap"))) ||
	        (ends_with(f->src, "/multiprocessing/process.py") &&
	         ends_with(f->name, "_bootstrap")));
}

/* Code that calls the program's function in a thread, a process, a pool of either. */
static bool is_caller(const struct frame *f)
{
	return ends_with(f->src, "/threading.py") ||
	       (f->src &&
	        (strstr(f->src, "/multiprocessing/") || strstr(f->src, "/concurrent/futures/")));
}

size_t flame_align(const struct frame *v, size_t n, bool *worker)
{
	size_t begin = 0, own;

	/* The innermost one: a forked process has its creator's below. */
	while (begin < n && !is_bootstrap(&v[begin]))
		begin++;
	*worker = begin < n;
	if (!*worker)
		return n;
	own = begin;
	while (own > 0 && (v[own - 1].kind != FRAME_PYTHON || is_caller(&v[own - 1])))
		own--;
	return own ? own : begin; /* none: it waits for something to do */
}
