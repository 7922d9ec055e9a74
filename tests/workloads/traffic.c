/* SPDX-License-Identifier: MIT */
/*
 * traffic.c: a process sends known messages to its child through each kind of channel, by each
 * call that can. Lines of truth, written by either side when it is done:
 *
 *   traffic  what (as mpvtrace calls the channel), pid, write, messages (calls that moved data;
 *            each message of sendmmsg and recvmmsg), bytes
 *
 * Only one channel of each kind. Calls that fail or move nothing are made, too: they count as none.
 */
#include "truth.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define N 300

struct sum {
	uint64_t messages, bytes;
};
static char block[65536];

/* What one call returned. */
static void add(struct sum *s, ssize_t n)
{
	if (n <= 0)
		return;
	s->messages++;
	s->bytes += (uint64_t)n;
}

static void tell(const char *what, bool is_write, const struct sum *s)
{
	truth("{\"t\":\"traffic\",\"what\":\"%s\",\"pid\":%d,\"write\":%d,\"messages\":%llu,"
	      "\"bytes\":%llu}",
	      what, getpid(), is_write, (unsigned long long)s->messages,
	      (unsigned long long)s->bytes);
}

/* All that comes, by calls of several sorts. */
static void read_all(const char *what, int fd, bool socket)
{
	struct sum s = {0};
	ssize_t n = 1;

	for (unsigned i = 0; n > 0; i++) {
		struct iovec v[2] = {{block, 40}, {block + 40, 60}};
		struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

		if (socket && i % 3 == 1)
			n = recv(fd, block, 100, 0);
		else if (socket && i % 3 == 2)
			n = recvmsg(fd, &m, 0);
		else if (i % 2)
			n = readv(fd, v, 2);
		else
			n = read(fd, block, 100);
		add(&s, n);
	}
	tell(what, false, &s);
}

static void write_some(struct sum *s, int fd, bool socket)
{
	for (unsigned i = 0; i < N; i++) {
		struct iovec v[2] = {{block, i}, {block, 10}};
		struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};

		if (socket && i % 3 == 1)
			add(s, send(fd, block, i, 0));
		else if (socket && i % 3 == 2)
			add(s, sendmsg(fd, &m, 0));
		else if (i % 2)
			add(s, writev(fd, v, 2));
		else
			add(s, write(fd, block, 1 + i % 7));
	}
	must(read(fd + 1000, block, 1) < 0, "reading from nothing");
}

/* More messages than the recorder looks at one by one would be told as such: stay below. */
static void write_many(struct sum *s, int fd)
{
	struct mmsghdr m[20] = {0};
	struct iovec v = {block, 33};
	int n;

	for (unsigned i = 0; i < 20; i++)
		m[i].msg_hdr = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1};
	n = sendmmsg(fd, m, 20, 0);
	must(n > 0, "sendmmsg");
	s->messages += (uint64_t)n;
	for (int i = 0; i < n; i++)
		s->bytes += m[i].msg_len;
}

static void splice_some(struct sum *s, int fd)
{
	int p[2];

	must(!pipe(p), "pipe");
	/* The other pipe has traffic of its own, which nobody asks about. */
	for (unsigned i = 0; i < 10; i++) {
		must(write(p[1], block, 77) == 77, "write");
		add(s, splice(p[0], NULL, fd, NULL, 77, 0));
	}
	close(p[0]);
	close(p[1]);
}

static void exchange(const char *what, int in, int out, bool socket)
{
	struct sum s = {0};
	pid_t child = fork();

	must(child >= 0, "fork");
	if (!child) {
		if (out != in)
			close(out);
		read_all(what, in, socket);
		_exit(0);
	}
	if (in != out)
		close(in);
	write_some(&s, out, socket);
	if (socket)
		write_many(&s, out);
	splice_some(&s, out);
	tell(what, true, &s);
	close(out);
	truth_reap(child);
}

static void fifo(void)
{
	int in, out;

	must(!mkfifo("traffic.fifo", 0600), "mkfifo");
	in = open("traffic.fifo", O_RDONLY | O_NONBLOCK);
	out = open("traffic.fifo", O_WRONLY);
	must(in >= 0 && out >= 0 && !fcntl(in, F_SETFL, 0), "FIFO");
	exchange("FIFO", in, out, false);
	unlink("traffic.fifo");
}

static void tcp(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), out = socket(AF_INET, SOCK_STREAM, 0), in;

	must(!bind(l, (struct sockaddr *)&a, n) && !listen(l, 1), "listen");
	must(!getsockname(l, (struct sockaddr *)&a, &n), "getsockname");
	must(!connect(out, (struct sockaddr *)&a, n), "connect");
	in = accept(l, NULL, NULL);
	must(in >= 0, "accept");
	close(l);
	exchange("TCP", in, out, true);
}

static void message_queues(void)
{
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64};
	mqd_t q = mq_open("/mpvtrace-traffic", O_RDWR | O_CREAT, 0600, &attr);
	struct sum sent = {0}, got = {0};
	int id = msgget(IPC_PRIVATE, 0600);
	struct {
		long type;
		char text[64];
	} msg = {1, ""};

	for (unsigned i = 0; q >= 0 && i < 50; i++) {
		must(!mq_send(q, block, i, 0), "mq_send");
		sent.messages++;
		sent.bytes += i;
		got.bytes += (uint64_t)mq_receive(q, block, 64, NULL);
		got.messages++;
	}
	if (q >= 0) {
		tell("message queue", true, &sent);
		tell("message queue", false, &got);
		mq_unlink("/mpvtrace-traffic");
	}
	sent = got = (struct sum){0};
	for (unsigned i = 0; id >= 0 && i < 50; i++) {
		must(!msgsnd(id, &msg, i, 0), "msgsnd");
		sent.messages++;
		sent.bytes += i;
		got.bytes += (uint64_t)msgrcv(id, &msg, sizeof(msg.text), 0, 0);
		got.messages++;
	}
	if (id >= 0) {
		tell("System V queue", true, &sent);
		tell("System V queue", false, &got);
		msgctl(id, IPC_RMID, NULL);
	}
}

int main(int argc, char **argv)
{
	int fd[2];

	truth_open(argc, argv);
	fifo();
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, fd), "socketpair");
	exchange("socket pair", fd[0], fd[1], true);
	tcp();
	message_queues();
	truth_task("traffic");
	return 0;
}
