/* SPDX-License-Identifier: MIT */
/*
 * daemon: forks a child that starts a session and forks again; the parents end at once, the
 * grandchild works on for --ms N (300) and then ends with status 5. The recording must follow
 * it. Truth: "daemon" {pid, child}, "task" of the grandchild, "total" {tasks}.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	uint64_t ms = arg_u64(argc, argv, "--ms", 300);
	pid_t pid;

	truth_open(argc, argv);
	truth("{\"t\":\"total\",\"tasks\":3}");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid)
		_exit(0);
	must(setsid() > 0, "setsid");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid)
		_exit(0);
	sleep_ns(ms / 2 * MS);
	compute_ns(ms / 4 * MS);
	sleep_ns(ms / 4 * MS);
	truth("{\"t\":\"daemon\",\"pid\":%d}", getpid());
	truth_task("daemon");
	return 5;
}
