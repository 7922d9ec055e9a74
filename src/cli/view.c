/* SPDX-License-Identifier: MIT */
/* A report on its way to the terminal, a pipe or a file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

int view_check(const struct view_settings *v, struct err *err)
{
	if (v->until_ns && v->since_ns >= v->until_ns)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "--since is not before --until");
	if (v->sort && !report_sort_known(v->sort))
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "--sort: \"%s\" is not one of %s",
		               v->sort, report_sort_keys());
	return 0;
}

void view_model_opts(const struct view_settings *v, struct model_opts *o)
{
	*o = (struct model_opts){
	        .since_ns = v->since_ns, .until_ns = v->until_ns, .flags = MODEL_SLICES};
}

static unsigned terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	uint64_t width;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return columns && !parse_u64(columns, 20, 10000, &width) ? (unsigned)width : 0;
}

static bool use_colour(int mode)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (mode != COLOR_AUTO)
		return mode == COLOR_ALWAYS;
	return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
}

/* Does the environment say that the terminal's characters are not UTF-8? Unset says nothing. */
static bool use_ascii(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *v = getenv(names[i]);

		if (v && *v)
			return !strcasestr(v, "UTF-8") && !strcasestr(v, "UTF8");
	}
	return false;
}

void say(const char *fmt, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, fmt);
	if (!use_ascii()) {
		vprintf(fmt, args);
	} else {
		n = vasprintf(&s, fmt, args);
		if (n >= 0) {
			report_ascii(stdout, s, (size_t)n);
			free(s);
		}
	}
	va_end(args);
}

void view_report_opts(const struct view_settings *v, struct report_opts *o)
{
	*o = (struct report_opts){
	        .sort = v->sort,
	        .top = v->top,
	        .task = v->task,
	        .width = terminal_width(),
	        .colour = use_colour(v->color),
	        .ascii = use_ascii(),
	};
}

static int render_json(const struct session *s, const struct report_opts *o, struct out_file *json,
                       struct err *err)
{
	int rc = report_json(&s->report, o, json->f, err);

	return rc ? rc : out_close(json, err);
}

int view_render(const struct session *s, const struct view_settings *v, struct out_file *json,
                bool text, struct err *err)
{
	struct report_opts o;
	int rc = 0, rc_text = 0;

	view_report_opts(v, &o);
	o.trace_path = strcmp(s->path, "-") ? s->path : NULL;
	/* JSON first: a reader of stdout that goes away (| head) must not cost the file. Nor must a
	 * full disk cost the text. */
	if (json->f)
		rc = render_json(s, &o, json, err);
	if (text)
		rc_text = report_text(&s->report, &o, stdout, rc ? NULL : err);
	return rc ? rc : rc_text;
}
