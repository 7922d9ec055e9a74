/* SPDX-License-Identifier: MIT */
/*
 * tables.c: the unwinding tables in the kernel. A file is known there by its inode's address,
 * which is its own as long as somebody holds the inode: we do, by a mapping of its first page.
 * Which address that is the kernel side tells (mt_file_key), looking at that same mapping:
 * device numbers from stat() are not what mappings show on stacked file systems.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "tables_priv.h"

#define PATHS_MAX 65536
#define SETTLE_MS 200 /* a command whose files take longer starts with some stacks short */

/* --- the kernel side ------------------------------------------------------- */

static void set_state(struct tables *t, const struct table_file *f, const struct mt_file_table *v)
{
	if (bpf_map_update_elem(t->k.files_fd, &f->key, v, BPF_ANY))
		log_debug("unwinding table: %s", strerror(errno));
}

static void set_none(struct tables *t, struct table_file *f)
{
	const struct mt_file_table v = {.state = MT_FILE_NONE, .ino = f->ino};

	f->answered = true;
	t->totals.without++;
	set_state(t, f, &v);
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Holds the file and finds out its key. 0 or -errno. */
static int pin(struct tables *t, int fd, struct table_file *f)
{
	struct session_file_key key = {0};
	int rc;

	f->pin = mmap(NULL, page_size(), PROT_READ, MAP_PRIVATE, fd, 0);
	if (f->pin == MAP_FAILED)
		return -errno;
	rc = session_file_key(t->k.session, (uint64_t)(uintptr_t)f->pin, &key);
	if (!rc && key.key <= MT_FILE_KEY_VDSO)
		rc = -ENOENT;
	if (rc) {
		munmap(f->pin, page_size());
		return rc;
	}
	f->key = key.key;
	f->ino = key.ino;
	/* Its inode may go then, and another take its place: the number tells (table_of). */
	if (!mapped_on_root(fd)) {
		munmap(f->pin, page_size());
		f->pin = NULL;
	}
	return 0;
}

static void unpin(const struct table_file *f)
{
	if (f->pin)
		munmap(f->pin, page_size());
}

/* Remembers it: its id, 0 = no memory, or all there is room for are being made. */
static uint32_t add_file(struct tables *t, const struct table_file *f)
{
	uint32_t id = room_id(t);
	uint64_t *slot = id ? hmap_put(&t->by_key, f->key, 0, NULL) : NULL;
	uint32_t made = id ? t->files.v[id - 1].made : 0;

	if (!slot) {
		unpin(f);
		return 0;
	}
	*slot = id;
	t->files.v[id - 1] = *f;
	t->files.v[id - 1].made = made + 1;
	return id;
}

void tables_forget(struct tables *t, uint32_t id)
{
	struct table_file *f = &t->files.v[id - 1];
	const uint64_t *known = hmap_get(&t->by_key, f->key, 0);

	if (known && *known == id) {
		bpf_map_delete_elem(t->k.files_fd, &f->key);
		hmap_del(&t->by_key, f->key, 0);
	}
	unpin(f);
	t->used -= f->n_words;
	*f = (struct table_file){.made = f->made};
}

/* Copies the table into the kernel's array and says that it is there. */
static void install(struct tables *t, struct table_file *f, const struct built *a, int fd)
{
	struct mt_file_table v = {.state = MT_FILE_READY,
	                          .ino = f->ino,
	                          .base_block = a->base_block,
	                          .n_blocks = a->n_blocks,
	                          .n_rows = a->n_rows,
	                          .used = !f->ahead};
	size_t bytes = (size_t)a->n_words * sizeof(uint64_t);

	bool sound = a->n_words && (uint64_t)a->n_blocks + 1 + a->n_rows == a->n_words;

	if (sound && f->ahead && room_take(t, a->n_words, true, &v.first)) {
		/* Not kept as one without: a stack that leads there asks again. */
		tables_forget(t, (uint32_t)(f - t->files.v) + 1);
		return;
	}
	if (!sound || (!f->ahead && room_take(t, a->n_words, false, &v.first))) {
		t->totals.no_room++;
		set_none(t, f);
		return;
	}
	if (pread_full(fd, t->words + v.first, bytes, 0) != (ssize_t)bytes) {
		set_none(t, f);
		return;
	}
	f->first = v.first;
	f->n_words = a->n_words;
	f->base_block = a->base_block;
	f->n_blocks = a->n_blocks;
	f->answered = true;
	f->since_ns = now_ns();
	t->used += a->n_words;
	if (t->used > t->peak)
		t->peak = t->used;
	t->totals.files++;
	t->totals.rows += a->n_rows;
	set_state(t, f, &v);
}

/* --- answers of the builder ------------------------------------------------ */

static struct table_file *file_of_answer(struct tables *t, const struct built *a, int file_fd)
{
	struct table_file f = {0};
	uint32_t id = a->id;

	if (id == BUILD_ID_VDSO) {
		f.key = MT_FILE_KEY_VDSO;
		id = add_file(t, &f);
	} else if (!id) {
		if (file_fd < 0 || pin(t, file_fd, &f))
			return NULL;
		if (hmap_get(&t->by_key, f.key, 0)) {
			unpin(&f);
			return NULL;
		}
		f.ahead = true;
		id = add_file(t, &f);
	}
	if (!id || id > t->files.n || !t->files.v[id - 1].key || t->files.v[id - 1].answered)
		return NULL;
	return &t->files.v[id - 1];
}

static void on_answer(struct tables *t, const struct built *a, int table_fd, int file_fd)
{
	struct table_file *f;

	if (a->id == BUILD_ID_DONE) {
		t->preloaded = true;
		return;
	}
	f = file_of_answer(t, a, file_fd);
	if (!f)
		return;
	if (a->id && a->id != BUILD_ID_VDSO)
		t->asked--;
	if (a->status || table_fd < 0)
		set_none(t, f);
	else
		install(t, f, a, table_fd);
}

/* It has died: what it was asked for will not come. */
static void on_gone(struct tables *t)
{
	log_debug("the process that makes unwinding tables has gone");
	builder_stop(&t->b);
	t->preloaded = true;
	t->asked = 0;
	for (size_t i = 0; i < t->files.n; i++)
		if (t->files.v[i].key && !t->files.v[i].answered)
			set_none(t, &t->files.v[i]);
}

void tables_poll(struct tables *t)
{
	struct built a;
	int table_fd, file_fd, rc;

	if (!t || t->b.sock < 0)
		return;
	while ((rc = builder_receive(&t->b, &a, &table_fd, &file_fd)) == 1) {
		on_answer(t, &a, table_fd, file_fd);
		if (table_fd >= 0)
			close(table_fd);
		if (file_fd >= 0)
			close(file_fd);
	}
	if (rc < 0)
		on_gone(t);
}

void tables_settle(struct tables *t)
{
	uint64_t until = now_ns() + SETTLE_MS * 1000000ull, now;

	while (t && (!t->preloaded || t->asked) && (now = now_ns()) < until) {
		struct pollfd p = {.fd = t->b.sock, .events = POLLIN};

		if (poll(&p, 1, (int)((until - now) / 1000000) + 1) < 0 && errno != EINTR)
			return;
		tables_poll(t);
	}
}

/* --- files seen in stacks -------------------------------------------------- */

/* The file that is mapped there, and nothing but a regular file: opening a device does things. */
static int open_mapped(const char *path)
{
	char self[32];
	int at = open(path, O_PATH | O_CLOEXEC), fd = -errno;
	struct stat st;

	if (at < 0)
		return fd;
	fd = -ENXIO;
	if (!fstat(at, &st) && S_ISREG(st.st_mode)) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", at);
		fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd < 0)
			fd = -errno;
	}
	close(at);
	return fd;
}

