/* SPDX-License-Identifier: MIT */
/* session_priv.h: what session.c makes and session_run.c works with. */
#ifndef MT_SESSION_PRIV_H
#define MT_SESSION_PRIV_H

#include "collect_priv.h"
#include "mpvtrace.skel.h"

#define RINGS_MAX    16
#define UNWIND_WORDS (2u << 20) /* 16 MiB: the tables of some 100 large libraries */

struct session {
	struct mpvtrace_bpf *skel;
	struct bpf_link **links;
	size_t n_links;
	int ring_fds[RINGS_MAX];
	size_t n_rings, ring_bytes;
	struct rings *rings;
	struct bpf_link *attach_link, *finish_link;
	int finish_fd;
	int types_fd; /* see programs_open() */
	bool unwind;
	int stats_fd; /* cost measuring window, -1 = over */
	uint64_t window_seen, window_start_ns, window_ns;
	VEC(struct session_cost) costs;
	size_t n_samples;
	bool find_vma;
	char features[512];
};

/* loader.c: opens the skeleton; its programs then want programs_load(), which writes the types to
 * relocate by to types_fd, the caller's empty memfd. NULL with errno set. */
struct mpvtrace_bpf *programs_open(int types_fd);
/* Creates maps and loads programs; btf: the kernel's types. 0 or -errno. */
int programs_load(struct mpvtrace_bpf *skel, const struct btf *btf, int types_fd);

/* core_types.c: writes those of the kernel's types that the programs' types have the names of.
 * 0 or -errno. */
int core_types_write(const struct btf *kernel, const struct btf *programs, int fd);

#endif
