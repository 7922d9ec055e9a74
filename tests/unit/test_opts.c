/* SPDX-License-Identifier: MIT */
/* The option parser on a table of its own, and the printed forms of the real tables. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

enum shape { ROUND, SQUARE };

struct inner {
	unsigned count, verbose;
	uint64_t size, time_ns;
};
struct settings {
	bool flag;
	const char *text, *word;
	int shape;
	struct pid_list pids;
	struct inner inner;
};

static const char *shape_choice(size_t i)
{
	static const char *const words[] = {"round", "square"};

	return i < 2 ? words[i] : NULL;
}

/* clang-format off */
static const struct opt outer_opts[] = {
	{ 'x', "flag", NULL, OPT_FLAG, .offset = offsetof(struct settings, flag), .help = "a flag" },
	{ 't', "text", "TEXT", OPT_STRING, COMPLETE_FILE, offsetof(struct settings, text), .help = "a text" },
	{ 0, "shape", "SHAPE", OPT_ENUM, .offset = offsetof(struct settings, shape), .choice = shape_choice,
	  .help = "a shape" },
	{ 0, "word", "WORD", OPT_WORD, .offset = offsetof(struct settings, word), .choice = shape_choice,
	  .help = "a word" },
	{ 'p', "pid", "PID", OPT_PIDS, .offset = offsetof(struct settings, pids), .help = "processes" },
	{ 'h', "help", NULL, OPT_HELP, .help = "help" },
};
static const struct opt inner_opts[] = {
	{ 'n', "count", "N", OPT_UINT, .offset = offsetof(struct inner, count), .min = 1, .max = 100,
	  .help = "a count" },
	{ 's', "size", "SIZE", OPT_BYTES, .offset = offsetof(struct inner, size), .min = 4096,
	  .max = 1 << 30, .help = "a size" },
	{ 'd', "time", "TIME", OPT_DURATION, .offset = offsetof(struct inner, time_ns), .min = 1000,
	  .max = 1000000000000ull, .help = "a time" },
	{ 'v', "verbose", NULL, OPT_COUNT, .offset = offsetof(struct inner, verbose), .help = "more" },
};
static const struct opt_group outer = { "Outer", outer_opts, ARRAY_LEN(outer_opts) };
static const struct opt_group inner = { "Inner", inner_opts, ARRAY_LEN(inner_opts) };
static const struct opt_use uses[] = { { &outer, 0 }, { &inner, offsetof(struct settings, inner) } };
static const struct opt_set any_order = { uses, 2, false }, stops = { uses, 2, true };
/* clang-format on */

struct result {
	struct settings s;
	struct err err;
	int rc, argc, first;
	char *argv[32], *copy;
};

/* Parses the words of a line, separated by single spaces. */
static struct result parse(const struct opt_set *set, const char *line)
{
	struct result r = {};
	char *save = NULL;

	r.copy = strdup(line);
	for (char *w = strtok_r(r.copy, " ", &save); w && r.argc < 31;
	     w = strtok_r(NULL, " ", &save))
		r.argv[r.argc++] = w;
	r.rc = opts_parse(set, r.argc, r.argv, &r.s, &r.first, &r.err);
	return r;
}

static void done(struct result *r)
{
	vec_release(&r->s.pids.pids);
	free(r->copy);
}

/* The line must be refused with a message that holds `words`. */
static void refuse(const char *line, const char *words)
{
	struct result r = parse(&any_order, line);

	cr_expect_eq(r.rc, -EINVAL, "%s: %d", line, r.rc);
	cr_expect_eq(r.err.status, MT_EXIT_USAGE, "%s", line);
	cr_expect(strstr(r.err.msg, words), "%s: \"%s\" lacks \"%s\"", line, r.err.msg, words);
	done(&r);
}

