/* SPDX-License-Identifier: MIT */
/* session.c: the programs are chosen for this kernel, configured, loaded and attached. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"
#include "probe_priv.h"

#define RING_BYTES_PER_CPU (16ull << 20) /* half a second and more of the fastest switching */
#define RING_BYTES_MAX     (128ull << 20)
#define RING_BYTES_MIN     (16ull << 20)
#define RING_BYTES_LEAST   (256u << 10) /* of one */
#define RING_MEMORY_SHARE  64           /* at most this part of the machine's memory */
#define RING_GROUP_SHARE   16       /* of what a container may have; the rest of us needs 50 MiB */
#define STACK_PRICE_NS     1000000  /* a stack costs about 2 µs: 0.2 % of blocked time at most */
#define STACK_REFRESH_NS   20000000 /* 20 ms blocked at one site: look again */
#define TRAFFIC_MAX        32768 /* a task's ends of channels, all together: 3 MiB when asked for */
#define RSS_INTERVAL_NS    10000000
#define TOUCH_BYTES        (128u << 10) /* 32 faults of 1.4 µs or more for one stack */

static void session_feature(struct session *s, const char *name)
{
	size_t n = strlen(s->features);

	snprintf(s->features + n, sizeof(s->features) - n, "%s%s", n ? "," : "", name);
}

/* libbpf's talk goes to the debug log; its errors are told by us, with what to do. */
static int libbpf_log(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (log_level < LOG_DEBUG || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, fmt, ap); /* the verifier's log: as many lines as it has */
}

/* How many arguments the kernel's tracepoint passes; 0 = there is no such tracepoint. */
int btf_tracepoint_args(const struct btf *btf, const char *name)
{
	const struct btf_type *t;
	char type[128];
	int id;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	id = btf__find_by_name_kind(btf, type, BTF_KIND_TYPEDEF);
	if (id < 0)
		return 0;
	t = btf__type_by_id(btf, (uint32_t)id);
	t = btf__type_by_id(btf, t->type);            /* pointer */
	t = t ? btf__type_by_id(btf, t->type) : NULL; /* function prototype */
	if (!t || !btf_is_func_proto(t))
		return 0;
	return btf_vlen(t) - 1; /* the first is the tracepoint's own data */
}

bool btf_counts_run_delay(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "sched_info", BTF_KIND_STRUCT);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	return t && btf_vlen(t) > 0; /* an empty structure without CONFIG_SCHED_INFO */
}

/* Since 6.2 (f1a7941243c1) the counters of an address space are per CPU, and to allocate them is
 * among the first things that fork does: see mt_call. */
bool btf_tells_of_forks(const struct btf *btf)
{
	return btf_tracepoint_args(btf, "percpu_alloc_percpu") &&
	       btf__find_by_name_kind(btf, "mm_rss_stat", BTF_KIND_STRUCT) < 0;
}

/* The kernel's list of functions for programs says which it has. */
bool btf_has_helper(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;
	const struct btf_enum *e = t ? btf_enum(t) : NULL;

	for (unsigned i = 0; t && i < btf_vlen(t); i++) {
		const char *have = btf__name_by_offset(btf, e[i].name_off);

		if (have && !strcmp(have, name))
			return true;
	}
	return false;
}

struct optional_prog {
	struct bpf_program *prog;
	const char *tracepoint, *feature;
};

static void choose_optional(struct session *s, const struct btf *btf, const struct optional_prog *p,
                            size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!btf_tracepoint_args(btf, p[i].tracepoint))
			continue;
		bpf_program__set_autoload(p[i].prog, true);
		if (p[i].feature)
			session_feature(s, p[i].feature);
	}
}

/* Can a program get at the kernel's preempt_count (see wake.bpf.c)? The kernel's types may
 * list the variable although its address is not to be had: load three instructions and see. */
static bool preempt_count_readable(const struct btf *btf)
{
#if defined(__x86_64__)
	static const char *const names[] = {"__preempt_count", "pcpu_hot"};
	bool ok = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int fd, id = btf__find_by_name_kind(btf, names[i], BTF_KIND_VAR);
		struct bpf_insn insns[] = {
		        {.code = BPF_LD | BPF_DW | BPF_IMM,
		         .dst_reg = 1,
		         .src_reg = BPF_PSEUDO_BTF_ID,
		         .imm = id},
		        {0},
		        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
		        {.code = BPF_JMP | BPF_EXIT},
		};

		if (id < 0)
			continue;
		fd = bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, "mt_probe", "GPL", insns,
		                   ARRAY_LEN(insns), NULL);
		if (fd < 0)
			return false; /* the program refers to each that the types list */
		close(fd);
		ok = true;
	}
	return ok;
