/* SPDX-License-Identifier: MIT */
/* Where something happened, in one line: the frames that a reader knows as his own. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/names_priv.h"
#include "report/spots_priv.h"

#define NAMED_FRAMES  2
#define FRAME_COLUMNS 60 /* bytes of one frame's name that are told */

bool frame_is_wait_code(const char *frame)
{
	static const char *const begins[] = {"futex",         "syscall",
	                                     "pthread_",      "lll_",
	                                     "sem_",          "new_sem",
	                                     "do_futex_wait", "PyThread_acquire_lock",
	                                     "take_gil",      "PyEval_RestoreThread",
	                                     "acquire_timed", "lock_PyThread_acquire",
	                                     "std::",         "parking_lot",
	                                     "PyMutex_Lock",  "PyParkingLot"};
	const char *name = frame;

	/* The library's own names for its functions. */
	name += strspn(name, "_");
	name += strncmp(name, "GI_", 3) ? 0 : 3;
	name += strspn(name, "_");
	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		if (!strncmp(name, begins[i], strlen(begins[i])))
			return true;
	}
	return frame_is_dull(frame, strlen(frame));
}

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* Code of a language's runtime: what the program's author did not write and cannot change. */
bool frame_is_runtime(const struct frame *f)
{
	static const char *const modules[] = {"libpython", "python",  "pypy",    "libpypy",
	                                      "ld-linux",  "ld-musl", "ld.so",   "libjvm",
	                                      "node",      "libnode", "libruby", "ruby",
	                                      "libperl",   "perl",    "libmono"};
	static const char *const functions[] = {"_start",  "__libc_start", "start_thread", "clone",
	                                        "__clone", "runtime.",     "std::rt::"};

	const char *module = path_base(f->module);

	if (f->kind == FRAME_PYTHON || f->kind == FRAME_KERNEL)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(modules); i++) {
		if (begins(module, modules[i]))
			return true;
	}
	for (size_t i = 0; f->name && i < ARRAY_LEN(functions); i++) {
		if (begins(f->name, functions[i]))
			return true;
	}
	return false;
}

/* Python's own waiting: its caller is meant. */
static bool is_python_wait(const struct frame *f)
{
	const char *file = path_base(f->src);

	return !strcmp(file, "threading.py") || !strncmp(file, "<frozen ", 8);
}

static bool tells(const struct frame *f, bool python, bool std)
{
	if (f->kind == FRAME_PYTHON)
		return !is_python_wait(f);
	if (python || f->kind == FRAME_KERNEL || !f->name || !f->name[0])
		return false;
	if (frame_is_wait_code(f->name) || model_is_plumbing(f->module))
		return false;
	return std || !model_is_std(f);
}

bool frame_is_own_python(const struct frame *f)
{
	const char *src = f->src ? f->src : "", *lib = strstr(src, "/lib/python3");

	if (f->kind != FRAME_PYTHON || !src[0] || src[0] == '<')
		return false;
	return !lib || strstr(lib, "-packages/");
}

/* The first one with its file, the next of the same file with its line only. */
static void put_frame(char *out, size_t n, const struct frame *f, const struct frame *before)
{
	char raw[FRAME_MAX_BYTES], safe[FRAME_MAX_BYTES], cut[FRAME_COLUMNS + 1];
	size_t used = strlen(out);

	if (before && before->kind == FRAME_PYTHON && f->kind == FRAME_PYTHON && before->src &&
	    f->src && !strcmp(before->src, f->src) && f->line)
		snprintf(raw, sizeof(raw), ":%" PRIu32 " %s", f->line, f->name);
	else
		frame_text(raw, sizeof(raw), f);
	/* Which of several functions of a name it is, a place need not say. */
	if (f->kind != FRAME_PYTHON && f->name && name_without_parameters(f->name) < sizeof(raw))
		raw[name_without_parameters(f->name)] = '\0';
	/* fmt_safe() cuts between characters. */
	fmt_safe(safe, sizeof(safe), raw);
	fmt_safe(cut, sizeof(cut), safe);
	snprintf(out + used, n - used, "%s%s%s", before ? " ← " : "", cut,
	         strlen(safe) > strlen(cut) ? "…" : "");
}