Test(opts, every_type)
{
	struct result r =
	        parse(&any_order, "cmd -x -t hello --shape square --word=round -p 3,4 --pid 5 "
	                          "-n7 -s 64K -d 200ms -vv");

	cr_assert_eq(r.rc, 0, "%s", r.err.msg);
	cr_expect(r.s.flag);
	cr_expect_str_eq(r.s.text, "hello");
	cr_expect_eq(r.s.shape, SQUARE);
	cr_expect_str_eq(r.s.word, "round");
	cr_assert_eq(r.s.pids.pids.n, 3);
	cr_expect_eq(r.s.pids.pids.v[0], 3);
	cr_expect_eq(r.s.pids.pids.v[1], 4);
	cr_expect_eq(r.s.pids.pids.v[2], 5);
	cr_expect_eq(r.s.inner.count, 7);
	cr_expect_eq(r.s.inner.size, 65536);
	cr_expect_eq(r.s.inner.time_ns, 200000000);
	cr_expect_eq(r.s.inner.verbose, 2);
	cr_expect_eq(r.first, r.argc);
	done(&r);
}

Test(opts, nothing_given_changes_nothing)
{
	struct result r = parse(&any_order, "cmd");
	struct settings zero = {};

	cr_assert_eq(r.rc, 0);
	cr_expect_arr_eq(&r.s, &zero, sizeof(zero));
	cr_expect_eq(r.first, 1);
	done(&r);
}

Test(opts, later_value_wins_and_a_pid_counts_once)
{
	struct result r = parse(&any_order, "cmd -n 3 --count 9 -p 8 -p 8,8");

	cr_assert_eq(r.rc, 0);
	cr_expect_eq(r.s.inner.count, 9);
	cr_expect_eq(r.s.pids.pids.n, 1);
	done(&r);
}

Test(opts, options_after_operands)
{
	struct result r = parse(&any_order, "cmd file -x");

	cr_assert_eq(r.rc, 0);
	cr_expect(r.s.flag);
	cr_expect_eq(r.first, 2);
	cr_expect_str_eq(r.argv[r.first], "file");
	done(&r);
}

Test(opts, run_leaves_the_commands_options_alone)
{
	struct result r = parse(&stops, "run -n 3 ls -x --unknown");

	cr_assert_eq(r.rc, 0, "%s", r.err.msg);
	cr_expect_not(r.s.flag);
	cr_expect_eq(r.first, 3);
	cr_expect_str_eq(r.argv[r.first], "ls");
	cr_expect_str_eq(r.argv[r.first + 1], "-x");
	done(&r);
}

Test(opts, two_dashes_end_the_options)
{
	struct result r = parse(&stops, "run -x -- -odd-name -n");

	cr_assert_eq(r.rc, 0, "%s", r.err.msg);
	cr_expect_eq(r.first, 3);
	cr_expect_str_eq(r.argv[r.first], "-odd-name");
	done(&r);
}

Test(opts, help_stops_before_later_mistakes)
{
	struct result r = parse(&any_order, "cmd -h --nonsense");

	cr_expect_eq(r.rc, OPTS_HELP);
	done(&r);
}

Test(opts, abbreviations)
{
	struct result r = parse(&any_order, "cmd --cou 5");

	cr_expect_eq(r.rc, 0);
	cr_expect_eq(r.s.inner.count, 5);
	done(&r);
	refuse("cmd --t 5", "--text or --time");
}

