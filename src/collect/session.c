/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/perf_event.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "collect_priv.h"
#include "probe_priv.h"
#include "mpvtrace.skel.h"

#define RING_BYTES_DEFAULT (16u << 20)
#define RINGS_MAX          16
#define STACK_PRICE_NS     1000000  /* a stack costs about 2 µs: 0.2 % of blocked time at most */
#define STACK_REFRESH_NS   10000000 /* 10 ms blocked at one site: look again */
#define RSS_INTERVAL_NS    10000000
#define TOUCH_BYTES        (128u << 10) /* 32 faults of 1.4 µs or more for one stack */
#define UNWIND_WORDS       (2u << 20)   /* 16 MiB: the tables of some 100 large libraries */

struct session {
	struct mpvtrace_bpf *skel;
	struct bpf_link **links;
	size_t n_links;
	int ring_fds[RINGS_MAX];
	size_t n_rings, ring_bytes;
	struct rings *rings;
	struct bpf_link *attach_link, *finish_link;
	int finish_fd;
	bool unwind;
	int stats_fd; /* cost measuring window, -1 = over */
	uint64_t window_seen, window_start_ns, window_ns;
	VEC(struct session_cost) costs;
	size_t n_samples;
	bool find_vma;
	char features[512];
};

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

/* The kernel's list of functions for programs says which it has. */
static bool btf_has_helper(const struct btf *btf, const char *name)
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

bool session_unwind(struct session *s, struct session_unwind *out)
{
#if defined(__x86_64__)
	*out = (struct session_unwind){
	        .session = s,
	        .words_fd = bpf_map__fd(s->skel->maps.unwind_words),
	        .files_fd = bpf_map__fd(s->skel->maps.unwind_files),
	        .n_words = UNWIND_WORDS,
	};
	return s->unwind;
#else
	(void)s;
	(void)out;
	return false;
#endif
}

int session_file_key(struct session *s, uint64_t addr, struct session_file_key *out)
{
#if defined(__x86_64__)
	uint64_t args[1] = {addr};
	struct bpf_test_run_opts opts = {
	        .sz = sizeof(opts), .ctx_in = args, .ctx_size_in = sizeof(args)};
	int fd = bpf_program__fd(s->skel->progs.mt_file_key);

	if (fd < 0 || bpf_prog_test_run_opts(fd, &opts))
		return fd < 0 ? -ENOTSUP : -errno;
	out->key = s->skel->bss->file_key;
	out->ino = s->skel->bss->file_ino;
	return out->key ? 0 : -ENOENT;
#else
	(void)s;
	(void)addr;
	(void)out;
	return -ENOTSUP;
#endif
}

