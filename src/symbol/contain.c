/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contain_priv.h"

#define STALL_NS    (5ull * 1000 * 1000 * 1000)
#define MEMORY_MAX  (1ull << 30)
#define DEATHS_MAX  20  /* children that may die in one recording */
#define TICK_MS     200 /* of the progress display */
#define SRC_MAX     1024
#define FLUSH_BYTES 32768

/* --- what goes over the pipe ----------------------------------------------------------------- */

enum { MSG_UNIT = 1, MSG_FRAME, MSG_NOTE, MSG_FAILED };

/* Followed by what the kind says: FRAME: n times struct msg_sym with its strings; NOTE: text. */
struct msg {
	uint32_t bytes; /* of all of it */
	uint16_t kind, n;
	uint64_t index; /* UNIT, FRAME: which */
};
struct msg_sym {
	uint64_t name_off, size;
	uint32_t line;
	uint16_t name_n, src_n; /* bytes that follow, without a NUL; 0 = none */
};
#define MSG_MAX \
	(sizeof(struct msg) + SYM_MAX_CHAIN * (sizeof(struct msg_sym) + DEMANGLE_MAX + SRC_MAX))

/* --- the child ------------------------------------------------------------------------------- */

struct child {
	int fd;
	struct buf out;
	size_t skip; /* frames before this one have been named already */
	struct demangler name;
};

static int child_flush(struct child *c)
{
	int err = write_full(c->fd, c->out.p, c->out.n);

	c->out.n = 0;
	return err;
}

static int send_msg(struct child *c, size_t start)
{
	uint32_t bytes = (uint32_t)(c->out.n - start);

	memcpy(c->out.p + start, &bytes, sizeof(bytes));
	return c->out.n > FLUSH_BYTES ? child_flush(c) : 0;
}

static int send_text(struct child *c, uint16_t kind, uint64_t index, const char *text)
{
	struct msg m = {.kind = kind, .index = index};
	size_t start = c->out.n;

	if (buf_put(&c->out, &m, sizeof(m)) || buf_put(&c->out, text, strlen(text)))
		return -ENOMEM;
	return send_msg(c, start);
}

static int put_sym(struct child *c, const struct sym *s)
{
	const char *name = s->name ? demangle(&c->name, s->name) : "", *src = s->src ? s->src : "";
	struct msg_sym m = {.name_off = s->name_off,
	                    .size = s->size,
	                    .line = s->line,
	                    .name_n = (uint16_t)strnlen(name, DEMANGLE_MAX - 1),
	                    .src_n = (uint16_t)strnlen(src, SRC_MAX - 1)};

	if (buf_put(&c->out, &m, sizeof(m)) || buf_put(&c->out, name, m.name_n) ||
	    buf_put(&c->out, src, m.src_n))
		return -ENOMEM;
	return 0;
}

static int child_put(struct resolve *r, size_t index, const struct sym *chain, size_t n)
{
	struct child *c = r->put_ctx;
	struct msg m = {.kind = MSG_FRAME, .n = (uint16_t)n, .index = index};
	size_t start = c->out.n;
	int err;

	if (index < c->skip)
		return 0;
	err = buf_put(&c->out, &m, sizeof(m));
	for (size_t i = 0; i < n && !err; i++)
		err = put_sym(c, &chain[i]);
	return err ? err : send_msg(c, start);
}

static void limit(int what, uint64_t value)
{
	struct rlimit l = {value, value};

	setrlimit(what, &l);
}

static void confine(const struct resolve *r, pid_t parent)
{
	uint64_t left = r->deadline_ns - monotonic_ns();
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_DFL);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, left < r->lim.max_total_ns ? left / 1000000000 + 2
	                                             : r->lim.max_total_ns / 1000000000 + 2);
	limit(RLIMIT_FSIZE, 1u << 30); /* unpacked symbols lie in files of memory */
#ifndef __SANITIZE_ADDRESS__
	limit(RLIMIT_DATA, r->lim.max_memory_bytes);
	dup2(null, STDERR_FILENO); /* libraries' last words */
#endif
	dup2(null, STDOUT_FILENO);
}

/* Names one unit and says how that went. */
static int child_unit(struct resolve *r, const struct unit *units, size_t i, enum detail detail,
                      struct child *c)
{
	int err = send_text(c, MSG_UNIT, i, "");

