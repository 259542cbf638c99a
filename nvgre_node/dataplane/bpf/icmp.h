/* ICMP and ICMPv6 errors about packets that go nowhere: what they say and quote, and when there must be none. */
#pragma once
#include "counters.h"
#include "inner.h"
#include "policy.h"

/* How much of the offending packet an error quotes: the headers that a sender needs to find its socket. */
#define QUOTE 128

/* <linux/icmp.h> needs the C library; these are all that is used of it. */
#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_INFORMATIONAL 128
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_REDIRECT 137

/* Errors of ICMP (RFC 792, RFC 1191) and of ICMPv6 (RFC 4443) look alike: the second word is 0, or an MTU. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 mtu;
} __attribute__((packed));

struct icmp4_answer {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmp_header icmp;
} __attribute__((packed));

struct icmp6_answer {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct icmp_header icmp;
} __attribute__((packed));

/* What an error says, in either version; `mtu` is 0 unless it is about that. */
struct icmp_said {
	__u8 type4, code4;
	__u8 type6, code6;
	__u32 mtu;
};

/* Makes the frame its quote, with room for an answer of `answer_length` bytes in front, its Ethernet header included. */
static __always_inline int quote(struct __sk_buff *skb, __u32 answer_length)
{
	/* A shorter packet is made longer with zeros, which sums do not see; in the end they are cut off again. */
	if (bpf_skb_change_tail(skb, ETH_HLEN + QUOTE, 0))
		return -1;
	if (bpf_skb_change_head(skb, answer_length - ETH_HLEN, 0))
		return -1;
	return bpf_skb_pull_data(skb, answer_length + QUOTE);
}

static __always_inline void answer_ethernet(struct ethhdr *answer, const struct ethhdr *offender, const struct port *port,
					    const struct router *router)
{
	__builtin_memcpy(answer->h_dest, router ? port->mac : offender->h_source, ETH_ALEN);
	__builtin_memcpy(answer->h_source, router ? ROUTER_MAC : offender->h_dest, ETH_ALEN);
	answer->h_proto = offender->h_proto;
}

/*
 * RFC 1122 section 3.2.2: no ICMP error about an ICMP error, about a fragment that is not the first, to a source that is
 * not one host, or about a packet for many.
 */
static __always_inline int may_answer4(const struct iphdr *ip, const void *end)
{
	const struct icmp_header *icmp = (const void *)ip + ip->ihl * 4;
	__u8 source = bpf_ntohl(ip->saddr) >> 24, destination = bpf_ntohl(ip->daddr) >> 24; /* first bytes */
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return 0;
	if (source == 0 || source >= 224 || destination >= 224)
		return 0;
	if (ip->protocol != IPPROTO_ICMP)
		return 1;
	return (const void *)(icmp + 1) <= end && (icmp->type == ICMP_ECHO || icmp->type == ICMP_ECHO_REPLY);
}

static __always_inline int icmp_error4(struct __sk_buff *skb, const struct port *port, const struct router *router,
				       const struct icmp_said *said, __u32 quoted)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct iphdr *ip = (void *)(eth + 1);
	void *end = (void *)(long)skb->data_end;
	if ((void *)(ip + 1) > end || !may_answer4(ip, end) || (router && !router->address4))
		return -1;
	struct ethhdr offender_eth = *eth;
	struct iphdr offender = *ip;
	if (quote(skb, sizeof(struct icmp4_answer)))
		return -1;

	struct icmp4_answer *answer = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if ((void *)(answer + 1) + QUOTE > end)
		return -1;
	answer_ethernet(&answer->eth, &offender_eth, port, router);
	answer->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(sizeof(struct iphdr) + sizeof(struct icmp_header) + quoted),
		.ttl = ANSWER_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = router ? router->address4 : offender.daddr,
		.daddr = offender.saddr,
	};
	answer->ip.check = ~ip_checksum(&answer->ip);
	answer->icmp = (struct icmp_header){.type = said->type4, .code = said->code4, .mtu = bpf_htonl(said->mtu)};
	answer->icmp.checksum = ~fold(bpf_csum_diff(0, 0, (void *)&answer->icmp, sizeof(struct icmp_header) + QUOTE, 0));
	return quoted < QUOTE ? bpf_skb_change_tail(skb, sizeof(struct icmp4_answer) + quoted, 0) : 0;
}

