/* SPDX-License-Identifier: MIT */
/*
 * ident.bpf.c: what is behind an address or a descriptor, told once per object: the file and
 * offset that a shared futex lies in, the pipe or socket that a call waits for.
 */
#include "core.bpf.h"
#include "regs.bpf.h"

#define VM_MAYSHARE 0x80

/* Where another object may have been mapped meanwhile: so long is an answer believed. */
#define REVISIT_NS 100000000

__u32 last_file_id = 0;

/* --- shared futexes ------------------------------------------------------------------ */

struct futex_at {
	u64 addr;
	u32 space, pad;
};

struct futex_object {
	u64 again_ns;      /* when to look again */
	u64 inode, offset; /* inode 0: private memory */
	u32 dev, generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct futex_at);
	__type(value, struct futex_object);
} futexes_seen SEC(".maps");

struct vma_ask {
	u64 addr;
	const void *name;
	struct futex_object o;
};

/* The kernel, too, keys a futex by its file only in a mapping that is shared. */
static long vma_answer(struct task_struct *t, struct vm_area_struct *vma, struct vma_ask *ask)
{
	struct file *f = BPF_CORE_READ(vma, vm_file);
	struct inode *inode;

	if (!f || !(BPF_CORE_READ(vma, vm_flags) & VM_MAYSHARE))
		return 0;
	inode = BPF_CORE_READ(f, f_inode);
	ask->name = BPF_CORE_READ(f, f_path.dentry, d_name.name);
	ask->o.inode = BPF_CORE_READ(inode, i_ino);
	ask->o.generation = BPF_CORE_READ(inode, i_generation);
	ask->o.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	ask->o.offset = (BPF_CORE_READ(vma, vm_pgoff) << cfg.page_shift) + ask->addr -
	                BPF_CORE_READ(vma, vm_start);
	return 0;
}

static __always_inline void identify(struct task_struct *t, u32 task, u32 space, u64 addr, u64 ts)
{
	struct futex_at at = {.addr = addr, .space = space};
	struct vma_ask ask = {.addr = addr};
	struct futex_object *seen;
	struct mt_futex_key *e;

	if (!cfg.find_vma)
		return;
	seen = bpf_map_lookup_elem(&futexes_seen, &at);
	if (seen && ts < seen->again_ns)
		return;
	/* Fails when somebody maps memory at this moment: the next wait will tell. */
	if (bpf_find_vma(t, addr, vma_answer, &ask, 0))
		return;
	ask.o.again_ns = ts + REVISIT_NS;
	if (seen ? seen->inode != ask.o.inode || seen->offset != ask.o.offset ||
	                    seen->dev != ask.o.dev || seen->generation != ask.o.generation
	         : ask.o.inode != 0) {
		e = ring_reserve(mt_futex_key, ts, MT_EV_FUTEX_KEY, task);
		if (!e)
			return;
		e->addr = addr;
		e->inode = ask.o.inode;
		e->offset = ask.o.offset;
		e->space = space;
		e->dev = ask.o.dev;
		e->generation = ask.o.generation;
		e->pad = 0;
		if (bpf_probe_read_kernel_str(e->name, sizeof(e->name), ask.name) < 0)
			e->name[0] = 0;
		ring_submit(e);
	}
	bpf_map_update_elem(&futexes_seen, &at, &ask.o, BPF_ANY);
}

__noinline u32 futex_identify(u32 task, u32 space, u64 addr, u64 ts)
{
	identify(bpf_get_current_task_btf(), task, space, addr, ts);
	return 0;
}

void futex_identify_of(struct task_struct *t, u32 task, u32 space, u64 addr, u64 ts)
{
	identify(t, task, space, addr, ts);
}

/* --- files --------------------------------------------------------------------------------- */

#define S_IFMT           0170000
#define ANON_INODE_MAGIC 0x09041934
#define MQUEUE_MAGIC     0x19800202
#define AF_UNIX          1
#define AF_INET          2
#define AF_INET6         10
#define SOCK_STREAM      1
#define TCP_LISTEN       10

struct file_key {
	u64 ino, own;
	u32 dev, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_key);
	__type(value, u64); /* FILE_* */
} files_seen SEC(".maps");

