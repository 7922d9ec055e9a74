/* SPDX-License-Identifier: MIT */
/*
 * reap [--truth FILE] -- CMD [ARG…]: runs CMD as its child and states what wait4() said of it:
 * the exact truth of a program that cannot state its own. Truth: "reaped", "total" {tasks} = 2
 * when CMD has one task. Ends with CMD's status.
 */
#include "truth.h"

int main(int argc, char **argv)
{
	int i = 1;
	struct rusage ru;
	int status;
	pid_t pid;

	truth_open(argc, argv);
	while (i < argc && strcmp(argv[i], "--"))
		i++;
	must(i + 1 < argc, "reap -- CMD");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		execvp(argv[i + 1], argv + i + 1);
		_exit(127);
	}
	must(wait4(pid, &status, 0, &ru) == pid, "wait4");
	truth("{\"t\":\"reaped\",\"pid\":%d,\"status\":%d,\"minflt\":%ld,\"majflt\":%ld,"
	      "\"nvcsw\":%ld,\"nivcsw\":%ld,\"maxrss_kb\":%ld}",
	      pid, shell_status(status), ru.ru_minflt, ru.ru_majflt, ru.ru_nvcsw, ru.ru_nivcsw,
	      ru.ru_maxrss);
	return shell_status(status);
}
