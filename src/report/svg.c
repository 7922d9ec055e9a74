/* SPDX-License-Identifier: MIT */
/*
 * Flame graphs: one SVG file that needs nothing else. Each frame is a group with its name as
 * <title> and "depth start weight own-weight" in data-v; flame.js reads these. The picture is
 * complete without the script, for viewers that run none.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/export_priv.h"
#include "report/figures_priv.h"
#include "report/flame_priv.h"
#include "report/utf8_priv.h"
#include "svg_assets.h"

#define WIDTH         1200u /* of the picture without script */
#define PAD           10u
#define ROW           18u
#define HEAD          104u
#define CHAR_WIDTH    7.23 /* of the monospace fonts at 12px: 0.602 em */
#define DEFAULT_RATIO (0.5 / WIDTH)
#define MAX_FRAMES    20000 /* drawn; more are hard on browsers, and nobody can see them */

struct svg {
	struct flame *f;
	FILE *out;
	uint64_t *start, *cursor; /* per node: where it begins, where its next child does */
	bool seen[FLAME_KIND_N];
	unsigned depth;
};

/* Text as XML: names are safe (no control bytes, valid UTF-8) already. */
static void put_xml(FILE *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const unsigned char *p = (const unsigned char *)s + i;

		if (*p == '&')
			fputs("&amp;", out);
		else if (*p == '<')
			fputs("&lt;", out);
		else if (*p == '>')
			fputs("&gt;", out);
		else if (*p == '"')
			fputs("&quot;", out);
		else if (*p < 0x20)
			fputc(' ', out);
		else if (*p == 0xef && i + 2 < n && p[1] == 0xbf && p[2] >= 0xbe)
			fputs("\xef\xbf\xbd", out), i += 2; /* U+FFFE, U+FFFF are no XML */
		else
			fputc(*p, out);
	}
}

static void put_text(FILE *out, const char *s)
{
	put_xml(out, s, strlen(s));
}

/* --- the head ------------------------------------------------------------------------------ */

static const char *view_help(const char *view)
{
	static const struct {
		const char *name, *help;
	} views[] = {
#define X(NAME, name, slices, help) {name, help},
	        VIEWS(X)
#undef X
	};

	for (size_t i = 0; i < ARRAY_LEN(views); i++) {
		if (!strcmp(views[i].name, view))
			return views[i].help;
	}
	return "";
}

static char *fmt_total(char *out, size_t n, const struct flame *f, uint64_t total)
{
	if (!strcmp(f->unit, "us"))
		return fmt_ns(out, n, total);
	if (!strcmp(f->unit, "bytes"))
		return fmt_bytes(out, n, total);
	return fmt_n(out, n, total, "sample", "samples");
}

/* The command that was recorded; false = the trace does not tell. */
static bool put_command(FILE *out, const struct report *r)
{
	const uint8_t *p = NULL;
	size_t n = model_meta_bytes(r->m, META_ARGV, &p), at = 0;
	char arg[256], raw[128];

	for (unsigned i = 0; p && at < n && i < 40; i++) {
		size_t len = strnlen((const char *)p + at, n - at);

		snprintf(raw, sizeof(raw), "%.*s", (int)(len < 120 ? len : 120),
		         (const char *)p + at);
		fprintf(out, "%s", i ? " " : "");
		put_text(out, fmt_safe(arg, sizeof(arg), raw));
		at += len + 1;
	}
	return p && n;
}

static void put_title(FILE *out, const struct flame *f)
{
	char path[256];

	if (!put_command(out, f->r))
		put_text(out, f->o->trace_path ? fmt_safe(path, sizeof(path), f->o->trace_path)
		                               : "mpvtrace");
}

static void put_base(FILE *out, const struct flame *f)
{
	char total[48];

	fputs(" · difference from ", out);
	if (!put_command(out, f->o->base))
		fputs("another recording", out);
	fprintf(out, " (%s)", fmt_total(total, sizeof(total), f, f->nodes.v[0].base_total));
}

static void put_subtitle(FILE *out, const struct flame *f)
{
	char total[48], tasks[48], name[256];

	fprintf(out, "%s: %s · %s", f->view, view_help(f->view),
	        fmt_total(total, sizeof(total), f, f->nodes.v[0].total));
	fprintf(out, " in %s", fmt_n(tasks, sizeof(tasks), f->n_tasks, "task", "tasks"));
	if (f->o->task) {
		fputs(" · only ", out);
		put_text(out, fmt_safe(name, sizeof(name), f->o->task));
	}
	if (f->r->wall_ns)
		fprintf(out, " · %s of wall time", fmt_ns(total, sizeof(total), f->r->wall_ns));
	if (f->o->reverse)
		fputs(" · innermost frames first", out);
	if (f->o->base)
		put_base(out, f);
}