/*
 * By the type in i_mode, and from 16 on by the file system: the mode of anonymous inodes is 0 up to
 * Linux 6.15 and a regular file's after. A table, for the verifier walks each branch to the end.
 */
static const volatile __u8 kinds[32] = {
        [0] = FD_ANON, [1] = FD_PIPE,    [2] = FD_CHAR,  [4] = FD_FILE,    [6] = FD_BLOCK,
        [8] = FD_FILE, [12] = FD_SOCKET, [16] = FD_ANON, [17] = FD_MQUEUE,
};

static __always_inline u32 kind_of(u32 mode, u64 magic)
{
	u32 i = mode >> 12 & 15;

	if (magic == ANON_INODE_MAGIC)
		i = 16;
	if (magic == MQUEUE_MAGIC)
		i = 17;
	return kinds[i & 31];
}

/* The end of the path that the socket is bound to; the server's end of a connection has that of
 * the socket which it listened at. False: to none. */
static __always_inline bool unix_path(char *out, struct sock *sk)
{
	struct unix_address *addr = BPF_CORE_READ((struct unix_sock *)sk, addr);
	u32 at = bpf_core_field_offset(struct sockaddr_un, sun_path);
	u64 path = (u64)addr + bpf_core_field_offset(struct unix_address, name) + at;
	s32 len = addr ? BPF_CORE_READ(addr, len) - (s32)at : 0;

	if (len <= 0)
		return false;
	if (len > MT_LEAF)
		path += len - MT_LEAF;
	bpf_probe_read_kernel_str(out, MT_LEAF, (void *)path);
	if (out[0])
		return true;
	/* An abstract name begins with a 0 and ends without one. */
	bpf_probe_read_kernel(out, MT_LEAF, (void *)path);
	out[0] = '@';
	out[(u32)len < MT_LEAF ? len : MT_LEAF - 1] = 0;
	return true;
}

static __always_inline u64 describe_unix(struct mt_file *e, struct sock *sk)
{
	struct sock *peer;

	if (!bpf_core_type_exists(struct unix_sock) || !bpf_core_type_exists(struct unix_address))
		return 0;
	peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	if (!unix_path(e->name, sk) && peer)
		unix_path(e->name, peer);
	return peer ? BPF_CORE_READ(peer, sk_socket, file, f_inode, i_ino) : 0;
}

/* Both ends of a socket; says whether they are yet to come. */
static __always_inline bool describe_socket(struct mt_file *e, struct file *f)
{
	struct socket *socket = BPF_CORE_READ(f, private_data);
	struct sock *sk = BPF_CORE_READ(socket, sk);
	bool stream, known = false;

	if (!sk)
		return false;
	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	stream = BPF_CORE_READ(socket, type) == SOCK_STREAM &&
	         BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN;
	if (e->family == AF_UNIX) {
		e->peer = describe_unix(e, sk);
		known = e->peer;
	} else if (e->family == AF_INET || e->family == AF_INET6) {
		e->lport = BPF_CORE_READ(sk, __sk_common.skc_num);
		e->rport = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
		known = e->rport;
		if (e->family == AF_INET) {
			BPF_CORE_READ_INTO((u32 *)e->laddr, sk, __sk_common.skc_rcv_saddr);
			BPF_CORE_READ_INTO((u32 *)e->raddr, sk, __sk_common.skc_daddr);
		} else if (bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
			BPF_CORE_READ_INTO(&e->laddr, sk, __sk_common.skc_v6_rcv_saddr);
			BPF_CORE_READ_INTO(&e->raddr, sk, __sk_common.skc_v6_daddr);
		}
	}
	return stream && !known;
}

