/* SPDX-License-Identifier: MIT */
/*
 * pyspaces.c: which address spaces are a CPython's, and where its _PyRuntime is: what the
 * frame walker in BPF has to know. Found out when a file is mapped: one that is called like a
 * CPython, or is a program, and has _PyRuntime among its dynamic symbols. Each file is read
 * once; a forked space inherits (in BPF at once, here for what is forked later).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collect_priv.h"

#define FILES_MAX  4096  /* files remembered; beyond that they are read again */
#define SPACES_MAX 65536 /* Python spaces remembered for forks to come */

#define UNKNOWN_VERSION "this version of CPython is not known"
#define FIRST_KNOWN_GIL 0x03080000

struct py_file {
	struct py_elf elf;
	struct py_build build; /* without the address */
	uint32_t layout;
};

struct py_space {
	uint32_t layout;
	uint64_t runtime;
	uint64_t code_type; /* 0: the symbols did not tell */
};

struct pyspaces {
	struct session *session;
	struct hmap files; /* (hash of path, of identity) -> index + 1 in found; 0: no CPython */
	VEC(struct py_file) found;
	VEC(struct py_build) builds; /* by layout */
	struct hmap spaces;          /* space -> index in infos */
	VEC(struct py_space) infos;
	uint64_t page;
	uint32_t unknown_version; /* told once each: bits of minor versions */
	VEC(char *) notes;
};

struct pyspaces *pyspaces_new(struct session *session)
{
	struct pyspaces *p = calloc(1, sizeof(*p));

	if (p) {
		p->session = session;
		p->page = (uint64_t)sysconf(_SC_PAGESIZE);
	}
	return p;
}

void pyspaces_free(struct pyspaces *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->notes.n; i++)
		free(p->notes.v[i]);
	vec_release(&p->notes);
	vec_release(&p->found);
	vec_release(&p->builds);
	vec_release(&p->infos);
	hmap_release(&p->files);
	hmap_release(&p->spaces);
	free(p);
}

size_t pyspaces_notes(const struct pyspaces *p, char *const **out)
{
	*out = p->notes.v;
	return p->notes.n;
}

const struct py_build *pyspaces_build(const struct pyspaces *p, uint32_t layout)
{
	return layout < p->builds.n ? &p->builds.v[layout] : NULL;
}

const struct py_build *pyspaces_at(const struct pyspaces *p, uint32_t space, uint64_t *runtime)
{
	const uint64_t *i = hmap_get(&p->spaces, space, 0);

	if (!i)
		return NULL;
	*runtime = p->infos.v[*i].runtime;
	return &p->builds.v[p->infos.v[*i].layout];
}

/* has_gil: it may be known all the same, by what it looks like. */
static void note(struct pyspaces *p, const char *file, uint32_t version, const char *why,
                 bool has_gil)
{
	uint32_t bit = 1u << (version >> 16 & 31);
	char *text;

	if (p->unknown_version & bit)
		return;
	p->unknown_version |= bit;
	if (asprintf(&text,
	             "no Python frames for %s: %s; its stacks show the interpreter's own "
	             "functions%s",
	             file, why, has_gil ? "" : ", its GIL is a lock like others") < 0)
		return;
	if (vec_push(&p->notes, text))
		free(text);
}

/* A layout's number, the same for the same offsets. -ENOSPC: too many different ones. */
static int layout_id(struct pyspaces *p, const struct py_build *b)
{
	for (size_t i = 0; i < p->builds.n; i++)
		if (p->builds.v[i].version == b->version &&
		    !memcmp(&p->builds.v[i].off.frames, &b->off.frames, sizeof(b->off.frames)))
			return (int)i;
	if (p->builds.n >= MT_PY_LAYOUTS)
		return -ENOSPC;
	if (vec_push(&p->builds, *b))
		return -ENOMEM;
	if (session_py_layout(p->session, (uint32_t)p->builds.n - 1, &b->off.frames)) {
		p->builds.n--;
		return -EIO;
	}
	return (int)p->builds.n - 1;
}