/* How much a frame has grown or shrunk, of the larger of both. */
struct growth {
	const char *class, *text; /* text NULL = not in the legend */
	double least;
};
static const struct growth growths[] = {
        {"g4", "new or many times as much", 0.8},
        {"g3", NULL, 0.4},
        {"g2", "more", 0.15},
        {"g1", NULL, 0.04},
        {"z", "the same", -0.04},
        {"s1", NULL, -0.15},
        {"s2", "less", -0.4},
        {"s3", NULL, -0.8},
        {"s4", "a small part is left", -2},
};

static const char *growth_class(const struct flame_node *n)
{
	double now = (double)n->total, before = (double)n->base_total;
	double most = now > before ? now : before, by = most > 0 ? (now - before) / most : 0;

	for (size_t i = 0; i < ARRAY_LEN(growths); i++)
		if (by >= growths[i].least)
			return growths[i].class;
	return "z";
}

static unsigned put_legend_item(FILE *out, unsigned x, const char *class, const char *text)
{
	fprintf(out,
	        "<g class=\"%s\"><rect x=\"%u\" y=\"58\" width=\"12\" height=\"12\" "
	        "rx=\"2\"/></g><text class=\"l\" x=\"%u\" y=\"68\">%s</text>",
	        class, x, x + 17, text);
	return x + 17 + 7 * (unsigned)strlen(text) + 14;
}

static void put_legend(FILE *out, const struct svg *s)
{
	static const struct {
		const char *class, *text;
	} kinds[] = {
#define X(NAME, cls, legend) {cls, legend},
	        FLAME_KINDS(X)
#undef X
	};
	unsigned x = PAD;

	fputs("<g id=\"legend\">", out);
	for (unsigned i = 0; i < FLAME_KIND_N && !s->f->o->base; i++) {
		if (s->seen[i] && kinds[i].text[0])
			x = put_legend_item(out, x, kinds[i].class, kinds[i].text);
	}
	for (size_t i = 0; i < ARRAY_LEN(growths) && s->f->o->base; i++) {
		if (growths[i].text)
			x = put_legend_item(out, x, growths[i].class, growths[i].text);
	}
	fputs("</g>\n", out);
}

static void put_head(const struct svg *s)
{
	const struct flame *f = s->f;
	unsigned height = HEAD + (s->depth + 1) * ROW + PAD;
	FILE *out = s->out;

	fprintf(out,
	        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
	        "viewBox=\"0 0 %u %u\" data-top=\"%u\" data-unit=\"%s\" "
	        "font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" "
	        "font-size=\"12\">\n<title>",
	        WIDTH, height, WIDTH, height, HEAD, f->unit);
	put_title(out, f);
	fprintf(out, " – %s</title>\n<style>\n%s</style>\n", f->view, svg_style);
}

static void put_top(const struct svg *s)
{
	FILE *out = s->out;

	fprintf(out,
	        "<g id=\"head\"><rect class=\"h full\" width=\"%u\" height=\"%u\"/>"
	        "<line class=\"e full\" x1=\"0\" x2=\"%u\" y1=\"%u.5\" y2=\"%u.5\"/>\n"
	        "<text class=\"t\" x=\"%u\" y=\"28\">",
	        WIDTH, HEAD - 4, WIDTH, HEAD - 5, HEAD - 5, PAD);
	put_title(out, s->f);
	fprintf(out, "</text>\n<text class=\"s\" x=\"%u\" y=\"48\">", PAD);
	put_subtitle(out, s->f);
	fputs("</text>\n", out);
	put_legend(out, s);
	fprintf(out, "<text class=\"d\" id=\"d\" x=\"%u\" y=\"90\"></text></g>\n", PAD);
}

/* --- the frames ------------------------------------------------------------------------------ */

static void put_label(FILE *out, const char *name, double x, double y, double width)
{
	size_t room = width > 3 * CHAR_WIDTH ? (size_t)((width - 6) / CHAR_WIDTH) : 0;
	size_t len = strlen(name);

	if (room < 2)
		return;
	fprintf(out, "<text x=\"%.2f\" y=\"%.0f\">", x + 3, y + 13);
	if (utf8_width(name) > room) {
		put_xml(out, name, utf8_cut(name, room - 1));
		fputs("…", out);
	} else {
		put_xml(out, name, len);
	}
	fputs("</text>", out);
}

/* Neighbours of one kind are told apart by three shades, always the same for a name. */
static const char *shade(const struct flame *f, uint32_t node)
{
	static const char *const shades[] = {"", " a", " b"};
	const char *name = flame_text(f, node);

	return shades[hash_bytes(name, strlen(name), 1) % ARRAY_LEN(shades)];
}

