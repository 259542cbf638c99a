/* Packets that do not fit: never fragmented (F1), answered with ICMP into the VM (RFC 1191, RFC 8201, RFC 7588). */
#pragma once
#include <linux/tcp.h>
#include "counters.h"
#include "policy.h"

/* How much of the offending packet the answer quotes: the headers that a sender needs to find its socket. */
#define QUOTE 128

/* <linux/icmp.h> needs the C library; these are all that is used of it. */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_ECHO 8
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_INFORMATIONAL 128

/* ICMP "fragmentation needed" (RFC 1191 section 4) and ICMPv6 "packet too big" (RFC 4443 section 3.2) look alike. */
struct icmp_error {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 mtu;
} __attribute__((packed));

struct icmp4_answer {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmp_error icmp;
} __attribute__((packed));

struct icmp6_answer {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct icmp_error icmp;
} __attribute__((packed));

/* Bytes of TCP or UDP header at `l4`, else 0. */
static __always_inline __u32 l4_header_length(__u8 protocol, const void *l4, const void *end)
{
	const struct tcphdr *tcp = l4;
	if (protocol == IPPROTO_UDP)
		return 8;
	if (protocol == IPPROTO_TCP && (const void *)(tcp + 1) <= end)
		return tcp->doff * 4;
	return 0;
}

/* Bytes of the longest packet that this frame becomes on the wire, without its Ethernet header: GSO is cut late. */
static __always_inline __u32 packet_length(const struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (const void *)(eth + 1);
	const struct ipv6hdr *ip6 = (const void *)(eth + 1);
	if (!skb->gso_size || (const void *)(ip + 1) > end)
		return skb->len - ETH_HLEN;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return ip->ihl * 4 + l4_header_length(ip->protocol, (const void *)ip + ip->ihl * 4, end) +
		       skb->gso_size;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (const void *)(ip6 + 1) <= end)
		return sizeof(*ip6) + l4_header_length(ip6->nexthdr, ip6 + 1, end) + skb->gso_size;
	return skb->len - ETH_HLEN;
}

/* Cuts the frame to its quote and makes room for an answer of `answer_length` bytes, its Ethernet header included. */
static __always_inline int quote(struct __sk_buff *skb, __u32 answer_length)
{
	if (skb->len < ETH_HLEN + QUOTE || bpf_skb_change_tail(skb, ETH_HLEN + QUOTE, 0))
		return -1;
	if (bpf_skb_change_head(skb, answer_length - ETH_HLEN, 0))
		return -1;
	return bpf_skb_pull_data(skb, answer_length + QUOTE);
}

static __always_inline void answer_ethernet(struct ethhdr *answer, const struct ethhdr *offender)
{
	__builtin_memcpy(answer->h_dest, offender->h_source, ETH_ALEN);
	__builtin_memcpy(answer->h_source, offender->h_dest, ETH_ALEN);
	answer->h_proto = offender->h_proto;
}

/*
 * RFC 1122 section 3.2.2: no ICMP error about an ICMP error, about a fragment that is not the first, to a source that is
 * not one host, or about a packet for many.
 */
static __always_inline int may_answer4(const struct iphdr *ip, const void *end)
{
	const struct icmp_error *icmp = (const void *)ip + ip->ihl * 4;
	__u8 source = bpf_ntohl(ip->saddr) >> 24, destination = bpf_ntohl(ip->daddr) >> 24; /* first bytes */
	if (ip->frag_off & bpf_htons(0x1fff))
		return 0;
	if (source == 0 || source >= 224 || destination >= 224)
		return 0;
	if (ip->protocol != IPPROTO_ICMP)
		return 1;
	return (const void *)(icmp + 1) <= end && (icmp->type == ICMP_ECHO || icmp->type == ICMP_ECHO_REPLY);
}