/* By name, where the mapping itself cannot be opened (it needs CAP_CHECKPOINT_RESTORE). */
static int open_by_name(uint32_t pid, uint64_t start)
{
	struct buf b = {0};
	char path[4200], *line, *save = NULL;
	int fd = -ESRCH;

	snprintf(path, sizeof(path), "/proc/%u/maps", pid);
	if (read_file_at(AT_FDCWD, path, 64u << 20, &b) || buf_put(&b, "", 1)) {
		buf_release(&b);
		return fd;
	}
	for (line = strtok_r((char *)b.p, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t at;
		int name = 0;

		if (sscanf(line, "%" SCNx64 "-%*x %*s %*x %*x:%*x %*u %n", &at, &name) < 1 ||
		    at != start || !name)
			continue;
		snprintf(path, sizeof(path), "/proc/%u/root%s", pid, line + name);
		fd = open_mapped(path);
		break;
	}
	buf_release(&b);
	return fd;
}

/* The file's id; 0 = not known, also when another had that inode before. */
static uint32_t known_file(struct tables *t, uint64_t key, uint32_t ino)
{
	const uint64_t *id = hmap_get(&t->by_key, key, 0);

	if (id && t->files.v[*id - 1].ino != ino && t->files.v[*id - 1].answered) {
		tables_forget(t, (uint32_t)*id);
		return 0;
	}
	return id ? (uint32_t)*id : 0;
}

/* Asks for the table of fd's file, which is closed. key 0: whatever it is. ahead: no stack has led
 * there. Its id, or -errno. */
static int ask(struct tables *t, int fd, uint64_t key, bool ahead)
{
	struct table_file f = {.ahead = ahead};
	int rc = pin(t, fd, &f), id = rc ? 0 : (int)known_file(t, f.key, f.ino);

	if (!rc && id) {
		unpin(&f);
		t->files.v[id - 1].ahead &= ahead;
	} else if (!rc && key && f.key != key) {
		unpin(&f);
		rc = -ESTALE;
	} else if (!rc) {
		id = (int)add_file(t, &f);
		rc = id ? builder_request(&t->b, (uint32_t)id, fd) : -ENOMEM;
		t->asked += !rc;
		if (rc && id)
			tables_forget(t, (uint32_t)id);
	}
	close(fd);
	return rc ? rc : id;
}

/* The same of what process pid has mapped there. */
static int want(struct tables *t, uint32_t pid, uint64_t start, uint64_t end, uint64_t key,
                bool ahead)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, pid, start, end);
	fd = open_mapped(path);
	if (fd == -EPERM || fd == -EACCES)
		fd = open_by_name(pid, start);
	return fd < 0 ? fd : ask(t, fd, key, ahead);
}

