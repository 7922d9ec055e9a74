/* SPDX-License-Identifier: MIT */
/* Tasks and places in words. */
#include <inttypes.h>
#include <string.h>

#include "capacity_priv.h"

const char *who(const struct model *m, uint32_t task, char *out, size_t n)
{
	const struct task *t = model_task(m, task);
	char safe[64];

	if (!t) {
		snprintf(out, n, "an unknown task");
		return out;
	}
	fmt_safe(safe, sizeof(safe), t->comm && *t->comm ? t->comm : "?");
	for (size_t i = 0; i < model_n_tasks(m); i++) {
		const struct task *o = model_task_at(m, i);

		if (o == t || !o->comm || !t->comm || strcmp(o->comm, t->comm))
			continue;
		snprintf(out, n, "%s (%" PRIu32 ")", safe, t->tid);
		return out;
	}
	snprintf(out, n, "%s", safe);
	return out;
}

static bool is_plumbing(const struct frame *f)
{
	return f->kind != FRAME_PYTHON && (model_is_plumbing(f->module) || model_is_std(f));
}

static void frame_text(const struct frame *f, char *out, size_t n)
{
	char raw[200], name[200], src[128];
	size_t len;

	if (!f->name) {
		snprintf(out, n, "%s+0x%" PRIx64,
		         fmt_safe(name, sizeof(name), path_base(f->module)), f->offset);
		return;
	}
	len = f->kind == FRAME_PYTHON ? strlen(f->name) : name_without_parameters(f->name);
	snprintf(raw, sizeof(raw), "%.*s", (int)len, f->name);
	fmt_safe(name, sizeof(name), raw);
	if (f->src && f->line)
		snprintf(out, n, "%s (%s:%" PRIu32 ")", name,
		         fmt_safe(src, sizeof(src), path_label(f->src)), f->line);
	else
		snprintf(out, n, "%s", name);
}

/* The interpreter's own code for imports, which it has built in. */
static bool is_import(const struct frame *f)
{
	return f->src && !strncmp(f->src, "<frozen importlib", 17);
}

const char *place(const struct model *m, uint32_t ustack, char *out, size_t n)
{
	enum { FRAMES = 128 };
	struct frame frames[FRAMES];
	size_t count = ustack ? model_frames(m, ustack, frames, FRAMES) : 0;
	const struct frame *best = NULL, *import = NULL;

	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const struct frame *f = &frames[i];

		if (!f->name || f->kind == FRAME_KERNEL)
			continue;
		/* In Python code, the Python function says it, of an import the one that imports;
		 * else the innermost own one. */
		if (f->kind == FRAME_PYTHON && is_import(f)) {
			import = import ? import : f;
			continue;
		}
		if (f->kind == FRAME_PYTHON) {
			best = f;
			import = NULL;
			break;
		}
		if (!import && (!best || (is_plumbing(best) && !is_plumbing(f))))
			best = f;
	}
	best = import ? import : best;
	/* Stripped: an address of its own says more than a function of the library's. */
	for (size_t i = 0; (!best || is_plumbing(best)) && i < count; i++)
		if (!frames[i].name && frames[i].kind == FRAME_NATIVE && *frames[i].module &&
		    !is_plumbing(&frames[i]))
			best = &frames[i];
	if (best)
		frame_text(best, out, n);
	return out;
}

/* "held of spinmod"; an unnamed function: "code of spinmod". */
static void call_text(const struct frame *f, char *out, size_t n)
{
	char name[160], module[64];

	fmt_safe(module, sizeof(module), path_base(f->module));
	module[strcspn(module, ".")] = '\0';
	snprintf(out, n, "%s of %s", f->name ? fmt_safe(name, sizeof(name), f->name) : "code",
	         module);
}

const char *called_module(const struct model *m, uint32_t ustack, char *out, size_t n)
{
	enum { FRAMES = 128 };
	struct frame frames[FRAMES];
	size_t count = ustack ? model_frames(m, ustack, frames, FRAMES) : 0, python = 0;

	out[0] = '\0';
	while (python < count && frames[python].kind != FRAME_PYTHON)
		python++;
	for (size_t i = python < count ? python : 0; i-- > 0;) {
		const struct frame *f = &frames[i];

		if (f->kind == FRAME_NATIVE && *f->module && !model_is_plumbing(f->module)) {
			call_text(f, out, n);
			break;
		}
	}
	return out;
}
