/*
 * DSCP and ECN between the inner and the outer IP header (RFC 2983, RFC 6040, RFC 9601 section 6). A traffic class is the
 * byte that IPv4 once called type of service: DSCP in its upper six bits, ECN in its lower two.
 */
#pragma once
#include "vlan.h"

#define ECN_MASK 0x03
#define ECN_NOT_ECT 0x00
#define ECN_ECT_1 0x01
#define ECN_ECT_0 0x02
#define ECN_CE 0x03

/* The traffic class of the IPv4 or IPv6 header that begins with this word, in network order. */
static __always_inline __u8 traffic_class_in(__be16 word)
{
	__u16 host = bpf_ntohs(word);
	return host >> 12 == 4 ? host : host >> 4;
}

/* The same word with another traffic class. */
static __always_inline __be16 with_traffic_class(__be16 word, __u8 traffic_class)
{
	__u16 host = bpf_ntohs(word);
	if (host >> 12 == 4)
		return bpf_htons((host & 0xff00) | traffic_class);
	return bpf_htons((host & 0xf00f) | (__u16)traffic_class << 4);
}

/* The first word of the IP packet in the Ethernet frame that starts at `at`, or 0 where there is no whole IP header. */
static __always_inline __be16 first_word(const struct __sk_buff *skb, __u32 at)
{
	struct {
		__be16 type;
		__be16 word;
	} head;
	if (bpf_skb_load_bytes(skb, at + __builtin_offsetof(struct ethhdr, h_proto), &head, sizeof(head)))
		return 0;
	int version = bpf_ntohs(head.word) >> 12;
	if (head.type == bpf_htons(ETH_P_IP) && version == 4 && skb->len >= at + ETH_HLEN + sizeof(struct iphdr))
		return head.word;
	if (head.type == bpf_htons(ETH_P_IPV6) && version == 6 && skb->len >= at + ETH_HLEN + sizeof(struct ipv6hdr))
		return head.word;
	return 0;
}

/* What the outer header of this frame gets. What is not IP has neither DSCP nor ECN to copy (RFC 9601 section 4). */
static __always_inline __u8 outer_traffic_class(const struct __sk_buff *skb)
{
	__u8 dscp = dscp_of_priority(skb);
	if (!nve.copy_dscp && !nve.copy_ecn)
		return dscp == NO_DSCP ? nve.dscp : dscp;
	__be16 word = first_word(skb, 0);
	__u8 inner = word ? traffic_class_in(word) : 0;
	if (dscp == NO_DSCP)
		dscp = nve.copy_dscp ? inner & ~ECN_MASK : nve.dscp;
	__u8 ecn = nve.copy_ecn ? inner & ECN_MASK : 0;
	return dscp | (deviates(HIDES_CE) && ecn == ECN_CE ? ECN_ECT_0 : ecn);
}

/* The table of RFC 6040 section 4.2, except for CE on Not-ECT, which has no place in it. */
static __always_inline __u8 egress_ecn(__u8 inner, __u8 outer)
{
	if (inner == ECN_NOT_ECT || inner == ECN_CE || outer == ECN_NOT_ECT)
		return inner;
	if (outer == ECN_CE)
		return ECN_CE;
	if (deviates(IGNORES_ECT1))
		return inner;
	return outer == ECN_ECT_1 ? ECN_ECT_1 : inner;
}

/*
 * Brings into the inner packet, in the frame that starts at `at`, what the outer one says. Returns -1 where
 * it must be dropped: it was marked on its way, and has nowhere to say so. GSO writes it into every segment.
 */
static __always_inline int apply_traffic_class(struct __sk_buff *skb, __u32 at, __u8 outer)
{
	/* Only what has this bit can change an inner ECN: ECT(1) and CE. Few packets do. */
	if (!nve.copy_dscp && !(outer & ECN_ECT_1))
		return 0;
	__be16 word = first_word(skb, at);
	if (!word)
		return 0;
	__u8 inner = traffic_class_in(word);
	if ((outer & ECN_MASK) == ECN_CE && (inner & ECN_MASK) == ECN_NOT_ECT)
		return -1;
	__u8 dscp = (nve.copy_dscp ? outer : inner) & ~ECN_MASK;
	__be16 changed = with_traffic_class(word, dscp | egress_ecn(inner & ECN_MASK, outer & ECN_MASK));
	if (changed == word)
		return 0;
	/* IPv4's checksum makes up for the change; in IPv6 whoever summed the packet is told. */
	int is_v4 = bpf_ntohs(word) >> 12 == 4;
	__u32 check = at + ETH_HLEN + __builtin_offsetof(struct iphdr, check);
	if (is_v4)
		bpf_l3_csum_replace(skb, check, word, changed, sizeof(word));
	return bpf_skb_store_bytes(skb, at + ETH_HLEN, &changed, sizeof(changed), is_v4 ? 0 : BPF_F_RECOMPUTE_CSUM);
}
