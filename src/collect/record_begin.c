/* SPDX-License-Identifier: MIT */
/* record_begin.c: up to the moment at which the workload goes (steps 1 to 4 in record.c). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "record_priv.h"

#define RECORDER_NICE (-10)

int record_mark(struct recording_run *r, uint64_t what, uint64_t ts, uint64_t value)
{
	struct rec_mark m = {.what = what, .value = value};

	return trace_write(r->w, REC_K_MARK, ts, &m);
}

static int catch_signals(struct recording_run *r, struct err *err)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction sa;
	sigset_t set;

	sigemptyset(&set);
	/* Once blocked, even a signal that our caller ignores (nohup, a job in the background)
	 * would reach us. */
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (sigaction(ends[i], NULL, &sa) || sa.sa_handler != SIG_IGN)
			sigaddset(&set, ends[i]);
	if (sigprocmask(SIG_BLOCK, &set, &r->old_mask))
		return err_set(err, -errno, MT_EXIT_FAIL, "cannot block signals: %s",
		               strerror(errno));
	r->mask_set = true;
	/* Words to a closed stderr, or a trace beyond RLIMIT_FSIZE, must not end us. The command
	 * is started already: it does not inherit this. */
	r->old_pipe = signal(SIGPIPE, SIG_IGN);
	r->old_xfsz = signal(SIGXFSZ, SIG_IGN);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->signal_fd < 0 || r->epoll_fd < 0)
		return err_set(err, -errno, MT_EXIT_FAIL, "cannot wait for signals: %s",
		               strerror(errno));
	return 0;
}

static int watch(struct recording_run *r, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};

	return epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int open_outputs(struct recording_run *r, struct err *err)
{
	r->out_fd = output_open(r->o->output, r->o->overwrite, err);
	if (r->out_fd < 0)
		return r->out_fd;
	r->behind = behind_new(trace_sink_fd(&r->out_fd));
	r->w = r->behind ? trace_writer_new(behind_sink(r->behind), err) : NULL;
	r->sym = symbolizer_new();
	r->d = r->w && r->sym ? drain_new(r->w, r->sym, r->o->argv) : NULL;
	if (!r->d)
		return err_set(err, -ENOMEM, err->status ? err->status : MT_EXIT_FAIL, "%s",
		               err->msg[0] ? err->msg : "no memory");
	return 0;
}

static int check_pids(const struct collect_opts *o, struct err *err)
{
	for (size_t i = 0; i < o->n_pids; i++) {
		uint32_t pid = o->pids[i];
		int fd;

		if (!target_exists(pid))
			return err_set(err, -ESRCH, MT_EXIT_NO_PID, "there is no process %u", pid);
		/* The kernel opens processes only (EINVAL, since 6.9 ENOENT). */
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0 && (errno == EINVAL || errno == ENOENT))
			return err_set(err, -ESRCH, MT_EXIT_NO_PID,
			               "%u is a thread: name its process, which is Tgid in "
			               "/proc/%u/status",
			               pid, pid);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}

static void connect_tables(struct recording_run *r)
{
	struct session_unwind k;
	int rc;

	if (!r->tables)
		return;
	rc = session_unwind(r->session, &k) ? tables_connect(r->tables, &k) : -ENOTSUP;
	if (rc) {
		if (rc != -ENOTSUP)
			log_warn("no unwinding tables: %s", strerror(-rc));
		tables_free(r->tables);
		r->tables = NULL;
	}
	drain_tables(r->d, r->tables);
}

/*
 * A workload that fills every CPU would keep the recorder from emptying the buffers: it
 * needs little time, but in time. The command and the maker of tables are other processes,
 * forked before.
 */
static void hurry(struct recording_run *r)
{
	errno = 0;
	r->nice = getpriority(PRIO_PROCESS, 0);
	if (errno ||
	    setpriority(PRIO_PROCESS, 0, r->nice < RECORDER_NICE ? r->nice : RECORDER_NICE))
		log_debug("the recorder's priority stays as it is: %s", strerror(errno));
}

/* What runs with full privilege. */
int record_prepare(struct recording_run *r, struct err *err)
{
	int rc = collect_allowed(err);

	if (!rc)
		rc = r->o->user ? invoker_named(r->o->user, &r->who, err)
		                : invoker_get(&r->who, err);
	if (!rc)
		rc = check_pids(r->o, err);
	/* It makes tables while the programs load. Without it there still are frame pointers. */
	if (!rc && r->o->stacks != STACKS_OFF && tables_begin(&r->tables, r->o->argv, &r->who))
		log_warn("no unwinding tables: %s", strerror(errno));
	if (!rc)
		rc = open_outputs(r, err);
	/* The command is forked before signals are blocked and descriptors multiply. */
	if (!rc && r->o->argv)
		rc = target_launch(&r->target, r->o->argv, &r->who, err);
	if (!rc)
		rc = catch_signals(r, err);
	if (!rc)
		rc = session_new(&r->session, r->o, err);
	if (rc)
		return rc;
	connect_tables(r);
	r->maps = perfmaps_new(err);
	if (!r->maps)
		return -EPERM;
	r->pyspaces = pyspaces_new(r->session);
	if (!r->pyspaces || drain_python(r->d, r->pyspaces))
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory");
	r->kallsyms_fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	hurry(r);
	return 0;
}