Test(opts, bad_values)
{
	refuse("cmd -n 0", "\"0\" is not a whole number from 1 to 100");
	refuse("cmd -n 101", "from 1 to 100");
	refuse("cmd -n 5x", "from 1 to 100");
	refuse("cmd -n -3", "from 1 to 100");
	refuse("cmd --count=", "from 1 to 100");
	refuse("cmd -n 99999999999999999999", "from 1 to 100");
	refuse("cmd -s much", "a size like");
	refuse("cmd -s 4095", "a size from");
	refuse("cmd -s 2G", "a size from");
	refuse("cmd -s 99999999999999999999G", "a size like");
	refuse("cmd -d soon", "a time like");
	refuse("cmd -d 0", "at least");
	refuse("cmd -d 100000000", "at least");
	refuse("cmd --text=", "--text: TEXT is empty");
	refuse("cmd --shape oval", "not one of round, square");
	refuse("cmd --shape squar", "did you mean square?");
	refuse("cmd --word roundd", "did you mean round?");
	refuse("cmd -p 0", "process ids");
	refuse("cmd -p 1,,2", "process ids");
	refuse("cmd -p 1,", "process ids");
	refuse("cmd -p ,", "process ids");
	refuse("cmd -p 4194305", "process ids");
	refuse("cmd -p 11111111111111111111111111111111111111111111", "process ids");
}

Test(opts, bad_options)
{
	refuse("cmd --colour", "cmd has no option --colour");
	refuse("cmd --cuont 3", "did you mean --count?");
	refuse("cmd --cuont=3", "no option --cuont; did you mean --count?");
	refuse("cmd -z", "no option -z");
	refuse("cmd -xz", "no option -z");
	refuse("cmd -n", "--count needs an argument: --count N");
	refuse("cmd --time", "--time needs an argument: --time TIME");
	refuse("cmd --flag=yes", "--flag takes no argument");
	refuse("cmd --verylongnonsenseverylongnonsenseverylongnonsenseverylongnonsenseverylong",
	       "no option");
}

Test(suggest, distance)
{
	cr_expect_eq(edit_distance("", ""), 0);
	cr_expect_eq(edit_distance("abc", "abc"), 0);
	cr_expect_eq(edit_distance("abc", "acb"), 1, "swapped neighbours are one mistake");
	cr_expect_eq(edit_distance("abc", "ab"), 1);
	cr_expect_eq(edit_distance("abc", "axc"), 1);
	cr_expect_eq(edit_distance("", "abc"), 3);
	cr_expect_geq(edit_distance("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a"), 32);
}

static const char *command_choice(void *ctx, size_t i)
{
	(void)ctx;
	return i < n_commands ? commands[i].name : NULL;
}

Test(suggest, nearest)
{
	cr_expect_str_eq(nearest_word("atach", command_choice, NULL), "attach");
	cr_expect_str_eq(nearest_word("rn", command_choice, NULL), "run");
	cr_expect_str_eq(nearest_word("repotr", command_choice, NULL), "report");
	cr_expect_str_eq(nearest_word("exp", command_choice, NULL), "export");
	cr_expect_null(nearest_word("frobnicate", command_choice, NULL));
	cr_expect_null(nearest_word("", command_choice, NULL));
}

/* --- what is printed from the tables ---------------------------------------------------- */

/* noinline: gcc 12 takes the stream's buffer for the local variable that points to it. */
__attribute__((noinline)) static char *printed(void (*print)(FILE *, const void *), const void *arg)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	print(f, arg);
	fclose(f);
	return text;
}

static void help_of(FILE *out, const void *cmd)
{
	print_command_help(out, cmd);
}

static void man_of(FILE *out, const void *arg)
{
	(void)arg;
	print_man(out);
}

static void completion_of(FILE *out, const void *arg)
{
	(void)arg;
	print_completion(out);
}

static void exits_of(FILE *out, const void *arg)
{
	(void)arg;
	print_exit_statuses(out);
}