	r->file_notes = r->notes->n = 0;
	r->st->files_failed = 0;
	if (!err)
		err = child_flush(c);
	if (!err)
		err = resolve_unit(r, &units[i], detail);
	if (!err && r->st->files_failed)
		err = send_text(c, MSG_FAILED, i, "");
	if (!err && r->notes->n)
		err = buf_put(r->notes, "", 1);
	if (!err && r->notes->n)
		err = send_text(c, MSG_NOTE, i, (char *)r->notes->p);
	return err;
}

/* Names units [from, n); the first one from frame `skip` on and with less detail if so asked. */
static void child_main(const struct resolve *parents, const struct unit *units, size_t from,
                       size_t n, enum detail detail, struct child *c)
{
	struct symbolizer_stats st = {0};
	struct buf notes = {0};
	struct resolve r = *parents;
	int err = 0;

	r.st = &st;
	r.notes = &notes;
	r.put = child_put;
	r.put_ctx = c;
	for (size_t i = from; i < n && !err && !st.timed_out; i++, detail = DETAIL_LINES)
		err = child_unit(&r, units, i, detail, c);
	_exit(err || child_flush(c) ? 1 : 0);
}

/* --- the parent
 * ------------------------------------------------------------------------------------ */

struct parent {
	struct resolve *r;
	const struct unit *units;
	size_t n, unit, next; /* the unit it is at and the frame after the last one named */
	bool stalled;
	uint64_t told_ns;
	struct buf in;
};