static int follow_run(struct recording_run *r, struct err *err)
{
	uint32_t pid = (uint32_t)r->target.pid;
	int rc = target_await_held(&r->target, err);

	if (!rc)
		rc = flow_first(r->w, &pid, 1);
	if (!rc)
		rc = session_follow(r->session, &pid, 1, TASK_F_ROOT | MT_TARGET_HELD, err);
	return rc ? rc : privileges_reduce(err);
}

/* Tables of what the processes have mapped, before their first waits are seen. */
static struct remote *look_at_attached(struct recording_run *r)
{
	struct remote *remote = r->tables ? remote_new(r->tables) : NULL;
	size_t n = r->o->n_pids;
	uint32_t *pids = remote ? malloc(n * sizeof(*pids)) : NULL;

	if (pids) {
		memcpy(pids, r->o->pids, n * sizeof(*pids));
		target_descendants(&pids, &n);
		for (size_t i = 0; i < n; i++)
			remote_process(remote, pids[i]);
	}
	free(pids);
	tables_settle(r->tables);
	return remote;
}

/* The tasks that there are, and the stacks of those that are blocked. */
static int first_round(struct recording_run *r, struct remote *remote, const uint32_t *pids,
                       size_t n)
{
	int rc;

	for (size_t i = 0; remote && i < n; i++)
		remote_process(remote, pids[i]);
	tables_settle(r->tables);
	drain_remote(r->d, remote);
	rc = drain_round(r->d, session_rings(r->session), r->maps, UINT64_MAX);
	drain_remote(r->d, NULL);
	return rc;
}

static int follow_attached(struct recording_run *r, struct err *err)
{
	size_t n = r->o->n_pids;
	uint32_t *pids = malloc(n * sizeof(*pids));
	struct remote *remote = NULL;
	int rc;

	if (!pids)
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "no memory");
	memcpy(pids, r->o->pids, n * sizeof(*pids));
	/* From here on the workload's own words are read: names in /proc, paths of mappings. */
	rc = privileges_reduce(err);
	if (!rc) {
		remote = look_at_attached(r);
		r->follow_ns = now_ns();
		rc = session_follow(r->session, pids, n, TASK_F_ROOT, err);
	}
	/* Children that exist already; those to come are followed from their creation. */
	if (!rc)
		rc = target_descendants(&pids, &n);
	if (!rc && n > r->o->n_pids)
		rc = session_follow(r->session, pids + r->o->n_pids, n - r->o->n_pids, 0, err);
	if (!rc)
		rc = first_round(r, remote, pids, n);
	remote_free(remote);
	rc = rc ? rc : flow_first(r->w, pids, n);
	for (size_t i = 0; i < n && !rc; i++)
		drain_existing_maps(r->d, pids[i]);
	rc = rc ? rc : drain_attached_python(r->d);
	free(pids);
	if (!rc && !drain_alive(r->d))
		rc = err_set(err, -ESRCH, MT_EXIT_NO_PID,
		             "the process ended before recording began");
	return rc;
}

int record_start(struct recording_run *r, struct err *err)
{
	int rc = machine_write(r->w, r->o, &r->who, session_features(r->session));

	rc = rc ? rc : rings_epoll_add(session_rings(r->session), r->epoll_fd);
	rc = rc ? rc : watch(r, r->signal_fd, EV_SIGNAL);
	if (r->o->argv)
		rc = rc ? rc : watch(r, r->target.pidfd, EV_CHILD);
	if (tables_fd(r->tables) >= 0)
		rc = rc ? rc : watch(r, tables_fd(r->tables), EV_TABLES);
	if (rc)
		return err_set(err, rc, rc == -ENOSPC ? MT_EXIT_DISK_FULL : MT_EXIT_FAIL,
		               "cannot begin the recording: %s", strerror(-rc));
	if (!strstr(session_features(r->session), FEATURE_FIND_VMA))
		ident_by_maps(drain_ident(r->d));
	r->start_ns = r->follow_ns = now_ns();
	record_mark(r, MARK_START, r->start_ns, 0);
	session_start(r->session);
	rc = r->o->argv ? follow_run(r, err) : follow_attached(r, err);
	if (!rc) {
		footprint_init(&r->fp, r->o->footprint_permille, now_ns());
		log_info("recording (%s)", session_features(r->session));
	}
	tables_settle(r->tables);
	busy_begin(&r->busy, r->o->argv ? r->target.pid : (pid_t)r->o->pids[0],
	           tables_helper(r->tables));
	if (!rc && r->o->argv)
		rc = target_release(&r->target, r->o->argv[0], err);
	return rc;
}
