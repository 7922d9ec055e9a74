/* SPDX-License-Identifier: MIT */
/*
 * traffic.bpf.c: messages and bytes through pipes, sockets and queues, on request (--messages).
 * Each call that moved data says how much by what it returned; counted per task, object and
 * direction. Only loaded when it is asked for: any program on this tracepoint makes every
 * system call of the machine slower.
 */
#include "core.bpf.h"
#include "regs.bpf.h"

#define MANY_MAX  64 /* messages of one sendmmsg or recvmmsg whose bytes are counted */
#define MMSG_SIZE 64 /* struct mmsghdr: msghdr, u32 msg_len */
#define MMSG_LEN  56

/* What a call moves: from and to the descriptor in its first argument, unless said. */
enum {
	MOVE_NONE,
	MOVE_READ,
	MOVE_WRITE,
	MOVE_READ_MANY,
	MOVE_WRITE_MANY,
	MOVE_SPLICE,   /* from the first to the third */
	MOVE_FILE,     /* from the second to the first */
	MOVE_MQ_WRITE, /* returns 0: its third argument says how much */
	MOVE_MQ_READ,
	MOVE_MSG_WRITE, /* System V */
	MOVE_MSG_READ,
};

static const volatile __u8 moves[CALLS_MAX] = {
        MT_MOVES(MOVE_READ, MOVE_WRITE, MOVE_READ_MANY, MOVE_WRITE_MANY, MOVE_SPLICE, MOVE_FILE,
                 MOVE_MQ_WRITE, MOVE_MQ_READ, MOVE_MSG_WRITE, MOVE_MSG_READ)};

/* Filled up: what comes later is not counted, but that is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct mt_traffic_key);
	__type(value, struct mt_traffic);
} traffic SEC(".maps");

__u64 traffic_lost = 0;

static __always_inline void count(u32 task, u64 file, u32 write, u64 messages, u64 bytes,
                                  u64 unsized)
{
	struct mt_traffic_key key = {.task = task, .file = FILE_ID(file), .write = write};
	struct mt_traffic *v, first = {.messages = messages, .bytes = bytes, .unsized = unsized};

	if (!key.file)
		return;
	v = bpf_map_lookup_elem(&traffic, &key);
	if (v) { /* the task's own: nobody else writes it */
		v->messages += messages;
		v->bytes += bytes;
		v->unsized += unsized;
	} else if (bpf_map_update_elem(&traffic, &key, &first, BPF_NOEXIST)) {
		__sync_fetch_and_add(&traffic_lost, messages);
	}
}

/* The bytes of the first n messages of an array of struct mmsghdr. Not static: see hash_frames().
 */
__noinline u64 sum_many(u64 array, u64 n)
{
	u64 sum = 0;

	for (u32 i = 0; i < MANY_MAX; i++) {
		u32 len = 0;

		if (i >= n)
			break;
		bpf_probe_read_user(&len, sizeof(len), (void *)(array + i * MMSG_SIZE + MMSG_LEN));
		sum += len;
	}
	return sum;
}

static __always_inline u32 move_of(s32 nr)
{
	u64 i = (u32)nr;

	if (i >= CALLS_MAX)
		return MOVE_NONE;
	asm volatile("" : "+r"(i));
	return moves[i & (CALLS_MAX - 1)];
}

static __always_inline void moved(struct task_state *s, u32 move, const struct mt_args *a, u64 ret,
                                  u64 ts)
{
	u64 fd = move == MOVE_FILE ? a->a1 : a->a0, bytes = ret, messages = 1, unsized = 0;
	u32 write = move == MOVE_WRITE || move == MOVE_WRITE_MANY || move == MOVE_MQ_WRITE ||
	            move == MOVE_MSG_WRITE;
	u64 file;

	if (move == MOVE_MQ_WRITE || move == MOVE_MSG_WRITE) {
		bytes = a->a2;
	} else if (move == MOVE_READ_MANY || move == MOVE_WRITE_MANY) {
		messages = ret;
		bytes = sum_many(a->a1, ret);
		unsized = ret > MANY_MAX ? ret - MANY_MAX : 0;
	}
	if (move == MOVE_MSG_WRITE || move == MOVE_MSG_READ)
		file = file_of_msg(a->a0, s->id, ts);
	else
		file = file_of_fd(s, fd, ts);
	count(s->id, file, write, messages, bytes, unsized);
	if (move == MOVE_SPLICE)
		count(s->id, file_of_fd(s, a->a2, ts), 1, 1, bytes, 0);
	else if (move == MOVE_FILE)
		count(s->id, file_of_fd(s, a->a0, ts), 1, 1, bytes, 0);
}

SEC("?tp_btf/sys_exit")
int BPF_PROG(mt_traffic, struct pt_regs *regs, long ret)
{
	struct task_struct *t;
	struct task_state *s;
	struct mt_args args;
	u32 move;

	/* 0: the end of a file; but a message queue's messages may be empty, and sending returns
	 * no more. */
	if (ret < 0 || phase != MT_PHASE_ON)
		return 0;
	move = move_of(regs_call(regs, &args));
	if (!move || (!ret && move < MOVE_MQ_WRITE))
		return 0;
	t = bpf_get_current_task_btf();
	if (is_compat(t))
		return 0;
	s = task_find(t);
	if (!s || !followed(s) || (s->flags & TS_HELD))
		return 0;
	moved(s, move, &args, ret, bpf_ktime_get_ns());
	return 0;
}
