/* SPDX-License-Identifier: MIT */
/*
 * json_priv.h: the report as data. The document is written element by element (one task, one
 * process, one lock to a line), so that its size does not matter; each element is a jansson
 * value. Values in helpers named j_… are new references, NULL = no memory, which j_set() and
 * j_add() notice, so that builders need no checks of their own.
 */
#ifndef MT_REPORT_JSON_PRIV_H
#define MT_REPORT_JSON_PRIV_H

#include <jansson.h>

#include "report.h"
#include "report/names_priv.h"

struct jout {
	const struct report *r;
	const struct model *m;
	FILE *out;
	int err;      /* -ENOMEM; errors of the stream are seen at its end */
	bool open;    /* an element came before in this array */
	bool members; /* a member came before in the document */
	struct stack_names names;
	struct jobs jobs;
};

json_t *j_u64(uint64_t v);               /* JSON integers are signed: at most INT64_MAX */
json_t *j_known(bool known, uint64_t v); /* null when not known */
json_t *j_status(int status);            /* null when negative */
json_t *j_text(const char *s);           /* any bytes; NULL is null */
json_t *j_text_n(const void *s, size_t n);
json_t *j_time(const struct jout *j, uint64_t abs_ns); /* since the start of the recording */
void j_set(struct jout *j, json_t *o, const char *key, json_t *v);
void j_add(struct jout *j, json_t *array, json_t *v);
json_t *j_array_or_null(size_t n); /* for n elements; null when there are none */
/* Frames of a stack as an array, outermost first; null = not known. */
json_t *j_frames(struct jout *j, uint32_t text, const struct stack_names *names);

/* A member of the document; takes v. */
void j_member(struct jout *j, const char *key, json_t *v);
void j_array(struct jout *j, const char *key); /* begins a member that is an array … */
void j_element(struct jout *j, json_t *v);     /* … of these; takes v … */
void j_array_end(struct jout *j);

json_t *json_task(struct jout *j, const struct task *t);
json_t *json_pickling(struct jout *j);          /* null without samples of Python */
json_t *json_memory(struct jout *j);            /* of all processes together */
json_t *json_process(struct jout *j, size_t i); /* index */
json_t *json_futex(struct jout *j, const struct report_lock *l);
json_t *json_quality(struct jout *j);
json_t *json_off_cpu(struct jout *j);

/* json_causes.c. {tid, start_ns, comm} of a task, as every list that names tasks has it. */
void j_set_task(struct jout *j, json_t *o, uint32_t task);
json_t *j_stack(struct jout *j, uint32_t ustack, uint32_t kstack);
json_t *json_lock(struct jout *j, const struct lock *l);
json_t *json_shares(struct jout *j, bool processes);
json_t *json_serialization(struct jout *j);
/* The members channels, critical_path, deadlocks, what_if, gil, watch. */
void json_causes(struct jout *j);

#endif
