/*
 * TCP's maximum segment size, lowered in passing where a VM sends a SYN or SYN/ACK. Helpers read and write the options:
 * their offsets are nothing that the verifier has to follow, so that its work does not grow with the options' number.
 */
#pragma once
#include <linux/tcp.h>
#include "policy.h"

#define TCP_BYTES ((__u32)sizeof(struct tcphdr))
#define TCP_MOST_OPTIONS 40 /* bytes: what the data offset's four bits leave */
#define TCP_FLAG_SYN_BIT 0x02
#define TCP_FLAG_RST_BIT 0x04
#define TCP_END_OF_OPTIONS 0
#define TCP_NO_OPERATION 1
#define TCP_MSS 2

/* Where in the frame TCP is: offsets from its first byte. */
struct tcp_place {
	__u32 start;     /* of the TCP header */
	__u32 options;   /* end of the TCP header */
	__u32 ip_header; /* bytes, without options: what RFC 6691 counts */
};

/* Finds the header of a packet that opens a TCP connection: unfragmented, whole, and IPv6 without extension headers. */
static __always_inline int find_syn(struct __sk_buff *skb, struct tcp_place *tcp)
{
	const void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (const void *)(eth + 1);
	const struct ipv6hdr *ip6 = (const void *)(eth + 1);
	__u32 end = 0;
	if ((const void *)(ip + 1) > data_end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_TCP && ip->ihl >= 5 &&
	    !(ip->frag_off & bpf_htons(IP_FRAGMENT))) {
		tcp->start = ETH_HLEN + ip->ihl * 4;
		tcp->ip_header = sizeof(*ip);
		end = ETH_HLEN + bpf_ntohs(ip->tot_len);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (const void *)(ip6 + 1) <= data_end &&
		   ip6->nexthdr == IPPROTO_TCP) {
		tcp->start = ETH_HLEN + sizeof(*ip6);
		tcp->ip_header = sizeof(*ip6);
		end = tcp->start + bpf_ntohs(ip6->payload_len);
	}
	__u8 offset_and_flags[2];
	if (!end || end > skb->len || skb->len < tcp->start + TCP_BYTES ||
	    bpf_skb_load_bytes(skb, tcp->start + 12, offset_and_flags, 2))
		return 0;
	tcp->options = tcp->start + (offset_and_flags[0] >> 4) * 4;
	if ((offset_and_flags[1] & (TCP_FLAG_SYN_BIT | TCP_FLAG_RST_BIT)) != TCP_FLAG_SYN_BIT)
		return 0;
	return tcp->options <= end;
}

/* Lowers the MSS at an offset, never raises it, and mends the checksum, also one that is left to be made on the way. */
static __always_inline void lower_mss(struct __sk_buff *skb, __u32 tcp, __u32 at, __u16 most)
{
	__be16 was, now = bpf_htons(most);
	if (bpf_skb_load_bytes(skb, at, &was, sizeof(was)) || bpf_ntohs(was) <= most)
		return;
	if (bpf_skb_store_bytes(skb, at, &now, sizeof(now), 0))
		return;
	/* The sum is over words from an even offset on: at an odd one, the two bytes stand the other way round. */
	if ((at - tcp) & 1) {
		was = __builtin_bswap16(was);
		now = __builtin_bswap16(now);
	}
	bpf_l4_csum_replace(skb, tcp + __builtin_offsetof(struct tcphdr, check), was, now, sizeof(now));
}

/* An offset that lies `by` further on. They are all below 256, which older verifiers (6.1) have to be told every time, or
 * they follow each way through the options by itself, and give up. The compiler, which knows, must not leave it out. */
static __always_inline __u32 further(__u64 at, __u32 by)
{
	at += by;
	asm volatile("%0 &= 0xff" : "+r"(at));
	return at;
}

/* No MSS above what an IP packet of `largest` bytes holds. Options that contradict themselves end the search. */
static __always_inline void clamp_mss(struct __sk_buff *skb, const struct tcp_place *tcp, __u32 largest)
{
	__u32 at = tcp->start + TCP_BYTES, end = tcp->options, headers = tcp->ip_header + TCP_BYTES;
	if (largest <= headers)
		return;
	for (int i = 0; i < TCP_MOST_OPTIONS; i++) {
		__u8 kind, length;
		if (at >= end || bpf_skb_load_bytes(skb, at, &kind, 1) || kind == TCP_END_OF_OPTIONS)
			return;
		if (kind == TCP_NO_OPERATION) {
			at = further(at, 1);
			continue;
		}
		if (at + 1 >= end || bpf_skb_load_bytes(skb, at + 1, &length, 1) || length < 2 || at + length > end)
			return;
		if (kind == TCP_MSS && length == 4)
			lower_mss(skb, tcp->start, at + 2, largest - headers);
		at = further(at, length);
	}
}
