/* SPDX-License-Identifier: MIT */
/* registry_priv.h: every file that was mapped, once; and the generated code of each space. */
#ifndef MT_REGISTRY_PRIV_H
#define MT_REGISTRY_PRIV_H

#include "base.h"
#include "symbol.h"

#define SYM_BUILD_ID_MAX 64
#define SYM_FDS_KEPT     200 /* of files; the usual limit of descriptors is 1024 */
#define SYM_JIT_FDS_KEPT 200 /* perf maps and dumps: the first ones */
#define VDSO_NAME        "[vdso]"

struct sym_file {
	const char *path; /* as the process saw it; of generated code: its module's name */
	uint8_t build_id[SYM_BUILD_ID_MAX];
	uint8_t build_id_n;
	bool jit;
	int fd;                                       /* the file, or the perf map; -1 = none */
	int dump_fd;                                  /* jitdump; -1 = none */
	uint32_t first_space, last_space, user_space; /* who mapped it, and who ran in it last */
	uint32_t pids[3];                             /* theirs; 0 = none */
};

struct registry {
	struct strtab *strings;      /* paths and build ids */
	VEC(struct sym_file) v;      /* id - 1 */
	struct hmap by_name;         /* (path, build id) as string ids -> file id */
	struct hmap jit;             /* space -> file id of its generated code */
	uint32_t kept[SYM_FDS_KEPT]; /* ids of files with an fd, a ring */
	unsigned next_kept, jit_fds;
};

enum map_kind { KIND_NOTHING, KIND_FILE, KIND_JIT };
/* By the kernel's name of an executable mapping: "", "//anon", "[heap]", "/memfd:x" … */
enum map_kind registry_kind(const struct sym_map *m);
int registry_init(struct registry *g);
void registry_release(struct registry *g);
/* Id of a mapping's file, made when new; 0 = no memory. */
uint32_t registry_file(struct registry *g, const struct sym_map *m);
/* Id of the space's generated code, made when new; 0 = no memory. pid: 0 = unknown. */
uint32_t registry_jit(struct registry *g, uint32_t space, uint32_t pid);
uint32_t registry_jit_of(const struct registry *g, uint32_t space); /* 0 = none */
void registry_forget_space(struct registry *g, uint32_t space);
/* They take over fd. */
void registry_keep(struct registry *g, uint32_t file, int fd);
void registry_keep_jit(struct registry *g, uint32_t file, int fd, bool dump);

#endif
