/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/opts.h"

#define MAX_OPTS  48
#define LONG_BASE 0x200 /* getopt values of long options: beyond every letter */
#define PID_MAX   (1u << 22)

const struct opt *opts_at(const struct opt_set *set, size_t i, size_t *base)
{
	for (size_t g = 0; g < set->n; g++) {
		const struct opt_use *use = &set->uses[g];

		if (i < use->group->n) {
			if (base)
				*base = use->base;
			return &use->group->opts[i];
		}
		i -= use->group->n;
	}
	return NULL;
}

char *opt_choices(char *out, size_t n, const struct opt *o, const char *last_separator)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; o->choice(i); i++) {
		const char *sep = !i ? "" : o->choice(i + 1) ? ", " : last_separator;
		int len = snprintf(out + used, n - used, "%s%s", sep, o->choice(i));

		if (len < 0 || (size_t)len >= n - used)
			break;
		used += (size_t)len;
	}
	return out;
}

static const char *choice_of(void *ctx, size_t i)
{
	return ((const struct opt *)ctx)->choice(i);
}

/* --- one value ---------------------------------------------------------------------- */

static int bad_value(const struct opt *o, const char *arg, struct err *err, const char *wanted)
{
	return err_set(err, -EINVAL, MT_EXIT_USAGE, "--%s: \"%s\" is not %s", o->name, arg, wanted);
}

static int set_uint(const struct opt *o, const char *arg, unsigned *target, struct err *err)
{
	char wanted[80];
	uint64_t v;

	if (parse_u64(arg, o->min, o->max, &v)) {
		snprintf(wanted, sizeof(wanted), "a whole number from %llu to %llu",
		         (unsigned long long)o->min, (unsigned long long)o->max);
		return bad_value(o, arg, err, wanted);
	}
	*target = (unsigned)v;
	return 0;
}

static int set_bytes(const struct opt *o, const char *arg, uint64_t *target, struct err *err)
{
	char low[32], high[32], wanted[120];
	uint64_t v;

	if (parse_bytes(arg, &v))
		return bad_value(o, arg, err, "a size like 65536, 64K or 8M");
	if (v < o->min || v > o->max) {
		snprintf(wanted, sizeof(wanted), "a size from %s to %s",
		         fmt_bytes(low, sizeof(low), o->min),
		         fmt_bytes(high, sizeof(high), o->max));
		return bad_value(o, arg, err, wanted);
	}
	*target = v;
	return 0;
}

static int set_duration(const struct opt *o, const char *arg, uint64_t *target, struct err *err)
{
	char low[32], wanted[120];
	uint64_t v;

	if (parse_duration_ns(arg, &v))
		return bad_value(o, arg, err, "a time like 1.5 (seconds), 200ms or 2m");
	if (v < o->min || v > o->max) {
		snprintf(wanted, sizeof(wanted), "a time of at least %s%s",
		         fmt_ns(low, sizeof(low), o->min),
		         v > o->max ? " and less than years" : "");
		return bad_value(o, arg, err, wanted);
	}
	*target = v;
	return 0;
}

static int find_choice(const struct opt *o, const char *arg, int *index, struct err *err)
{
	char list[160];
	const char *near;

	for (size_t i = 0; o->choice(i); i++) {
		if (!strcmp(o->choice(i), arg)) {
			*index = (int)i;
			return 0;
		}
	}
	near = nearest_word(arg, choice_of, (void *)(uintptr_t)o);
	return err_set(err, -EINVAL, MT_EXIT_USAGE, "--%s: \"%s\" is not one of %s%s%s%s", o->name,
	               arg, opt_choices(list, sizeof(list), o, ", "), near ? "; did you mean " : "",
	               near ? near : "", near ? "?" : "");
}

static int add_pid(struct pid_list *list, uint32_t pid, struct err *err)
{
	for (size_t i = 0; i < list->pids.n; i++)
		if (list->pids.v[i] == pid)
			return 0;
	if (vec_push(&list->pids, pid))
		return err_set(err, -ENOMEM, MT_EXIT_FAIL, "out of memory");
	return 0;
}

static int set_pids(const struct opt *o, const char *arg, struct pid_list *list, struct err *err)
{
	const char *p = arg;

	for (;;) {
		size_t n = strcspn(p, ",");
		char one[16];
		uint64_t pid;
		int rc;

		if (n >= sizeof(one))
			return bad_value(o, arg, err, "a list of process ids like 4711,4712");
		memcpy(one, p, n);
		one[n] = '\0';
		if (parse_u64(one, 1, PID_MAX, &pid))
			return bad_value(o, arg, err, "a list of process ids like 4711,4712");
		rc = add_pid(list, (uint32_t)pid, err);
		if (rc || !p[n])
			return rc;
		p += n + 1;
	}
}

