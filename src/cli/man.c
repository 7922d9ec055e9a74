/* SPDX-License-Identifier: MIT */
/* The man page as roff: commands, options and exit statuses from the tables, the rest from prose
 * here. `make` writes it to build/mpvtrace.1. */
#include <string.h>

#include "cli/cli.h"

/* Text as roff: nothing in it is a request or an escape. */
static void roff_n(FILE *out, const char *s, size_t len, bool line_start)
{
	const unsigned char *p = (const unsigned char *)s, *end = p + len;

	while (p < end) {
		uint32_t c = 0; /* our own texts are valid */
		size_t n = utf8_decode(p, (size_t)(end - p), &c);

		if (line_start && (c == '.' || c == '\''))
			fputs("\\&", out);
		line_start = c == '\n';
		if (c == '\\')
			fputs("\\e", out);
		else if (c == '-')
			fputs("\\-", out);
		else if (c == '\'')
			fputs("\\(aq", out);
		else if (c == '"')
			fputs("\\(dq", out);
		else if (c == '^')
			fputs("\\(ha", out);
		else if (c == '~')
			fputs("\\(ti", out);
		else if (c == '`')
			fputs("\\(ga", out);
		else if (c >= 0x80)
			fprintf(out, "\\[u%04X]", c);
		else
			fputc((int)c, out);
		p += n ? n : 1;
	}
}

/* A line of its own. */
static void roff(FILE *out, const char *s)
{
	roff_n(out, s, strlen(s), true);
}

/* Inside a line. */
static void roff_inline(FILE *out, const char *s)
{
	roff_n(out, s, strlen(s), false);
}

/* Paragraphs (one line each) with a request before every one after the first. */
static void roff_paragraphs(FILE *out, const char *text, const char *between)
{
	for (bool first = true; *text; first = false) {
		size_t n = strcspn(text, "\n");

		if (!first)
			fprintf(out, "%s\n", between);
		roff_n(out, text, n, true);
		fputc('\n', out);
		text += n + (text[n] == '\n');
	}
}

static void section(FILE *out, const char *title)
{
	fprintf(out, ".SH %s\n", title);
}

/* A term in bold and what it means. */
static void item(FILE *out, const char *term, const char *meaning)
{
	fputs(".TP\n.B ", out);
	roff(out, term);
	fputc('\n', out);
	roff_paragraphs(out, meaning, ".IP");
}

static void man_synopsis(FILE *out)
{
	section(out, "SYNOPSIS");
	for (size_t i = 0, shown = 0; i < n_commands; i++) {
		const struct command *c = &commands[i];

		if (c->hidden)
			continue;
		if (shown++)
			fputs(".br\n", out);
		fprintf(out, "\\fBmpvtrace %s\\fR", c->name);
		if (c->opts.n)
			fputs(" [\\fIoptions\\fR]", out);
		if (*c->operands) {
			fputs(" \\fI", out);
			roff_inline(out, c->operands);
			fputs("\\fR", out);
		}
		fputc('\n', out);
	}
	fputs(".br\n\\fBmpvtrace \\-\\-version\\fR\n", out);
}

static void man_commands(FILE *out)
{
	section(out, "COMMANDS");
	for (size_t i = 0; i < n_commands; i++) {
		const struct command *c = &commands[i];

		if (c->hidden)
			continue;
		fprintf(out, ".TP\n\\fB%s\\fR \\fI", c->name);
		roff_inline(out, c->operands);
		fputs("\\fR\n", out);
		roff_paragraphs(out, c->about, ".IP");
	}
}

