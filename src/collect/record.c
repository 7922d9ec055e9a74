/* SPDX-License-Identifier: MIT */
/*
 * record.c: one recording from beginning to end. The order matters:
 *
 *  1. check privileges; open the trace file as the invoking user;
 *  2. start the command, held before its exec; load and attach the programs;
 *  3. give up what is not needed while recording;
 *  4. let the command go; drain until its last task has gone (or a signal, or -d);
 *  5. stop; take the counters of what lives on; detach everything;
 *  6. give up all privilege; resolve symbols; finish the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect_priv.h"

#define SLACK_NS       1000000 /* a record may reach its ring this much after its time stamp */
#define RECORDER_NICE  (-10)
#define FLUSH_NS       1000000000    /* so much is lost at most when we are killed */
#define COST_WINDOW_NS 250000000     /* the programs' cost is measured so long */
#define TWICE_NS       1000000000ull /* two signals this close together are meant for us */
#define PATIENCE_NS    2000000000ull /* after Ctrl-C: when to say how to end the recording */
#define NEARLY_NS      200000000ull /* after the command's end: descendants that do not mean to stay */
#define BEGINNING_NS   30000000     /* after an exec: until an interpreter has started */
#define SETTLE_NS      20000000 /* at the end: tasks that switch in this time end exactly there */

enum { EV_SIGNAL = 1, EV_CHILD = 2, EV_TABLES = 3 };

struct recording_run {
	const struct collect_opts *o;
	struct collect_result *res;
	struct invoker who;
	struct target target;
	struct session *session;
	struct perfmaps *maps;
	struct pyspaces *pyspaces;
	struct tables *tables;
	struct symbolizer *sym;
	struct trace_writer *w;
	struct drain *d;
	struct footprint fp;
	int nice; /* before us */
	int out_fd, kallsyms_fd, signal_fd, epoll_fd;
	sigset_t old_mask;
	uint64_t begin_ns, start_ns, flush_ns, sweep_ns, signal_ns, told_ns, root_gone_ns;
	bool root_gone, done, mask_set;
	void (*old_pipe)(int), (*old_xfsz)(int);
	bool told_way_out, woken; /* woken: by the programs, before the time was over */
};

static int mark(struct recording_run *r, uint64_t what, uint64_t ts, uint64_t value)
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
	r->w = trace_writer_new(trace_sink_fd(&r->out_fd), err);
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

static int check_privileges(struct err *err)
{
	const char *missing = privileges_missing();

	if (!missing)
		return 0;
	if (geteuid())
		return err_set(err, -EPERM, MT_EXIT_PRIVILEGE,
		               "recording needs root (%s is missing): run it with sudo", missing);
	return err_set(
	        err, -EPERM, MT_EXIT_PRIVILEGE,
	        "recording needs %s, which this root lacks (a container? add it, or run outside)",
	        missing);
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
static int prepare(struct recording_run *r, struct err *err)
{
	int rc = check_privileges(err);

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
	for (size_t i = 0; i < n && !rc; i++)
		drain_existing_maps(r->d, pids[i]);
	free(pids);
	if (!rc && !drain_alive(r->d))
		rc = err_set(err, -ESRCH, MT_EXIT_NO_PID,
		             "the process ended before recording began");
	return rc;
}

static int start(struct recording_run *r, struct err *err)
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
	r->start_ns = now_ns();
	mark(r, MARK_START, r->start_ns, 0);
	session_start(r->session);
	rc = r->o->argv ? follow_run(r, err) : follow_attached(r, err);
	if (!rc)
		footprint_init(&r->fp, r->o->footprint_permille, now_ns());
	tables_settle(r->tables);
	if (!rc && r->o->argv)
		rc = target_release(&r->target, r->o->argv[0], err);
	return rc;
}

/* --- while it runs -------------------------------------------------------------------------- */

/*
 * The terminal sends its signals to the workload, too, and what that does with them is its own
 * affair: it may well go on for as long as it likes (a debugger, a server that finishes its work).
 * So one alone changes nothing for us; two within a second mean us. What somebody sends to us
 * alone is passed on, as `timeout mpvtrace run …` expects.
 */
