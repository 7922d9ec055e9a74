/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "uprobe.h"

#define RING_PAGES 4096

struct ring {
	int fd; /* of the first event of this CPU, which owns the buffer */
	struct perf_event_mmap_page *meta;
};
struct event {
	int fd, which;
	uint64_t id;
};

struct uprobe_log {
	int type, n_cpus;
	size_t page;
	struct ring *rings;
	VEC(struct event) events;
	VEC(struct uprobe_hit) hits;
	uint64_t lost;
	pthread_t thread;
	atomic_bool stop;
	bool started;
};

/* Number in a small file of /sys; -1 = there is none. */
static int sys_number(const char *path, const char *prefix)
{
	FILE *f = fopen(path, "r");
	char line[64] = "";
	int v = -1;

	if (!f)
		return -1;
	if (fgets(line, sizeof(line), f) && !strncmp(line, prefix, strlen(prefix)))
		v = atoi(line + strlen(prefix));
	fclose(f);
	return v;
}

struct uprobe_log *uprobe_new(void)
{
	int type = sys_number("/sys/bus/event_source/devices/uprobe/type", "");
	struct uprobe_log *l = type >= 0 ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	l->type = type;
	l->page = (size_t)sysconf(_SC_PAGESIZE);
	l->n_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	l->rings = calloc((size_t)l->n_cpus, sizeof(*l->rings));
	for (int i = 0; l->rings && i < l->n_cpus; i++)
		l->rings[i].fd = -1;
	return l;
}

static int open_one(struct uprobe_log *l, const char *file, uint64_t offset, bool on_return,
                    int which, int cpu)
{
	struct perf_event_attr attr = {
	        .type = (uint32_t)l->type,
	        .size = sizeof(attr),
	        .config = on_return,
	        .config1 = (uint64_t)(uintptr_t)file, /* uprobe_path */
	        .config2 = offset,
	        .sample_period = 1,
	        .sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
	        .disabled = 1,
	        .use_clockid = 1,
	        .clockid = CLOCK_MONOTONIC,
	};
	struct ring *r = &l->rings[cpu];
	struct event e = {.which = which};
	void *map;

	e.fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (e.fd < 0)
		return -errno;
	if (ioctl(e.fd, PERF_EVENT_IOC_ID, &e.id) || vec_push(&l->events, e))
		return -errno;
	if (r->meta)
		return ioctl(e.fd, PERF_EVENT_IOC_SET_OUTPUT, r->fd) ? -errno : 0;
	map = mmap(NULL, (RING_PAGES + 1) * l->page, PROT_READ | PROT_WRITE, MAP_SHARED, e.fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r->meta = map;
	r->fd = e.fd;
	return 0;
}

static bool name_matches(const char *symbol, const char *function)
{
	size_t n = strlen(function);

	if (!symbol || strncmp(symbol, function, n))
		return false;
	return !symbol[n] || (symbol[n] == '.' && !strstr(symbol, ".cold"));
}

/* -1 = not in a loaded part of the file. */
static int64_t file_offset(Elf *elf, uint64_t vaddr)
{
	size_t n = 0;
	GElf_Phdr p;

	elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n; i++)
		if (gelf_getphdr(elf, (int)i, &p) && p.p_type == PT_LOAD && vaddr >= p.p_vaddr &&
		    vaddr - p.p_vaddr < p.p_filesz)
			return (int64_t)(vaddr - p.p_vaddr + p.p_offset);
	return -1;
}

static int add_section(struct uprobe_log *l, Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh,
                       const char *file, const char *function, bool on_return, int which)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	size_t n = sh->sh_entsize ? sh->sh_size / sh->sh_entsize : 0;
	int found = 0;
	GElf_Sym sym;

	for (size_t i = 0; i < n && gelf_getsym(data, (int)i, &sym); i++) {
		const char *name = elf_strptr(elf, sh->sh_link, sym.st_name);
		int64_t offset;

		if (GELF_ST_TYPE(sym.st_info) != STT_FUNC || !name_matches(name, function))
			continue;
		offset = file_offset(elf, sym.st_value);
		for (int cpu = 0; offset >= 0 && cpu < l->n_cpus; cpu++) {
			int rc = open_one(l, file, (uint64_t)offset, on_return, which, cpu);

			if (rc)
				return rc;
		}
		found += offset >= 0;
	}
	return found;
}