#else
	(void)btf;
	return true; /* in the task itself */
#endif
}

static void choose_unwinding(struct session *s, const struct collect_opts *o)
{
#if defined(__x86_64__)
	s->unwind = o->stacks != STACKS_OFF;
#else
	(void)o;
#endif
	if (!s->unwind)
		return;
#if defined(__x86_64__)
	bpf_program__set_autoload(s->skel->progs.mt_file_key, true);
	bpf_map__set_max_entries(s->skel->maps.unwind_words, UNWIND_WORDS);
#endif
	session_feature(s, "unwind-tables");
}

/* Asked for, not having it is an error: its counts are what the recording is made for. */
static int choose_traffic(struct session *s, const struct btf *btf, const struct collect_opts *o,
                          struct err *err)
{
	if (!o->messages)
		return 0;
	if (!btf_tracepoint_args(btf, "sys_exit"))
		return err_set(err, -ENOTSUP, MT_EXIT_UNSUPPORTED,
		               "--messages needs the kernel's tracepoint raw_syscalls:sys_exit "
		               "(CONFIG_FTRACE_SYSCALLS)");
	bpf_program__set_autoload(s->skel->progs.mt_traffic, true);
	bpf_map__set_max_entries(s->skel->maps.traffic, TRAFFIC_MAX);
	session_feature(s, FEATURE_MESSAGES);
	return 0;
}

static void choose_waking(struct session *s, const struct btf *btf, bool stacks)
{
	struct mpvtrace_bpf *k = s->skel;
	const struct optional_prog flag_progs[] = {
	        {k->progs.mt_irq_in, "irq_handler_entry", "irq-flags"},
	        {k->progs.mt_irq_out, "irq_handler_exit", NULL},
	        {k->progs.mt_softirq_in, "softirq_entry", "softirq-flags"},
	        {k->progs.mt_softirq_out, "softirq_exit", NULL},
	};

	if (preempt_count_readable(btf)) {
		bpf_program__set_autoload(stacks ? k->progs.mt_waking_stack : k->progs.mt_waking,
		                          true);
		session_feature(s, "preempt-count");
		return;
	}
	bpf_program__set_autoload(
	        stacks ? k->progs.mt_waking_flags_stack : k->progs.mt_waking_flags, true);
	choose_optional(s, btf, flag_progs, ARRAY_LEN(flag_progs));
}

/* Turns on the programs whose tracepoints this kernel has. */
static void choose_programs(struct session *s, const struct btf *btf, const struct collect_opts *o)
{
	struct mpvtrace_bpf *k = s->skel;
	const struct optional_prog optional[] = {
	        {k->progs.mt_timer_in, "hrtimer_expire_entry", "timer-wakes"},
	        {k->progs.mt_timer_out, "hrtimer_expire_exit", NULL},
	        {k->progs.mt_flow, "inet_sock_set_state", FEATURE_TCP},
	};
	const struct optional_prog pages[] = {
	        {k->progs.mt_fault_user, "page_fault_user", "first-touch"},
	        {k->progs.mt_fault_kernel, "page_fault_kernel", NULL},
	        {k->progs.mt_fault_alloc, "mm_page_alloc", "pages"},
	        {k->progs.mt_fault_rss, "rss_stat", NULL},
	};
	struct bpf_program *const always[] = {
	        k->progs.mt_newtask, k->progs.mt_exec,   k->progs.mt_rename,
	        k->progs.mt_exit,    k->progs.mt_attach, k->progs.mt_finish,
	};
	int args = btf_tracepoint_args(btf, "sched_switch");

	bpf_program__set_autoload(args >= 4 ? k->progs.mt_switch : k->progs.mt_switch_old, true);
	session_feature(s, args >= 4 ? "prev-state" : "prev-state-racy");
	if (btf_counts_run_delay(btf))
		session_feature(s, FEATURE_RUN_DELAY);
	s->find_vma = btf_has_helper(btf, "BPF_FUNC_find_vma");
	session_feature(s, s->find_vma ? FEATURE_FIND_VMA : "futex-key-maps");
	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		bpf_program__set_autoload(always[i], true);
	choose_optional(s, btf, optional, ARRAY_LEN(optional));
	if (!o->no_pages)
		choose_optional(s, btf, pages, ARRAY_LEN(pages));
	if (btf_tells_of_forks(btf)) {
		bpf_program__set_autoload(k->progs.mt_call, true);
		session_feature(s, FEATURE_FORK_CALLS);
	}
	choose_waking(s, btf, o->wake_stacks && o->stacks != STACKS_OFF);
	if (o->freq_hz)
		bpf_program__set_autoload(k->progs.mt_sample, true);
	choose_unwinding(s, o);
}