/* Turns on the programs whose tracepoints this kernel has. */
static int choose_programs(struct session *s, const struct collect_opts *o, struct err *err)
{
	struct mpvtrace_bpf *k = s->skel;
	struct btf *btf = btf__load_vmlinux_btf();
	const struct optional_prog optional[] = {
	        {k->progs.mt_timer_in, "hrtimer_expire_entry", "timer-wakes"},
	        {k->progs.mt_timer_out, "hrtimer_expire_exit", NULL},
	        {k->progs.mt_fault_user, "page_fault_user", "first-touch"},
	        {k->progs.mt_fault_kernel, "page_fault_kernel", NULL},
	        {k->progs.mt_call, "percpu_alloc_percpu", "fork-calls"},
	        {k->progs.mt_fault_alloc, "mm_page_alloc", "pages"},
	        {k->progs.mt_fault_rss, "rss_stat", NULL},
	};
	const struct optional_prog flag_progs[] = {
	        {k->progs.mt_irq_in, "irq_handler_entry", "irq-flags"},
	        {k->progs.mt_irq_out, "irq_handler_exit", NULL},
	        {k->progs.mt_softirq_in, "softirq_entry", "softirq-flags"},
	        {k->progs.mt_softirq_out, "softirq_exit", NULL},
	};
	struct bpf_program *const always[] = {
	        k->progs.mt_newtask, k->progs.mt_exec,   k->progs.mt_rename,
	        k->progs.mt_exit,    k->progs.mt_attach, k->progs.mt_finish,
	};
	int args;

	if (!btf)
		return err_set(err, -ENOTSUP, MT_EXIT_UNSUPPORTED,
		               "this kernel has no BTF (/sys/kernel/btf/vmlinux): it needs "
		               "CONFIG_DEBUG_INFO_BTF=y");
	args = btf_tracepoint_args(btf, "sched_switch");
	bpf_program__set_autoload(args >= 4 ? k->progs.mt_switch : k->progs.mt_switch_old, true);
	session_feature(s, args >= 4 ? "prev-state" : "prev-state-racy");
	if (btf_counts_run_delay(btf))
		session_feature(s, FEATURE_RUN_DELAY);
	s->find_vma = btf_has_helper(btf, "BPF_FUNC_find_vma");
	session_feature(s, s->find_vma ? FEATURE_FIND_VMA : "futex-key-maps");
	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		bpf_program__set_autoload(always[i], true);
	choose_optional(s, btf, optional, ARRAY_LEN(optional));
	if (preempt_count_readable(btf)) {
		bpf_program__set_autoload(k->progs.mt_waking, true);
		session_feature(s, "preempt-count");
	} else {
		bpf_program__set_autoload(k->progs.mt_waking_flags, true);
		choose_optional(s, btf, flag_progs, ARRAY_LEN(flag_progs));
	}
	if (o->freq_hz)
		bpf_program__set_autoload(k->progs.mt_sample, true);
	choose_unwinding(s, o);
	btf__free(btf);
	return 0;
}

static unsigned log2_floor(uint64_t x)
{
	return x ? 63 - (unsigned)__builtin_clzll(x) : 0;
}

/* One ring per CPU up to RINGS_MAX; sizes are powers of two as the kernel wants them. */
static int create_rings(struct session *s, const struct collect_opts *o, struct err *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	uint64_t total = o->buffer_bytes ? o->buffer_bytes : RING_BYTES_DEFAULT;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	s->n_rings = 1u << log2_floor(cpus > 0 ? (uint64_t)cpus : 1);
	if (cpus > 0 && s->n_rings < (size_t)cpus)
		s->n_rings *= 2;
	if (s->n_rings > RINGS_MAX)
		s->n_rings = RINGS_MAX;
	s->ring_bytes = 1ull << log2_floor(total / s->n_rings);
	if (s->ring_bytes < page)
		s->ring_bytes = page;
	for (size_t i = 0; i < s->n_rings; i++) {
		s->ring_fds[i] = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "mpvtrace_ring", 0, 0,
		                                (uint32_t)s->ring_bytes, NULL);
		if (s->ring_fds[i] < 0)
			return err_set(err, -errno, MT_EXIT_FAIL,
			               "cannot create a ring buffer of %zu bytes: %s (try a "
			               "smaller --buffer)",
			               s->ring_bytes, strerror(errno));
	}
	return 0;
}

static void configure(struct session *s, const struct collect_opts *o)
{
	volatile struct mt_cfg *cfg = (void *)&s->skel->rodata->cfg;

	cfg->ring_mask = (uint32_t)s->n_rings - 1;
	cfg->stacks = o->stacks == STACKS_OFF ? 0 : o->stacks == STACKS_AUTO ? 1 : 2;
	cfg->find_vma = s->find_vma;
	cfg->unwind = s->unwind;
	cfg->wake_stacks = o->wake_stacks && o->stacks != STACKS_OFF;
	cfg->page_shift = log2_floor((uint64_t)sysconf(_SC_PAGESIZE));
	cfg->wake_bytes = s->ring_bytes / 8;
	cfg->stack_price_ns = STACK_PRICE_NS;
	cfg->stack_refresh_ns = STACK_REFRESH_NS;
	cfg->rss_interval_ns = RSS_INTERVAL_NS;
	cfg->touch_bytes = o->stacks == STACKS_OFF ? 0 : TOUCH_BYTES;
	cfg->pages = bpf_program__autoload(s->skel->progs.mt_fault_alloc) &&
	             bpf_program__autoload(s->skel->progs.mt_fault_rss) &&
	             bpf_program__autoload(s->skel->progs.mt_fault_user);
}

