/* SPDX-License-Identifier: MIT */
/*
 * What Python's threads are for. Before 3.14 the kernel knows them all by the name of their
 * process, and in a table they are rows of one name. What tells them apart is the function that the
 * library was asked to run in them: the outermost one of their stacks that is not the library's
 * own.
 */
#include <errno.h>
#include <string.h>

#include "report/names_priv.h"

#define LOOKED_AT 4 /* stacks of a task */
#define FRAMES    255

static bool is_threading(const struct frame *f)
{
	return f->src && !strcmp(path_base(f->src), "threading.py");
}

/* "Pool._handle_tasks" is that task's; "Reader.run" is run() of the program's own kind of thread.
 */
static void job_text(const char *function, char *out, size_t n)
{
	const char *dot = strrchr(function, '.');

	if (dot && !strcmp(dot, ".run"))
		snprintf(out, n, "%.*s", (int)(dot - function), function);
	else
		snprintf(out, n, "%s", dot ? dot + 1 : function);
}

/* out: "" when the stack does not say. */
static void job_of_stack(const struct model *m, uint32_t ustack, char *out, size_t n)
{
	struct frame frames[FRAMES];
	size_t count = model_frames(m, ustack, frames, FRAMES);
	bool begun = false;

	out[0] = '\0';
	for (size_t i = count; i-- > 0;) {
		const struct frame *f = &frames[i];

		if (f->kind != FRAME_PYTHON || !f->name)
			continue;
		if (is_threading(f)) {
			begun = true;
			continue;
		}
		if (begun)
			job_text(f->name, out, n);
		return;
	}
}

/* An entry: the id of the name << 8, and how many stacks were looked at. */
static int look_at(struct jobs *j, const struct model *m, const struct stack_row *row)
{
	const struct task *t = model_task(m, row->task);
	const struct mstack *s = row->ustack ? model_stack(m, row->ustack) : NULL;
	char job[128];
	uint64_t *at;

	if (!t || t->tid == t->tgid || !s || !s->n_py)
		return 0;
	at = hmap_put(&j->by_task, row->task, 0, NULL);
	if (!at)
		return -ENOMEM;
	if (*at >> 8 || *at >= LOOKED_AT)
		return 0;
	++*at;
	job_of_stack(m, row->ustack, job, sizeof(job));
	if (job[0]) {
		uint32_t id = strtab_add(j->names, job, strlen(job), NULL);

		if (!id)
			return -ENOMEM;
		*at |= (uint64_t)id << 8;
	}
	return 0;
}

int jobs_init(struct jobs *j, const struct model *m)
{
	const struct stack_row *rows;
	int err = 0;

	*j = (struct jobs){.names = strtab_new()};
	if (!j->names)
		return -ENOMEM;
	for (unsigned k = 0; k < 2; k++) {
		size_t n = k ? model_on_cpu(m, &rows) : model_off_cpu(m, &rows);

		for (size_t i = 0; i < n && !err; i++)
			err = look_at(j, m, &rows[i]);
	}
	return err;
}

const char *job_of(const struct jobs *j, uint32_t task)
{
	const uint64_t *at = hmap_get(&j->by_task, task, 0);

	return at && *at >> 8 ? strtab_get(j->names, (uint32_t)(*at >> 8)) : NULL;
}

void jobs_release(struct jobs *j)
{
	strtab_free(j->names);
	hmap_release(&j->by_task);
	*j = (struct jobs){0};
}
