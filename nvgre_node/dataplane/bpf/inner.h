/* Reading inner frames: ARP, and IP packets with what their upper layer is and where that starts. */
#pragma once
#include "policy.h"

#define MAX_EXTENSIONS 6
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define UNKNOWN_PROTOCOL 256 /* more than a byte can say */

#define ARP_REQUEST 1
#define ARP_REPLY 2
#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

/* Bytes are copied out of the packet: its headers may be anywhere in it, and not in its linear part. */
struct inner_packet {
	__u8 version; /* 4 or 6; 0: no IP packet, or not even its fixed header */
	__u8 later;   /* a fragment that is not the first: it has no part of the upper layer's header */
	__u16 protocol; /* of the upper layer, or UNKNOWN_PROTOCOL */
	__u32 at;       /* where the upper layer starts in the frame, or 0: not here */
	struct in6_addr source, destination; /* as in IPv6's header; IPv4: in the first word, the others 0 */
};

static __always_inline int has_ports(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline __be16 ethertype_of(const struct __sk_buff *skb)
{
	__be16 ethertype = 0;
	bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype));
	return ethertype;
}

static __always_inline int is_extension(__u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS;
}

/* The EtherType in front of a frame's payload or, where an NVE keeps tags, that of the outermost. */
static __always_inline __be16 outermost_type(const struct __sk_buff *skb)
{
	return deviates(KEEPS_TAGS) ? ethertype_of(skb) : skb->protocol;
}

/* Whether an NVE carries frames of an EtherType: all of them (I1), or IP and ARP alone. */
static __always_inline int is_carried(__be16 ethertype)
{
	return !nve.carries_ip || ethertype == bpf_htons(ETH_P_IP) || ethertype == bpf_htons(ETH_P_IPV6) ||
	       ethertype == bpf_htons(ETH_P_ARP);
}

static __always_inline void read_inner4(const struct __sk_buff *skb, struct inner_packet *packet)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return;
	packet->version = 4;
	packet->source.s6_addr32[0] = ip.saddr;
	packet->destination.s6_addr32[0] = ip.daddr;
	packet->protocol = ip.protocol;
	packet->later = !!(ip.frag_off & bpf_htons(IP_OFFSET));
	packet->at = packet->later ? 0 : ETH_HLEN + ip.ihl * 4;
}

static __always_inline void read_inner6(const struct __sk_buff *skb, struct inner_packet *packet)
{
	__u32 at = ETH_HLEN + sizeof(struct ipv6hdr);
	__u8 protocol;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &packet->source,
			       2 * sizeof(struct in6_addr)))
		return;
	bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), &protocol, sizeof(protocol));
	packet->version = 6;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 extension[8]; /* next header, length, and in a fragment header: offset */
		int fragment = protocol == IPPROTO_FRAGMENT;
		if (!fragment && !is_extension(protocol))
			break;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)))
			return;
		protocol = extension[0];
		if (fragment && (extension[2] || extension[3] & 0xf8)) {
			packet->later = 1;
			if (!is_extension(protocol)) /* else the upper layer is further on, in another fragment */
				packet->protocol = protocol;
			return;
		}
		at += fragment ? 8 : (extension[1] + 1) * 8;
	}
	if (protocol == IPPROTO_FRAGMENT || is_extension(protocol))
		return;
	packet->protocol = protocol;
	packet->at = at;
}

static __always_inline void read_inner(const struct __sk_buff *skb, struct inner_packet *packet)
{
	*packet = (struct inner_packet){.protocol = UNKNOWN_PROTOCOL};
	__be16 ethertype = ethertype_of(skb);
	if (ethertype == bpf_htons(ETH_P_IP))
		read_inner4(skb, packet);
	else if (ethertype == bpf_htons(ETH_P_IPV6))
		read_inner6(skb, packet);
}