void tables_path(struct tables *t, const char *path)
{
	bool added = false;
	size_t n = strlen(path);
	int fd;

	if (!t || t->b.sock < 0 || *path != '/')
		return;
	if (t->by_path.n >= PATHS_MAX)
		hmap_release(&t->by_path);
	hmap_put(&t->by_path, hash_bytes(path, n, 1), hash_bytes(path, n, 2), &added);
	fd = added ? open_mapped(path) : -EEXIST;
	if (fd >= 0)
		ask(t, fd, 0, true);
}

void tables_want(struct tables *t, const struct mt_want *e, uint32_t pid)
{
	struct table_file f = {.key = e->key, .ino = e->ino};
	uint32_t id = t ? known_file(t, e->key, e->ino) : 0;
	struct mt_file_table there;
	int rc;

	if (!t)
		return;
	if (id && !t->files.v[id - 1].answered) {
		t->files.v[id - 1].ahead = false;
		return;
	}
	/* Asked before the answer to another's question came: that is there by now. */
	if (id && !bpf_map_lookup_elem(t->k.files_fd, &e->key, &there) && there.ino == e->ino &&
	    there.state != MT_FILE_WANTED)
		return;
	if (id)
		tables_forget(t, id); /* the kernel side has done so already */
	rc = t->b.sock < 0 ? -EPIPE : want(t, pid, e->start, e->end, e->key, false);
	log_debug("unwinding table of %llx in %u: %s", (unsigned long long)e->start, pid,
	          rc < 0 ? strerror(-rc) : "asked for");
	if (rc >= 0)
		return;
	/* It has gone: ask again next time. Else it is remembered as one that has none. */
	id = rc == -ENOENT || rc == -ESRCH || rc == -ESTALE ? 0 : add_file(t, &f);
	if (id)
		set_none(t, &t->files.v[id - 1]);
	else
		bpf_map_delete_elem(t->k.files_fd, &e->key);
}

/* An id that tells when its slot has become another's. */
static uint64_t lasting_id(const struct tables *t, int id)
{
	return id > 0 ? (uint64_t)t->files.v[id - 1].made << 32 | (uint32_t)id : 0;
}