static void put_frame(const struct svg *s, uint32_t node)
{
	static const char *const classes[] = {
#define X(NAME, cls, legend) cls,
	        FLAME_KINDS(X)
#undef X
	};
	const struct flame *f = s->f;
	const struct flame_node *n = &f->nodes.v[node];
	double whole = (double)f->nodes.v[0].total, room = WIDTH - 2 * PAD;
	double x = PAD + (whole > 0 ? room * (double)s->start[node] / whole : 0);
	double width = whole > 0 ? room * (double)n->total / whole : room;
	unsigned kind = node ? f->frames.v[n->frame].kind : FLAME_PROC;
	const char *name = node ? flame_text(f, node) : "all";

	if (f->o->base)
		fprintf(s->out, "<g class=\"%s\" data-b=\"%" PRIu64 "\"",
		        kind == FLAME_REST ? "x" : growth_class(n), n->base_total);
	else
		fprintf(s->out, "<g class=\"%s%s\"", classes[kind],
		        node && kind != FLAME_REST ? shade(f, node) : "");
	fprintf(s->out, " data-v=\"%u %" PRIu64 " %" PRIu64 " %" PRIu64 "\"", n->depth,
	        s->start[node], n->total, n->self);
	if (node && flame_module(f, node)[0]) {
		fputs(" data-m=\"", s->out);
		put_text(s->out, flame_module(f, node));
		fputc('"', s->out);
	}
	fputs("><title>", s->out);
	put_text(s->out, name);
	fprintf(s->out,
	        "</title><rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%u\" rx=\"1.5\"/>", x,
	        HEAD + n->depth * ROW, width, ROW - 1);
	put_label(s->out, name, x, HEAD + n->depth * ROW, width);
	fputs("</g>\n", s->out);
}

static void put_frames(struct svg *s)
{
	const struct flame *f = s->f;
	uint32_t at = 0;

	fputs("<g id=\"f\">\n", s->out);
	do {
		put_frame(s, at);
		at = flame_next(f, at);
	} while (at);
	fputs("</g>\n", s->out);
}

/* Where each frame begins, and what there is to draw. Parents come before their children. */
static int arrange(struct svg *s)
{
	const struct flame *f = s->f;
	uint32_t at = 0;

	s->start = calloc(f->nodes.n, sizeof(*s->start));
	s->cursor = calloc(f->nodes.n, sizeof(*s->cursor));
	if (!s->start || !s->cursor)
		return -ENOMEM;
	while ((at = flame_next(f, at))) {
		const struct flame_node *n = &f->nodes.v[at];

		s->start[at] = s->cursor[at] = s->cursor[n->parent];
		s->cursor[n->parent] = sat_add(s->cursor[n->parent], n->total);
		s->seen[f->frames.v[n->frame].kind] = true;
		s->depth = n->depth > s->depth ? n->depth : s->depth;
	}
	return 0;
}

/* Least weight that is drawn: as asked for, or half a pixel, but not too many frames. */
static uint64_t least(const struct flame *f)
{
	double ratio = f->o->min_ratio > 0 ? f->o->min_ratio : DEFAULT_RATIO;
	double total = (double)f->nodes.v[0].total, min;
	size_t n;

	do {
		min = ceil(ratio * total);
		n = 0;
		for (size_t i = 0; i < f->nodes.n; i++)
			n += (double)f->nodes.v[i].total >= min;
		ratio *= 1.5;
	} while (n > MAX_FRAMES && ratio < 1);
	return min < 1 ? 1 : min < 1e19 ? (uint64_t)min : UINT64_MAX;
}

static int draw(struct svg *s, struct err *err)
{
	int code = flame_prune(s->f, least(s->f));

	code = code ? code : flame_sort(s->f, FLAME_BY_WEIGHT);
	code = code ? code : arrange(s);
	if (code)
		return err_set(err, code, MT_EXIT_FAIL, "cannot export: %s", strerror(-code));
	put_head(s);
	put_frames(s);
	put_top(s);
	fprintf(s->out, "<script><![CDATA[\n%s]]></script>\n</svg>\n", svg_script);
	return stream_end(s->out, "the export", err);
}

int export_svg(const struct report *r, const struct export_opts *o, FILE *out, struct err *err)
{
	struct flame f;
	struct svg s = {.f = &f, .out = out};
	int code = flame_build(&f, r, o, false, err);

	code = code ? code : draw(&s, err);
	free(s.start);
	free(s.cursor);
	flame_release(&f);
	return code;
}
