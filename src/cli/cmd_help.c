/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "cli/cli.h"

int cmd_help(const struct command *cmd, int argc, char **argv)
{
	const struct command *topic;
	int status = check_operands(cmd, argc, argv, 1, 1);

	if (status >= 0)
		return status;
	if (argc < 2 || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
		print_overview(stdout);
		return MT_EXIT_OK;
	}
	if (!strcmp(argv[1], "exit-status")) {
		print_exit_statuses(stdout);
		return MT_EXIT_OK;
	}
	topic = command_find(argv[1]);
	if (!topic)
		return fail_usage(NULL, "there is no help on \"%s\"", argv[1]);
	print_command_help(stdout, topic);
	return MT_EXIT_OK;
}

int cmd_man(const struct command *cmd, int argc, char **argv)
{
	int status = check_operands(cmd, argc, argv, 1, 0);

	if (status >= 0)
		return status;
	print_man(stdout);
	return MT_EXIT_OK;
}

int cmd_completion(const struct command *cmd, int argc, char **argv)
{
	int status = check_operands(cmd, argc, argv, 1, 0);

	if (status >= 0)
		return status;
	print_completion(stdout);
	return MT_EXIT_OK;
}
