/* SPDX-License-Identifier: MIT */
/* trace_dump: every record of a trace file as a line of text, for people who work on mpvtrace. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "trace.h"

#define T_U 'U'
#define T_D 'U'
#define T_B 'B'
#define T_A 'A'

struct field {
	const char *name;
	char type;
	size_t off;
};

/* clang-format off */
#define KIND(NAME, lower) \
	static const struct field fields_##lower[] = { REC_##NAME(F) { NULL, 0, 0 } };
#define F(name, type) { #name, T_##type, offsetof(struct CUR, name) },
#define CUR rec_string
KIND(STRING, string)
#undef CUR
#define CUR rec_meta
KIND(META, meta)
#undef CUR
#define CUR rec_task
KIND(TASK, task)
#undef CUR
#define CUR rec_space
KIND(SPACE, space)
#undef CUR
#define CUR rec_site
KIND(SITE, site)
#undef CUR
#define CUR rec_stack
KIND(STACK, stack)
#undef CUR
#define CUR rec_map
KIND(MAP, map)
#undef CUR
#define CUR rec_symbol
KIND(SYMBOL, symbol)
#undef CUR
#define CUR rec_switch
KIND(SWITCH, switch)
#undef CUR
#define CUR rec_waking
KIND(WAKING, waking)
#undef CUR
#define CUR rec_sample
KIND(SAMPLE, sample)
#undef CUR
#define CUR rec_base
KIND(BASE, base)
#undef CUR
#define CUR rec_end
KIND(END, end)
#undef CUR
#define CUR rec_exit
KIND(EXIT, exit)
#undef CUR
#define CUR rec_exec
KIND(EXEC, exec)
#undef CUR
#define CUR rec_rename
KIND(RENAME, rename)
#undef CUR
#define CUR rec_rss
KIND(RSS, rss)
#undef CUR
#define CUR rec_footprint
KIND(FOOTPRINT, footprint)
#undef CUR
#define CUR rec_waitv
KIND(WAITV, waitv)
#undef CUR
#define CUR rec_loss
KIND(LOSS, loss)
#undef CUR
#define CUR rec_note
KIND(NOTE, note)
#undef CUR
#define CUR rec_cost
KIND(COST, cost)
#undef CUR
#define CUR rec_mark
KIND(MARK, mark)
#undef CUR
#define CUR rec_pycode
KIND(PYCODE, pycode)
#undef CUR
#define CUR rec_gil
KIND(GIL, gil)
#undef CUR
#define CUR rec_futex_key
KIND(FUTEX_KEY, futex_key)
#undef CUR
#define CUR rec_file
KIND(FILE, file)
#undef CUR
#define CUR rec_object
KIND(OBJECT, object)
#undef CUR
#define CUR rec_pythread
KIND(PYTHREAD, pythread)
#undef CUR
#define CUR rec_holds
KIND(HOLDS, holds)
#undef CUR
#define CUR rec_touch
KIND(TOUCH, touch)
#undef CUR
#define CUR rec_traffic
KIND(TRAFFIC, traffic)
#undef CUR
static const struct field *const fields[REC_K_MAX] = {
	[REC_K_STRING] = fields_string, [REC_K_META] = fields_meta, [REC_K_TASK] = fields_task,
	[REC_K_SPACE] = fields_space, [REC_K_SITE] = fields_site, [REC_K_STACK] = fields_stack,
	[REC_K_MAP] = fields_map, [REC_K_SYMBOL] = fields_symbol, [REC_K_SWITCH] = fields_switch,
	[REC_K_WAKING] = fields_waking, [REC_K_SAMPLE] = fields_sample, [REC_K_BASE] = fields_base,
	[REC_K_END] = fields_end, [REC_K_EXIT] = fields_exit, [REC_K_EXEC] = fields_exec,
	[REC_K_RENAME] = fields_rename, [REC_K_RSS] = fields_rss, [REC_K_FOOTPRINT] = fields_footprint,
	[REC_K_WAITV] = fields_waitv, [REC_K_LOSS] = fields_loss, [REC_K_NOTE] = fields_note,
	[REC_K_COST] = fields_cost, [REC_K_MARK] = fields_mark,
	[REC_K_PYCODE] = fields_pycode, [REC_K_GIL] = fields_gil, [REC_K_FUTEX_KEY] = fields_futex_key,
	[REC_K_FILE] = fields_file, [REC_K_OBJECT] = fields_object, [REC_K_PYTHREAD] = fields_pythread,
	[REC_K_TOUCH] = fields_touch, [REC_K_TRAFFIC] = fields_traffic,
	[REC_K_HOLDS] = fields_holds,
};
/* clang-format on */

static void print_bytes(const struct rec_bytes *b)
{
	putchar('"');
	for (uint64_t i = 0; i < b->n; i++)
		if (b->p[i] >= 32 && b->p[i] < 127)
			putchar(b->p[i]);
		else
			printf("\\x%02x", b->p[i]);
	putchar('"');
}

static void print_field(const struct field *f, const uint8_t *rec)
{
	const void *p = rec + f->off;
	const struct rec_array *a = p;
	uint64_t u;

	if (f->type == 'U') {
		memcpy(&u, p, sizeof(u));
		if (!u)
			return;
		printf(u > 0xffffffff ? " %s=%#" PRIx64 : " %s=%" PRIu64, f->name, u);
		return;
	}
	printf(" %s=", f->name);
	if (f->type == 'B') {
		print_bytes(p);
		return;
	}
	for (uint64_t i = 0; i < a->n; i++)
		printf("%s%#" PRIx64, i ? "," : "[", a->v[i]);
	putchar(']');
}

int main(int argc, char **argv)
{
	struct trace_reader *r;
	struct trace_record rec;
	struct err err = {0};
	int fd, rc;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FILE\n", argv[0]);
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	r = trace_reader_new(trace_source_fd(&fd), &err);
	if (!r) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	while ((rc = trace_read(r, &rec)) > 0) {
		printf("%" PRIu64 " %s", rec.ts, rec_kind_name(rec.kind));
		for (const struct field *f = fields[rec.kind]; f && f->name; f++)
			print_field(f, rec.rec);
		putchar('\n');
	}
	trace_reader_free(r);
	close(fd);
	return rc ? 1 : 0;
}
