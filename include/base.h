/* SPDX-License-Identifier: MIT */
/*
 * base.h: what every other module may use: errors, log, growable memory,
 * hash map, string table, number formatting. Nothing here knows of traces.
 *
 * Conventions of the whole program
 *  - A function that can fail returns 0 or a negative errno and, when it takes
 *    a `struct err *`, leaves there a sentence for the user: what was wrong,
 *    where, what to do. The lowest level that knows the object's name sets it;
 *    callers may put context in front with err_wrap(). Only src/cli prints it.
 *  - `S_new`/`S_free` own heap objects, `S_init`/`S_release` embedded ones.
 *    Every `_free` and `_release` takes NULL or a zeroed object.
 *  - Memory: allocation failure is an error (-ENOMEM), never an abort.
 */
#ifndef MT_BASE_H
#define MT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Exit statuses of the program: one list for the code, the man page and --help.
 * append-only, never renumber. X(name, number, meaning) */
#define MT_EXITS(X)                                                                    \
	X(OK, 0, "success")                                                            \
	X(FAIL, 1, "failed for a reason that the message names (I/O, memory)")         \
	X(USAGE, 2, "bad option or argument")                                          \
	X(PRIVILEGE, 3, "not root, or a capability is missing")                        \
	X(UNSUPPORTED, 4, "this kernel cannot record: no BTF, too old, or locked down") \
	X(NO_PID, 5, "no such process, or it ended before recording began")            \
	X(TRACE_UNREADABLE, 6, "trace file missing or not readable")                   \
	X(TRACE_FOREIGN, 7, "not an mpvtrace trace file")                              \
	X(TRACE_NEWER, 8, "trace file written by a newer, incompatible version")       \
	X(TRACE_DAMAGED, 9, "trace file damaged (what is whole was still shown)")      \
	X(OUTPUT, 10, "an output file exists already or cannot be written")            \
	X(DISK_FULL, 11, "the disk filled up while recording; what is whole was kept") \
	X(NOT_EXECUTABLE, 126, "the command was found but cannot be executed")         \
	X(NOT_FOUND, 127, "the command was not found")

enum mt_exit {
#define X(name, number, meaning) MT_EXIT_##name = (number),
	MT_EXITS(X)
#undef X
};

/* --- errors ------------------------------------------------------------- */

/* A message for the user and the exit status that goes with it. Zeroed = none. */
struct err {
	int status;	/* enum mt_exit; MT_EXIT_FAIL when nothing else was said */
	char msg[512];
};

/* Sets the message (printf style) and the exit status; returns `code` so that
 * `return err_set(err, -EINVAL, MT_EXIT_USAGE, "…")` reads well. err may be NULL. */
int err_set(struct err *err, int code, int status, const char *fmt, ...) MT_PRINTF(4, 5);
/* Puts "context: " in front of a message that is already there. Returns code. */
int err_wrap(struct err *err, int code, const char *fmt, ...) MT_PRINTF(3, 4);

/* --- threads ---------------------------------------------------------------- */

/* Calls fn(ctx, i) once for each i < n and returns when all have returned: 0, or the error of the
 * smallest i that had one. On as many threads as there are CPUs for this one, its own among them:
 * in any order, several at once. Nothing that fn shares with another i may change meanwhile. */
int parallel(size_t n, int (*fn)(void *ctx, size_t i), void *ctx);

/* --- log: stderr only, never stdout -------------------------------------- */

enum log_level { LOG_QUIET, LOG_WARN, LOG_INFO, LOG_DEBUG };
extern enum log_level log_level;	/* the program's one global setting */
void log_msg(enum log_level level, const char *fmt, ...) MT_PRINTF(2, 3);
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

/* --- growable array -------------------------------------------------------- */

/* A vector of T: `VEC(struct task) tasks;` zeroed = empty. */
#define VEC(T) struct { T *v; size_t n, cap; }
/* Makes room for one more element, keeping n. Returns 0 or -ENOMEM. */
#define vec_reserve(vec, more) \
	vec_grow_((void **)&(vec)->v, &(vec)->cap, (vec)->n, (more), sizeof(*(vec)->v))
/* Appends a copy of `elem`; returns 0 or -ENOMEM. */
#define vec_push(vec, elem) \
	(vec_reserve(vec, 1) ? -12 /* -ENOMEM */ : ((vec)->v[(vec)->n++] = (elem), 0))
#define vec_release(vec) (vec_free_((void **)&(vec)->v), (vec)->n = (vec)->cap = 0)
int vec_grow_(void **v, size_t *cap, size_t n, size_t more, size_t size);
void vec_free_(void **v);

/* --- byte buffer ------------------------------------------------------------ */