/* A function that calls itself: who began with that says more. */
static bool is_same_function(const struct frame *f, const struct frame *before)
{
	return before && before->name && !strcmp(f->name, before->name) &&
	       (f->kind == FRAME_PYTHON) == (before->kind == FRAME_PYTHON) &&
	       !strcmp(f->module, before->module);
}

/* std: those of a language's standard library, too. */
static bool put_frames(char *out, size_t n, const struct frame *f, size_t count, bool std)
{
	const struct frame *before = NULL, *own = NULL;
	unsigned told = 0;
	bool python = false;

	for (size_t i = 0; i < count; i++) {
		python |= f[i].kind == FRAME_PYTHON && f[i].name && !is_python_wait(&f[i]);
		if (!own && f[i].name && frame_is_own_python(&f[i]))
			own = &f[i];
	}
	for (size_t i = 0; i < count && told < NAMED_FRAMES; i++) {
		if (!tells(&f[i], python, std) || !f[i].name || is_same_function(&f[i], before))
			continue;
		/* From a library's function to the program's that called for it. */
		if (told && own > &f[i])
			continue;
		put_frame(out, n, &f[i], before);
		before = &f[i];
		told++;
	}
	return told > 0;
}

/* Nothing of the program's own has a name: its innermost address, for a debugger. */
static bool put_unnamed(char *out, size_t n, const struct frame *f, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *module = path_base(f[i].module);

		if (f[i].name || f[i].kind != FRAME_NATIVE || !module[0] ||
		    model_is_plumbing(module) || frame_is_runtime(&f[i]))
			continue;
		put_frame(out, n, &f[i], NULL);
		return true;
	}
	return false;
}

/* What the kernel was asked for: the outermost frame that says something. */
static bool put_kernel(char *out, size_t n, const struct frame *f, size_t count)
{
	while (count-- > 0) {
		if (!f[count].name || frame_is_dull(f[count].name, strlen(f[count].name)))
			continue;
		put_frame(out, n, &f[count], NULL);
		return true;
	}
	return false;
}

/* A forked worker of multiprocessing's has its parent's frames below its own first one. */
static size_t without_parents(const struct frame *f, size_t count)
{
	static const char file[] = "/multiprocessing/process.py", name[] = "_bootstrap";

	for (size_t i = 1; i < count; i++) {
		size_t k = f[i].src ? strlen(f[i].src) : 0, l = f[i].name ? strlen(f[i].name) : 0;

		if (f[i].kind == FRAME_PYTHON && k >= strlen(file) && l >= strlen(name) &&
		    !strcmp(f[i].src + k - strlen(file), file) &&
		    !strcmp(f[i].name + l - strlen(name), name))
			return i;
	}
	return count;
}

bool where_text(char *out, size_t n, const struct model *m, uint32_t ustack, uint32_t kstack)
{
	struct frame *f = malloc(STACK_MAX_FRAMES * sizeof(*f));
	bool told = false;

	out[0] = '\0';
	if (f && ustack) {
		size_t count = without_parents(f, model_frames(m, ustack, f, STACK_MAX_FRAMES));

		told = put_frames(out, n, f, count, false) || put_frames(out, n, f, count, true) ||
		       put_unnamed(out, n, f, count);
	}
	if (f && !told && kstack)
		told = put_kernel(out, n, f, model_frames(m, kstack, f, STACK_MAX_FRAMES));
	free(f);
	return told;
}

char *task_label(char *out, size_t n, const struct model *m, uint32_t task)
{
	const struct task *t = task ? model_task(m, task) : NULL;

	if (!t) {
		snprintf(out, n, "unknown");
		return out;
	}
	return task_name(out, n, t);
}

const char *lock_short_name(const struct lock *l)
{
	static const char before[] = "waited for ";
	size_t n = strlen(before);

	return !strncmp(l->name, before, n) && l->name[n] ? l->name + n : l->name;
}
