/* SPDX-License-Identifier: MIT */
/*
 * names_priv.h: what tasks, groups of like tasks and call stacks are called, for all
 * renderers and exporters.
 */
#ifndef MT_REPORT_NAMES_PRIV_H
#define MT_REPORT_NAMES_PRIV_H

#include "report.h"

/* Does `want` (--task) mean this task: its tid, its name, or a pattern ("worker-*") that its name
 * matches. NULL wants all. */
bool task_wanted(const struct task *t, const char *want);
/* The task's name made safe, "task 4711" when it is unknown or empty. Returns out. */
char *task_name(char *out, size_t n, const struct task *t);

/* --- call stacks as one string -------------------------------------------------------- */

#define STACK_MAX_FRAMES MODEL_FRAMES_MAX /* innermost ones kept; beyond is "[truncated]" */
#define FRAME_MAX_BYTES  512

/* Each stack is named once, equal names share an id. */
struct stack_names {
	const struct model *m;
	struct strtab *tab; /* '\n' between frames, names as they are (made safe) */
	struct hmap by_stack;
	size_t bytes;
	int err; /* -ENOMEM, or -E2BIG when the names of a hostile file would fill memory */
};

int stack_names_init(struct stack_names *s, const struct model *m);
void stack_names_release(struct stack_names *s);
/* Id of the stack's frames, outermost first; 0 = no such stack (or s->err). */
uint32_t stack_name(struct stack_names *s, uint32_t stack);
const char *stack_text(const struct stack_names *s, uint32_t id); /* "" for 0 */
/* What stands in place of the frames that are missing at its outer end: "[truncated]" when it was
 * deeper than is kept, else why it was cut; NULL: none are missing. n: frames it shows. */
const char *stack_cut(const struct mstack *s, size_t n);
/* A frame's name, or "[module+0xoff]"; as the file has it, not made safe. Returns out. */
char *frame_text(char *out, size_t n, const struct frame *f);
/* One name fit for a folded line: safe, without ';' and spaces. Returns out. */
char *folded_name(char *out, size_t n, const char *name);

/* --- a place in one line ------------------------------------------------------------------ */

/* "resize.py:31 scale ← :44 run": the innermost frame that is the program's own (not the waiting
 * code of libraries; a Python line when there is one) and its caller; for a function that comes
 * with Python, the program's own one that it is called for. ustack, then kstack; false and "" = no
 * stack says so. At most n bytes, made safe. */
bool where_text(char *out, size_t n, const struct model *m, uint32_t ustack, uint32_t kstack);
/* Is the function one that all waits of a kind pass through: futex_wait, pthread_mutex_lock …? */
bool frame_is_wait_code(const char *frame);
/* Is it code of a language's runtime: what the program's author did not write and cannot change? */
bool frame_is_runtime(const struct frame *f);
/* Is it a Python function of the program's own, or of a package that it installed; not one that
 * comes with Python? */
bool frame_is_own_python(const struct frame *f);
/* The task's name made safe; "unknown" for 0 and tasks that are not known. Returns out. */
char *task_label(char *out, size_t n, const struct model *m, uint32_t task);

/* What Python's threads are for: the functions that they were made to run. */
struct jobs {
	struct hmap by_task;
	struct strtab *names;
};
int jobs_init(struct jobs *j, const struct model *m);
void jobs_release(struct jobs *j);
const char *job_of(const struct jobs *j, uint32_t task); /* NULL: not known, or no such thread */

/* A lock's name without what its place in a list says already: "in result (_base.py:451)" of
 * "waited for in …". Not made safe. */
const char *lock_short_name(const struct lock *l);

/* --- groups of things that look alike ----------------------------------------------------- */

/* Things with names that differ in numbers only ("worker-0", "worker-1") and the same role form a
 * group, but only when there are more things than `max`; roles: first `fine`, and when that
 * leaves more than `max` groups, `coarse`. */
struct group_item {
	const char *name;
	uint64_t fine, coarse;
	uint64_t weight; /* what rows are sorted by, largest first */
	size_t index;    /* the caller's */
	uint32_t tid;    /* told when two single ones have the same name; 0 = none */
};
struct group {
	size_t first, n; /* items[first … first+n), heaviest first */
	uint64_t weight; /* sum, or the largest */
};
enum group_level { GROUP_SINGLE, GROUP_FINE, GROUP_COARSE };
struct groups {
	VEC(struct group) list;
	enum group_level level;
};
/* Reorders the items; groups by weight. 0 or -ENOMEM. */
int groups_make(struct groups *g, struct group_item *items, size_t n, size_t max, bool by_sum);
void groups_release(struct groups *g);
/* "worker-0 … -3"; the name itself when all have the same. Returns out. */
char *group_label(char *out, size_t n, const struct group_item *items, const struct group *g);
/* "worker-2 27 %, worker-0 26 %, +2": the first `max` groups. Shares of `whole`, when it is not 0
 * and there are several. 0 or -ENOMEM. */
int groups_put(struct buf *b, const struct group_item *items, const struct groups *g, size_t max,
               uint64_t whole);

#endif