/* The file as the process sees it; a pipe or device of that name must not hold us up. */
static int open_mapped(uint32_t pid, const char *file, struct stat *st)
{
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/root%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && (fstat(fd, st) || !S_ISREG(st->st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool may_be_python(const char *file)
{
	const char *base = strrchr(file, '/');

	if (!base || file[0] != '/')
		return false; /* [vdso], anonymous */
	return strstr(base, "python") || strstr(base, "pypy") || !strstr(base, ".so");
}

static bool is_pypy(const char *file)
{
	const char *base = path_base(file);

	return !strncmp(base, "libpypy", 7) || !strncmp(base, "pypy", 4);
}

/* CPython has PyCode_Type as long as it is there, _PyRuntime from 3.7 on. */
static void note_unknown(struct pyspaces *p, const char *file, const struct py_elf *e)
{
	if (is_pypy(file))
		note(p, file, 0, "PyPy is not known", false);
	else if (e->code_type)
		note(p, file, 0, UNKNOWN_VERSION, false);
}

/* 0: none */
static uint64_t read_file(struct pyspaces *p, int fd, const char *file)
{
	struct py_file f;
	uint32_t hex;
	int rc = py_elf_read(fd, &f.elf);

	if (rc == -ENOENT)
		note_unknown(p, file, &f.elf);
	if (rc)
		return 0;
	hex = f.elf.version ? f.elf.version : py_version_of_name(file);
	memset(&f.build, 0, sizeof(f.build));
	rc = py_build_for(hex, f.elf.start, f.elf.n_start, &f.build);
	if (rc) {
		note(p, file, hex,
		     rc == -ENOTSUP ? UNKNOWN_VERSION : "its debugging offsets cannot be used",
		     !hex || hex >= FIRST_KNOWN_GIL);
		return 0;
	}
	f.build.runtime_size = f.elf.runtime_size;
	rc = layout_id(p, &f.build);
	if (rc < 0)
		return 0;
	f.layout = (uint32_t)rc;
	return vec_push(&p->found, f) ? 0 : p->found.n;
}

static const struct py_file *file_of(struct pyspaces *p, uint32_t pid, const char *file)
{
	struct {
		uint64_t dev, ino, size, sec, nsec;
	} id;
	struct stat st;
	int fd = open_mapped(pid, file, &st);
	uint64_t *slot;
	bool added;

	if (fd < 0)
		return NULL;
	memset(&id, 0, sizeof(id));
	id.dev = st.st_dev;
	id.ino = st.st_ino;
	id.size = (uint64_t)st.st_size;
	id.sec = (uint64_t)st.st_mtim.tv_sec;
	id.nsec = (uint64_t)st.st_mtim.tv_nsec;
	if (p->files.n >= FILES_MAX) {
		hmap_release(&p->files);
		p->found.n = 0;
	}
	slot = hmap_put(&p->files, hash_bytes(&id, sizeof(id), 1), hash_bytes(&id, sizeof(id), 2),
	                &added);
	if (slot && added)
		*slot = read_file(p, fd, file);
	close(fd);
	return slot && *slot ? &p->found.v[*slot - 1] : NULL;
}

static void expect_gil(struct pyspaces *p, uint32_t space, const struct py_space *s)
{
	const struct py_offsets *off = &p->builds.v[s->layout].off;
	struct mt_gil_hint hint = {0};

	/* There the structure begins with one more field, and normally nobody takes it. */
	if (p->builds.v[s->layout].free_threaded)
		return;
	if (off->runtime_gil != PY_NONE) {
		hint.addr = s->runtime + off->runtime_gil;
	} else if (off->interp_gil != PY_NONE) {
		hint.head = s->runtime + off->frames.interp_head;
		hint.off = off->interp_gil;
	}
	if (hint.addr || hint.head)
		session_gil_hint(p->session, space, &hint);
}

static void add_space(struct pyspaces *p, uint32_t space, const struct py_space *s)
{
	struct mt_py_space v = {
	        .runtime = s->runtime, .code_type = s->code_type, .layout = s->layout};
	uint64_t *slot;

	if (p->infos.n >= SPACES_MAX) {
		hmap_release(&p->spaces);
		p->infos.n = 0;
	}
	slot = hmap_put(&p->spaces, space, 0, NULL);
	if (!slot || vec_push(&p->infos, *s))
		return;
	*slot = p->infos.n - 1;
	session_py_space(p->session, space, &v);
}

void pyspaces_map(struct pyspaces *p, uint32_t space, const struct map_event *e, const char *file)
{
	const struct py_file *f;
	struct py_space s;

	if (!p || !may_be_python(file) || hmap_get(&p->spaces, space, 0))
		return;
	f = file_of(p, e->pid, file);
	if (!f || py_elf_address(&f->elf, e->start, e->offset, p->page, &s.runtime))
		return;
	s.layout = f->layout;
	s.code_type = f->elf.code_type ? s.runtime + (f->elf.code_type - f->elf.runtime) : 0;
	log_debug("space %u is a CPython %u.%u: %s, _PyRuntime at 0x%llx", space,
	          f->build.version >> 24, f->build.version >> 16 & 0xff, file,
	          (unsigned long long)s.runtime);
	add_space(p, space, &s);
	expect_gil(p, space,
	           &s); /* a forked space has its parent's, or gets it so late as this one */
}

void pyspaces_fork(struct pyspaces *p, uint32_t space, uint32_t parent)
{
	const uint64_t *i = p ? hmap_get(&p->spaces, parent, 0) : NULL;
	struct py_space s;

	if (!i)
		return;
	s = p->infos.v[*i];
	add_space(p, space, &s);
}
