/* SPDX-License-Identifier: MIT */
/*
 * contain_priv.h: files are read where it does not matter when that goes wrong.
 *
 * A child process names the frames, file by file, and reports over a pipe. libelf, libdw, liblzma
 * and the demangler are all good libraries; but each has had its crashes and endless loops, and
 * libdw ends the process when memory ends. When the child dies or says nothing for too long, the
 * file that it was at is tried again without its debug information, then without any names, by
 * another child. The child has the privileges of its parent, which should be none, and limits of
 * memory and CPU time. What it says is checked like any other input.
 */
#ifndef MT_CONTAIN_PRIV_H
#define MT_CONTAIN_PRIV_H

#include "resolve_priv.h"

/* Names and emits the frames of these units. 0, -ENOMEM, or what `emit` returned. */
int contain_run(struct resolve *r, const struct unit *units, size_t n);

#endif
