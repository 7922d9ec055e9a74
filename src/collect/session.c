/* SPDX-License-Identifier: MIT */
/* session.c: the programs are chosen for this kernel, configured, loaded and attached. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"
#include "probe_priv.h"

#define STACK_PRICE_NS   1000000  /* a stack costs about 2 µs: 0.2 % of blocked time at most */
#define STACK_REFRESH_NS 20000000 /* 20 ms blocked at one site: look again */
#define TRAFFIC_MAX      32768 /* a task's ends of channels, all together: 3 MiB when asked for */
#define RSS_INTERVAL_NS  10000000
#define TOUCH_BYTES      (128u << 10) /* 32 faults of 1.4 µs or more for one stack */

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
	s->kiocb_type = btf__find_by_name_kind(btf, "kiocb", BTF_KIND_STRUCT);
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

static void configure(struct session *s, const struct collect_opts *o)
{
	volatile struct mt_cfg *cfg = (void *)&s->skel->rodata->cfg;

	session_rings_configure(s, cfg);
	cfg->stacks = o->stacks == STACKS_OFF ? 0 : o->stacks == STACKS_AUTO ? 1 : 2;
	cfg->find_vma = s->find_vma;
	cfg->kiocb_type = s->kiocb_type > 0 ? (uint32_t)s->kiocb_type : 0;
	cfg->unwind = s->unwind;
	cfg->page_shift = (uint32_t)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
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

static int load_programs(struct session *s, const struct btf *btf, const struct collect_opts *o,
                         struct err *err)
{
	int rc;

	choose_programs(s, btf, o);
	rc = choose_traffic(s, btf, o, err);
	if (rc)
		return rc;
	configure(s, o);
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
	return session_rings_create(s, o, err);
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

static int no_types(struct err *err)
{
	int code = kernel_types_error();

	if (code == -ENOENT)
		return err_set(err, -ENOTSUP, MT_EXIT_UNSUPPORTED,
		               "this kernel has no BTF (" KERNEL_TYPES "): it needs "
		               "CONFIG_DEBUG_INFO_BTF=y");
	return err_set(err, code, MT_EXIT_FAIL,
	               "cannot read the kernel's types (" KERNEL_TYPES "): %s", strerror(-code));
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
		rc = no_types(err);
	rc = rc ? rc : load_programs(s, btf, o, err);
	btf__free(btf);
	if (rc)
		return rc;
	return session_rings_open(s, err);
}

int session_new(struct session **out, const struct collect_opts *o, struct err *err)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory");
	s->finish_fd = s->meter.sock = s->types_fd = -1;
	session_rings_none(s);
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
	session_rings_close(s);
	mpvtrace_bpf__destroy(s->skel);
	free(s);
}