/* Every name is a row of the parser's limits and has what help needs. */
Test(tables, are_complete)
{
	for (size_t c = 0; c < n_commands; c++) {
		const struct command *cmd = &commands[c];
		const struct opt *o, *p;

		cr_expect(cmd->name && cmd->operands && cmd->summary && cmd->about && cmd->run);
		cr_expect_eq(cmd->about[strlen(cmd->about) - 1], '\n', "%s", cmd->name);
		cr_expect(cmd->hidden || (cmd->examples && cmd->examples[0].command &&
		                          cmd->examples[1].command),
		          "%s has two examples", cmd->name);
		for (size_t i = 0; (o = opts_at(&cmd->opts, i, NULL)); i++) {
			cr_expect(o->help && *o->help, "--%s", o->name);
			cr_expect(i < 48, "%s: more options than the parser holds", cmd->name);
			for (size_t k = 0; k < i && (p = opts_at(&cmd->opts, k, NULL)); k++) {
				cr_expect(strcmp(o->name, p->name), "%s --%s twice", cmd->name,
				          o->name);
				cr_expect(!o->letter || o->letter != p->letter, "%s -%c twice",
				          cmd->name, o->letter);
			}
		}
	}
}

Test(tables, help_tells_every_option_in_80_columns)
{
	for (size_t c = 0; c < n_commands; c++) {
		char *text = printed(help_of, &commands[c]);
		const struct opt *o;
		char word[80];

		for (size_t i = 0; (o = opts_at(&commands[c].opts, i, NULL)); i++) {
			snprintf(word, sizeof(word), "--%s%s%s\n", o->name, o->arg ? " " : "",
			         o->arg ? o->arg : "");
			word[strlen(word) - 1] = '\0';
			cr_expect(strstr(text, word), "help %s lacks %s", commands[c].name, word);
			for (size_t k = 0; o->choice && o->choice(k); k++)
				cr_expect(strstr(text, o->choice(k)), "--%s lacks %s", o->name,
				          o->choice(k));
		}
		for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
			cr_expect(strcspn(p, "\n") <= 88 || p[2] == 'm' || p[2] == 's',
			          "too long: %.100s", p);
		free(text);
	}
}

Test(tables, man_page_tells_everything)
{
	char *text = printed(man_of, NULL);
	const struct opt *o;
	char word[160];

#define X(name, number, meaning)                           \
	snprintf(word, sizeof(word), ".B %d\n", (number)); \
	cr_expect(strstr(text, word), "man page lacks exit status %d", (number));
	MT_EXITS(X)
#undef X
	for (size_t c = 0; c < n_commands; c++) {
		for (size_t i = 0; (o = opts_at(&commands[c].opts, i, NULL)); i++) {
			size_t n = (size_t)snprintf(word, sizeof(word), "\\-\\-");

			for (const char *p = o->name; *p; p++)
				n += (size_t)snprintf(word + n, sizeof(word) - n, "%s%c",
				                      *p == '-' ? "\\" : "", *p);
			cr_expect(strstr(text, word), "man page lacks %s", word);
			for (size_t k = 0; o->choice && o->choice(k); k++) {
				/* A dash is escaped there: the part before it will do. */
				snprintf(word, sizeof(word), "%.*s",
				         (int)strcspn(o->choice(k), "-"), o->choice(k));
				cr_expect(strstr(text, word), "man page lacks --%s %s", o->name,
				          word);
			}
		}
	}
	for (const char *p = text; *p; p++)
		cr_assert((unsigned char)*p < 0x80 && (*p >= ' ' || *p == '\n'),
		          "not plain roff: %.40s", p);
	free(text);
}

Test(tables, completion_offers_every_option)
{
	char *text = printed(completion_of, NULL);
	const struct opt *o;
	char word[80];

	for (size_t c = 0; c < n_commands; c++) {
		if (commands[c].hidden)
			continue;
		snprintf(word, sizeof(word), "\n\t%s)\n", commands[c].name);
		char *part = strstr(text, word);

		cr_assert(part, "completion lacks %s", commands[c].name);
		char *end = strstr(part, "esac ;;");

		*end = '\0';
		for (size_t i = 0; (o = opts_at(&commands[c].opts, i, NULL)); i++) {
			snprintf(word, sizeof(word), " --%s", o->name);
			cr_expect(strstr(part, word) || strstr(part, word + 1), "%s lacks %s",
			          commands[c].name, word);
			for (size_t k = 0; o->choice && o->choice(k); k++)
				cr_expect(strstr(part, o->choice(k)), "--%s lacks %s", o->name,
				          o->choice(k));
		}
		*end = 'e';
	}
	free(text);
}