static void on_signal(struct recording_run *r)
{
	struct signalfd_siginfo si;

	while (read(r->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		uint64_t now = now_ns();

		if (!r->o->argv || r->root_gone || now - r->signal_ns < TWICE_NS)
			r->done = true;
		r->signal_ns = now;
		if (r->o->argv && !r->root_gone && si.ssi_code != SI_KERNEL)
			kill(r->target.pid, (int)si.ssi_signo);
	}
}

/* Who waits in front of a workload that goes on after Ctrl-C is told the way out, once. */
static void tell_way_out(struct recording_run *r, uint64_t now)
{
	if (r->told_way_out || r->root_gone || !r->signal_ns || now - r->signal_ns < PATIENCE_NS)
		return;
	r->told_way_out = true;
	if (isatty(STDERR_FILENO))
		log_warn(
		        "the workload goes on; Ctrl-C twice within a second ends the recording and "
		        "leaves it running");
}

static void on_child(struct recording_run *r)
{
	int status = 0;
	pid_t pid = r->root_gone ? 0 : waitpid(r->target.pid, &status, WNOHANG);

	if (!pid || (pid < 0 && errno == EINTR))
		return;
	r->root_gone = true;
	r->root_gone_ns = now_ns();
	if (pid > 0)
		r->res->exit_status =
		        WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, r->target.pidfd, NULL);
}

/* When events were lost a task's end may be among them: look whether they are still there. Only
 * then: the events of what has gone, and of what it created before, may still be on their way. */
static void sweep(struct recording_run *r, uint64_t now)
{
	struct session_totals totals;
	struct live_task *t;
	size_t pos = 0;

	if (now < r->sweep_ns)
		return;
	r->sweep_ns = now + 200000000;
	session_totals(r->session, &totals);
	if (!totals.lost_ring && !totals.lost_missed)
		return;
	while ((t = drain_next_alive(r->d, &pos))) {
		if (!target_exists(t->tid)) {
			drain_forget(r->d, t);
			pos--; /* another one is here now */
		}
	}
}

static void tell_progress(struct recording_run *r, uint64_t now)
{
	char n[32], left[64] = "";

	if (!r->o->progress || now - r->begin_ns < 3000000000ull || now < r->told_ns)
		return;
	r->told_ns = now + 1000000000;
	fmt_count(n, sizeof(n), trace_writer_stats(r->w)->events);
	if (r->root_gone)
		snprintf(left, sizeof(left), ", %zu descendants still run (Ctrl-C stops recording)",
		         drain_alive(r->d));
	fprintf(stderr, "\r\033[Kmpvtrace: %.0f s, %s events%s", (double)(now - r->start_ns) / 1e9,
	        n, left);
}

/* How long to sleep: short while rings fill quickly. */
static int pause_ms(const struct recording_run *r, unsigned fill_permille)
{
	/* A program that has just begun: the libraries that it maps now are to be known (which
	 * interpreter, how to unwind) before it gets to what it is for. */
	if (r->woken || now_ns() - drain_last_exec_ts(r->d) < BEGINNING_NS)
		return fill_permille > 250 ? 0 : 2;
	if (fill_permille > 250)
		return 0;
	if (fill_permille > 60)
		return 2;
	return fill_permille > 5 ? 10 : 40;
}

static int one_round(struct recording_run *r, uint64_t now)
{
	int rc = drain_round(r->d, session_rings(r->session), r->maps, now - SLACK_NS);

	if (!rc)
		rc = footprint_round(&r->fp, r->d, r->w, now);
	if (!rc && now >= r->flush_ns) {
		r->flush_ns = now + FLUSH_NS;
		drain_jit_maps(r->d);
		rc = trace_writer_flush(r->w);
	}
	if (now - r->start_ns > COST_WINDOW_NS)
		session_cost_window_end(r->session);
	if (r->root_gone || !r->o->argv)
		sweep(r, now);
	if ((r->root_gone || !r->o->argv) && !drain_alive(r->d))
		r->done = true;
	if (r->o->duration_ns && now - r->start_ns >= r->o->duration_ns)
		r->done = true;
	tell_way_out(r, now);
	tell_progress(r, now);
	return rc;
}

static int wait_events(struct recording_run *r, int timeout_ms)
{
	struct epoll_event ev[8];
	int n = epoll_wait(r->epoll_fd, ev, ARRAY_LEN(ev), timeout_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	r->woken = false;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == EV_SIGNAL)
			on_signal(r);
		else if (ev[i].data.u64 == EV_CHILD)
			on_child(r);
		else if (ev[i].data.u64 == EV_TABLES)
			tables_poll(r->tables);
		else
			r->woken = true;
	}
	return 0;
}