static __always_inline int answer4(struct __sk_buff *skb, __u32 mtu)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct iphdr *ip = (void *)(eth + 1);
	void *end = (void *)(long)skb->data_end;
	if ((void *)(ip + 1) > end || !may_answer4(ip, end))
		return -1;
	struct ethhdr offender_eth = *eth;
	struct iphdr offender = *ip;
	if (quote(skb, sizeof(struct icmp4_answer)))
		return -1;

	struct icmp4_answer *answer = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if ((void *)(answer + 1) + QUOTE > end)
		return -1;
	answer_ethernet(&answer->eth, &offender_eth);
	answer->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(struct iphdr) + sizeof(struct icmp_error) + QUOTE),
		.ttl = OUTER_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = offender.daddr,
		.daddr = offender.saddr,
	};
	answer->ip.check = ~ip_checksum(&answer->ip);
	answer->icmp = (struct icmp_error){
		.type = ICMP_UNREACHABLE,
		.code = ICMP_FRAGMENTATION_NEEDED,
		.mtu = bpf_htonl(mtu),
	};
	answer->icmp.checksum = ~fold(bpf_csum_diff(0, 0, (void *)&answer->icmp, sizeof(struct icmp_error) + QUOTE, 0));
	return 0;
}

/* RFC 4443 section 2.4 (e): no ICMPv6 error about an ICMPv6 error, nor to a source that is not one host. */
static __always_inline int may_answer6(const struct ipv6hdr *ip, const void *end)
{
	const struct icmp_error *icmp = (const void *)(ip + 1);
	const __be32 *source = ip->saddr.s6_addr32;
	if (ip->saddr.s6_addr[0] == 0xff || !(source[0] | source[1] | source[2] | source[3]))
		return 0;
	if (ip->nexthdr != IPPROTO_ICMPV6)
		return 1;
	return (const void *)(icmp + 1) <= end && icmp->type >= ICMPV6_INFORMATIONAL;
}

static __always_inline int answer6(struct __sk_buff *skb, __u32 mtu)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	void *end = (void *)(long)skb->data_end;
	if ((void *)(ip + 1) > end || !may_answer6(ip, end))
		return -1;
	struct ethhdr offender_eth = *eth;
	struct ipv6hdr offender = *ip;
	if (quote(skb, sizeof(struct icmp6_answer)))
		return -1;

	struct icmp6_answer *answer = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if ((void *)(answer + 1) + QUOTE > end)
		return -1;
	answer_ethernet(&answer->eth, &offender_eth);
	answer->ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(sizeof(struct icmp_error) + QUOTE),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = OUTER_TTL,
		.saddr = offender.daddr,
		.daddr = offender.saddr,
	};
	answer->icmp = (struct icmp_error){.type = ICMPV6_PACKET_TOO_BIG, .mtu = bpf_htonl(mtu)};
	/* The pseudo-header of RFC 8200 section 8.1, then the message. */
	__u32 pseudo = (__u32)answer->ip.payload_len + bpf_htons(IPPROTO_ICMPV6);
	pseudo = bpf_csum_diff(0, 0, (void *)&answer->ip.saddr, 2 * sizeof(struct in6_addr), pseudo);
	answer->icmp.checksum =
		~fold(bpf_csum_diff(0, 0, (void *)&answer->icmp, sizeof(struct icmp_error) + QUOTE, pseudo));
	return 0;
}

/*
 * Drops a frame that does not fit, and tells its sender which packet would: `mtu` is that of the path between the PAs.
 * IPv4 senders are told with or without DF, since the NVE must not fragment for them.
 */
static __always_inline int too_big(struct __sk_buff *skb, const struct port *port, __u32 mtu)
{
	int action = drop(skb, port->slot, DROP_TOO_BIG);
	struct subnet_counters *subnet = counters_of(port->slot);
	if (!nve.tell_too_big || !subnet || mtu <= OVERHEAD)
		return action;
	int told = -1;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		told = answer4(skb, mtu - OVERHEAD);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		told = answer6(skb, mtu - OVERHEAD);
	if (told)
		return action;
	subnet->told_too_big++;
	return bpf_redirect(skb->ingress_ifindex, 0);
}
