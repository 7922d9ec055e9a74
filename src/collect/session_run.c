/* SPDX-License-Identifier: MIT */
/* session_run.c: the programs at work: whom they follow, what they are told, what they cost. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"

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
	session_cost_end(s);
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

/* Programs that record nothing, but note what a CPU is at. They may be missed: an interrupt comes
 * while one notes a soft one. */
static bool only_notes(const struct bpf_program *p)
{
	static const char *const prefixes[] = {"mt_timer_", "mt_irq_", "mt_softirq_"};

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		if (!strncmp(bpf_program__name(p), prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
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
	if (s->rings) {
		uint64_t seen, lost;

		rings_staged(s->rings, &seen, &lost);
		t->seen += seen;
		t->lost_ring += lost;
	}
	/* Runs that the kernel refused because the same program was active on that CPU. */
	bpf_object__for_each_program(p, s->skel->obj)
	{
		struct bpf_prog_info info = {};
		uint32_t len = sizeof(info);
		int fd = only_notes(p) ? -1 : bpf_program__fd(p);

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len))
			t->lost_missed += info.recursion_misses;
	}
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

struct session_traffic session_traffic(struct session *s)
{
	bool on = bpf_program__autoload(s->skel->progs.mt_traffic);

	return (struct session_traffic){
	        .fd = on ? bpf_map__fd(s->skel->maps.traffic) : -1,
	        .lost = on ? s->skel->bss->traffic_lost : 0,
	};
}