static const struct table_file *mapped_file(const struct tables *t, const struct proc_map *m)
{
	const uint64_t *known = m->vdso ? hmap_get(&t->by_key, MT_FILE_KEY_VDSO, 0)
	                                : hmap_get(&t->by_inode, m->dev, m->inode);
	uint64_t id = m->file ? m->file : known ? *known : 0;
	const struct table_file *f = (uint32_t)id ? &t->files.v[(uint32_t)id - 1] : NULL;

	return f && f->key && (m->vdso || f->made == id >> 32) ? f : NULL;
}

void tables_process(struct tables *t, const struct proc_maps *maps)
{
	for (size_t i = 0; t && i < maps->n; i++) {
		const struct proc_map *m = &maps->v[i];
		uint64_t *slot;
		bool added;
		int id;

		slot = m->inode ? hmap_put(&t->by_inode, m->dev, m->inode, &added) : NULL;
		if (!slot || (!added && mapped_file(t, m)))
			continue;
		id = t->b.sock < 0 ? -EPIPE : want(t, maps->pid, m->start, m->end, 0, false);
		*slot = lasting_id(t, id);
	}
}

/* Still the file that was found there before? As long as we hold its inode no other has the number.
 */
static uint64_t held(struct tables *t, const struct proc_map *m, bool ahead)
{
	const uint64_t *known = hmap_get(&t->by_inode, m->dev, m->inode);
	const struct table_file *f = known ? mapped_file(t, m) : NULL;

	if (!f || !f->pin)
		return 0;
	t->files.v[(uint32_t)*known - 1].ahead &= ahead;
	return *known;
}

static void resolve(struct tables *t, uint32_t pid, struct proc_map *m, bool ahead)
{
	uint64_t *slot;

	if (!m->inode || t->b.sock < 0)
		return;
	m->file = 0;
	m->file = held(t, m, ahead);
	if (m->file)
		return;
	m->file = lasting_id(t, want(t, pid, m->start, m->end, 0, ahead));
	/* The process may exit halfway: then what was found before has to do. */
	slot = m->file ? hmap_put(&t->by_inode, m->dev, m->inode, NULL) : NULL;
	if (slot)
		*slot = m->file;
}

void tables_ahead(struct tables *t, uint32_t pid, struct proc_map *m)
{
	resolve(t, pid, m, true);
}

void tables_need(struct tables *t, uint32_t pid, struct proc_map *m)
{
	resolve(t, pid, m, false);
}

int tables_state(const struct tables *t, const struct proc_map *m)
{
	const struct table_file *f = mapped_file(t, m);

	return !f ? -ENOENT : f->answered ? 0 : -EAGAIN;
}

bool tables_view(const struct tables *t, const struct proc_map *m, struct unwind_view *out)
{
	const struct table_file *f = mapped_file(t, m);

	if (!f || !f->n_words)
		return false;
	*out = (struct unwind_view){.words = t->words + f->first,
	                            .n_words = f->n_words,
	                            .base_block = f->base_block,
	                            .n_blocks = f->n_blocks};
	return true;
}

/* --- life ------------------------------------------------------------------ */

int tables_begin(struct tables **out, char *const argv[], const struct invoker *who)
{
	struct tables *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	rc = builder_start(&t->b, argv, who);
	if (rc) {
		tables_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

int tables_connect(struct tables *t, const struct session_unwind *k)
{
	void *p = mmap(NULL, (size_t)k->n_words * sizeof(uint64_t), PROT_READ | PROT_WRITE,
	               MAP_SHARED, k->words_fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	t->k = *k;
	t->words = p;
	t->n_words = k->n_words;
	tables_poll(t);
	return 0;
}

pid_t tables_helper(const struct tables *t)
{
	return t ? t->b.pid : 0;
}

int tables_fd(const struct tables *t)
{
	return t ? t->b.sock : -1;
}

struct table_totals tables_totals(const struct tables *t)
{
	struct table_totals none = {0}, all;

	if (!t)
		return none;
	all = t->totals;
	all.bytes = (uint64_t)t->peak * sizeof(uint64_t);
	return all;
}

void tables_free(struct tables *t)
{
	if (!t)
		return;
	builder_stop(&t->b);
	if (t->words)
		munmap(t->words, (size_t)t->n_words * sizeof(uint64_t));
	for (size_t i = 0; i < t->files.n; i++)
		unpin(&t->files.v[i]);
	vec_release(&t->files);
	hmap_release(&t->by_key);
	hmap_release(&t->by_path);
	hmap_release(&t->by_inode);
	free(t);
}
