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
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record_priv.h"

#define SLACK_NS     1000000       /* a record may reach its ring this much after its time stamp */
#define FLUSH_NS     1000000000    /* so much is lost at most when we are killed */
#define TWICE_NS     1000000000ull /* two signals this close together are meant for us */
#define PATIENCE_NS  2000000000ull /* after Ctrl-C: when to say how to end the recording */
#define NEARLY_NS    200000000ull /* after the command's end: descendants that do not mean to stay */
#define YOUNG_NS     2000000000ull /* after a fork: until its memory has been read some times */
#define BEGINNING_NS 30000000      /* after an exec: until an interpreter has started */

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
	/* At 45 the rings have room for two seconds more. */
	if (fill_permille > 45)
		return 20;
	/* Each round takes a CPU away from the workload, and finds cold caches and leaves such.
	 * Only young processes, whose memory is to be seen before they end, want one more often. */
	return now_ns() - drain_last_birth_ts(r->d) < YOUNG_NS ? 40 : 100;
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
	session_cost_round(r->session, now);
	if (r->root_gone || !r->o->argv)
		sweep(r, now);
	if ((r->root_gone || !r->o->argv) && !drain_alive(r->d))
		r->done = true;
	if (r->o->duration_ns && now - r->follow_ns >= r->o->duration_ns)
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
	int rc = behind_start(r->behind);

	if (rc)
		log_debug("the trace is written by the recorder itself: %s", strerror(-rc));
	rc = 0;
	while (!r->done && !rc) {
		int ms = pause_ms(r, fill);

		if (r->o->duration_ns) {
			int64_t left =
			        (int64_t)(r->follow_ns + r->o->duration_ns) - (int64_t)now_ns();

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
	record_close(r);
	target_close(&r->target);
	drain_free(r->d);
	pyspaces_free(r->pyspaces);
	trace_writer_free(r->w);
	behind_free(r->behind);
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
	rc = record_prepare(&r, err);
	if (!rc)
		rc = record_start(&r, err);
	if (rc) {
		abandon(&r);
		release(&r);
		return rc;
	}
	rc = record(&r);
	if (rc) {
		log_warn("%s: recording stopped, the workload goes on",
		         rc == -ENOSPC || rc == -EDQUOT ? "the disk is full" : strerror(-rc));
		record_stop(&r);
		wait_for_workload(&r);
	}
	rc = record_finish(&r, rc, err);
	release(&r);
	return rc;
}
