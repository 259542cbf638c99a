/*
 * Inner fragments (RFC 7588 section 3): an IPv4 packet without DF that does not fit is cut into fragments of its own, and
 * each travels whole in a packet of its own. That happens on the slow path, see slow_path.h.
 */
#pragma once
#include "too_big.h"

#define FRAGMENT_UNIT 8 /* bytes that an offset counts (RFC 791) */
#define ROOM_AT_ONCE 4088 /* bytes: adjust_room takes 4095 at most */
#define MOST_ROOM_STEPS (65536 / ROOM_AT_ONCE + 1)

/*
 * skb->mark on the slow path: where the frame came from and where it goes. Nobody else is there to set it: whatever
 * enters or leaves a network namespace loses its mark, and from_port reads none.
 */
#define SLOW_PATH_REST 0x80000000u /* the frame still holds what an earlier fragment took; the IP checksum says how much */
#define SLOW_PATH_PRIORITY(mark) ((mark) >> 27 & 0xf) /* as in skb->cb[0] */
#define SLOW_PATH_PORT(mark) ((mark) >> 16 & 0x7ff)  /* its number */
#define SLOW_PATH_RECORD(mark) ((mark) & 0xffff)     /* its number */

/* Whether a packet may be cut into packets of at most `largest` bytes: an IPv4 packet without DF that is sound; its options would have to be sorted. */
static __always_inline int is_fragmentable(const struct __sk_buff *skb, __u32 largest)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const struct iphdr *ip = (const void *)(eth + 1);
	if ((const void *)(ip + 1) > (void *)(long)skb->data_end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->version != 4 || ip->ihl != 5)
		return 0;
	__u32 total = bpf_ntohs(ip->tot_len), word = bpf_ntohs(ip->frag_off);
	if (word & IP_DF || total + ETH_HLEN != skb->len || ip_checksum(ip) != 0xffff)
		return 0;
	if ((word & IP_OFFSET) + (total - sizeof(*ip)) / FRAGMENT_UNIT > IP_OFFSET)
		return 0;
	return largest >= sizeof(*ip) + FRAGMENT_UNIT;
}

static __always_inline long write_ip(struct __sk_buff *skb, struct iphdr *ip)
{
	ip->check = 0;
	ip->check = ~ip_checksum(ip);
	return bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), 0);
}

/* Shortens the packet to its first `room` bytes of payload; a copy comes round again for the rest. */
static __always_inline long cut(struct __sk_buff *skb, __u32 mark, __u32 room)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	ip.check = bpf_htons(room / FRAGMENT_UNIT);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return -1;
	skb->mark = mark | SLOW_PATH_REST;
	long lost = bpf_clone_redirect(skb, skb->ingress_ifindex, BPF_F_INGRESS);
	skb->mark = 0;
	if (lost || bpf_skb_change_tail(skb, ETH_HLEN + sizeof(ip) + room, 0))
		return -1;
	ip.frag_off |= bpf_htons(IP_MF);
	ip.tot_len = bpf_htons(sizeof(ip) + room);
	return write_ip(skb, &ip);
}

/* Removes what an earlier fragment took from the front of the payload. */
static __always_inline long keep_rest(struct __sk_buff *skb)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	__u32 taken = bpf_ntohs(ip.check) * FRAGMENT_UNIT, left = taken;
	for (int i = 0; i < MOST_ROOM_STEPS && left; i++) {
		__u32 step = left < ROOM_AT_ONCE ? left : ROOM_AT_ONCE;
		if (bpf_skb_adjust_room(skb, -(__s32)step, BPF_ADJ_ROOM_NET, 0))
			return -1;
		left -= step;
	}
	ip.frag_off = bpf_htons(bpf_ntohs(ip.frag_off) + taken / FRAGMENT_UNIT);
	ip.tot_len = bpf_htons(bpf_ntohs(ip.tot_len) - taken);
	return write_ip(skb, &ip);
}

/* A frame that the path does not carry, only packets of `largest` bytes: cut where that is the mode and the packet allows it, else dropped and told. */
static __always_inline int does_not_fit(struct __sk_buff *skb, const struct port *port, const struct record *record,
					__u32 largest)
{
	__u32 number = port->number;
	int may = nve.fragment_outer || (nve.fragment_inner && is_fragmentable(skb, largest));
	/* What was learnt has no number. */
	if (may && record->number && number == SLOW_PATH_PORT(number << 16)) {
		__u32 priority = nve.pcp_to_dscp ? skb->cb[0] & 0xf : 0;
		skb->mark = priority << 27 | number << 16 | record->number;
		return bpf_redirect(nve.slow_path, 0);
	}
	return too_big(skb, port, largest);
}