static unsigned log2_floor(uint64_t x)
{
	return x ? 63 - (unsigned)__builtin_clzll(x) : 0;
}

static uint64_t default_ring_bytes(long cpus)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t most = memory / RING_MEMORY_SHARE;
	uint64_t bytes = cpus > 0 ? (uint64_t)cpus * RING_BYTES_PER_CPU : 0;
	struct cgroup_limits limits;

	if (bytes > most)
		bytes = most;
	if (bytes > RING_BYTES_MAX)
		bytes = RING_BYTES_MAX;
	if (bytes < RING_BYTES_MIN)
		bytes = RING_BYTES_MIN;
	/* The kernel's memory for maps and rings counts as ours. */
	cgroup_limits((uint32_t)getpid(), &limits);
	if (limits.memory_bytes && bytes > limits.memory_bytes / RING_GROUP_SHARE)
		bytes = limits.memory_bytes / RING_GROUP_SHARE;
	return bytes;
}

/* All rings or none; 0 or -errno. */
static int rings_of(struct session *s, size_t bytes_each)
{
	for (size_t i = 0; i < s->n_rings; i++) {
		int rc;

		s->ring_fds[i] = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "mpvtrace_ring", 0, 0,
		                                (uint32_t)bytes_each, NULL);
		if (s->ring_fds[i] >= 0)
			continue;
		rc = -errno;
		while (i--) {
			close(s->ring_fds[i]);
			s->ring_fds[i] = -1;
		}
		return rc;
	}
	s->ring_bytes = bytes_each;
	return 0;
}

/* Before 5.19 install_rings() takes 10 ms for each. */
static size_t most_rings(void)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return RINGS_MAX_OLD;
	return major > 5 || (major == 5 && minor >= 19) ? RINGS_MAX : RINGS_MAX_OLD;
}

/* One ring per CPU up to most_rings(), as CPUs that share one wait for each other in it; CPUs that
 * are online, as virtual machines may have many that are not. Sizes are powers of two as the kernel
 * wants them. Unless the user said how large, less will do where memory is limited (a
 * container). */
static int create_rings(struct session *s, const struct collect_opts *o, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t total = o->buffer_bytes ? o->buffer_bytes : default_ring_bytes(cpus);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes;
	int rc;

	s->n_rings = 1u << log2_floor(cpus > 0 ? (uint64_t)cpus : 1);
	if (cpus > 0 && s->n_rings < (size_t)cpus)
		s->n_rings *= 2;
	if (s->n_rings > most_rings())
		s->n_rings = most_rings();
	bytes = 1ull << log2_floor(total / s->n_rings);
	if (bytes < page)
		bytes = page;
	rc = rings_of(s, bytes);
	while (rc == -ENOMEM && !o->buffer_bytes && bytes > RING_BYTES_LEAST) {
		bytes /= 2;
		rc = rings_of(s, bytes);
		if (!rc)
			log_info("memory is short: ring buffers of %zu KiB", bytes >> 10);
	}
	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL,
		               "cannot create %zu ring buffers of %zu bytes: %s (try a smaller "
		               "--buffer)",
		               s->n_rings, bytes, strerror(-rc));
	return 0;
}

