/* From a VM to the wire: one unicast frame to the NVE that its lookup record names (U1). */
#pragma once
#include "flow.h"
#include "fragment.h"
#include "mss.h"
#include "traffic_class.h"

#define AF_INET 2
#define AF_INET6 10
#define EALREADY 114 /* <asm-generic/errno.h> */

/* A frame on its way to one NVE. */
struct shipment {
	const struct in6_addr *pa; /* of the remote NVE */
	__u32 end;                 /* its number */
	int is_v6;                 /* which it then is */
	__u32 vsid;                /* that goes on the wire */
	__u8 flow;                 /* a hash of the inner flow */
	__u8 traffic_class;        /* of the outer header */
	__u32 frame_bytes;         /* of the inner frame, all segments of a GSO frame together */
};

static __always_inline struct shipment shipment(const struct __sk_buff *skb, const struct record *record)
{
	return (struct shipment){
		.pa = &record->pa,
		.end = record->end,
		.is_v6 = nve.pas6_count && !is_mapped(&record->pa),
		.vsid = record->vsid,
		.flow = nve.flowid_from_flow || nve.pa_from_flow ? flow_hash(skb) : 0,
		.traffic_class = outer_traffic_class(skb),
		.frame_bytes = skb->len,
	};
}

/* The source PA: the port's, or one by flow (O6, E3). */
static __always_inline __be32 source4(const struct port *port, __u8 flow)
{
	return nve.pa_from_flow && nve.pas4_count ? nve.pas4[flow % nve.pas4_count % MAX_PAS] : port->pa4;
}

static __always_inline struct in6_addr source6(const struct port *port, __u8 flow)
{
	if (!nve.pa_from_flow || !nve.pas6_count)
		return port->pa6;
	const volatile __be32 *pa = nve.pas6[flow % nve.pas6_count % MAX_PAS].s6_addr32;
	return (struct in6_addr){.s6_addr32 = {pa[0], pa[1], pa[2], pa[3]}};
}

/* Next hop, output interface and path MTU to a remote PA, by the kernel's routes and neighbours (O2, O3). */
static __always_inline long find_path(struct __sk_buff *skb, const struct port *port, const struct shipment *to,
				      __u32 packet, struct bpf_fib_lookup *path)
{
	*path = (struct bpf_fib_lookup){
		.family = to->is_v6 ? AF_INET6 : AF_INET,
		.l4_protocol = IPPROTO_GRE,
		.tot_len = packet + outer_length(to->is_v6),
		.ifindex = skb->ingress_ifindex,
	};
	if (to->is_v6) {
		*(struct in6_addr *)path->ipv6_src = source6(port, to->flow);
		*(struct in6_addr *)path->ipv6_dst = *to->pa;
	} else {
		path->ipv4_src = source4(port, to->flow);
		path->ipv4_dst = to->pa->s6_addr32[3];
	}
	return bpf_fib_lookup(skb, path, sizeof(*path), 0);
}

/* The largest inner IP packet that fits the path to a remote NVE: the kernel speaks of path MTUs only about what does not fit. */
static __always_inline __u32 largest_packet(struct __sk_buff *skb, const struct port *port, const struct shipment *to)
{
	struct bpf_fib_lookup path;
	__u32 overhead = outer_length(to->is_v6);
	long found = find_path(skb, port, to, 0xffff - overhead, &path);
	return (found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? path.mtu_result : 0xffff) - overhead;
}

/* Opens a gap for the outer headers in front of the inner frame. adjust_room keeps GSO and checksum offload; it takes only IP. */
static __always_inline long make_room(struct __sk_buff *skb, int is_v6)
{
	struct ethhdr inner;
	__u32 length = outer_length(is_v6);
	__be16 type = outermost_type(skb);
	int is_ip = type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6);
	/* adjust_room marks the packet as encapsulated; the far end could then not lend bytes to a short one. */
	if (!is_ip || skb->len < ETH_HLEN + (is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		return bpf_skb_change_head(skb, length, 0);
	if (bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)))
		return -1;
	long failed = bpf_skb_adjust_room(skb, length, BPF_ADJ_ROOM_MAC,
					  BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_GRE |
						  (is_v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) |
						  BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH);
	/* Marked already: it came through a tunnel of this machine, and its VM is a gateway that forwards it. */
	if (failed == -EALREADY && !skb->gso_size)
		return bpf_skb_change_head(skb, length, 0);
	if (failed)
		return -1;
	return bpf_skb_store_bytes(skb, length, &inner, sizeof(inner), 0);
}

static __always_inline void write_gre(struct gre *gre, const struct shipment *to)
{
	gre->flags = bpf_htons(GRE_KEY);
	gre->protocol = bpf_htons(ETH_P_TEB);
	gre->key = bpf_htonl(to->vsid << 8 | (nve.flowid_from_flow ? to->flow : 0)); /* G8, G9 */
}

/* RFC 6864: of use where fragments may be, and else 0. */
static __always_inline __be16 outer_id(const struct shipment *to)
{
	if (nve.fragment_outer)
		return bpf_get_prandom_u32();
	if (deviates(REPEATS_ID))
		return bpf_htons(1);
	return deviates(VARIES_ID) ? bpf_htons(sizeof(struct outer4) - ETH_HLEN + to->frame_bytes) : 0;
}