struct buf { uint8_t *p; size_t n, cap; };	/* zeroed = empty */
int buf_put(struct buf *b, const void *p, size_t n);	/* 0 or -ENOMEM */
int buf_printf(struct buf *b, const char *fmt, ...) MT_PRINTF(2, 3);	/* keeps a NUL after n */
void buf_release(struct buf *b);

/* --- hash map: u64 pair -> u64, open addressing ------------------------------ */

/* Key is two words so that (space, address) or (hash, kind) need no squeezing.
 * Zeroed = empty. Values are the caller's; iteration order is unspecified and differs from
 * run to run (the hash is keyed, against chosen collisions): sort what you show. */
struct hmap { struct hmap_slot *slots; size_t n, cap; };
struct hmap_slot { uint64_t k0, k1, value; uint8_t used; };
/* The value's place, or NULL. Valid until the next hmap_put. */
uint64_t *hmap_get(const struct hmap *h, uint64_t k0, uint64_t k1);
/* The value's place, added as 0 when new (`*added` says so, may be NULL); NULL = no memory. */
uint64_t *hmap_put(struct hmap *h, uint64_t k0, uint64_t k1, bool *added);
void hmap_del(struct hmap *h, uint64_t k0, uint64_t k1);
void hmap_release(struct hmap *h);
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);	/* 64-bit, not cryptographic */

/* --- string table: each string once, id from 1; 0 = no string ------------------ */

struct strtab;
struct strtab *strtab_new(void);
void strtab_free(struct strtab *t);
/* Id of the n bytes (may hold NULs; stored with one more at the end); 0 = no memory. */
uint32_t strtab_add(struct strtab *t, const char *s, size_t n, bool *added);
const char *strtab_get(const struct strtab *t, uint32_t id);	/* "" for 0 or unknown */
size_t strtab_count(const struct strtab *t);

/* --- numbers of a file, which may be any ---------------------------------------- */

static inline uint64_t sat_add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}
static inline uint64_t sat_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}
static inline uint64_t sat_mul(uint64_t a, uint64_t b)
{
	return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}
static inline uint64_t clamp_u64(uint64_t v, uint64_t lo, uint64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* --- numbers for people ----------------------------------------------------------- */

/* Two or three digits and a unit that fits: "1.03 s", "38 ms", "0.2 µs", "41.2 MB" (powers
 * of 1024 for bytes, as ps and top show them), "1,204". `out` gets at most n bytes; returns out. */
char *fmt_ns(char *out, size_t n, uint64_t ns);
char *fmt_bytes(char *out, size_t n, uint64_t bytes);
char *fmt_count(char *out, size_t n, uint64_t count);
/* "1.5", "200ms", "3s", "2m" -> ns (a plain number is seconds). 0 or -EINVAL. */
int parse_duration_ns(const char *s, uint64_t *ns);
/* "64K", "8M", "1G" or plain bytes. 0 or -EINVAL. */
int parse_bytes(const char *s, uint64_t *bytes);
/* Non-negative decimal number in [min, max], whole string. 0 or -EINVAL. */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out);
/* Writes a name that the workload chose so that it cannot drive the terminal or break
 * lines: control bytes and invalid UTF-8 become \xNN. Returns out. */
char *fmt_safe(char *out, size_t n, const char *s);
/* The UTF-8 character at s, of at most n bytes: its length and code point; 0 = it is none (n is 0,
 * a longer form than needed, a surrogate, cut). n may be larger than what is there if a NUL ends it. */
size_t utf8_decode(const void *s, size_t n, uint32_t *cp);
/* Control characters of both sets, and what breaks or reorders a line. */
bool utf8_is_unsafe(uint32_t cp);

/* Bytes of a demangled function's name without its parameters: of "ns::f(int) const" those of "ns::f". */
size_t name_without_parameters(const char *name);

/* --- files --------------------------------------------------------------------------- */

/* What follows the last slash, or all of it when nothing does. "" for NULL. */
const char *path_base(const char *path);
/* The same for a person: with the directory where the file's own name is that of many, as
 * "logging/__init__.py". A part of path; "" for NULL. */
const char *path_label(const char *path);

/* Whole file (or /proc file) into b, at most `limit` bytes (-EFBIG beyond). 0 or -errno. */
int read_file_at(int dirfd, const char *path, size_t limit, struct buf *b);
int write_full(int fd, const void *p, size_t n);		/* 0 or -errno; restarts on EINTR */
ssize_t pread_full(int fd, void *p, size_t n, uint64_t off);	/* bytes read (short only at EOF) or -errno */
/* The end of an output: has all of it been written? Else -errno, and *err says of `what` ("the
 * report") why not. */
int stream_end(FILE *out, const char *what, struct err *err);

#endif
