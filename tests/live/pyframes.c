/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model.h"
#include "pyframes.h"

struct model *pyframes_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct err err = {0};
	struct trace_reader *r = trace_reader_new(trace_source_fd(&fd), &err);
	struct model *m = r ? model_load(r, NULL, &err) : NULL;

	trace_reader_free(r);
	if (fd >= 0)
		close(fd);
	return m;
}

void pyframes_free(struct model *m)
{
	model_free(m);
}

size_t pyframes_text(const struct model *m, uint32_t stack, char *out)
{
	static struct frame f[MODEL_FRAMES_MAX];
	size_t n = model_frames(m, stack, f, MODEL_FRAMES_MAX), len = 0, found = 0;

	out[0] = 0;
	for (size_t i = 0; i < n && len < PYTEXT_MAX - 1000; i++)
		if (f[i].kind == FRAME_PYTHON)
			len += (size_t)snprintf(out + len, PYTEXT_MAX - len, "%s%.300s@%.300s:%u",
			                        found++ ? " < " : "", f[i].name ? f[i].name : "?",
			                        f[i].src ? f[i].src : "?", f[i].line);
	return found;
}

uint32_t pyframes_longest(const struct model *m, uint32_t tid)
{
	const struct stack_row *rows, *best = NULL;
	size_t n = model_off_cpu(m, &rows);

	for (size_t i = 0; i < n; i++) {
		const struct task *t = model_task(m, rows[i].task);

		if (t && t->tid == tid && (!best || rows[i].blocked_ns > best->blocked_ns))
			best = &rows[i];
	}
	return best ? best->ustack : 0;
}

uint32_t pyframes_next(const struct model *m, size_t *pos)
{
	const struct stack_row *rows;
	size_t n = model_off_cpu(m, &rows);

	while (*pos < n)
		if (rows[(*pos)++].ustack)
			return rows[*pos - 1].ustack;
	return 0;
}

uint32_t pyframes_find(const struct model *m, const char *start)
{
	static char text[PYTEXT_MAX];
	size_t pos = 0;
	uint32_t stack;

	while ((stack = pyframes_next(m, &pos)))
		if (pyframes_text(m, stack, text) && !strncmp(text, start, strlen(start)))
			return stack;
	return 0;
}

bool pyframes_cut(const struct model *m, uint32_t stack)
{
	const struct mstack *s = model_stack(m, stack);

	return s && s->flags & STACK_F_PY_PART;
}
