/* SPDX-License-Identifier: MIT */
/*
 * collect.h: recording. The only part that needs root, libbpf and a live /proc.
 */
#ifndef MT_COLLECT_H
#define MT_COLLECT_H

#include "base.h"

enum stacks_mode { STACKS_AUTO, STACKS_ALL, STACKS_OFF };

struct collect_opts {
	char *const *argv;		/* run: the command, NULL-terminated; NULL for attach */
	const uint32_t *pids; size_t n_pids;	/* attach */
	const char *user;		/* run as: NULL = who called sudo, else a name or "root" */
	const char *output;		/* trace file */
	bool overwrite;			/* replace an existing trace file */
	uint64_t duration_ns;		/* 0 = until the workload ends */
	unsigned freq_hz;		/* on-CPU samples per second and CPU; 0 = off */
	enum stacks_mode stacks;
	bool wake_stacks;		/* of each waker, too */
	bool no_pages;			/* no hooks on page faults: touched and copied pages stay unknown */
	bool messages;			/* count messages and bytes of channels: each system call is seen */
	uint64_t buffer_bytes;		/* all ring buffers together; 0 = 16 MiB for each CPU, within bounds */
	unsigned footprint_permille;	/* budget for PSS/USS reading, of wall time; default 5; 0 = off */
	bool progress;			/* show progress on stderr (a terminal) */
	bool no_symbols;		/* do not resolve at the end */
};

struct collect_result {
	int exit_status;	/* of the workload, shell's form; -1 = still running or attached */
	bool still_running;	/* recording stopped before the workload did */
	uint64_t events, lost, trace_bytes;
	bool disk_full;		/* the trace holds what was written before */
};

/* Records until done. 0, or -errno with *err (its status is the program's exit status).
 * The trace file belongs to the invoking user, mode 0600. On return all BPF objects are
 * gone and all privileges have been given up for good. */
int collect(const struct collect_opts *o, struct collect_result *res, struct err *err);

/* May this process record at all? 0, or -EPERM with *err. collect() asks itself; who creates files before that asks
 * first, as a missing sudo often means that these cannot be written either. */
int collect_allowed(struct err *err);

/* What this machine can record. One row per feature. */
struct feature_status {
	const char *name;	/* "switches and wake-ups" */
	bool ok, required;
	char detail[200];	/* how (program, kernel feature), or why not */
	char remedy[200];	/* what to do; "" when ok */
};
/* Probes for real (loads and attaches). Fills at most max rows, returns how many. */
size_t collect_features(struct feature_status *out, size_t max);

/* Opens an output file as the invoking user: O_EXCL unless overwrite, mode 0600, no symlink
 * followed when privileged. fd or -errno with *err. */
int output_open(const char *path, bool overwrite, struct err *err);
/* Gives up every privilege for good: becomes the invoking user, no capabilities,
 * no_new_privs. Idempotent. */
int privileges_drop(struct err *err);

#endif