static int set_value(const struct opt *o, const char *arg, char *target, struct err *err)
{
	int index = 0, rc = 0;

	switch (o->type) {
	case OPT_FLAG:
		*(bool *)target = true;
		break;
	case OPT_COUNT:
		++*(unsigned *)(void *)target;
		break;
	case OPT_UINT:
		return set_uint(o, arg, (void *)target, err);
	case OPT_BYTES:
		return set_bytes(o, arg, (void *)target, err);
	case OPT_DURATION:
		return set_duration(o, arg, (void *)target, err);
	case OPT_STRING:
		if (!*arg)
			return err_set(err, -EINVAL, MT_EXIT_USAGE, "--%s: %s is empty", o->name,
			               o->arg);
		*(const char **)(void *)target = arg;
		break;
	case OPT_ENUM:
		rc = find_choice(o, arg, &index, err);
		if (!rc)
			*(int *)(void *)target = index;
		break;
	case OPT_WORD:
		rc = find_choice(o, arg, &index, err);
		if (!rc)
			*(const char **)(void *)target = arg;
		break;
	case OPT_PIDS:
		return set_pids(o, arg, (void *)target, err);
	case OPT_HELP:
		return OPTS_HELP;
	}
	return rc;
}

/* --- the command line ------------------------------------------------------------------ */

/* The table in getopt's form. */
struct getopt_tables {
	struct option longs[MAX_OPTS + 1];
	char letters[2 * MAX_OPTS + 3];
};

static void build_tables(const struct opt_set *set, struct getopt_tables *t)
{
	const struct opt *o;
	char *p = t->letters;

	if (set->stop_at_operand)
		*p++ = '+';
	*p++ = ':'; /* tell a missing argument from an unknown option */
	for (size_t i = 0; i < MAX_OPTS && (o = opts_at(set, i, NULL)); i++) {
		t->longs[i].name = o->name;
		t->longs[i].has_arg = o->arg ? required_argument : no_argument;
		t->longs[i].val = LONG_BASE + (int)i;
		if (o->letter) {
			*p++ = o->letter;
			if (o->arg)
				*p++ = ':';
		}
	}
}

static const struct opt *opt_by_value(const struct opt_set *set, int value, size_t *base)
{
	const struct opt *o;

	if (value >= LONG_BASE)
		return opts_at(set, (size_t)(value - LONG_BASE), base);
	for (size_t i = 0; (o = opts_at(set, i, base)); i++)
		if (o->letter && o->letter == value)
			return o;
	return NULL;
}

static const char *long_name_of(void *ctx, size_t i)
{
	const struct opt *o = opts_at(ctx, i, NULL);

	return o ? o->name : NULL;
}

/* Fills list with the options that the abbreviation could mean; returns how many there are. */
static size_t meanings(const struct opt_set *set, const char *word, size_t n, char *list,
                       size_t size)
{
	size_t found = 0, used = 0;
	const struct opt *o;

	list[0] = '\0';
	for (size_t i = 0; (o = opts_at(set, i, NULL)); i++) {
		int len;

		if (strncmp(o->name, word, n))
			continue;
		len = snprintf(list + used, size - used, "%s--%s", found++ ? " or " : "", o->name);
		if (len > 0 && (size_t)len < size - used)
			used += (size_t)len;
	}
	return found;
}

static int unknown_long(const struct opt_set *set, const char *command, const char *arg,
                        struct err *err)
{
	char word[64], list[200];
	size_t n = strcspn(arg, "=");
	const char *near;

	n = n < sizeof(word) ? n : sizeof(word) - 1;
	memcpy(word, arg, n);
	word[n] = '\0';
	if (meanings(set, word, n, list, sizeof(list)) > 1)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "%s: --%s could be %s", command, word,
		               list);
	near = nearest_word(word, long_name_of, (void *)(uintptr_t)set);
	return err_set(err, -EINVAL, MT_EXIT_USAGE, "%s has no option --%s%s%s%s", command, word,
	               near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static int bad_option(const struct opt_set *set, char **argv, int code, struct err *err)
{
	const struct opt *o = optopt ? opt_by_value(set, optopt, NULL) : NULL;

	if (code == ':' && o)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "--%s needs an argument: --%s %s",
		               o->name, o->name, o->arg);
	if (optopt >= LONG_BASE && o)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "--%s takes no argument", o->name);
	if (optopt)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "%s has no option -%c", argv[0],
		               optopt);
	return unknown_long(set, argv[0], argv[optind - 1] + 2, err);
}

int opts_parse(const struct opt_set *set, int argc, char **argv, void *settings, int *first,
               struct err *err)
{
	struct getopt_tables tables = {};
	int code;

	build_tables(set, &tables);
	opterr = 0;
	optind = 0; /* glibc: start afresh */
	*first = argc;
	while ((code = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
		const struct opt *o;
		size_t base = 0;
		int rc;

		if (code == '?' || code == ':')
			return bad_option(set, argv, code, err);
		o = opt_by_value(set, code, &base);
		if (!o)
			return err_set(err, -EINVAL, MT_EXIT_USAGE, "option not understood");
		rc = set_value(o, optarg, (char *)settings + base + o->offset, err);
		if (rc)
			return rc;
	}
	*first = optind;
	return 0;
}
