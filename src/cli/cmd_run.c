/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

int cmd_run(const struct command *cmd, int argc, char **argv)
{
	struct record_settings set;
	int first, status;

	record_defaults(&set);
	status = begin_command(cmd, argc, argv, &set, &first);
	if (status >= 0)
		return status;
	if (first == argc)
		return fail_usage(cmd,
		                  "run: which command? For example: sudo mpvtrace run ./program");
	set.collect.argv = argv + first;
	return record(&set);
}
