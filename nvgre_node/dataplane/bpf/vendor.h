/* The vendors' VSID (V2): probes of verified peers are answered here. nvgre_node/vendor.py says what they look like. */
#pragma once
#include "encapsulate.h"

#define ETHERTYPE_PROBE 0x88b5
#define PROBE_MAGIC 0x4e564570 /* NVEp */
#define PROBE_REQUEST 1
#define PROBE_REPLY 2

struct probe {
	struct ethhdr eth;
	__be32 magic;
	__u8 kind;
	__u8 reserved;
	__be16 identifier;
	__be32 sequence;
} __attribute__((packed));

/* Sends a request back as a reply, the way it came: with outer headers as this NVE makes them, its addresses swapped. */
static __always_inline int answer_probe(struct __sk_buff *skb, struct in6_addr *peer, int is_v6, const struct origin *from)
{
	__u32 at = outer_length(is_v6);
	__u8 kind = PROBE_REPLY;
	struct ethhdr eth;
	struct bpf_fib_lookup path = {};
	struct shipment to = {
		.pa = peer,
		.is_v6 = is_v6,
		.vsid = VSID_VENDOR,
		.traffic_class = nve.dscp,
		.frame_bytes = skb->len - at,
	};
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) ||
	    bpf_skb_store_bytes(skb, at + offsetof(struct probe, kind), &kind, sizeof(kind), 0))
		return drop_from(from, DROP_MALFORMED);
	__builtin_memcpy(path.smac, eth.h_dest, ETH_ALEN);
	__builtin_memcpy(path.dmac, eth.h_source, ETH_ALEN);
	if (is_v6)
		bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), path.ipv6_src, sizeof(path.ipv6_src));
	else
		bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &path.ipv4_src, sizeof(path.ipv4_src));
	if (write_outer(skb, &to, &path))
		return drop_from(from, DROP_MALFORMED);
	struct subnet_counters *nobodys = counters_of(0);
	if (nobodys)
		nobodys->answered++;
	return bpf_redirect(skb->ingress_ifindex, 0);
}

/* A packet with the vendors' VSID from a verified peer. A reply is for the provider host, which asked. */
static __always_inline int from_peer(struct __sk_buff *skb, struct in6_addr *peer, int is_v6, const struct origin *from)
{
	struct probe probe;
	if (skb->pkt_type != PACKET_HOST || bpf_skb_load_bytes(skb, outer_length(is_v6), &probe, sizeof(probe)) ||
	    probe.eth.h_proto != bpf_htons(ETHERTYPE_PROBE) || probe.magic != bpf_htonl(PROBE_MAGIC))
		return drop_from(from, DROP_RESERVED_VSID);
	if (probe.kind == PROBE_REPLY)
		return TC_ACT_OK;
	if (probe.kind != PROBE_REQUEST)
		return drop_from(from, DROP_RESERVED_VSID);
	return answer_probe(skb, peer, is_v6, from);
}