int uprobe_add(struct uprobe_log *l, const char *file, const char *function, bool on_return,
               int which)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), found = 0;
	Elf_Scn *scn = NULL;
	GElf_Shdr sh;
	Elf *elf;

	if (fd < 0)
		return -errno;
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	while (elf && found == 0 && (scn = elf_nextscn(elf, scn)))
		if (gelf_getshdr(scn, &sh) && sh.sh_type == SHT_SYMTAB)
			found = add_section(l, elf, scn, &sh, file, function, on_return, which);
	elf_end(elf);
	close(fd);
	return found;
}

static int which_of(const struct uprobe_log *l, uint64_t id)
{
	for (size_t i = 0; i < l->events.n; i++)
		if (l->events.v[i].id == id)
			return l->events.v[i].which;
	return -1;
}

static void copy_out(const struct uprobe_log *l, const struct ring *r, uint64_t at, void *to,
                     size_t n)
{
	const char *data = (const char *)r->meta + l->page;
	size_t size = RING_PAGES * l->page, off = at % size;
	size_t first = n < size - off ? n : size - off;

	memcpy(to, data + off, first);
	memcpy((char *)to + first, data, n - first);
}

static void drain(struct uprobe_log *l, struct ring *r)
{
	uint64_t head = __atomic_load_n(&r->meta->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = r->meta->data_tail;

	while (tail < head) {
		struct {
			struct perf_event_header h;
			uint64_t id;
			uint32_t pid, tid;
			uint64_t time;
		} rec = {0};

		copy_out(l, r, tail, &rec.h, sizeof(rec.h));
		if (rec.h.size < sizeof(rec.h))
			break;
		if (rec.h.type == PERF_RECORD_SAMPLE && rec.h.size >= sizeof(rec)) {
			copy_out(l, r, tail, &rec, sizeof(rec));
			vec_push(&l->hits, ((struct uprobe_hit){.ts = rec.time,
			                                        .tid = rec.tid,
			                                        .which = which_of(l, rec.id)}));
		} else if (rec.h.type == PERF_RECORD_LOST) {
			struct {
				struct perf_event_header h;
				uint64_t id, lost;
			} lost = {0};

			copy_out(l, r, tail, &lost, sizeof(lost));
			l->lost += lost.lost;
		}
		tail += rec.h.size;
	}
	__atomic_store_n(&r->meta->data_tail, tail, __ATOMIC_RELEASE);
}

static void drain_all(struct uprobe_log *l)
{
	for (int i = 0; i < l->n_cpus; i++)
		if (l->rings[i].meta)
			drain(l, &l->rings[i]);
}

static void *collect(void *arg)
{
	struct uprobe_log *l = arg;
	struct timespec nap = {.tv_nsec = 50000000};

	while (!l->stop) {
		drain_all(l);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

int uprobe_start(struct uprobe_log *l)
{
	for (size_t i = 0; i < l->events.n; i++)
		if (ioctl(l->events.v[i].fd, PERF_EVENT_IOC_ENABLE, 0))
			return -errno;
	l->started = !pthread_create(&l->thread, NULL, collect, l);
	return l->started ? 0 : -EAGAIN;
}

static int by_time(const void *a, const void *b)
{
	const struct uprobe_hit *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

const struct uprobe_hit *uprobe_stop(struct uprobe_log *l, size_t *n, uint64_t *lost)
{
	for (size_t i = 0; i < l->events.n; i++)
		ioctl(l->events.v[i].fd, PERF_EVENT_IOC_DISABLE, 0);
	l->stop = true;
	if (l->started)
		pthread_join(l->thread, NULL);
	l->started = false;
	drain_all(l);
	if (l->hits.n)
		qsort(l->hits.v, l->hits.n, sizeof(l->hits.v[0]), by_time);
	*n = l->hits.n;
	*lost = l->lost;
	return l->hits.v;
}

void uprobe_free(struct uprobe_log *l)
{
	size_t n;
	uint64_t lost;

	if (!l)
		return;
	uprobe_stop(l, &n, &lost);
	for (int i = 0; i < l->n_cpus; i++)
		if (l->rings[i].meta)
			munmap(l->rings[i].meta, (RING_PAGES + 1) * l->page);
	for (size_t i = 0; i < l->events.n; i++)
		close(l->events.v[i].fd);
	vec_release(&l->events);
	vec_release(&l->hits);
	free(l->rings);
	free(l);
}
