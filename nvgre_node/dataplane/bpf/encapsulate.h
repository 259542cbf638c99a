/* From a VM to the wire: one unicast frame to the NVE that its lookup record names (U1). */
#pragma once
#include "flow.h"
#include "mss.h"
#include "too_big.h"

#define AF_INET 2

/* A frame on its way to one NVE. */
struct shipment {
	__be32 pa;         /* of the remote NVE */
	__u32 vsid;        /* that goes on the wire */
	__u8 flow_id;
	__u32 frame_bytes; /* of the inner frame, all segments of a GSO frame together */
};

/* Next hop, output interface and path MTU to a remote PA, by the kernel's routes and neighbours (O2, O3). */
static __always_inline long find_path(struct __sk_buff *skb, __be32 pa, __u32 packet,
				      struct bpf_fib_lookup *path)
{
	*path = (struct bpf_fib_lookup){
		.family = AF_INET,
		.l4_protocol = IPPROTO_GRE,
		.tot_len = packet + OVERHEAD,
		.ifindex = skb->ingress_ifindex,
		.ipv4_src = nve.pa,
		.ipv4_dst = pa,
	};
	return bpf_fib_lookup(skb, path, sizeof(*path), 0);
}

/* The path MTU to a remote PA, of which the kernel speaks only about what does not fit. */
static __always_inline __u32 path_mtu(struct __sk_buff *skb, __be32 pa)
{
	struct bpf_fib_lookup path;
	long found = find_path(skb, pa, 0xffff - OVERHEAD, &path);
	return found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? path.mtu_result : 0xffff;
}

/* Opens a gap of OUTER_LEN bytes in front of the inner frame. adjust_room keeps GSO and checksum offload; it takes only IP. */
static __always_inline long make_room(struct __sk_buff *skb)
{
	struct ethhdr inner;
	int is_ip = skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
	/* adjust_room marks the packet as encapsulated; the far end could then not lend bytes to a short one. */
	if (!is_ip || skb->len < ETH_HLEN + sizeof(struct iphdr))
		return bpf_skb_change_head(skb, OUTER_LEN, 0);
	if (bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)) ||
	    bpf_skb_adjust_room(skb, OUTER_LEN, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
					BPF_F_ADJ_ROOM_ENCAP_L4_GRE | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
					BPF_F_ADJ_ROOM_ENCAP_L2_ETH))
		return -1;
	return bpf_skb_store_bytes(skb, OUTER_LEN, &inner, sizeof(inner), 0);
}

/* Writes outer Ethernet, IPv4 and GRE into the gap. */
static __always_inline int write_outer(struct __sk_buff *skb, const struct shipment *to,
				       const struct bpf_fib_lookup *path)
{
	struct outer *outer = (void *)(long)skb->data;
	if ((void *)(outer + 1) > (void *)(long)skb->data_end)
		return -1;
	__builtin_memcpy(outer->eth.h_dest, path->dmac, ETH_ALEN);
	__builtin_memcpy(outer->eth.h_source, path->smac, ETH_ALEN);
	outer->eth.h_proto = bpf_htons(ETH_P_IP);
	outer->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(OUTER_LEN - ETH_HLEN + to->frame_bytes),
		.frag_off = bpf_htons(IP_DF), /* F5 */
		.ttl = OUTER_TTL,
		.protocol = IPPROTO_GRE,
		.saddr = nve.pa,
		.daddr = to->pa,
	};
	outer->ip.check = ~ip_checksum(&outer->ip);
	outer->gre.flags = bpf_htons(GRE_KEY);
	outer->gre.protocol = bpf_htons(ETH_P_TEB);
	outer->gre.key = bpf_htonl(to->vsid << 8 | to->flow_id);
	return 0;
}

static __always_inline void count_encapsulated(const struct __sk_buff *skb, __u32 slot, __u32 frame_bytes)
{
	struct subnet_counters *subnet = counters_of(slot);
	if (subnet) {
		subnet->encapsulated += packets_in(skb);
		subnet->encapsulated_bytes += frame_bytes;
	}
}

static __always_inline int encapsulate(struct __sk_buff *skb, const struct port *port, const struct record *record)
{
	struct shipment to = {
		.pa = record->pa,
		.vsid = record->vsid,
		.flow_id = nve.flowid_from_flow ? flow_id(skb) : 0,
		.frame_bytes = skb->len,
	};
	__u32 packet = packet_length(skb);
	struct bpf_fib_lookup path;
	if (packet + OVERHEAD > 0xffff || to.frame_bytes + OUTER_LEN - ETH_HLEN > 0xffff)
		return too_big(skb, port, 0xffff);
	long found = find_path(skb, to.pa, packet, &path);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return too_big(skb, port, path.mtu_result);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(skb, port->slot, DROP_NO_ROUTE);

	struct tcp_place tcp;
	if (nve.clamp_mss && find_syn(skb, &tcp))
		clamp_mss(skb, &tcp, path_mtu(skb, to.pa) - OVERHEAD);
	count_encapsulated(skb, port->slot, to.frame_bytes);
	if (make_room(skb) || write_outer(skb, &to, &path))
		return drop(skb, port->slot, DROP_MALFORMED);
	if (found == BPF_FIB_LKUP_RET_SUCCESS)
		return bpf_redirect(path.ifindex, 0);
	/* The kernel resolves the next hop and queues the packet meanwhile; it does so for IP frames only. */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return bpf_redirect_neigh(path.ifindex, 0, 0, 0);
	return drop(skb, port->slot, DROP_NO_NEIGHBOUR);
}