static void configure(struct session *s, const struct collect_opts *o)
{
	volatile struct mt_cfg *cfg = (void *)&s->skel->rodata->cfg;

	cfg->ring_mask = (uint32_t)s->n_rings - 1;
	cfg->stacks = o->stacks == STACKS_OFF ? 0 : o->stacks == STACKS_AUTO ? 1 : 2;
	cfg->find_vma = s->find_vma;
	cfg->unwind = s->unwind;
	cfg->page_shift = log2_floor((uint64_t)sysconf(_SC_PAGESIZE));
	cfg->wake_bytes = s->ring_bytes / 8;
	cfg->stack_price_ns = STACK_PRICE_NS;
	cfg->stack_refresh_ns = STACK_REFRESH_NS;
	cfg->rss_interval_ns = RSS_INTERVAL_NS;
	cfg->touch_bytes = o->stacks == STACKS_OFF ? 0 : TOUCH_BYTES;
	cfg->pages = bpf_program__autoload(s->skel->progs.mt_fault_alloc) &&
	             bpf_program__autoload(s->skel->progs.mt_fault_rss) &&
	             bpf_program__autoload(s->skel->progs.mt_fault_user);
	cfg->faults = bpf_program__autoload(s->skel->progs.mt_fault_user);
}

static int load_error(int rc, struct err *err)
{
	const char *missing = privileges_missing();

	if (missing)
		return err_set(err, rc, MT_EXIT_PRIVILEGE,
		               "loading BPF programs needs %s: run mpvtrace with sudo", missing);
	if (rc == -EMFILE)
		return err_set(err, rc, MT_EXIT_FAIL,
		               "the BPF programs need more open files than may be: raise the hard "
		               "limit (ulimit -Hn)");
	return err_set(err, rc, MT_EXIT_UNSUPPORTED,
	               "the kernel refuses the BPF programs: %s (mpvtrace check tells which and "
	               "why; -vv shows the kernel's log)",
	               strerror(-rc));
}

static int attach_programs(struct session *s, struct err *err)
{
	struct bpf_program *p;

	/* One for each program, and one for each CPU's samples. */
	s->links = calloc(64 + (size_t)sysconf(_SC_NPROCESSORS_CONF), sizeof(s->links[0]));
	if (!s->links)
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory");
	bpf_object__for_each_program(p, s->skel->obj)
	{
		struct bpf_link *link;

		if (!bpf_program__autoload(p) ||
		    strncmp(bpf_program__section_name(p), "tp_btf/", 7))
			continue;
		link = bpf_program__attach_trace(p);
		if (!link)
			return err_set(err, -errno, MT_EXIT_UNSUPPORTED, "cannot attach to %s: %s",
			               bpf_program__section_name(p) + 7, strerror(errno));
		s->links[s->n_links++] = link;
	}
	s->attach_link = bpf_program__attach_iter(s->skel->progs.mt_attach, NULL);
	s->finish_link = bpf_program__attach_iter(s->skel->progs.mt_finish, NULL);
	if (!s->attach_link || !s->finish_link)
		return err_set(err, -errno, MT_EXIT_UNSUPPORTED, "cannot walk tasks (bpf_iter): %s",
		               strerror(errno));
	/* Made now: at the end we no longer have the privilege to. */
	s->finish_fd = bpf_iter_create(bpf_link__fd(s->finish_link));
	if (s->finish_fd < 0)
		return err_set(err, -errno, MT_EXIT_UNSUPPORTED,
		               "cannot create a task iterator: %s", strerror(errno));
	return 0;
}

