/* SPDX-License-Identifier: MIT */
/*
 * blocked: one child for each cause of blocking, each blocked about --ms N (100) milliseconds
 * in one call. Truth: "blocked" {tid, cause, ns} where ns is what the call took by the child's
 * own clock without its waiting for a CPU, "reaped", "total" {tasks}. What is called
 * "never" is a pipe read that nobody ends until the child is killed: ns is then a lower bound, most
 * an upper one.
 */
#include "truth.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

static uint64_t block_ns, forked_ns;
static int pipe_fd[2], sock_fd[2];

static void read_one(int fd)
{
	char c;

	must(read(fd, &c, 1) == 1, "read");
}

static void in_pipe(void)
{
	read_one(pipe_fd[0]);
}

static void in_socket(void)
{
	read_one(sock_fd[0]);
}

static void in_recv(void)
{
	char c;

	must(recv(sock_fd[0], &c, 1, 0) == 1, "recv");
}

static void in_poll(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};

	must(poll(&p, 1, -1) == 1, "poll");
}

static void in_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pipe_fd[0], &set);
	must(select(pipe_fd[0] + 1, &set, NULL, NULL, NULL) == 1, "select");
}

static void in_epoll(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int fd = epoll_create1(0);

	must(!epoll_ctl(fd, EPOLL_CTL_ADD, pipe_fd[0], &ev), "epoll_ctl");
	must(epoll_wait(fd, &ev, 1, -1) == 1, "epoll_wait");
}

static void in_sleep(void)
{
	sleep_ns(block_ns);
}

static void in_child(void)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		sleep_ns(block_ns);
		_exit(0);
	}
	must(waitpid(pid, NULL, 0) == pid, "waitpid");
}

static void in_vfork(void)
{
	pid_t pid = vfork();

	must(pid >= 0, "vfork");
	if (!pid) {
		struct timespec ts = {(time_t)(block_ns / 1000000000ull),
		                      (long)(block_ns % 1000000000ull)};

		nanosleep(&ts, NULL);
		_exit(0);
	}
}

static void in_futex(void)
{
	static uint32_t word;
	struct timespec ts = {(time_t)(block_ns / 1000000000ull), (long)(block_ns % 1000000000ull)};

	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
}

static void *sleeper(void *unused)
{
	sleep_ns(block_ns);
	return unused;
}

static void in_join(void)
{
	pthread_join(thread_start(sleeper, NULL, 0), NULL);
}

static void in_stop(void)
{
	raise(SIGSTOP);
}

static void in_sigwait(void)
{
	struct timespec ts = {(time_t)(block_ns / 1000000000ull), (long)(block_ns % 1000000000ull)};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigtimedwait(&set, NULL, &ts);
}

/* How the parent ends the wait: a byte into the pipe or socket, SIGCONT, a kill, or nothing. */
enum end { BY_ITSELF, BY_PIPE, BY_SOCKET, BY_CONT, BY_KILL };

static const struct how {
	const char *cause, *how;
	void (*block)(void);
	enum end end;
	unsigned more_tasks;
} hows[] = {
        {"pipe", "read of a pipe", in_pipe, BY_PIPE, 0},
        {"socket", "read of a socket", in_socket, BY_SOCKET, 0},
        {"socket", "recv", in_recv, BY_SOCKET, 0},
        {"poll", "poll", in_poll, BY_PIPE, 0},
        {"poll", "select", in_select, BY_PIPE, 0},
        {"poll", "epoll_wait", in_epoll, BY_PIPE, 0},
        {"sleep", "nanosleep", in_sleep, BY_ITSELF, 0},
        {"child", "waitpid", in_child, BY_ITSELF, 1},
        {"child", "vfork", in_vfork, BY_ITSELF, 1},
        {"futex", "futex timeout", in_futex, BY_ITSELF, 0},
        {"join", "pthread_join", in_join, BY_ITSELF, 1},
        {"stopped", "SIGSTOP", in_stop, BY_CONT, 0},
        {"other", "sigtimedwait", in_sigwait, BY_ITSELF, 0},
        {"pipe", "never", in_pipe, BY_KILL, 0},
};