static pid_t start_child(struct parent *p, enum detail detail, int *fd)
{
	int pipes[2];
	pid_t self = getpid(), pid;

	if (pipe2(pipes, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		struct child c = {.fd = pipes[1], .skip = p->next};

		close(pipes[0]);
		confine(p->r, self);
		child_main(p->r, p->units, p->unit, p->n, detail, &c);
	}
	close(pipes[1]);
	*fd = pipes[0];
	if (pid < 0)
		close(pipes[0]);
	return pid < 0 ? -errno : pid;
}

/* Takes a string of len bytes from *at into out. False when it does not fit. */
static bool take(const uint8_t **at, const uint8_t *end, size_t len, char *out, size_t max)
{
	if (len >= max || (size_t)(end - *at) < len)
		return false;
	memcpy(out, *at, len);
	out[len] = '\0';
	*at += len;
	return true;
}

static int on_frame(struct parent *p, const struct msg *m, const uint8_t *at, const uint8_t *end)
{
	static char names[SYM_MAX_CHAIN][DEMANGLE_MAX], srcs[SYM_MAX_CHAIN][SRC_MAX];
	struct sym chain[SYM_MAX_CHAIN];
	struct msg_sym s;

	if (m->index != p->next || m->index >= p->units[p->unit].to || m->n > SYM_MAX_CHAIN)
		return -EPROTO;
	for (size_t i = 0; i < m->n; i++) {
		if ((size_t)(end - at) < sizeof(s))
			return -EPROTO;
		memcpy(&s, at, sizeof(s));
		at += sizeof(s);
		if (!take(&at, end, s.name_n, names[i], sizeof(names[i])) ||
		    !take(&at, end, s.src_n, srcs[i], sizeof(srcs[i])))
			return -EPROTO;
		chain[i] = (struct sym){.name = s.name_n ? names[i] : NULL,
		                        .name_off = s.name_off,
		                        .src = s.src_n ? srcs[i] : NULL,
		                        .line = s.line,
		                        .size = s.size};
	}
	p->next++;
	return resolve_emit(p->r, m->index, chain, m->n);
}

/* Text of one or more lines. */
static int on_note(struct parent *p, const uint8_t *at, const uint8_t *end)
{
	char line[768], safe[768];
	int err = 0;

	while (at < end && !err) {
		const uint8_t *nl = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((nl ? nl : end) - at);

		len = len < sizeof(line) - 1 ? len : sizeof(line) - 1;
		memcpy(line, at, len);
		line[len] = '\0';
		if (len)
			err = resolve_file_note(p->r, fmt_safe(safe, sizeof(safe), line));
		at = nl ? nl + 1 : end;
	}
	return err;
}

static int on_msg(struct parent *p, const struct msg *m, const uint8_t *body)
{
	const uint8_t *end = body + m->bytes - sizeof(*m);

	switch (m->kind) {
	case MSG_UNIT:
		if (m->index < p->unit || m->index >= p->n ||
		    (m->index > p->unit && p->next != p->units[p->unit].to))
			return -EPROTO;
		p->unit = m->index;
		if (p->next < p->units[p->unit].from)
			p->next = p->units[p->unit].from;
		return 0;
	case MSG_FRAME:
		return on_frame(p, m, body, end);
	case MSG_NOTE:
		return on_note(p, body, end);
	case MSG_FAILED:
		p->r->st->files_failed++;
		return 0;
	default:
		return -EPROTO;
	}
}

/* Takes the whole messages out of p->in. */
static int parse(struct parent *p)
{
	size_t at = 0;
	struct msg m;
	int err = 0;

	while (!err && p->in.n - at >= sizeof(m)) {
		memcpy(&m, p->in.p + at, sizeof(m));
		if (m.bytes < sizeof(m) || m.bytes > MSG_MAX + FLUSH_BYTES)
			return -EPROTO;
		if (p->in.n - at < m.bytes)
			break;
		err = on_msg(p, &m, p->in.p + at + sizeof(m));
		at += m.bytes;
	}
	memmove(p->in.p, p->in.p + at, p->in.n - at);
	p->in.n -= at;
	return err;
}

static void tell_progress(struct parent *p, uint64_t now)
{
	const struct symbolizer_limits *l = &p->r->lim;

	if (!l->progress || now < p->told_ns)
		return;
	p->told_ns = now + TICK_MS * 1000000ull;
	l->progress(l->progress_ctx, p->unit, p->n);
}

/* Reads what the child says until it ends, has to be ended, or `emit` wants no more. */
static int listen_to(struct parent *p, int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint64_t heard_ns = monotonic_ns(), now;
	uint8_t chunk[65536];
	ssize_t got;
	int err = 0;

	p->in.n = 0;
	p->stalled = false;
	while (!err) {
		int ready = poll(&pfd, 1, TICK_MS);

		now = monotonic_ns();
		tell_progress(p, now);
		if (now >= p->r->deadline_ns) {
			p->r->st->timed_out = true;
			break;
		}
		if (ready <= 0) {
			p->stalled = now - heard_ns > p->r->lim.max_stall_ns;
			if (p->stalled)
				break;
			continue;
		}
		got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		heard_ns = now;
		err = buf_put(&p->in, chunk, (size_t)got);
		if (!err)
			err = parse(p);
	}
	return err;
}

/* One child, from beginning to end. *died: it left things undone. 0 or what ends it all. */
static int one_child(struct parent *p, enum detail detail, bool *died)
{
	int fd = -1, status = 0, err;
	pid_t pid = start_child(p, detail, &fd);

	if (pid < 0)
		return pid;
	err = listen_to(p, fd);
	close(fd);
	if (err || p->stalled || p->r->st->timed_out)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*died = err == -EPROTO || p->unit + 1 < p->n || p->next < p->units[p->unit].to;
	return err == -EPROTO ? 0 : err;
}

/* What to try next after a death in p->unit. */
static enum detail after_death(struct parent *p, enum detail tried, int *err)
{
	const struct unit *u = &p->units[p->unit];
	const char *path = p->r->files[p->r->frames.v[u->from].file - 1].path;
	enum detail next = tried == DETAIL_LINES ? DETAIL_SYMBOLS : DETAIL_NONE;
	char safe[256], note[512];

	snprintf(note, sizeof(note), "%s: reading its %s failed (%s); done without",
	         fmt_safe(safe, sizeof(safe), path),
	         next == DETAIL_NONE ? "symbols" : "lines and inlined functions",
	         p->stalled ? "no end to it" : "damaged, or too large");
	*err = resolve_file_note(p->r, note);
	return next;
}

static void fill_limits(struct symbolizer_limits *l)
{
	if (!l->max_stall_ns)
		l->max_stall_ns = STALL_NS;
	if (!l->max_memory_bytes)
		l->max_memory_bytes = MEMORY_MAX;
}

int contain_run(struct resolve *r, const struct unit *units, size_t n)
{
	struct parent p = {.r = r, .units = units, .n = n};
	enum detail detail = DETAIL_LINES;
	unsigned deaths = 0;
	size_t at;
	bool died = n > 0;
	int err = 0;

	fill_limits(&r->lim);
	r->name = NULL; /* the child does it */
	p.next = n ? units[0].from : 0;
	while (!err && died && !r->st->timed_out) {
		at = p.unit;
		died = false;
		err = one_child(&p, detail, &died);
		if (!died || err || r->st->timed_out)
			break;
		if (++deaths > DEATHS_MAX) {
			err = resolve_note(r, "symbols: given up after %u failures in files",
			                   deaths);
			break;
		}
		detail = after_death(&p, p.unit == at ? detail : DETAIL_LINES, &err);
	}
	r->st->files += n ? p.unit + 1 : 0;
	buf_release(&p.in);
	return err;
}