Test(tables, exit_statuses)
{
	char *text = printed(exits_of, NULL);
	char word[16];

#define X(name, number, meaning)                           \
	snprintf(word, sizeof(word), "\n%5d  ", (number)); \
	cr_expect(strstr(text, word), "lacks %d", (number));
	MT_EXITS(X)
#undef X
	free(text);
}

Test(tables, hidden_commands_stay_out_of_help)
{
	char *text = printed(man_of, NULL);

	cr_expect_null(strstr(text, "selftest"));
	cr_expect(command_find("selftest-workload"));
	cr_expect_null(command_find("no-such-command"));
	free(text);
}

/* --- the wrapping of text ------------------------------------------------------------------- */

struct wrap {
	const char *text;
	unsigned column, indent, width;
};

static void wrap_of(FILE *out, const void *arg)
{
	const struct wrap *w = arg;

	print_wrapped(out, w->text, w->column, w->indent, w->width);
}

static void wraps(struct wrap w, const char *wanted)
{
	char *text = printed(wrap_of, &w);

	cr_expect_str_eq(text, wanted);
	free(text);
}

Test(wrap, lines)
{
	wraps((struct wrap){"one two three", 0, 0, 80}, "one two three\n");
	wraps((struct wrap){"one two three", 0, 0, 8}, "one two\nthree\n");
	wraps((struct wrap){"one two three", 0, 0, 7}, "one two\nthree\n");
	wraps((struct wrap){"one two three", 0, 0, 6}, "one\ntwo\nthree\n");
	wraps((struct wrap){"one two three", 2, 4, 11}, "  one two\n    three\n");
	wraps((struct wrap){"one two\nthree\n", 0, 0, 80}, "one two\nthree\n");
	wraps((struct wrap){"unbreakable x", 0, 2, 4}, "  unbreakable\n  x\n");
	wraps((struct wrap){"µµµµ µ", 0, 0, 6}, "µµµµ µ\n");
	wraps((struct wrap){"", 0, 0, 10}, "\n");
}

/* --- settings that commands check themselves -------------------------------------------------- */

Test(view, since_until)
{
	struct view_settings v = {.since_ns = 5, .until_ns = 5};
	struct model_opts o;
	struct err err = {};

	cr_expect_eq(view_check(&v, &err), -EINVAL);
	cr_expect_eq(err.status, MT_EXIT_USAGE);
	v.until_ns = 6;
	cr_expect_eq(view_check(&v, &err), 0);
	view_model_opts(&v, &o);
	cr_expect_eq(o.since_ns, 5);
	cr_expect_eq(o.until_ns, 6);
	v.until_ns = 0;
	cr_expect_eq(view_check(&v, &err), 0);
}

/* --- names of trace files -------------------------------------------------------------------- */

static char dir[64];

static void enter_directory(void)
{
	snprintf(dir, sizeof(dir), "/tmp/mpvtrace-test-XXXXXX");
	cr_assert(mkdtemp(dir) && !chdir(dir));
}