/* What the calling thread waited for CPUs so far, as the kernel counts it. */
static uint64_t delay_ns(void)
{
	unsigned long long run, delay = 0;
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	char buf[128] = "";

	must(fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0, "schedstat");
	must(sscanf(buf, "%llu %llu", &run, &delay) == 2, "schedstat");
	close(fd);
	return delay;
}

/* The clock without that. Both at one moment: nothing was waited for in between. */
static uint64_t own_ns(void)
{
	uint64_t delayed, now;

	do {
		delayed = delay_ns();
		now = now_ns();
	} while (delay_ns() != delayed);
	return now - delayed;
}

static void child(const struct how *h)
{
	uint64_t t0, took;

	truth("{\"t\":\"enter\",\"tid\":%d}", gettid_()); /* warms up what truth() touches */
	t0 = own_ns();
	h->block();
	took = own_ns() - t0;
	truth("{\"t\":\"blocked\",\"tid\":%d,\"cause\":\"%s\",\"how\":\"%s\",\"ns\":%llu}",
	      gettid_(), h->cause, h->how, (unsigned long long)took);
	truth_task("blocked");
	_exit(0);
}

/* It cannot say itself when its wait began: the last look before that, and *seen_ns, the first look
 * at it. */
static uint64_t await_read(pid_t pid, uint64_t *seen_ns)
{
	uint64_t before_ns = forked_ns;
	char path[64], text[32];
	ssize_t n;

	*seen_ns = forked_ns;
	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	do {
		int fd = open(path, O_RDONLY);

		must(fd >= 0, path);
		before_ns = *seen_ns;
		*seen_ns = now_ns();
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		sleep_ns(MS);
	} while (n > 0 && (strtol(text, NULL, 10) != SYS_read || text[0] == 'r'));
	*seen_ns = now_ns();
	return before_ns;
}

static void end(const struct how *h, pid_t pid)
{
	uint64_t before_ns = 0, seen_ns = 0, ns;

	if (h->end == BY_ITSELF)
		return;
	if (h->end == BY_KILL)
		before_ns = await_read(pid, &seen_ns);
	sleep_ns(block_ns);
	if (h->end == BY_PIPE)
		must(write(pipe_fd[1], "x", 1) == 1, "write");
	if (h->end == BY_SOCKET)
		must(write(sock_fd[1], "x", 1) == 1, "write");
	if (h->end == BY_CONT)
		kill(pid, SIGCONT);
	if (h->end == BY_KILL) {
		ns = now_ns() - seen_ns;
		kill(pid, SIGKILL);
		truth("{\"t\":\"blocked\",\"tid\":%d,\"cause\":\"%s\",\"how\":\"%s\",\"ns\":%llu,"
		      "\"most\":%llu}",
		      pid, h->cause, h->how, (unsigned long long)ns,
		      (unsigned long long)(now_ns() - before_ns));
	}
}

int main(int argc, char **argv)
{
	unsigned tasks = 1;

	truth_open(argc, argv);
	block_ns = arg_u64(argc, argv, "--ms", 100) * MS;
	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++) {
		pid_t pid;

		must(!pipe(pipe_fd) && !socketpair(AF_UNIX, SOCK_STREAM, 0, sock_fd), "pipe");
		forked_ns = now_ns();
		pid = fork();
		must(pid >= 0, "fork");
		if (!pid)
			child(&hows[i]);
		tasks += 1 + hows[i].more_tasks;
		end(&hows[i], pid);
		truth_reap(pid);
		close(pipe_fd[0]);
		close(pipe_fd[1]);
		close(sock_fd[0]);
		close(sock_fd[1]);
	}
	truth("{\"t\":\"total\",\"tasks\":%u}", tasks);
	truth_task("main");
	return 0;
}
