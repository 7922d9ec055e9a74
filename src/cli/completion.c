/* SPDX-License-Identifier: MIT */
/* The bash completion, printed from the tables. It works without the bash-completion package. */
#include <string.h>

#include "cli/cli.h"

static void print_option_words(FILE *out, const struct opt_set *set)
{
	const struct opt *o;

	for (size_t i = 0; (o = opts_at(set, i, NULL)); i++) {
		if (o->letter)
			fprintf(out, "%s-%c", i ? " " : "", o->letter);
		fprintf(out, "%s--%s", i || o->letter ? " " : "", o->name);
	}
}

/* Pattern of the options that take an argument, for finding the first operand. */
static void print_taking_argument(FILE *out, const struct opt_set *set)
{
	const char *sep = "";
	const struct opt *o;

	for (size_t i = 0; (o = opts_at(set, i, NULL)); i++) {
		if (!o->arg)
			continue;
		if (o->letter)
			fprintf(out, "%s-%c", sep, o->letter), sep = "|";
		fprintf(out, "%s--%s", sep, o->name);
		sep = "|";
	}
	if (!*sep)
		fputs("''", out);
}

static void print_argument_words(FILE *out, const struct opt *o)
{
	if (o->choice) {
		fputs("_mpvtrace_reply -W '", out);
		for (size_t i = 0; o->choice(i); i++)
			fprintf(out, "%s%s", i ? " " : "", o->choice(i));
		fputc('\'', out);
	} else if (o->complete == COMPLETE_USER) {
		fputs("_mpvtrace_reply -A user", out);
	} else if (o->complete == COMPLETE_FILE) {
		fputs("_mpvtrace_reply -f", out);
	} else if (o->type == OPT_PIDS) {
		fputs("_mpvtrace_reply -W \"$(_mpvtrace_pids)\"", out);
	} else {
		fputs("COMPREPLY=()", out);
	}
	fputs("; return ;;\n", out);
}

static void print_operand_words(FILE *out, enum opt_complete complete)
{
	switch (complete) {
	case COMPLETE_COMMAND:
		fputs("_mpvtrace_command \"$first\"", out);
		break;
	case COMPLETE_TRACE:
		fputs("_mpvtrace_traces", out);
		break;
	case COMPLETE_TOPIC:
		fputs("_mpvtrace_reply -W \"$commands exit-status\"", out);
		break;
	default:
		fputs("COMPREPLY=()", out);
	}
	fputs(" ;;\n", out);
}

static void print_case(FILE *out, const struct command *cmd)
{
	const struct opt *o;

	fprintf(out, "\t%s)\n\t\tcase $prev in\n", cmd->name);
	for (size_t i = 0; (o = opts_at(&cmd->opts, i, NULL)); i++) {
		if (!o->arg)
			continue;
		fputs("\t\t", out);
		if (o->letter)
			fprintf(out, "-%c|", o->letter);
		fprintf(out, "--%s) ", o->name);
		print_argument_words(out, o);
	}
	fputs("\t\tesac\n\t\tcase $cur in\n\t\t-*) _mpvtrace_reply -W '", out);
	print_option_words(out, &cmd->opts);
	fputs("' ;;\n\t\t*) ", out);
	print_operand_words(out, cmd->complete);
	fputs("\t\tesac ;;\n", out);
}

static const char helpers[] =
        "_mpvtrace_reply()\n"
        "{\n"
        "\tlocal line\n"
        "\tCOMPREPLY=()\n"
        "\twhile IFS= read -r line; do COMPREPLY+=(\"$line\"); done < <(compgen \"$@\" -- "
        "\"$cur\")\n"
        "}\n\n"
        "_mpvtrace_traces()\n"
        "{\n"
        "\tlocal line\n"
        "\tCOMPREPLY=()\n"
        "\twhile IFS= read -r line; do\n"
        "\t\t[[ -d $line || $line == *.mpv ]] && COMPREPLY+=(\"$line\")\n"
        "\tdone < <(compgen -f -- \"$cur\")\n"
        "}\n\n"
        "_mpvtrace_pids()\n"
        "{\n"
        "\tlocal p\n"
        "\tfor p in /proc/[0-9]*; do printf '%s\\n' \"${p#/proc/}\"; done\n"
        "}\n\n"
        "# What the shell itself would offer for the command that is to be recorded.\n"
        "_mpvtrace_command()\n"
        "{\n"
        "\tif (( $1 > COMP_CWORD || $1 == COMP_CWORD )); then\n"
        "\t\t_mpvtrace_reply -c\n"
        "\telif declare -F _command_offset >/dev/null; then\n"
        "\t\t_command_offset \"$1\"\n"
        "\telse\n"
        "\t\t_mpvtrace_reply -f\n"
        "\tfi\n"
        "}\n\n";

/* Sets `first` to the word where the recorded command begins; words from there on are its. */
static void print_first_operand(FILE *out, const struct command *cmd)
{
	fprintf(out, "\tif [[ $command == %s ]]; then\n", cmd->name);
	fputs("\t\tfor (( first = 2; first < COMP_CWORD; first++ )); do\n"
	      "\t\t\tcase ${COMP_WORDS[first]} in\n"
	      "\t\t\t--) (( first++ )); break ;;\n"
	      "\t\t\t",
	      out);
	print_taking_argument(out, &cmd->opts);
	fputs(") (( first++ ))\n"
	      "\t\t\t\t# --option=value is three words to bash\n"
	      "\t\t\t\t[[ ${COMP_WORDS[first]} == = ]] && (( first++ )) ;;\n"
	      "\t\t\t-*) ;;\n"
	      "\t\t\t*) break ;;\n"
	      "\t\t\tesac\n"
	      "\t\tdone\n"
	      "\t\tif (( first < COMP_CWORD )) || [[ $prev == -- ]]; then\n"
	      "\t\t\t_mpvtrace_command \"$first\"\n"
	      "\t\t\treturn\n"
	      "\t\tfi\n"
	      "\tfi\n",
	      out);
}

void print_completion(FILE *out)
{
	fputs("# bash completion for mpvtrace; printed by `mpvtrace completion`\n\n", out);
	fputs(helpers, out);
	fputs("_mpvtrace()\n{\n\tlocal commands='", out);
	for (size_t i = 0, n = 0; i < n_commands; i++)
		if (!commands[i].hidden)
			fprintf(out, "%s%s", n++ ? " " : "", commands[i].name);
	fputs("'\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tlocal command=${COMP_WORDS[1]} first=2\n"
	      "\tCOMPREPLY=()\n"
	      "\tif (( COMP_CWORD == 1 )); then\n"
	      "\t\t_mpvtrace_reply -W \"$commands --help --version\"\n"
	      "\t\treturn\n"
	      "\tfi\n",
	      out);
	for (size_t i = 0; i < n_commands; i++)
		if (commands[i].complete == COMPLETE_COMMAND)
			print_first_operand(out, &commands[i]);
	fputs("\t# --option=value comes as three words\n"
	      "\t[[ $cur == = ]] && cur=''\n"
	      "\t[[ $prev == = ]] && (( COMP_CWORD > 2 )) && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
	      "\tcase $command in\n",
	      out);
	for (size_t i = 0; i < n_commands; i++)
		if (!commands[i].hidden)
			print_case(out, &commands[i]);
	fputs("\tesac\n}\n\ncomplete -o filenames -o bashdefault -F _mpvtrace mpvtrace\n", out);
}