static int sample_open(int cpu, unsigned freq)
{
	struct perf_event_attr attr = {
	        .type = PERF_TYPE_SOFTWARE,
	        .size = sizeof(attr),
	        .config = PERF_COUNT_SW_CPU_CLOCK,
	        .sample_freq = freq,
	        .freq = 1,
	        .exclude_idle = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Without samples the recording still has everything else: a warning, not an error. */
static void attach_samples(struct session *s, unsigned freq)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	if (!freq || cpus <= 0)
		return;
	for (int cpu = 0; cpu < cpus; cpu++) {
		int fd = sample_open(cpu, freq);
		int prog = bpf_program__fd(s->skel->progs.mt_sample);
		struct bpf_link *link;

		if (fd < 0) {
			if (errno != ENODEV && errno != ENXIO) /* an offline CPU */
				log_warn("no on-CPU samples on CPU %d: %s", cpu, strerror(errno));
			continue;
		}
		link = prog >= 0 ? bpf_program__attach_perf_event(s->skel->progs.mt_sample, fd)
		                 : NULL;
		if (!link) {
			log_warn("no on-CPU samples on CPU %d: %s", cpu, strerror(errno));
			close(fd);
			continue;
		}
		s->links[s->n_links++] = link; /* owns fd */
		s->n_samples++;
	}
	if (s->n_samples)
		session_feature(s, "samples");
}

/* Each update of a map of maps waits for an RCU grace period (10 ms): one for all, if it can be
 * (Linux 5.19: 9263dddc7b6f). */
static int install_rings(struct session *s)
{
	int map = bpf_map__fd(s->skel->maps.rings);
	uint32_t keys[RINGS_MAX], n = (uint32_t)s->n_rings;
	LIBBPF_OPTS(bpf_map_batch_opts, opts);

	for (uint32_t i = 0; i < n; i++)
		keys[i] = i;
	if (!bpf_map_update_batch(map, keys, s->ring_fds, &n, &opts))
		return 0;
	for (uint32_t i = 0; i < s->n_rings; i++)
		if (bpf_map_update_elem(map, &i, &s->ring_fds[i], 0))
			return -errno;
	return 0;
}

static int load_programs(struct session *s, const struct btf *btf, const struct collect_opts *o,
                         struct err *err)
{
	int rc;

	choose_programs(s, btf, o);
	rc = choose_traffic(s, btf, o, err);
	if (rc)
		return rc;
	configure(s, o);
	bpf_map__set_max_entries(s->skel->maps.rings, (uint32_t)s->n_rings);
	rc = programs_load(s->skel, btf, s->types_fd);
	return rc ? load_error(rc, err) : 0;
}

static void *read_types(void *btf)
{
	*(struct btf **)btf = btf__load_vmlinux_btf();
	return NULL;
}

/* What needs no knowledge of the kernel's types: these take as long to read. */
static int prepare_buffers(struct session *s, const struct collect_opts *o, struct err *err)
{
	s->types_fd = memfd_create("mpvtrace-types", MFD_CLOEXEC);
	s->skel = s->types_fd >= 0 ? programs_open(s->types_fd) : NULL;
	if (!s->skel)
		return err_set(err, -errno, MT_EXIT_FAIL, "cannot open the BPF programs: %s",
		               strerror(errno));
	return create_rings(s, o, err);
}

/* The command was forked before: it has what it would have without us. */
static void raise_limits(void)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY}, files;

	/* Before 5.11 maps were charged to it; harmless since. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	/* Each mapped file stays open until the end (mapped.c). */
	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static int load_all(struct session *s, const struct collect_opts *o, struct err *err)
{
	struct btf *btf = NULL;
	pthread_t reader;
	int rc, alone;

	raise_limits();
	libbpf_set_print(libbpf_log);
	alone = pthread_create(&reader, NULL, read_types, &btf);
	rc = prepare_buffers(s, o, err);
	if (alone)
		read_types(&btf);
	else
		pthread_join(reader, NULL);
	if (!rc && !btf)
		rc = err_set(err, -ENOTSUP, MT_EXIT_UNSUPPORTED,
		             "this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs "
		             "CONFIG_DEBUG_INFO_BTF=y");
	rc = rc ? rc : load_programs(s, btf, o, err);
	btf__free(btf);
	if (rc)
		return rc;
	rc = install_rings(s);
	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL, "cannot install the ring buffers: %s",
		               strerror(-rc));
	s->rings = rings_new(s->ring_fds, s->n_rings, s->ring_bytes, err);
	return s->rings ? 0 : -ENOMEM;
}

int session_new(struct session **out, const struct collect_opts *o, struct err *err)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory");
	s->finish_fd = s->meter.sock = s->types_fd = -1;
	for (size_t i = 0; i < RINGS_MAX; i++)
		s->ring_fds[i] = -1;
	costs_switch_start(s);
	rc = load_all(s, o, err);
	if (!rc)
		rc = attach_programs(s, err);
	if (rc) {
		session_free(s);
		return rc;
	}
	attach_samples(s, o->freq_hz);
	costs_init(s);
	*out = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_links; i++)
		bpf_link__destroy(s->links[i]);
	free(s->links);
	if (s->finish_fd >= 0)
		close(s->finish_fd);
	costs_release(s);
	if (s->types_fd >= 0)
		close(s->types_fd);
	bpf_link__destroy(s->attach_link);
	bpf_link__destroy(s->finish_link);
	rings_free(s->rings);
	for (size_t i = 0; i < RINGS_MAX; i++)
		if (s->ring_fds[i] >= 0)
			close(s->ring_fds[i]);
	mpvtrace_bpf__destroy(s->skel);
	free(s);
}
