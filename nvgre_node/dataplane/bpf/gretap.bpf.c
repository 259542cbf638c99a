/*
 * What a `gretap external` device leaves to a program: the tunnel key of each packet that leaves, and the virtual subnet of
 * each that arrives (G5, G8, G10). Bridges with static entries do the rest. Between a bridge and the device stand ports, one
 * for each virtual subnet and remote PA: what a bridge sends to one leaves by the device, and what arrives enters there.
 */
#include "wire.h"

#define MAX_PAS 8
#define MAX_TAGS 4
#define ECN 0x03
#define MAPPED bpf_htonl(0xffff) /* an IPv4 PA is ::ffff:a.b.c.d, as in policy.h */

/* Mirrored by nvgre_node.dataplane.gretap_external. PAs are in network order. */
struct way {
	__u32 vsid;
	struct in6_addr remote;
};

/* The source PAs of what a VM's port sends, of which the flow picks one (E3). */
struct sources {
	__u32 count;
	__be32 pas[MAX_PAS];
};

struct counts {
	__u64 sent;
	__u64 sent_bytes;
	__u64 received;
	__u64 received_bytes;
};

struct gretap {
	__u32 device4; /* interface indices of the devices */
	__u32 device6;
	__u8 flow_ids; /* G8; 0: FlowID is always zero, G9 */
	__u8 ttl;
	__u8 dscp; /* in the upper six bits */
	__u8 reserved;
};

const volatile struct gretap gretap SEC(".rodata.gretap");

/* The port of a way, by which its packets come in, and back. Sizes are set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct way);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct way);
} ways SEC(".maps");

/* By the interface index of a VM's port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sources);
} sources SEC(".maps");

/* By VSID. A GSO frame counts once per segment. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

/* The ECN of the inner packet, or 0. */
static __always_inline __u8 inner_ecn(const struct __sk_buff *skb)
{
	__u8 start[2] = {};
	if (skb->protocol == bpf_htons(ETH_P_IP) && !bpf_skb_load_bytes(skb, ETH_HLEN, start, sizeof(start)))
		return start[1] & ECN;
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && !bpf_skb_load_bytes(skb, ETH_HLEN, start, sizeof(start)))
		return start[1] >> 4 & ECN;
	return 0;
}

/* I5: removes every tag. Returns 0 when none is left. */
static __always_inline int strip_tags(struct __sk_buff *skb)
{
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++)
		if (skb->vlan_present && bpf_skb_vlan_pop(skb))
			return -1;
	return skb->vlan_present || is_tag(skb->protocol);
}

/* What a bridge sends to the port of a way. */
SEC("tc")
int to_way(struct __sk_buff *skb)
{
	__u32 port = skb->ifindex, from = skb->ingress_ifindex;
	struct way *way = bpf_map_lookup_elem(&ways, &port);
	struct sources *own = bpf_map_lookup_elem(&sources, &from);
	struct counts *counted = way ? bpf_map_lookup_elem(&counts, &way->vsid) : 0;
	if (!way || !own || !counted || strip_tags(skb))
		return TC_ACT_SHOT;
	bpf_set_hash_invalid(skb); /* a socket of a VM may have chosen one by lot, and choose anew */
	__u32 hash = bpf_get_hash_recalc(skb), at = own->count ? (hash >> 8) % own->count : 0;
	struct bpf_tunnel_key key = {
		.tunnel_id = way->vsid << 8 | (gretap.flow_ids ? hash & 0xff : 0),
		.tunnel_ttl = gretap.ttl,
		.tunnel_tos = gretap.dscp,
	};
	int is_v6 = !(way->remote.s6_addr32[2] == MAPPED && !way->remote.s6_addr32[0] && !way->remote.s6_addr32[1]);
	if (is_v6) {
		__builtin_memcpy(key.remote_ipv6, &way->remote, sizeof(key.remote_ipv6));
		key.tunnel_tos |= inner_ecn(skb); /* over IPv4 the device sees to it, and hides CE (RFC 3168) */
	} else {
		key.remote_ipv4 = bpf_ntohl(way->remote.s6_addr32[3]);
		if (at < MAX_PAS)
			key.local_ipv4 = bpf_ntohl(own->pas[at]);
	}
	__u64 flags = BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT | (is_v6 ? BPF_F_TUNINFO_IPV6 : 0);
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return TC_ACT_SHOT;
	__u32 packets = skb->gso_segs ?: 1;
	counted->sent += packets;
	counted->sent_bytes += skb->len;
	return bpf_redirect(is_v6 ? gretap.device6 : gretap.device4, 0);
}

/* What a device has received: of its key the VSID alone counts (G10), and of its senders those that are listed (C1). */
SEC("tc")
int from_wire(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct way way = {};
	int is_v6 = skb->ingress_ifindex == gretap.device6;
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), is_v6 ? BPF_F_TUNINFO_IPV6 : 0))
		return TC_ACT_SHOT;
	way.vsid = key.tunnel_id >> 8;
	if (is_v6)
		__builtin_memcpy(&way.remote, key.remote_ipv6, sizeof(way.remote));
	else
		way.remote = (struct in6_addr){.s6_addr32 = {0, 0, MAPPED, bpf_htonl(key.remote_ipv4)}};
	__u32 *port = bpf_map_lookup_elem(&ports, &way);
	struct counts *counted = bpf_map_lookup_elem(&counts, &way.vsid);
	if (!port || !counted || skb->vlan_present || is_tag(skb->protocol)) /* I6 */
		return TC_ACT_SHOT;
	counted->received += skb->gso_segs ?: 1;
	counted->received_bytes += skb->len;
	return bpf_redirect(*port, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "GPL";