static int load_error(int rc, struct err *err)
{
	const char *missing = privileges_missing();

	if (missing)
		return err_set(err, rc, MT_EXIT_PRIVILEGE,
		               "loading BPF programs needs %s: run mpvtrace with sudo", missing);
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
		link = bpf_program__attach(p);
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

/* Each update of a map of maps waits for an RCU grace period (10 ms): one for all, if it can be. */
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

static int load_all(struct session *s, const struct collect_opts *o, struct err *err)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int rc;

	setrlimit(RLIMIT_MEMLOCK,
	          &unlimited); /* before 5.11 maps were charged to it; harmless since */
	libbpf_set_print(libbpf_log);
	s->skel = mpvtrace_bpf__open();
	if (!s->skel)
		return err_set(err, -errno, MT_EXIT_FAIL, "cannot open the BPF programs: %s",
		               strerror(errno));
	rc = choose_programs(s, o, err);
	if (rc)
		return rc;
	rc = create_rings(s, o, err);
	if (rc)
		return rc;
	configure(s, o);
	bpf_map__set_max_entries(s->skel->maps.rings, (uint32_t)s->n_rings);
	rc = mpvtrace_bpf__load(s->skel);
	if (rc)
		return load_error(rc, err);
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
	s->finish_fd = s->stats_fd = -1;
	for (size_t i = 0; i < RINGS_MAX; i++)
		s->ring_fds[i] = -1;
	rc = load_all(s, o, err);
	if (!rc)
		rc = attach_programs(s, err);
	if (rc) {
		session_free(s);
		return rc;
	}
	attach_samples(s, o->freq_hz);
	s->window_start_ns = now_ns();
	s->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
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
	if (s->stats_fd >= 0)
		close(s->stats_fd);
	bpf_link__destroy(s->attach_link);
	bpf_link__destroy(s->finish_link);
	rings_free(s->rings);
	for (size_t i = 0; i < RINGS_MAX; i++)
		if (s->ring_fds[i] >= 0)
			close(s->ring_fds[i]);
	mpvtrace_bpf__destroy(s->skel);
	vec_release(&s->costs);
	free(s);
}

void session_start(struct session *s)
{
	s->skel->bss->phase = MT_PHASE_ON;
}

static int iterate(int fd)
{
	char buf[64];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		;
	return n < 0 ? -errno : 0;
}

int session_follow(struct session *s, const uint32_t *pids, size_t n, uint32_t flags,
                   struct err *err)
{
	int fd, rc = 0;

	for (size_t i = 0; i < n && !rc; i++) {
		rc = bpf_map__update_elem(s->skel->maps.targets, &pids[i], sizeof(pids[i]), &flags,
		                          sizeof(flags), BPF_NOEXIST);
		if (rc == -EEXIST)
			rc = 0;
	}
	if (rc)
		return err_set(err, rc, MT_EXIT_FAIL, "cannot choose the tasks to follow: %s",
		               strerror(-rc));
	/* Twice: a thread that was created behind the walk's back is found by the second. */
	rc = 0;
	for (int pass = 0; pass < 2 && !rc; pass++) {
		fd = bpf_iter_create(bpf_link__fd(s->attach_link));
		if (fd < 0)
			return err_set(err, -errno, MT_EXIT_UNSUPPORTED, "cannot walk tasks: %s",
			               strerror(errno));
		rc = iterate(fd);
		close(fd);
	}
	return rc ? err_set(err, rc, MT_EXIT_FAIL, "cannot walk tasks: %s", strerror(-rc)) : 0;
}

void session_stopping(struct session *s)
{
	s->skel->bss->phase = MT_PHASE_STOPPING;
}