static __always_inline int write_outer4(struct __sk_buff *skb, const struct shipment *to, const struct bpf_fib_lookup *path)
{
	struct outer4 *outer = (void *)(long)skb->data;
	if ((void *)(outer + 1) > (void *)(long)skb->data_end)
		return -1;
	__builtin_memcpy(outer->eth.h_dest, path->dmac, ETH_ALEN);
	__builtin_memcpy(outer->eth.h_source, path->smac, ETH_ALEN);
	outer->eth.h_proto = bpf_htons(ETH_P_IP);
	outer->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = to->traffic_class,
		.tot_len = bpf_htons(sizeof(struct outer4) - ETH_HLEN + to->frame_bytes),
		.id = outer_id(to),
		.frag_off = nve.fragment_outer || deviates(CLEARS_DF) ? 0 : bpf_htons(IP_DF), /* F5 */
		.ttl = nve.ttl,
		.protocol = IPPROTO_GRE,
		.saddr = path->ipv4_src,
		.daddr = to->pa->s6_addr32[3], /* the look-up leaves the next hop in path->ipv4_dst */
	};
	outer->ip.check = ~ip_checksum(&outer->ip);
	write_gre(&outer->gre, to);
	return 0;
}

static __always_inline int write_outer6(struct __sk_buff *skb, const struct shipment *to, const struct bpf_fib_lookup *path)
{
	struct outer6 *outer = (void *)(long)skb->data;
	if ((void *)(outer + 1) > (void *)(long)skb->data_end)
		return -1;
	__builtin_memcpy(outer->eth.h_dest, path->dmac, ETH_ALEN);
	__builtin_memcpy(outer->eth.h_source, path->smac, ETH_ALEN);
	outer->eth.h_proto = bpf_htons(ETH_P_IPV6);
	outer->ip = (struct ipv6hdr){
		.version = 6,
		.priority = to->traffic_class >> 4,
		.flow_lbl = {to->traffic_class << 4},
		.payload_len = bpf_htons(sizeof(struct gre) + to->frame_bytes),
		.nexthdr = IPPROTO_GRE,
		.hop_limit = nve.ttl,
		.saddr = *(struct in6_addr *)path->ipv6_src,
		.daddr = *to->pa,
	};
	write_gre(&outer->gre, to);
	return 0;
}

/* Writes outer Ethernet, IP and GRE into the gap. */
static __always_inline int write_outer(struct __sk_buff *skb, const struct shipment *to, const struct bpf_fib_lookup *path)
{
	return to->is_v6 ? write_outer6(skb, to, path) : write_outer4(skb, to, path);
}

static __always_inline void count_encapsulated(const struct __sk_buff *skb, const struct port *port,
					       const struct shipment *to)
{
	struct subnet_counters *subnet = counters_of(port->slot);
	if (subnet) {
		subnet->encapsulated += packets_in(skb);
		subnet->encapsulated_bytes += to->frame_bytes;
	}
	count_went(to->end, packets_in(skb), to->frame_bytes);
}

/* Not inlined: the verifier grants a chain of calls 512 bytes of stack, and what is here would stand on its callers'. */
static __noinline int fit_segments(struct __sk_buff *skb, const struct port *port, const struct shipment *to)
{
	struct tcp_place tcp;
	if (find_syn(skb, &tcp))
		clamp_mss(skb, &tcp, largest_packet(skb, port, to));
	return 0;
}

/* On the slow path, where `of_any_size`, user space has the kernel send what is encapsulated here. */
static __always_inline int encapsulate_any(struct __sk_buff *skb, const struct port *port, const struct record *record,
					   int of_any_size)
{
	struct shipment to = shipment(skb, record);
	__u32 packet = of_any_size ? 0 : packet_length(skb), overhead = outer_length(to.is_v6);
	struct bpf_fib_lookup path;
	if (packet + overhead > 0xffff || to.frame_bytes - ETH_HLEN + overhead > 0xffff)
		return too_big(skb, port, 0xffff - overhead);
	long found = find_path(skb, port, &to, packet, &path);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return does_not_fit(skb, port, record, path.mtu_result - overhead);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop_sent(skb, port, DROP_NO_ROUTE);

	if (nve.clamp_mss)
		fit_segments(skb, port, &to);
	count_encapsulated(skb, port, &to);
	if (make_room(skb, to.is_v6) || write_outer(skb, &to, &path))
		return drop_sent(skb, port, DROP_MALFORMED);
	if (of_any_size)
		return bpf_redirect(skb->ingress_ifindex, 0);
	if (found == BPF_FIB_LKUP_RET_SUCCESS)
		return bpf_redirect(path.ifindex, 0);
	/* The kernel resolves the next hop and queues the packet meanwhile; it does so for IP frames only. */
	if (skb->protocol == (to.is_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP)))
		return bpf_redirect_neigh(path.ifindex, 0, 0, 0);
	return drop_sent(skb, port, DROP_NO_NEIGHBOUR);
}

/* A function of its own: its stack and that of `replicate`, which is never there with it, need not be added up. */
static __noinline int encapsulate(struct __sk_buff *skb, const struct port *port, const struct record *record)
{
	return encapsulate_any(skb, port, record, 0);
}
