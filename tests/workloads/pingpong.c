/* SPDX-License-Identifier: MIT */
/*
 * pingpong: two tasks pass one byte to and fro through two pipes, --rounds N (100000) times, or
 * for --seconds N: two switches and two wakes a round when both are on one CPU (--pin CPU).
 * --threads: two threads instead of two processes. --pairs N (1): so many at once.
 * Prints ns per round to stdout. Truth: "pingpong" {rounds, ns, cpu_ns}, "total" {tasks}.
 */
#include "truth.h"

struct end {
	int in, out;
	uint64_t rounds;
};

static void *echo(void *p)
{
	struct end *e = p;
	char c;

	while (read(e->in, &c, 1) == 1 && c != 'q')
		must(write(e->out, &c, 1) == 1, "write");
	return NULL;
}

/* Returns rounds done. */
static uint64_t serve(const struct end *e, uint64_t until)
{
	uint64_t done = 0;
	char c = 'x';

	while (done < e->rounds) {
		must(write(e->out, &c, 1) == 1, "write");
		must(read(e->in, &c, 1) == 1, "read");
		if (++done % 1024 == 0 && until && now_ns() >= until)
			break;
	}
	c = 'q';
	must(write(e->out, &c, 1) == 1, "write");
	return done;
}

static uint64_t run_pair(uint64_t rounds, uint64_t until, bool threads)
{
	int there[2], back[2];
	struct end a, b;
	uint64_t done;
	pthread_t t = 0;
	pid_t pid = 0;

	must(!pipe(there) && !pipe(back), "pipe");
	a = (struct end){.in = back[0], .out = there[1], .rounds = rounds};
	b = (struct end){.in = there[0], .out = back[1], .rounds = rounds};
	if (threads) {
		t = thread_start(echo, &b, 0);
	} else {
		pid = fork();
		must(pid >= 0, "fork");
		if (!pid) {
			echo(&b);
			_exit(0);
		}
	}
	done = serve(&a, until);
	if (threads)
		pthread_join(t, NULL);
	else
		truth_reap(pid);
	return done;
}

/* CPU time of this process and its ended children: does not feel what else the CPU does. */
static uint64_t cpu_ns(void)
{
	struct rusage a, b;

	must(!getrusage(RUSAGE_SELF, &a) && !getrusage(RUSAGE_CHILDREN, &b), "getrusage");
	return (uint64_t)(a.ru_utime.tv_sec + a.ru_stime.tv_sec + b.ru_utime.tv_sec +
	                  b.ru_stime.tv_sec) *
	               1000000000ull +
	       (uint64_t)(a.ru_utime.tv_usec + a.ru_stime.tv_usec + b.ru_utime.tv_usec +
	                  b.ru_stime.tv_usec) *
	               1000;
}

int main(int argc, char **argv)
{
	uint64_t seconds = arg_u64(argc, argv, "--seconds", 0);
	uint64_t rounds = arg_u64(argc, argv, "--rounds", seconds ? UINT64_MAX : 100000);
	uint64_t pairs = arg_u64(argc, argv, "--pairs", 1);
	bool threads = flag(argc, argv, "--threads");
	uint64_t t0, cpu0, until, done, ns, started = 1;

	truth_open(argc, argv);
	if (arg(argc, argv, "--pin"))
		pin((int)arg_u64(argc, argv, "--pin", 0));
	for (; started < pairs; started++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (!pid)
			break;
	}
	cpu0 = cpu_ns();
	t0 = now_ns();
	until = seconds ? t0 + seconds * 1000000000ull : 0;
	done = run_pair(rounds, until, threads);
	ns = now_ns() - t0;
	printf("%.1f\n", (double)ns / (double)done);
	truth("{\"t\":\"pingpong\",\"pid\":%d,\"rounds\":%llu,\"ns\":%llu,\"cpu_ns\":%llu}",
	      getpid(), (unsigned long long)done, (unsigned long long)ns,
	      (unsigned long long)(cpu_ns() - cpu0));
	fflush(stdout);
	if (started < pairs)
		_exit(0);
	while (wait(NULL) > 0)
		;
	truth("{\"t\":\"total\",\"tasks\":%llu}", (unsigned long long)pairs * 2);
	truth_task("main");
	return 0;
}
