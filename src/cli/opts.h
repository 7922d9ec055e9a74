/* SPDX-License-Identifier: MIT */
/*
 * opts.h: options as tables. A row says everything about one option; from the rows come the
 * parser, --help, usage errors, the bash completion and the OPTIONS of the man page, so
 * these cannot disagree.
 *
 *	struct copy_settings { struct general general; uint64_t limit; };
 *	static const struct opt copy_opts[] = {
 *		{ .name = "limit", .arg = "SIZE", .type = OPT_BYTES, .max = 1 << 30,
 *		  .offset = offsetof(struct copy_settings, limit), .help = "stop after SIZE" },
 *	};
 *	static const struct opt_group copy_group = { "Copying", copy_opts, ARRAY_LEN(copy_opts) };
 */
#ifndef MT_CLI_OPTS_H
#define MT_CLI_OPTS_H

#include "base.h"

enum opt_type {
	OPT_FLAG,     /* bool: true when given */
	OPT_COUNT,    /* unsigned: how often it was given */
	OPT_UINT,     /* unsigned in [min, max] */
	OPT_BYTES,    /* uint64_t in [min, max]: "64K", "8M" */
	OPT_DURATION, /* uint64_t ns in [min, max]: "1.5", "200ms" */
	OPT_STRING,   /* const char *: the argument, not empty */
	OPT_ENUM,     /* int or an enum: number of the word among the choices */
	OPT_WORD,     /* const char *: one of the choices */
	OPT_PIDS,     /* struct pid_list: appended, each PID once */
	OPT_HELP,     /* no target: ends parsing with OPTS_HELP */
};

/* What the shell should offer for an argument. */
enum opt_complete {
	COMPLETE_NONE,
	COMPLETE_FILE,
	COMPLETE_TRACE,
	COMPLETE_USER,
	COMPLETE_COMMAND,
	COMPLETE_TOPIC
};

struct pid_list {
	VEC(uint32_t) pids;
};

struct opt {
	char letter;            /* 0 = none */
	const char *name, *arg; /* arg: its name in help ("FILE"); NULL = takes none */
	enum opt_type type;
	enum opt_complete complete;
	size_t offset;                   /* of the target inside the group's settings */
	uint64_t min, max;               /* UINT, BYTES, DURATION (ns) */
	const char *(*choice)(size_t i); /* ENUM, WORD: the i-th word, NULL after the last */
	const char *help;                /* what it does, with the default; one sentence or two */
};

/* Options that go together and that several commands may take. */
struct opt_group {
	const char *title;
	const struct opt *opts;
	size_t n;
};

/* A group as one command takes it: its settings begin at `base` of the command's settings. */
struct opt_use {
	const struct opt_group *group;
	size_t base;
};

struct opt_set {
	const struct opt_use *uses;
	size_t n;
	bool stop_at_operand; /* what follows the first operand belongs to somebody else */
};

#define OPTS_HELP 1 /* opts_parse: -h or --help was met */

/* Fills `settings` from argv[1…argc-1]; argv[0] is the command's name (for messages). argv may
 * be reordered; *first gets the index of the first operand. 0, OPTS_HELP, or -EINVAL/-ENOMEM
 * with *err (MT_EXIT_USAGE). */
int opts_parse(const struct opt_set *set, int argc, char **argv, void *settings, int *first,
               struct err *err);
/* The i-th option over all groups, NULL after the last; *base (may be NULL) as in opt_use. */
const struct opt *opts_at(const struct opt_set *set, size_t i, size_t *base);

/* Of the words choice(0), choice(1) … the one that `typed` was probably meant to be, or NULL. */
const char *nearest_word(const char *typed, const char *(*choice)(void *ctx, size_t i), void *ctx);
/* Number of edits (insert, delete, replace, swap neighbours) from a to b; long words count as far.
 */
unsigned edit_distance(const char *a, const char *b);

/* Writes text to out in lines of at most `width` columns, each begun with `indent` spaces except
 * the first, which begins at column `column`. '\n' in the text ends a line. Ends with a newline. */
void print_wrapped(FILE *out, const char *text, unsigned column, unsigned indent, unsigned width);
/* The options of a set as help prints them. */
void opts_print_help(FILE *out, const struct opt_set *set, unsigned width);
/* "auto, all or off"; out gets at most n bytes; returns out. */
char *opt_choices(char *out, size_t n, const struct opt *o, const char *last_separator);

#endif