int session_stop(struct session *s)
{
	int rc = iterate(s->finish_fd);

	s->skel->bss->phase = MT_PHASE_IDLE;
	session_cost_window_end(s);
	return rc;
}

int session_py_layout(struct session *s, uint32_t id, const struct mt_py_layout *l)
{
	int rc = bpf_map__update_elem(s->skel->maps.py_layouts, &id, sizeof(id), l, sizeof(*l),
	                              BPF_ANY);

	if (rc)
		log_debug("Python layout %u: %s", id, strerror(-rc));
	return rc;
}

int session_py_space(struct session *s, uint32_t space, const struct mt_py_space *v)
{
	int rc = bpf_map__update_elem(s->skel->maps.py_spaces, &space, sizeof(space), v, sizeof(*v),
	                              BPF_NOEXIST);

	if (!rc)
		s->skel->bss->py_spaces_n++;
	return rc;
}

int session_gil_hint(struct session *s, uint32_t space, const struct mt_gil_hint *hint)
{
	int rc = bpf_map__update_elem(s->skel->maps.gil_hints, &space, sizeof(space), hint,
	                              sizeof(*hint), BPF_ANY);

	if (!rc)
		__sync_fetch_and_add(&s->skel->bss->gil_generation, 1);
	return rc;
}

struct rings *session_rings(struct session *s)
{
	return s->rings;
}

const char *session_features(const struct session *s)
{
	return s->features;
}

void session_totals(struct session *s, struct session_totals *t)
{
	struct bpf_program *p;

	memset(t, 0, sizeof(*t));
	for (size_t i = 0; i < MT_MAX_CPUS; i++) {
		const struct mt_cpu_stats *c = (void *)&s->skel->bss->stats[i];

		t->seen += c->seen;
		t->lost_ring += c->lost_ring;
		t->lost_task += c->lost_task;
		t->no_stack += c->no_stack;
		t->stacks += c->stacks;
		t->bad_stack += c->bad_stack;
	}
	/* Runs that the kernel refused because the same program was active on that CPU. */
	bpf_object__for_each_program(p, s->skel->obj)
	{
		struct bpf_prog_info info = {};
		uint32_t len = sizeof(info);
		int fd = bpf_program__fd(p);

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len))
			t->lost_missed += info.recursion_misses;
	}
}

void session_cost_window_end(struct session *s)
{
	struct session_totals totals;
	struct bpf_program *p;

	if (s->stats_fd < 0)
		return;
	close(s->stats_fd);
	s->stats_fd = -1;
	session_totals(s, &totals);
	s->window_seen = totals.seen;
	s->window_ns = now_ns() - s->window_start_ns;
	bpf_object__for_each_program(p, s->skel->obj)
	{
		struct bpf_prog_info info = {};
		struct session_cost c = {};
		uint32_t len = sizeof(info);
		int fd = bpf_program__fd(p);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || !info.run_cnt)
			continue;
		snprintf(c.name, sizeof(c.name), "%s", bpf_program__name(p));
		c.runs = info.run_cnt;
		c.ns = info.run_time_ns;
		vec_push(&s->costs, c);
	}
}

/* Programs that run without writing a record. */
static bool only_counts(const char *name)
{
	static const char *const names[] = {"mt_fault", "mt_timer", "mt_irq", "mt_softirq"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

size_t session_costs(struct session *s, struct session_cost *out, size_t max)
{
	size_t n = s->costs.n < max ? s->costs.n : max;
	struct session_totals totals;
	double by_time, by_seen;

	session_totals(s, &totals);
	by_time = s->window_ns ? (double)(now_ns() - s->window_start_ns) / (double)s->window_ns : 0;
	by_seen = s->window_seen ? (double)totals.seen / (double)s->window_seen : 0;
	for (size_t i = 0; i < n; i++) {
		double scale = only_counts(s->costs.v[i].name) ? by_time : by_seen;

		out[i] = s->costs.v[i];
		out[i].runs = (uint64_t)((double)out[i].runs * scale);
		out[i].ns = (uint64_t)((double)out[i].ns * scale);
	}
	return n;
}