static int record(struct recording_run *r)
{
	unsigned fill = 0;
	int rc = 0;

	while (!r->done && !rc) {
		int ms = pause_ms(r, fill);

		if (r->o->duration_ns) {
			int64_t left =
			        (int64_t)(r->start_ns + r->o->duration_ns) - (int64_t)now_ns();

			if (left < ms * 1000000ll)
				ms = left > 0 ? (int)(left / 1000000) + 1 : 0;
		}
		if (r->root_gone && ms > 2 && now_ns() - r->root_gone_ns < NEARLY_NS)
			ms = 2; /* nearly over: do not keep the user waiting */
		rc = wait_events(r, ms);
		fill = rings_refresh(session_rings(r->session));
		rc = rc ? rc : one_round(r, now_ns());
	}
	if (r->told_ns)
		fputs("\r\033[K", stderr);
	return rc;
}

/* --- the end --------------------------------------------------------------------------------- */

static void stop(struct recording_run *r)
{
	struct timespec settle = {.tv_nsec = SETTLE_NS};
	int rc;

	if (drain_alive(r->d)) {
		session_stopping(r->session);
		nanosleep(&settle, NULL);
	}
	rc = session_stop(r->session);
	if (rc)
		log_warn("the counters of tasks that live on could not be read: %s", strerror(-rc));
	rc = drain_round(r->d, session_rings(r->session), r->maps, UINT64_MAX);
	if (!rc)
		rc = holds_write(r->d, r->w, r->pyspaces);
	if (rc)
		log_debug("last round: %s", strerror(-rc));
	setpriority(PRIO_PROCESS, 0, r->nice); /* what follows can wait */
	r->res->still_running = r->o->argv && !r->root_gone;
}

static void write_loss(struct recording_run *r, const char *cause, uint64_t count)
{
	struct rec_loss l = {.cause = drain_string(r->d, cause), .count = count};

	if (!count)
		return;
	r->res->lost += count;
	trace_write(r->w, REC_K_LOSS, now_ns(), &l);
}

static void write_cost(struct recording_run *r, const char *name, uint64_t count, uint64_t ns)
{
	struct rec_cost c = {.name = drain_string(r->d, name), .count = count, .ns = ns};

	trace_write(r->w, REC_K_COST, now_ns(), &c);
}

static void write_python_notes(struct recording_run *r)
{
	char *const *notes;
	size_t n = pyspaces_notes(r->pyspaces, &notes);

	for (size_t i = 0; i < n; i++)
		note_write(r->d, r->w, notes[i]);
}

static void write_quality(struct recording_run *r)
{
	struct session_cost costs[32];
	struct session_totals t;
	struct table_totals tables;
	struct rusage ru;
	uint64_t total_ns = 0, total_runs = 0;
	size_t n;

	session_totals(r->session, &t);
	write_loss(r, "ring-full", t.lost_ring);
	write_loss(r, "task-state", t.lost_task);
	write_loss(r, "program-missed", t.lost_missed);
	write_loss(r, "mapping", perfmaps_lost(r->maps));
	meta_write_u64(r->w, META_SEEN, t.seen);
	meta_write_u64(r->w, META_WRITTEN, drain_written(r->d));
	n = session_costs(r->session, costs, ARRAY_LEN(costs));
	for (size_t i = 0; i < n; i++) {
		write_cost(r, costs[i].name, costs[i].runs, costs[i].ns);
		total_ns += costs[i].ns;
		total_runs += costs[i].runs;
	}
	if (n) /* else the kernel did not let us measure: unknown, not 0 */
		write_cost(r, "bpf total", total_runs, total_ns);
	getrusage(RUSAGE_SELF, &ru);
	write_cost(r, "recorder cpu", 1,
	           ((uint64_t)ru.ru_utime.tv_sec + (uint64_t)ru.ru_stime.tv_sec) * 1000000000 +
	                   ((uint64_t)ru.ru_utime.tv_usec + (uint64_t)ru.ru_stime.tv_usec) * 1000);
	write_cost(r, "recorder memory peak bytes", (uint64_t)ru.ru_maxrss * 1024, 0);
	tables = tables_totals(r->tables);
	write_cost(r, "unwinding tables bytes", tables.bytes, 0);
	write_cost(r, "unwinding tables", tables.files, 0);
	if (tables.no_room)
		note_write(r->d, r->w,
		           "the unwinding tables of some files found no room: their frames were "
		           "walked by frame pointers");
	write_cost(r, "footprint", r->fp.reads, r->fp.spent_ns);
	if (r->fp.late)
		note_write(
		        r->d, r->w,
		        "some PSS/USS readings came later or not at all, to stay within the budget "
		        "(--footprint-budget)");
	if (t.no_stack)
		write_cost(r, "waits without stack", t.no_stack, 0);
	write_cost(r, "stacks", t.stacks, 0);
	write_python_notes(r);
	if (drain_exec_ts(r->d))
		meta_write_u64(r->w, META_START_NS, drain_exec_ts(r->d) - r->begin_ns);
}

