/* SPDX-License-Identifier: MIT */
/*
 * procs: --procs N (8) processes in a ring of pipes pass a token --rounds N (200) times round,
 * computing a little at each stop. Truth: "task" and "reaped" of every child, "total" {tasks}.
 */
#include "truth.h"

static void member(int in, int out, unsigned rounds, bool first)
{
	char c = 'x';

	if (first)
		must(write(out, &c, 1) == 1, "write");
	for (unsigned i = 0; i < rounds; i++) {
		must(read(in, &c, 1) == 1, "read");
		compute_ns(MS / 20);
		if (!first || i + 1 < rounds)
			must(write(out, &c, 1) == 1, "write");
	}
	truth_task("member");
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned n = (unsigned)arg_u64(argc, argv, "--procs", 8);
	unsigned rounds = (unsigned)arg_u64(argc, argv, "--rounds", 200);
	int(*pipes)[2] = calloc(n, sizeof(*pipes));

	truth_open(argc, argv);
	must(pipes && n > 1, "--procs");
	for (unsigned i = 0; i < n; i++)
		must(!pipe(pipes[i]), "pipe");
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (!pid)
			member(pipes[i][0], pipes[(i + 1) % n][1], rounds, i == 0);
	}
	while (truth_reap(-1) > 0)
		;
	free(pipes);
	truth("{\"t\":\"total\",\"tasks\":%u}", n + 1);
	truth_task("main");
	return 0;
}
