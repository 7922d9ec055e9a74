/* SPDX-License-Identifier: MIT */
/* session_priv.h: what session.c makes and session_run.c works with. */
#ifndef MT_SESSION_PRIV_H
#define MT_SESSION_PRIV_H

#include "collect_priv.h"
#include "mpvtrace.skel.h"

#define RINGS_MAX     256
#define RINGS_MAX_OLD 16
#define UNWIND_WORDS  (3u << 20) /* 24 MiB: the tables of some 150 large libraries */

/* A program's cost so far, and what the last window saw of it. */
struct program_cost {
	int fd;
	const char *name;
	bool only_counts;            /* writes no records */
	uint64_t last_runs, last_ns; /* the kernel's counters, when the window was opened */
	uint64_t window_runs, window_ns;
	double runs, ns;
};

/* The kernel measures its BPF programs only while it is told to, as that costs two looks at a clock
 * a run: in windows. See costs.c. */
struct cost_meter {
	int sock; /* to the process `pid`, which tells the kernel to; -1 = none */
	pid_t pid;
	bool open;  /* a window is */
	bool known; /* all that was to be measured could be */
	uint64_t start_ns, open_ns, next_ns, told_ns, end_ns;
	uint64_t open_seen, told_seen;   /* events */
	uint64_t window_ns, window_seen; /* the last one's */
	double by_time, by_seen;
	VEC(struct program_cost) programs;
};

struct session {
	struct mpvtrace_bpf *skel;
	struct bpf_link **links;
	size_t n_links;
	int ring_fds[RINGS_MAX];
	size_t n_rings, ring_bytes, n_stages;
	bool staged; /* usual records gather in the CPUs' pages first */
	struct rings *rings;
	struct bpf_link *attach_link, *finish_link;
	int finish_fd;
	int types_fd; /* see programs_open() */
	bool unwind;
	struct cost_meter meter;
	size_t n_samples;
	bool find_vma;
	int kiocb_type; /* its BTF id, < 0 = none */
	char features[512];
};

/* session_rings.c: creates the rings, as many and as large as it can be. 0 or the error set. */
int session_rings_create(struct session *s, const struct collect_opts *o, struct err *err);
/* … tells the programs, before they are loaded. */
void session_rings_configure(struct session *s, volatile struct mt_cfg *cfg);
/* … and gives them to the loaded programs: s->rings. */
int session_rings_open(struct session *s, struct err *err);
void session_rings_none(struct session *s);
void session_rings_close(struct session *s);

/* costs.c: before the session gets large: forks what needs CAP_SYS_ADMIN. */
void costs_switch_start(struct session *s);
/* The meter begins to measure, with a first window. */
void costs_init(struct session *s);
void costs_release(struct session *s);

/* loader.c: opens the skeleton; its programs then want programs_load(), which writes the types to
 * relocate by to types_fd, the caller's empty memfd. NULL with errno set. */
struct mpvtrace_bpf *programs_open(int types_fd);
/* Creates maps and loads programs; btf: the kernel's types. 0 or -errno. */
int programs_load(struct mpvtrace_bpf *skel, const struct btf *btf, int types_fd);

/* core_types.c: writes those of the kernel's types that the programs' types have the names of.
 * 0 or -errno. */
int core_types_write(const struct btf *kernel, const struct btf *programs, int fd);

#endif