/* A new file, or one that has changed: the value for files_seen; 0 = not told. */
static __always_inline u64 tell_file(struct file *f, const struct file_key *key, u64 v, u32 task,
                                     u64 ts)
{
	struct mt_file *e = ring_reserve(mt_file, ts, MT_EV_FILE, task);

	if (!e)
		return 0;
	e->inode = key->ino;
	e->dev = key->dev;
	e->kind = FILE_KIND(v);
	e->id = FILE_ID(v);
	e->peer = 0;
	e->family = 0;
	e->lport = e->rport = 0;
	__builtin_memset(e->laddr, 0, sizeof(e->laddr));
	__builtin_memset(e->raddr, 0, sizeof(e->raddr));
	e->name[0] = 0;
	v &= ~FILE_CHANGING;
	if (e->kind == FD_SOCKET) {
		if (describe_socket(e, f))
			v |= FILE_CHANGING;
	} else if (f) {
		bpf_probe_read_kernel_str(e->name, sizeof(e->name),
		                          BPF_CORE_READ(f, f_path.dentry, d_name.name));
	}
	ring_submit(e);
	return v;
}

static __always_inline u64 new_id(u32 kind)
{
	return (__sync_fetch_and_add(&last_file_id, 1) + 1) | (u64)kind << 32;
}

/* A file that is not in the task's slot. Not static: the verifier looks at it once. */
__noinline u64 file_find(u64 file, struct task_state *s, u64 ts)
{
	struct file *f = (void *)file;
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	u32 kind = kind_of(BPF_CORE_READ(inode, i_mode), BPF_CORE_READ(sb, s_magic));
	struct file_key key = {};
	struct fd_slot *slot;
	u64 v, *seen;

	if (!s || !inode)
		return 0;
	if (kind == FD_ANON)
		key.own = (u64)BPF_CORE_READ(f, private_data);
	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(sb, s_dev);
	seen = bpf_map_lookup_elem(&files_seen, &key);
	v = seen ? *seen : new_id(kind);
	if (!seen || (v & FILE_CHANGING)) {
		v = tell_file(f, &key, v, s->id, ts);
		if (!v)
			return 0;
		bpf_map_update_elem(&files_seen, &key, &v, BPF_ANY);
	}
	if (!(v & FILE_CHANGING)) {
		slot = &s->fds[key.ino & (FD_SLOTS - 1)];
		slot->inode = (u64)inode;
		slot->ino = key.ino;
		slot->own = key.own;
		slot->file = v;
	}
	return v;
}

bool file_is_known(u64 ino, u32 dev)
{
	struct file_key key = {.ino = ino, .dev = dev};

	return bpf_map_lookup_elem(&files_seen, &key);
}

/* System V message queues and semaphores have an id instead of a descriptor. */
static __always_inline u64 file_of_sysv(u32 dev, u32 ipc_id, u32 task, u64 ts)
{
	struct file_key key = {.ino = ipc_id, .own = FD_SYSV, .dev = dev};
	u64 *seen = bpf_map_lookup_elem(&files_seen, &key), v;

	if (seen)
		return *seen;
	v = tell_file(NULL, &key, new_id(FD_SYSV), task, ts);
	if (v)
		bpf_map_update_elem(&files_seen, &key, &v, BPF_ANY);
	return v;
}

const volatile __u8 call_class[CALLS_MAX] = {
        MT_CALLS(CALL_FD, CALL_SEND, CALL_POLL, CALL_MSG, CALL_SEM)};

/*
 * Any call, the long way. With numbers for the kernel's pointers, and not static: then the verifier
 * looks at it once. fds: the task's array of files; call: number of the system call, bit 31: its
 * second argument is 1, and from 32 on the size of that array.
 */
__noinline u64 file_by_call(u64 fds, struct task_state *s, u64 call, u64 a0, u64 ts)
{
	u32 class = class_of(call & 0x7fffffff), fd = a0;
	u64 f = 0;

	if (!s)
		return 0;
	if (class == CALL_MSG || class == CALL_SEM)
		return file_of_sysv(class - CALL_MSG + 1, fd, s->id, ts);
	if (class == CALL_POLL &&
	    (!(call & 1u << 31) || bpf_probe_read_user(&fd, sizeof(fd), (void *)a0)))
		return 0;
	if (fd >= call >> 32)
		return 0;
	bpf_probe_read_kernel(&f, sizeof(f), (u64 *)fds + fd);
	return f ? file_find(f, s, ts) : 0;
}

/*
 * A descriptor may be closed and given again at any time, and the kernel uses the memory of what
 * was closed again at once. But a pipe's or socket's inode has a number that none before it had:
 * what is in the slot is believed while address and number are the same. 0 = the slot does not
 * know.
 */
