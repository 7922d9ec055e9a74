/* SPDX-License-Identifier: MIT */
/* costs.c: what our programs cost, by the kernel's own measuring in windows. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "session_priv.h"

#define FIRST_NS   250000000ull /* the beginning: loads, forks and first touches are there */
#define WINDOW_NS  50000000ull
#define APART_MIN  450000000ull
#define APART_MAX  20000000000ull
#define APART_PART 8 /* windows are so much of the time so far apart */

/* Programs that run without writing a record. */
static bool only_counts(const char *name)
{
	static const char *const names[] = {"mt_fault", "mt_timer", "mt_irq", "mt_softirq"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

static uint64_t seen_now(struct session *s)
{
	struct session_totals totals;

	session_totals(s, &totals);
	return totals.seen;
}

/* --- the switch -------------------------------------------------------------------------- */

/*
 * Only CAP_SYS_ADMIN may make the kernel measure, and the recorder gives that up before it reads
 * anything of the workload's. So a process that reads nothing but one byte at a time keeps it.
 */
enum { SWITCH_OFF, SWITCH_ON };

static void serve_switch(int sock)
{
	char byte;
	int fd = -1;

	while (read(sock, &byte, 1) == 1) {
		if (fd >= 0)
			close(fd);
		fd = byte == SWITCH_ON ? bpf_enable_stats(BPF_STATS_RUN_TIME) : -1;
		byte = fd >= 0 ? SWITCH_ON : SWITCH_OFF;
		if (write(sock, &byte, 1) != 1)
			return;
	}
}

static void run_switch(int sock)
{
	static const int not_mine[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "mpvtrace-meter");
	for (size_t i = 0; i < ARRAY_LEN(not_mine); i++)
		signal(not_mine[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(sock, 0) || syscall(SYS_close_range, 1, ~0u, 0) || privileges_for_statistics())
		_exit(1);
	serve_switch(0);
	_exit(0);
}

void costs_switch_start(struct session *s)
{
	struct cost_meter *m = &s->meter;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return;
	m->pid = fork();
	if (!m->pid)
		run_switch(pair[1]);
	close(pair[1]);
	m->sock = pair[0];
}

/* Does the kernel measure now? */
static bool turn(struct cost_meter *m, char to)
{
	ssize_t n;

	if (m->sock < 0)
		return false;
	n = send(m->sock, &to, 1, MSG_NOSIGNAL);
	while (n == 1 && (n = read(m->sock, &to, 1)) < 0 && errno == EINTR)
		n = 1;
	if (n == 1)
		return to == SWITCH_ON;
	helper_end(&m->pid, &m->sock);
	return false;
}

/* --- the windows ------------------------------------------------------------------------- */

/* The counters of the kernel's; false = not to be had. */
static bool read_counters(const struct program_cost *p, uint64_t *runs, uint64_t *ns)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(p->fd, &info, &len))
		return false;
	*runs = info.run_cnt;
	*ns = info.run_time_ns;
	return true;
}

static void open_window(struct session *s)
{
	struct cost_meter *m = &s->meter;

	/* Somebody else may have made the kernel measure meanwhile. */
	for (size_t i = 0; i < m->programs.n; i++)
		read_counters(&m->programs.v[i], &m->programs.v[i].last_runs,
		              &m->programs.v[i].last_ns);
	m->open = turn(m, SWITCH_ON);
	m->known = m->known && m->open;
	m->open_ns = now_ns();
	m->open_seen = seen_now(s);
}

void costs_init(struct session *s)
{
	struct cost_meter *m = &s->meter;
	struct bpf_program *p;

	bpf_object__for_each_program(p, s->skel->obj)
	{
		struct program_cost c = {.fd = bpf_program__fd(p), .name = bpf_program__name(p)};

		if (c.fd < 0)
			continue;
		c.only_counts = only_counts(c.name);
		vec_push(&m->programs, c);
	}
	m->known = true;
	open_window(s);
	m->start_ns = m->told_ns = m->open_ns;
}

void costs_release(struct session *s)
{
	helper_end(&s->meter.pid, &s->meter.sock);
	vec_release(&s->meter.programs);
}

static double ratio(uint64_t whole, uint64_t part)
{
	return part ? (double)whole / (double)part : 1;
}

/* What the window saw stands for all the time since the one before it. */
static void close_window(struct session *s)
{
	struct cost_meter *m = &s->meter;
	uint64_t now, seen, apart;
	double by_time, by_seen;

	turn(m, SWITCH_OFF);
	m->open = false;
	now = now_ns();
	seen = seen_now(s);
	by_time = ratio(now - m->told_ns, now - m->open_ns);
	by_seen = seen > m->open_seen ? ratio(seen - m->told_seen, seen - m->open_seen) : by_time;
	m->window_ns = now - m->open_ns;
	m->window_seen = seen - m->open_seen;
	for (size_t i = 0; i < m->programs.n; i++) {
		struct program_cost *p = &m->programs.v[i];
		double by = p->only_counts ? by_time : by_seen;
		uint64_t runs, ns;

		if (!read_counters(p, &runs, &ns))
			continue;
		p->window_runs = runs - p->last_runs;
		p->window_ns = ns - p->last_ns;
		p->runs += (double)p->window_runs * by;
		p->ns += (double)p->window_ns * by;
	}
	m->told_ns = now;
	m->told_seen = seen;
	apart = (now - m->start_ns) / APART_PART;
	apart = apart < APART_MIN ? APART_MIN : apart > APART_MAX ? APART_MAX : apart;
	m->next_ns = now + apart;
}

void session_cost_round(struct session *s, uint64_t now)
{
	struct cost_meter *m = &s->meter;
	uint64_t length = m->open_ns == m->start_ns ? FIRST_NS : WINDOW_NS;

	if (!m->known)
		return;
	if (m->open && now >= m->open_ns + length)
		close_window(s);
	else if (!m->open && now >= m->next_ns)
		open_window(s);
}

void session_cost_end(struct session *s)
{
	if (s->meter.open)
		close_window(s);
	s->meter.end_ns = now_ns();
}

size_t session_costs(struct session *s, struct session_cost *out, size_t max)
{
	struct cost_meter *m = &s->meter;
	uint64_t seen = seen_now(s), rest_ns = m->end_ns - m->told_ns, rest = seen - m->told_seen;
	size_t n = 0;

	for (size_t i = 0; i < m->programs.n && n < max; i++) {
		const struct program_cost *p = &m->programs.v[i];
		double by = !p->only_counts && m->window_seen
		                    ? (double)rest / (double)m->window_seen
		                    : (double)rest_ns / (double)(m->window_ns ? m->window_ns : 1);
		struct session_cost c = {};

		if (!(p->runs > 0))
			continue;
		snprintf(c.name, sizeof(c.name), "%s", p->name);
		c.runs = (uint64_t)(p->runs + (double)p->window_runs * by + 0.5);
		c.ns = (uint64_t)(p->ns + (double)p->window_ns * by + 0.5);
		out[n++] = c;
	}
	return n;
}
