/* SPDX-License-Identifier: MIT */
/*
 * loader.c: the programs go to the kernel side by side. Its verifier walks every path of a program,
 * some 0.1 s for all of ours, and that is most of what a workload waits for before its first
 * instruction. Programs do not wait for each other, so the large ones are loaded by as many threads
 * as there are CPUs, the largest first.
 *
 * libbpf does all that comes before (maps, relocation) and asks a handler of ours before each load:
 * it keeps the instructions and leaves libbpf a program that returns at once, whose descriptor is
 * made that of the real one in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/btf.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"

#define LARGE_INSNS 400 /* below, a thread costs more than it saves */
#define LOADS_MAX   16
#define LOG_BYTES   (16u << 20)

struct load {
	struct bpf_program *p;
	struct bpf_insn *insns;
	size_t n_insns;
	struct bpf_prog_load_opts opts;
	int fd; /* or -errno */
};

static struct {
	const struct btf *btf;
	struct load loads[LOADS_MAX];
	size_t n, next;
} now; /* a handler's only argument is fixed when it is registered */

static int try_load(struct load *l)
{
	return bpf_prog_load(bpf_program__type(l->p), bpf_program__name(l->p), "GPL", l->insns,
	                     l->n_insns, &l->opts);
}

static void *load_some(void *arg)
{
	size_t i;

	(void)arg;
	while ((i = __atomic_fetch_add(&now.next, 1, __ATOMIC_RELAXED)) < now.n)
		now.loads[i].fd = try_load(&now.loads[i]);
	return NULL;
}

static int by_size(const void *a, const void *b)
{
	const struct load *x = a, *y = b;

	return (x->n_insns < y->n_insns) - (x->n_insns > y->n_insns);
}

static void load_kept(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[LOADS_MAX];
	size_t n = 0;

	qsort(now.loads, now.n, sizeof(now.loads[0]), by_size);
	now.next = 0;
	while ((long)n + 1 < cpus && n + 1 < now.n &&
	       !pthread_create(&threads[n], NULL, load_some, NULL))
		n++;
	load_some(NULL);
	while (n)
		pthread_join(threads[--n], NULL);
}

/* The second time for what the verifier has to say. */
static void explain(struct load *l)
{
	char *log = log_level >= LOG_DEBUG ? calloc(1, LOG_BYTES) : NULL;
	int fd;

	if (!log)
		return;
	l->opts.log_level = 1;
	l->opts.log_buf = log;
	l->opts.log_size = LOG_BYTES;
	fd = try_load(l);
	if (fd >= 0)
		close(fd);
	fprintf(stderr, "%s:\n%s\n", bpf_program__name(l->p), log);
	free(log);
}

/* What the program is attached to, as libbpf's own handlers find it, which ours stand for. */
static int find_target(const struct bpf_program *p, struct bpf_prog_load_opts *opts)
{
	static const struct {
		const char *section, *prefix;
		unsigned kind;
	} targets[] = {
	        {"tp_btf/", "btf_trace_", BTF_KIND_TYPEDEF},
	        {"iter/", "bpf_iter_", BTF_KIND_FUNC},
	};
	const char *section = bpf_program__section_name(p);

	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		size_t n = strlen(targets[i].section);
		char name[128];
		int id;

		if (strncmp(section, targets[i].section, n))
			continue;
		snprintf(name, sizeof(name), "%s%s", targets[i].prefix, section + n);
		id = btf__find_by_name_kind(now.btf, name, targets[i].kind);
		if (id < 0)
			return id;
		opts->attach_btf_id = (uint32_t)id;
	}
	return 0;
}

static int prepare(struct bpf_program *p, struct bpf_prog_load_opts *opts, long cookie)
{
	struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K},
	                             {.code = BPF_JMP | BPF_EXIT}};
	struct load *l = &now.loads[now.n];
	int rc = find_target(p, opts);

	(void)cookie;
	if (rc || bpf_program__insn_cnt(p) < LARGE_INSNS || now.n == LOADS_MAX)
		return rc;
	l->p = p;
	l->fd = -1;
	l->opts = *opts;
	l->n_insns = bpf_program__insn_cnt(p);
	l->insns = malloc(l->n_insns * sizeof(*l->insns));
	if (!l->insns)
		return -ENOMEM;
	memcpy(l->insns, bpf_program__insns(p), l->n_insns * sizeof(*l->insns));
	now.n++;
	opts->func_info_cnt = opts->line_info_cnt = 0;
	return bpf_program__set_insns(p, nothing, ARRAY_LEN(nothing));
}

static int register_handlers(void)
{
	static const struct {
		const char *section;
		enum bpf_prog_type type;
		enum bpf_attach_type attach;
	} kinds[] = {
	        {"tp_btf+", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP},
	        {"iter+", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER},
	        {"perf_event", BPF_PROG_TYPE_PERF_EVENT, 0},
	};
	static bool done;
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = prepare);

	for (size_t i = 0; i < ARRAY_LEN(kinds) && !done; i++) {
		int rc = libbpf_register_prog_handler(kinds[i].section, kinds[i].type,
		                                      kinds[i].attach, &opts);

		if (rc < 0)
			return rc;
	}
	done = true;
	return 0;
}

struct mpvtrace_bpf *programs_open(int types_fd)
{
	int rc = register_handlers();
	char path[64];
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = path);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", types_fd);

	if (rc < 0) {
		errno = -rc;
		return NULL;
	}
	return mpvtrace_bpf__open_opts(&opts);
}

/* Where a choice cannot be written (a limit on the size of files, ulimit -f): all there are. */
static int all_types(int types_fd)
{
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	int rc = fd >= 0 && dup3(fd, types_fd, O_CLOEXEC) >= 0 ? 0 : -errno;

	if (fd >= 0)
		close(fd);
	return rc;
}

int programs_load(struct mpvtrace_bpf *skel, const struct btf *btf, int types_fd)
{
	int rc;

	now.btf = btf;
	now.n = 0;
	rc = core_types_write(btf, bpf_object__btf(skel->obj), types_fd) ? all_types(types_fd) : 0;
	if (!rc)
		rc = mpvtrace_bpf__load(skel);
	if (!rc)
		load_kept();
	for (size_t i = 0; i < now.n; i++) {
		struct load *l = &now.loads[i];

		if (!rc && l->fd < 0) {
			explain(l);
			rc = l->fd;
		}
		if (!rc && dup3(l->fd, bpf_program__fd(l->p), O_CLOEXEC) < 0)
			rc = -errno;
		if (l->fd >= 0)
			close(l->fd);
		free(l->insns);
	}
	now.n = 0;
	now.btf = NULL;
	return rc;
}
