/* SPDX-License-Identifier: MIT */
/* Help as text, printed from the tables of commands and options. */
#include <string.h>

#include "cli/cli.h"

#define OPT_COLUMN 28 /* where the explanation of an option begins */

/* Columns of the n bytes of UTF-8 (no wide characters in our own texts). */
static unsigned columns(const char *s, size_t n)
{
	unsigned c = 0;

	for (size_t i = 0; i < n; i++)
		c += ((unsigned char)s[i] & 0xc0) != 0x80;
	return c;
}

static void new_line(FILE *out, unsigned indent, unsigned *column)
{
	fprintf(out, "\n%*s", (int)indent, "");
	*column = indent;
}

void print_wrapped(FILE *out, const char *text, unsigned column, unsigned indent, unsigned width)
{
	bool line_start = true;

	if (column < indent) {
		fprintf(out, "%*s", (int)(indent - column), "");
		column = indent;
	}
	while (*text) {
		size_t n = strcspn(text, " \n");
		unsigned c = columns(text, n);

		if (!line_start && column + 1 + c > width) {
			new_line(out, indent, &column);
			line_start = true;
		}
		fprintf(out, "%s%.*s", line_start ? "" : " ", (int)n, text);
		column += c + !line_start;
		line_start = false;
		text += n;
		if (*text == '\n' && text[1]) {
			new_line(out, indent, &column);
			line_start = true;
		}
		if (*text)
			text++;
	}
	fputc('\n', out);
}

static void print_option(FILE *out, const struct opt *o, unsigned width)
{
	char choices[160], text[700];
	char left[64];
	int n;

	n = snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
	             o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->arg ? " " : "",
	             o->arg ? o->arg : "");
	snprintf(text, sizeof(text), "%s%s%s%s", o->help, o->choice ? " (" : "",
	         o->choice ? opt_choices(choices, sizeof(choices), o, " or ") : "",
	         o->choice ? ")" : "");
	fputs(left, out);
	if (n >= OPT_COLUMN) {
		fputc('\n', out);
		n = 0;
	}
	print_wrapped(out, text, (unsigned)n, OPT_COLUMN, width);
}

void opts_print_help(FILE *out, const struct opt_set *set, unsigned width)
{
	for (size_t g = 0; g < set->n; g++) {
		const struct opt_group *group = set->uses[g].group;

		fprintf(out, "\n%s:\n", group->title);
		for (size_t i = 0; i < group->n; i++)
			print_option(out, &group->opts[i], width);
	}
}

void print_formats(FILE *out, unsigned indent, unsigned width)
{
	for (size_t i = 0; i < n_exporters; i++) {
		const struct exporter *x = &exporters[i];
		int n = fprintf(out, "%*s%-10s", (int)indent, "", x->name);

		print_wrapped(out, x->help, (unsigned)n, (unsigned)n, width);
	}
}

void print_views(FILE *out, unsigned indent, unsigned width)
{
#define X(NAME, name, slices, help)                        \
	fprintf(out, "%*s%-15s", (int)indent, "", (name)); \
	print_wrapped(out, help, indent + 15, indent + 15, width);
	VIEWS(X)
#undef X
}

void print_command_help(FILE *out, const struct command *cmd)
{
	fprintf(out, "Usage: mpvtrace %s%s%s%s\n\n", cmd->name, cmd->opts.n ? " [options]" : "",
	        *cmd->operands ? " " : "", cmd->operands);
	print_wrapped(out, cmd->about, 0, 0, HELP_WIDTH);
	if (cmd->run == cmd_export) {
		fputs("\nFormats:\n", out);
		print_formats(out, 2, HELP_WIDTH);
		fputs("\nViews:\n", out);
		print_views(out, 2, HELP_WIDTH);
	}
	opts_print_help(out, &cmd->opts, HELP_WIDTH);
	if (cmd->examples)
		fputs("\nExamples:\n", out);
	for (const struct example *e = cmd->examples; e && e->command; e++) {
		fprintf(out, "  %s\n", e->command);
		print_wrapped(out, e->does, 0, 6, HELP_WIDTH);
	}
}

void print_overview(FILE *out)
{
	fputs("Usage: mpvtrace COMMAND [options] …\n\n", out);
	print_wrapped(
	        out,
	        "Records what every thread and process of a program waits for, and reports where "
	        "it could have run in parallel and did not.",
	        0, 0, HELP_WIDTH);
	fputs("\nCommands:\n", out);
	for (size_t i = 0; i < n_commands; i++)
		if (!commands[i].hidden)
			fprintf(out, "  %-10s%s\n", commands[i].name, commands[i].summary);
	fputs("\nBegin with:\n"
	      "  sudo mpvtrace check                what this machine can record\n"
	      "  sudo mpvtrace run ./program        record it and print the report\n"
	      "\n`mpvtrace help COMMAND` tells the options of a command, `mpvtrace help "
	      "exit-status`\n"
	      "what the exit statuses mean, `mpvtrace --version` the version.\n",
	      out);
}

void print_exit_statuses(FILE *out)
{
	print_wrapped(
	        out,
	        "`run` ends with the exit status of the workload: its code, or 128 + the number "
	        "of the signal that ended it. Otherwise, and when mpvtrace itself fails:",
	        0, 0, HELP_WIDTH);
	fputc('\n', out);
#define X(name, number, meaning)         \
	fprintf(out, "%5d  ", (number)); \
	print_wrapped(out, meaning, 7, 7, HELP_WIDTH);
	MT_EXITS(X)
#undef X
}
