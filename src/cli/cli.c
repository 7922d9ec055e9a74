/* SPDX-License-Identifier: MIT */
/* From argv to a command, and what all commands share: messages, and a checked stdout. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* File names may hold anything, and are not always the user's own. */
static void talk(const char *fmt, va_list args)
{
	char text[2048], safe[4 * sizeof(text)];

	vsnprintf(text, sizeof(text), fmt, args);
	fprintf(stderr, "mpvtrace: %s\n", fmt_safe(safe, sizeof(safe), text));
}

int fail(int rc, const struct err *err)
{
	char safe[4 * sizeof(err->msg)];

	if (rc == -EPIPE)
		return MT_EXIT_FAIL;
	fprintf(stderr, "mpvtrace: %s\n",
	        err->msg[0] ? fmt_safe(safe, sizeof(safe), err->msg)
	                    : "failed for an unknown reason");
	return err->status ? err->status : MT_EXIT_FAIL;
}

int fail_usage(const struct command *cmd, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	talk(fmt, args);
	va_end(args);
	fprintf(stderr, "Try: mpvtrace help%s%s\n", cmd ? " " : "", cmd ? cmd->name : "");
	return MT_EXIT_USAGE;
}

void notice(const char *fmt, ...)
{
	va_list args;

	if (log_level < LOG_WARN)
		return;
	va_start(args, fmt);
	talk(fmt, args);
	va_end(args);
}

static void set_log_level(const struct general *g)
{
	if (g->quiet)
		log_level = LOG_QUIET;
	else if (g->verbose > 1)
		log_level = LOG_DEBUG;
	else
		log_level = g->verbose ? LOG_INFO : LOG_WARN;
}

int begin_command(const struct command *cmd, int argc, char **argv, void *settings, int *first)
{
	struct err err = {};
	int rc = opts_parse(&cmd->opts, argc, argv, settings, first, &err);

	if (rc == OPTS_HELP) {
		print_command_help(stdout, cmd);
		return MT_EXIT_OK;
	}
	if (rc && err.status == MT_EXIT_USAGE)
		return fail_usage(cmd, "%s", err.msg);
	if (rc)
		return fail(rc, &err);
	set_log_level(settings);
	return -1;
}

int check_operands(const struct command *cmd, int argc, char **argv, int first, int max)
{
	if (argc - first <= max)
		return -1;
	return fail_usage(cmd, "%s: \"%s\" is one argument too many", cmd->name, argv[first + max]);
}

/* A closed stdin, stdout or stderr would give its number to the next file that is opened, and
 * then the report would land in the trace. Opened the wrong way round, use is still an error. */
static void occupy_standard_fds(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", modes[fd]);
}

/* A reader that has seen enough (| head) is no error worth words, but not success either. */
static int finish_stdout(int status)
{
	bool bad = ferror(stdout);
	int code;

	errno = 0;
	bad |= fflush(stdout) != 0;
	code = errno;
	if (!bad)
		return status;
	/* Without a code an earlier write failed; then whoever did it has said why, or got EPIPE.
	 */
	if (code ? code != EPIPE : !status)
		fprintf(stderr, "mpvtrace: cannot write to stdout: %s\n",
		        code ? strerror(code) : "an earlier write failed");
	return status ? status : MT_EXIT_FAIL;
}

static const char *command_word(void *ctx, size_t i)
{
	size_t shown = 0;

	(void)ctx;
	for (size_t k = 0; k < n_commands; k++)
		if (!commands[k].hidden && shown++ == i)
			return commands[k].name;
	return NULL;
}

static int dispatch(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL, *near;
	const struct command *cmd;

	if (!word) {
		print_overview(stderr);
		return MT_EXIT_USAGE;
	}
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		printf("mpvtrace %s\n", MT_VERSION);
		return MT_EXIT_OK;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		print_overview(stdout);
		return MT_EXIT_OK;
	}
	cmd = command_find(word);
	if (cmd)
		return cmd->run(cmd, argc - 1, argv + 1);
	if (*word == '-')
		return fail_usage(NULL,
		                  "options come after a command, and %s is none; for example: "
		                  "mpvtrace run %s …",
		                  word, word);
	near = nearest_word(word, command_word, NULL);
	return fail_usage(NULL, "there is no command %s%s%s%s", word, near ? "; did you mean " : "",
	                  near ? near : "", near ? "?" : "");
}

/* Installed setuid or setgid it would do for anybody what it does for root, and believe his
 * SUDO_UID. It is not made for that: sudo says who may. */
static bool borrowed_rights(void)
{
	return getuid() != geteuid() || getgid() != getegid();
}

int cli_main(int argc, char **argv)
{
	log_level = LOG_WARN;
	occupy_standard_fds();
	if (borrowed_rights()) {
		fputs("mpvtrace: must not be installed setuid or setgid: use sudo\n", stderr);
		return MT_EXIT_PRIVILEGE;
	}
	return finish_stdout(dispatch(argc, argv));
}