static void leave_directory(void)
{
	static const char *const names[] = {DEFAULT_TRACE, "mpvtrace.1.mpv", "mine.mpv"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlink(names[i]);
	cr_expect(!chdir("/") && !rmdir(dir));
}

static void make_file(const char *name)
{
	FILE *f = fopen(name, "w");

	cr_assert(f);
	fclose(f);
}

static struct record_settings chosen(const char *name, bool overwrite, struct err *err, int *rc)
{
	static char buf[64];
	struct record_settings set;

	record_defaults(&set);
	set.collect.output = name;
	set.out.overwrite = overwrite;
	*rc = choose_trace(&set, buf, sizeof(buf), err);
	return set;
}

Test(trace_name, is_never_that_of_a_file, .init = enter_directory, .fini = leave_directory)
{
	struct record_settings set;
	struct err err = {};
	int rc;

	set = chosen(NULL, false, &err, &rc);
	cr_expect(!rc && !strcmp(set.collect.output, DEFAULT_TRACE) && !set.other_name);
	make_file(DEFAULT_TRACE);
	set = chosen(NULL, false, &err, &rc);
	cr_expect(!rc && !strcmp(set.collect.output, "mpvtrace.1.mpv") && set.other_name);
	/* A link that leads nowhere is somebody's, too. */
	cr_assert(!symlink("nowhere", "mpvtrace.1.mpv"));
	set = chosen(NULL, false, &err, &rc);
	cr_expect(!rc && !strcmp(set.collect.output, "mpvtrace.2.mpv"));
	set = chosen(NULL, true, &err, &rc);
	cr_expect(!rc && !strcmp(set.collect.output, DEFAULT_TRACE) && set.collect.overwrite);
}

Test(trace_name, that_exists_is_refused, .init = enter_directory, .fini = leave_directory)
{
	struct record_settings set;
	struct err err = {};
	int rc;

	set = chosen("mine.mpv", false, &err, &rc);
	cr_expect(!rc && !set.collect.overwrite);
	make_file("mine.mpv");
	chosen("mine.mpv", false, &err, &rc);
	cr_expect_eq(rc, -EEXIST);
	cr_expect_eq(err.status, MT_EXIT_OUTPUT);
	cr_expect(strstr(err.msg, "mine.mpv exists already"));
	set = chosen("mine.mpv", true, &err, &rc);
	cr_expect(!rc && set.collect.overwrite);
}

/* A command that would empty the trace which it is to read does nothing, under any of its names. */
Test(trace_name, is_not_written_over, .init = enter_directory, .fini = leave_directory)
{
	static const char *const lines[][7] = {
	        {"report", "-f", "--json", "mine.mpv", "mine.mpv"},
	        {"report", "-f", "--json", "mpvtrace.1.mpv", "mine.mpv"},
	        {"export", "-f", "-o", "mine.mpv", "mine.mpv"},
	        {"export", "-f", "-o", "mine.mpv", "--base", "mine.mpv", DEFAULT_TRACE},
	        {"compare", "-f", "--json", "mine.mpv", DEFAULT_TRACE, "mine.mpv"},
	};
	struct stat st;
	FILE *f = fopen("mine.mpv", "w");

	cr_assert(f && fputs("trace", f) >= 0 && !fclose(f));
	cr_assert(!link("mine.mpv", "mpvtrace.1.mpv"));
	make_file(DEFAULT_TRACE);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		const struct command *cmd = command_find(lines[i][0]);
		char *args[7] = {0};
		int n = 0;

		for (; n < 7 && lines[i][n]; n++)
			args[n] = (char *)lines[i][n];
		cr_expect_eq(cmd->run(cmd, n, args), MT_EXIT_USAGE, "%zu", i);
		cr_expect(!stat("mine.mpv", &st) && st.st_size == 5, "%zu: it is whole", i);
	}
}

/* What cannot be read back is refused before anything waits for it, with -f too. */
Test(trace_name, must_be_a_regular_file, .init = enter_directory, .fini = leave_directory)
{
	struct err err = {};
	int rc;

	cr_assert(!mkfifo("mine.mpv", 0600));
	chosen("mine.mpv", true, &err, &rc);
	cr_expect_eq(rc, -EINVAL);
	cr_expect_eq(err.status, MT_EXIT_OUTPUT);
	cr_expect(strstr(err.msg, "mine.mpv is a pipe"), "%s", err.msg);
	chosen("/dev/null", true, &err, &rc);
	cr_expect_eq(rc, -EINVAL);
	chosen(".", false, &err, &rc);
	cr_expect(strstr(err.msg, ". is a directory"), "%s", err.msg);
}