/* RFC 4443 section 2.4 (e): no error about an ICMPv6 error or redirect, nor to a source that is not one host. */
static __always_inline int may_answer6(const struct ipv6hdr *ip, const void *end)
{
	const struct icmp_header *icmp = (const void *)(ip + 1);
	if (ip->saddr.s6_addr[0] == 0xff || is_unspecified(&ip->saddr))
		return 0;
	if (ip->nexthdr != IPPROTO_ICMPV6)
		return 1;
	return (const void *)(icmp + 1) <= end && icmp->type >= ICMPV6_INFORMATIONAL && icmp->type != ICMPV6_REDIRECT;
}

static __always_inline int icmp_error6(struct __sk_buff *skb, const struct port *port, const struct router *router,
				       const struct icmp_said *said, __u32 quoted)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	void *end = (void *)(long)skb->data_end;
	if ((void *)(ip + 1) > end || !may_answer6(ip, end) || (router && is_unspecified(&router->address6)))
		return -1;
	struct ethhdr offender_eth = *eth;
	struct ipv6hdr offender = *ip;
	if (quote(skb, sizeof(struct icmp6_answer)))
		return -1;

	struct icmp6_answer *answer = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if ((void *)(answer + 1) + QUOTE > end)
		return -1;
	answer_ethernet(&answer->eth, &offender_eth, port, router);
	answer->ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(sizeof(struct icmp_header) + quoted),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = ANSWER_TTL,
		.saddr = router ? router->address6 : offender.daddr,
		.daddr = offender.saddr,
	};
	answer->icmp = (struct icmp_header){.type = said->type6, .code = said->code6, .mtu = bpf_htonl(said->mtu)};
	/* The pseudo-header of RFC 8200 section 8.1, then the message. */
	__u32 pseudo = (__u32)answer->ip.payload_len + bpf_htons(IPPROTO_ICMPV6);
	pseudo = bpf_csum_diff(0, 0, (void *)&answer->ip.saddr, 2 * sizeof(struct in6_addr), pseudo);
	answer->icmp.checksum =
		~fold(bpf_csum_diff(0, 0, (void *)&answer->icmp, sizeof(struct icmp_header) + QUOTE, pseudo));
	return quoted < QUOTE ? bpf_skb_change_tail(skb, sizeof(struct icmp6_answer) + quoted, 0) : 0;
}

/*
 * Makes the frame an error about itself, for its sender; 0 where that was done, and else there must be none. It comes
 * from the addresses to which the frame was sent, as RFC 7588 wants of a tunnel. If that was the router, it comes from
 * the router's own in the sender's subnet, be the frame sent there or already on its way from there. Not inline: the
 * stacks of a program and of what it calls are limited together, and so are not those of all that it calls.
 */
static __noinline int icmp_error(struct __sk_buff *skb, const struct port *port, const struct icmp_said *said)
{
	__u32 packet = skb->len - ETH_HLEN;
	__u32 quoted = packet < QUOTE ? packet : QUOTE;
	struct ethhdr eth;
	struct router *router = 0;
	if (nve.routes && !bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) &&
	    (is_router(eth.h_dest) || is_router(eth.h_source)))
		router = find_router(port->vsid);
	__be16 type = outermost_type(skb);
	if (type == bpf_htons(ETH_P_IP))
		return icmp_error4(skb, port, router, said, quoted);
	if (type == bpf_htons(ETH_P_IPV6))
		return icmp_error6(skb, port, router, said, quoted);
	return -1;
}
