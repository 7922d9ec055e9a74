/* SPDX-License-Identifier: MIT */
/*
 * flow.bpf.c: the kernel counts the bytes of every TCP connection. Read when one end closes, they
 * cost nothing while it is in use. What is open at the end of the recording: see
 * src/collect/flow.c.
 */
#include "core.bpf.h"

#define IPPROTO_TCP 6
#define SOCK_DONE   (1 << 1) /* sk_flags: the other end has closed */
enum {
	TCP_ESTABLISHED_ = 1,
	TCP_FIN_WAIT1_ = 4,
	TCP_FIN_WAIT2_,
	TCP_TIME_WAIT_,
	TCP_CLOSE_,
	TCP_CLOSE_WAIT_,
	TCP_LAST_ACK_,
	TCP_CLOSING_ = 11
};

static __always_inline bool is_ending(u32 state)
{
	return state >= TCP_FIN_WAIT1_ && state <= TCP_CLOSING_ && state != TCP_CLOSE_WAIT_ &&
	       state != 10 /* listening */;
}

/* Data that its owner has put in: what was sent once, and what waits to be. The end of the stream
 * takes a number like a byte, but none is in the queue before the owner closes. */
static __always_inline u64 put_in(const struct tcp_sock *tp, u32 state)
{
	u64 sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);

	if (state == TCP_ESTABLISHED_ || state == TCP_CLOSE_WAIT_)
		sent += (u32)(BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_nxt));
	return sent;
}

/* Data that its owner has taken out: what came in order, but for what is still in the queue. */
static __always_inline u64 taken_out(const struct sock *sk, const struct tcp_sock *tp)
{
	u32 end = BPF_CORE_READ(sk, __sk_common.skc_flags) & SOCK_DONE ? 1 : 0;
	u32 queued = BPF_CORE_READ(tp, rcv_nxt) - BPF_CORE_READ(tp, copied_seq);
	u64 came = BPF_CORE_READ(tp, bytes_received) - end;

	return queued > end ? came - (queued - end) : came;
}

SEC("?tp_btf/inet_sock_set_state")
int BPF_PROG(mt_flow, const struct sock *sk, int before, int after)
{
	const struct tcp_sock *tp = (void *)sk;
	struct inode *inode;
	struct mt_flow *e;
	u64 ino, ts;

	if (phase != MT_PHASE_ON || !is_ending(after) ||
	    BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	inode = BPF_CORE_READ(sk, sk_socket, file, f_inode);
	ino = inode ? BPF_CORE_READ(inode, i_ino) : 0;
	if (!ino || !file_is_known(ino, BPF_CORE_READ(inode, i_sb, s_dev)))
		return 0;
	ts = bpf_ktime_get_ns();
	e = ring_reserve(mt_flow, ts, MT_EV_FLOW, 0);
	if (!e)
		return 0;
	e->inode = ino;
	e->sent_bytes = put_in(tp, before);
	e->received_bytes = taken_out(sk, tp);
	ring_submit(e);
	return 0;
}