static void man_option(FILE *out, const struct opt *o)
{
	char choices[160];

	fputs(".TP\n", out);
	if (o->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
	fputs("\\fB\\-\\-", out);
	roff_inline(out, o->name);
	fputs("\\fR", out);
	if (o->arg) {
		fputs(" \\fI", out);
		roff_inline(out, o->arg);
		fputs("\\fR", out);
	}
	fputc('\n', out);
	roff(out, o->help);
	if (o->choice) {
		fputs(" (", out);
		roff_inline(out, opt_choices(choices, sizeof(choices), o, " or "));
		fputc(')', out);
	}
	fputs(".\n", out);
}

static bool takes_group(const struct command *c, const struct opt_group *group)
{
	for (size_t i = 0; i < c->opts.n; i++)
		if (c->opts.uses[i].group == group)
			return true;
	return false;
}

/* Has a command before this one shown the group? */
static bool group_shown(size_t command, const struct opt_group *group)
{
	for (size_t i = 0; i < command; i++)
		if (!commands[i].hidden && takes_group(&commands[i], group))
			return true;
	return false;
}

static void man_group(FILE *out, const struct opt_group *group)
{
	const char *sep = "";

	fprintf(out, ".SS \"%s (", group->title);
	for (size_t i = 0; i < n_commands; i++) {
		if (commands[i].hidden || !takes_group(&commands[i], group))
			continue;
		fprintf(out, "%s%s", sep, commands[i].name);
		sep = ", ";
	}
	fputs(")\"\n", out);
	for (size_t i = 0; i < group->n; i++)
		man_option(out, &group->opts[i]);
}

static void man_options(FILE *out)
{
	section(out, "OPTIONS");
	roff_paragraphs(
	        out,
	        "A TIME is a number of seconds or has a unit: 1.5, 200ms, 3s, 2m. A SIZE is a "
	        "number of bytes or has a unit, a power of 1024: 64K, 8M, 1G.",
	        ".PP");
	for (size_t i = 0; i < n_commands; i++) {
		if (commands[i].hidden)
			continue;
		for (size_t g = 0; g < commands[i].opts.n; g++)
			if (!group_shown(i, commands[i].opts.uses[g].group))
				man_group(out, commands[i].opts.uses[g].group);
	}
	fputs(".SS \"Export formats\"\n", out);
	for (size_t i = 0; i < n_exporters; i++) {
		item(out, exporters[i].name, exporters[i].help);
	}
	fputs(".SS \"Views\"\n", out);
#define X(NAME, name, slices, help) item(out, name, help);
	VIEWS(X)
#undef X
}

static void man_exit_status(FILE *out)
{
	section(out, "EXIT STATUS");
	roff_paragraphs(out,
	                "run ends with the exit status of the workload: its code, or 128 + the "
	                "number of the "
	                "signal that ended it. Otherwise, and when mpvtrace itself fails:",
	                ".PP");
#define X(name, number, meaning) item(out, #number, meaning ".");
	MT_EXITS(X)
#undef X
}

static const char description[] =
        "mpvtrace records what every thread and process of a program waits for, and reports how "
        "parallel the program was and what held it back. It follows the program from its first "
        "instruction, or from now on, with all threads and descendants. The program needs no "
        "rebuilding and no special start.\n"
        "Recording uses eBPF and needs root. The workload itself runs as the user who called sudo. "
        "Everything after the recording (report, export, check FILE) needs no privileges and works "
        "on any machine, because the trace file holds all that they read.\n";

/* clang-format off */
static const struct { const char *term, *meaning; } files[] = {
	{ DEFAULT_TRACE,
	  "The trace file when -o names no other, in the current directory. An existing file is "
	  "kept: then the next free name of mpvtrace.1.mpv, mpvtrace.2.mpv and so on is used, and "
	  "said. It belongs to the user who called sudo and only that user may read it (mode 0600), "
	  "as it holds the command line and the names of files and functions." },
	{ "/sys/kernel/btf/vmlinux", "The types of the running kernel. Recording needs it." },
	{ "/proc/sys/kernel/perf_event_paranoid",
	  "No obstacle for root; see NOTES for containers." },
}, environment[] = {
	{ "SUDO_UID, SUDO_GID, SUDO_USER",
	  "Set by sudo: whom the workload runs as and the output files belong to." },
	{ "NO_COLOR", "When set and not empty: no colour unless --color always." },
	{ "COLUMNS", "Width of the report when stdout is not a terminal; 100 when it is unset." },
	{ "TERM", "\"dumb\" means no colour." },
	{ "LC_ALL, LC_CTYPE, LANG",
	  "The first that is set says which characters the report is made of: a value without UTF-8 (as C) "
	  "means ASCII." },
	{ "TMPDIR", "Where check puts its trial recording; /tmp when it is unset." },
};
/* clang-format on */

static const char notes[] =
        "The report goes to stdout, everything else that mpvtrace says to stderr.\n"
        "Ctrl-C reaches the workload as it would without mpvtrace; the report follows when the "
        "workload has ended, however long it takes. Ctrl-C twice within a second ends the "
        "recording and leaves the workload running. With attach, Ctrl-C once does so.\n"
        "If mpvtrace is killed, the workload goes on, nothing stays loaded in the kernel, and the "
        "trace file is readable to its last whole block. The same is true of a full disk.\n"
        "After loading its programs into the kernel, mpvtrace gives up the privileges it no longer "
        "needs; reports are made without any. A process of its own, which only makes the kernel "
        "measure "
        "what mpvtrace's programs cost, keeps CAP_SYS_ADMIN meanwhile. While it records it runs at "
        "nice -10; the workload "
        "does not. Installed setuid or setgid it refuses to run.\n"
        "Recording needs Linux 5.15 with BTF and the capabilities CAP_BPF, CAP_PERFMON and "
        "CAP_SYS_PTRACE, which root has. A container's root usually lacks them: they must be "
        "granted "
        "(docker run --privileged). Kernel lockdown in confidentiality mode forbids recording. "
        "mpvtrace check says what is missing.\n"
        "Events that do not fit into the buffers are counted by cause; a report over such a "
        "recording "
        "says so in its first lines. A larger --buffer helps.\n";

void print_man(FILE *out)
{
	fputs(".TH MPVTRACE 1 \"\" \"mpvtrace " MT_VERSION "\" \"User Commands\"\n", out);
	section(out, "NAME");
	fputs("mpvtrace \\- find out where a program could run in parallel and does not\n", out);
	man_synopsis(out);
	section(out, "DESCRIPTION");
	roff_paragraphs(out, description, ".PP");
	man_commands(out);
	man_options(out);
	section(out, "FILES");
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		item(out, files[i].term, files[i].meaning);
	man_exit_status(out);
	section(out, "ENVIRONMENT");
	for (size_t i = 0; i < ARRAY_LEN(environment); i++)
		item(out, environment[i].term, environment[i].meaning);
	section(out, "NOTES");
	roff_paragraphs(out, notes, ".PP");
	section(out, "EXAMPLES");
	for (size_t i = 0; i < n_commands; i++)
		for (const struct example *e = commands[i].examples; e && e->command; e++)
			item(out, e->command, e->does);
	section(out, "SEE ALSO");
	fputs(".BR perf (1),\n.BR perf\\-sched (1),\n.BR futex (2),\n.BR bpf (2),\n"
	      ".BR capabilities (7)\n",
	      out);
}