static __always_inline u64 file_in_slot(const struct task_state *s, u64 inode, u64 ino,
                                        struct file *f)
{
	const struct fd_slot *slot = &s->fds[ino & (FD_SLOTS - 1)];

	if (!ino || slot->ino != ino || slot->inode != inode)
		return 0;
	if (slot->own && (!f || slot->own != pointer_value(f, private_data)))
		return 0;
	return slot->file;
}

/* What an array of files has at fd; inode 0 = nothing. Not what a global function may be given. */
struct open_file {
	struct file *file;
	u64 inode, ino;
};

/* Since 6.2: a pointer that is read through by plain instructions instead of helper calls. */
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

/* The array's elements have no type of their own: a struct that begins with a pointer to a file
 * stands for them. */
static __always_inline struct open_file read_fd(u64 array, u32 fd)
{
	u64 at = array + fd * sizeof(u64), file = 0, inode;

	if (bpf_rdonly_cast && cfg.kiocb_type) {
		struct kiocb *element = bpf_rdonly_cast((void *)at, cfg.kiocb_type);
		struct file *f = element->ki_filp;

		return (struct open_file){f, (u64)f->f_inode, f->f_inode->i_ino};
	}
	bpf_probe_read_kernel(&file, sizeof(file), (void *)at);
	inode = pointer_value((struct file *)file, f_inode);
	return (struct open_file){(void *)file, inode, BPF_CORE_READ((struct inode *)inode, i_ino)};
}

__noinline u64 file_of_call(struct task_state *s, u64 nr, const struct mt_args *a, u64 ts)
{
	struct files_struct *files;
	u32 class = class_of(nr), fds, fd;
	struct open_file o;
	u64 call, v;

	if (!class || !s || !a)
		return 0;
	fd = a->a0;
	/* Of several descriptors nobody knows which it waits for. */
	if (class == CALL_POLL &&
	    ((u32)a->a1 != 1 || bpf_probe_read_user(&fd, sizeof(fd), (void *)a->a0)))
		return 0;
	files = bpf_get_current_task_btf()->files;
	fds = files->fdt->max_fds;
	call = (u32)nr | (u64)fds << 32;
	if (class <= CALL_POLL && fd < fds) {
		o = read_fd((u64)files->fdt->fd, fd);
		v = file_in_slot(s, o.inode, o.ino, o.file);
		if (v)
			return v;
	}
	if ((u32)a->a1 == 1)
		call |= 1u << 31;
	return file_by_call(pointer_value(files->fdt, fd), s, call, a->a0, ts);
}

u64 file_of_task(struct task_struct *t, struct task_state *s, s32 nr, const struct mt_args *a,
                 u64 ts)
{
	struct fdtable *fdt = BPF_CORE_READ(t, files, fdt);
	u64 call = (u32)nr | (u64)BPF_CORE_READ(fdt, max_fds) << 32;

	if (!class_of(nr))
		return 0;
	if ((u32)a->a1 == 1)
		call |= 1u << 31;
	return file_by_call((u64)BPF_CORE_READ(fdt, fd), s, call, a->a0, ts);
}

__noinline u64 file_of_fd(struct task_state *s, u64 fd, u64 ts)
{
	struct fdtable *fdt = bpf_get_current_task_btf()->files->fdt;
	struct open_file o;
	struct inode *inode;
	u64 array, file = 0, v;
	u32 kind;

	if (!s || fd >= fdt->max_fds)
		return 0;
	array = pointer_value(fdt, fd);
	o = read_fd(array, fd);
	v = file_in_slot(s, o.inode, o.ino, NULL); /* not anonymous ones: file_find() */
	if (v || !o.inode)
		return v;
	inode = (struct inode *)o.inode;
	kind = kind_of(BPF_CORE_READ(inode, i_mode), BPF_CORE_READ(inode, i_sb, s_magic));
	if (kind == FD_FILE || kind == FD_CHAR || kind == FD_BLOCK || kind == FD_UNKNOWN)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), (u64 *)array + fd);
	return file ? file_find(file, s, ts) : 0;
}

u64 file_of_msg(u32 ipc_id, u32 task, u64 ts)
{
	return file_of_sysv(1, ipc_id, task, ts);
}