static void close_recorder(struct recording_run *r)
{
	drain_tables(r->d, NULL);
	tables_free(r->tables);
	r->tables = NULL;
	session_free(r->session);
	perfmaps_free(r->maps);
	r->session = NULL;
	r->maps = NULL;
}

static int finish(struct recording_run *r, int rc, struct err *err)
{
	int drop;

	stop(r);
	if (!rc) {
		mark(r, MARK_STOP, now_ns(), 0);
		write_quality(r);
	}
	r->res->events = trace_writer_stats(r->w)->events;
	drain_jit_maps(r->d);
	close_recorder(r);
	drop = privileges_drop(err);
	if (drop)
		return drop;
	if (!rc && !r->o->no_symbols)
		rc = symbols_write(r->sym, r->kallsyms_fd, r->d, r->w, r->o->progress);
	if (!rc && !r->o->no_symbols)
		rc = ident_objects(drain_ident(r->d), r->sym);
	if (!rc)
		rc = mark(r, MARK_END, now_ns(), (uint64_t)(r->res->exit_status + 1));
	if (!rc)
		rc = trace_writer_finish(r->w);
	r->res->trace_bytes = trace_writer_stats(r->w)->file_bytes;
	if (rc == -ENOSPC || rc == -EDQUOT) {
		r->res->disk_full = true;
		return 0;
	}
	if (rc)
		return err_set(err, rc, MT_EXIT_OUTPUT,
		               "writing %s failed: %s (what was written before is readable)",
		               r->o->output, strerror(-rc));
	return 0;
}

/* The disk is full, or the like: the trace ends here, the workload does not. */
static void wait_for_workload(struct recording_run *r)
{
	while (r->o->argv && !r->root_gone) {
		if (wait_events(r, -1))
			return;
		if (r->done)
			return;
	}
}

static void release(struct recording_run *r)
{
	close_recorder(r);
	target_close(&r->target);
	drain_free(r->d);
	pyspaces_free(r->pyspaces);
	trace_writer_free(r->w);
	symbolizer_free(r->sym);
	if (r->out_fd >= 0)
		close(r->out_fd);
	if (r->kallsyms_fd >= 0)
		close(r->kallsyms_fd);
	if (r->signal_fd >= 0)
		close(r->signal_fd);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	if (r->mask_set) {
		sigprocmask(SIG_SETMASK, &r->old_mask, NULL);
		signal(SIGPIPE, r->old_pipe);
		signal(SIGXFSZ, r->old_xfsz);
	}
}

/* Nothing was recorded: an empty trace file would only be in the way. */
static void abandon(struct recording_run *r)
{
	struct stat st;

	/* As the user: in a directory of his the name may lead elsewhere by now. */
	if (!privileges_drop(NULL) && r->out_fd >= 0 && !fstat(r->out_fd, &st) &&
	    S_ISREG(st.st_mode))
		unlink(r->o->output);
	target_close(&r->target);
	if (r->target.pid > 0 && !r->root_gone)
		waitpid(r->target.pid, NULL, 0);
}

int collect(const struct collect_opts *o, struct collect_result *res, struct err *err)
{
	struct recording_run r = {.o = o,
	                          .res = res,
	                          .out_fd = -1,
	                          .kallsyms_fd = -1,
	                          .signal_fd = -1,
	                          .epoll_fd = -1,
	                          .begin_ns = now_ns(),
	                          .target = {.go_fd = -1, .status_fd = -1, .pidfd = -1}};
	int rc;

	memset(res, 0, sizeof(*res));
	res->exit_status = -1;
	rc = prepare(&r, err);
	if (!rc)
		rc = start(&r, err);
	if (rc) {
		abandon(&r);
		release(&r);
		return rc;
	}
	rc = record(&r);
	if (rc) {
		log_warn("%s: recording stopped, the workload goes on",
		         rc == -ENOSPC || rc == -EDQUOT ? "the disk is full" : strerror(-rc));
		stop(&r);
		wait_for_workload(&r);
	}
	rc = finish(&r, rc, err);
	release(&r);
	return rc;
}
