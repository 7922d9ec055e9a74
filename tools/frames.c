/* SPDX-License-Identifier: MIT */
/* frames: prints every off-CPU stack of a trace as model_frames() gives it, with its task. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "model.h"

int main(int argc, char **argv)
{
	static struct frame f[MODEL_FRAMES_MAX];
	static const char kinds[] = "knip";
	const struct stack_row *rows;
	struct err err = {0};
	int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	struct trace_reader *r = trace_reader_new(trace_source_fd(&fd), &err);
	struct model *m = r ? model_load(r, NULL, &err) : NULL;

	if (!m) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	for (size_t i = 0, n = model_off_cpu(m, &rows); i < n; i++) {
		const struct task *t = model_task(m, rows[i].task);
		const struct mstack *s = model_stack(m, rows[i].ustack);

		printf("\n%s tid %u: %.3f ms, %llu waits; %u native, %u Python, flags %x\n",
		       t ? t->comm : "?", t ? t->tid : 0, (double)rows[i].blocked_ns / 1e6,
		       (unsigned long long)rows[i].count, s ? s->n : 0, s ? s->n_py : 0,
		       s ? s->flags : 0);
		for (size_t j = 0, k = model_frames(m, rows[i].ustack, f, MODEL_FRAMES_MAX); j < k;
		     j++) {
			if (f[j].name)
				printf("  %c %s", kinds[f[j].kind & 3], f[j].name);
			else
				printf("  %c [%s+0x%llx]", kinds[f[j].kind & 3], f[j].module,
				       (unsigned long long)f[j].offset);
			if (f[j].src)
				printf("  %s:%u", f[j].src, f[j].line);
			printf("\n");
		}
	}
	model_free(m);
	trace_reader_free(r);
	return 0;
}
