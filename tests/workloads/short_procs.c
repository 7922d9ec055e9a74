/* SPDX-License-Identifier: MIT */
/*
 * short_procs: --procs N (2000) short processes, at most --at-once N (8) alive; process i ends
 * with status i % 7; every tenth sleeps a little; with --exec PROGRAM each becomes PROGRAM.
 * Truth: "reaped" of every child, "total" {tasks}.
 */
#include "truth.h"

static void child(uint64_t i, const char *program)
{
	if (i % 10 == 0)
		sleep_ns(MS / 5);
	if (program) {
		execl(program, program, (char *)NULL);
		_exit(98);
	}
	_exit((int)(i % 7));
}

int main(int argc, char **argv)
{
	uint64_t n = arg_u64(argc, argv, "--procs", 2000);
	uint64_t at_once = arg_u64(argc, argv, "--at-once", 8);
	const char *program = arg(argc, argv, "--exec");
	uint64_t alive = 0;

	truth_open(argc, argv);
	for (uint64_t i = 0; i < n; i++) {
		pid_t pid;

		if (alive >= at_once && truth_reap(-1) > 0)
			alive--;
		pid = fork();
		must(pid >= 0, "fork");
		if (!pid)
			child(i, program);
		alive++;
	}
	while (truth_reap(-1) > 0)
		;
	truth("{\"t\":\"total\",\"tasks\":%llu}", (unsigned long long)n + 1);
	truth_task("main");
	return 0;
}
