/* SPDX-License-Identifier: MIT */
/* The trace builder's locks, channels and GILs. */
#include <string.h>

#include "tb_priv.h"

void tb_owner(struct tb *tb, uint32_t id, uint32_t ns_tid)
{
	tb_get(tb, id)->owner = ns_tid;
}

void tb_park(struct tb *tb, uint32_t id, uint64_t addr)
{
	tb_get(tb, id)->park = addr;
}

void tb_on_file(struct tb *tb, uint32_t id, uint32_t file)
{
	tb_get(tb, id)->file = file;
}

void tb_wakes_by(struct tb *tb, uint32_t id, uint32_t site, uint32_t file)
{
	tb_get(tb, id)->wake_site = site;
	tb_get(tb, id)->wake_file = file;
}

void tb_wake_flags(struct tb *tb, uint32_t id, uint32_t flags)
{
	tb_get(tb, id)->wake_flags = flags;
}

void tb_ctid(struct tb *tb, uint32_t id, uint64_t addr)
{
	for (size_t i = 0; i < tb->items.n; i++)
		if (tb->items.v[i].kind == REC_K_TASK && tb->items.v[i].task.id == id)
			tb->items.v[i].task.ctid = addr;
}

uint32_t tb_file(struct tb *tb, enum fd_kind kind, uint64_t inode, uint64_t peer, const char *name)
{
	struct rec_file r = {
	        .id = ++tb->n_files,
	        .kind = kind,
	        .dev = kind == FD_SYSV ? 2 : 9, /* semaphores */
	        .inode = inode,
	        .peer = peer,
	        .family = kind == FD_SOCKET ? 1 : 0,
	        .name = name ? tb_string(tb, name) : 0,
	};

	tb_add(tb, REC_K_FILE, RANK_DEF, 0)->file = r;
	return tb->n_files;
}

uint32_t tb_tcp(struct tb *tb, uint32_t local_port, uint32_t remote_port)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1};
	struct rec_file r = {
	        .id = ++tb->n_files,
	        .kind = FD_SOCKET,
	        .dev = 9,
	        .inode = 5000 + tb->n_files,
	        .family = 2,
	        .laddr = {loopback, 4},
	        .raddr = {loopback, 4},
	        .lport = local_port,
	        .rport = remote_port,
	};

	tb_add(tb, REC_K_FILE, RANK_DEF, 0)->file = r;
	return tb->n_files;
}

void tb_futex_key(struct tb *tb, uint32_t space, uint64_t addr, uint64_t inode, uint64_t offset,
                  const char *file)
{
	struct rec_futex_key r = {
	        .space = space,
	        .addr = addr,
	        .dev = 9,
	        .inode = inode,
	        .generation = 1,
	        .offset = offset,
	        .file = file ? tb_string(tb, file) : 0,
	};

	tb_add(tb, REC_K_FUTEX_KEY, RANK_DEF, 0)->futex_key = r;
}

void tb_object(struct tb *tb, uint32_t space, uint64_t addr, const char *name, uint64_t off,
               uint64_t size)
{
	struct rec_object r = {
	        .space = space,
	        .addr = addr,
	        .name = tb_string(tb, name),
	        .off = off,
	        .size = size,
	};

	tb_add(tb, REC_K_OBJECT, RANK_DEF, 0)->object = r;
}

void tb_holds(struct tb *tb, uint32_t task, uint32_t space, uint64_t addr, unsigned evidence)
{
	struct rec_holds r = {.task = task, .space = space, .addr = addr, .evidence = evidence};

	tb_add(tb, REC_K_HOLDS, RANK_LAST, tb_absolute(tb->last))->holds = r;
}

void tb_gil(struct tb *tb, uint32_t id, uint32_t space, uint64_t addr, bool main, uint32_t version)
{
	struct rec_gil r = {
	        .id = id, .space = space, .addr = addr, .main = main, .version = version};

	tb_add(tb, REC_K_GIL, RANK_DEF, 0)->gil = r;
}

void tb_pythread(struct tb *tb, uint32_t id, uint64_t tstate)
{
	struct rec_pythread r = {.task = id, .tstate = tstate};

	tb_add(tb, REC_K_PYTHREAD, RANK_FIRST, tb_absolute(tb_get(tb, id)->end))->pythread = r;
}

void tb_reads_gil(struct tb *tb, uint32_t id, uint32_t gil, bool locked, uint64_t holder,
                  uint64_t switches)
{
	struct btask *b = tb_get(tb, id);

	b->gil.id = gil;
	b->gil.state = locked;
	b->gil.holder = holder;
	b->gil.switches = switches;
}
