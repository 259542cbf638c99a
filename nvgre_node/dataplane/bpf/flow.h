/* FlowID: eight bits of entropy from the inner flow (G6, G8). */
#pragma once
#include "inner.h"
#include "policy.h"

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

/* Mixes in the ports that stand at `l4`, if the packet reaches that far. */
static __always_inline __u64 mix_ports(__u64 hash, __u8 protocol, const void *l4, const void *end)
{
	const __u32 *ports_word = l4;
	if (has_ports(protocol) && (const void *)(ports_word + 1) <= end)
		hash = mix(hash, *ports_word);
	return hash;
}

/*
 * Hashes MAC addresses and EtherType, then addresses and protocol, then ports. Fragments hash without ports, so that all
 * of a datagram take one path; IPv6 adds the flow label. nvgre_node.wire.flow_id is the same in Python.
 */
static __always_inline __u8 flow_hash(const struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u32 *mac = data;
	const struct ethhdr *eth = data;
	if ((const void *)(eth + 1) > end)
		return 0;
	__u64 hash = mix(0, (__u64)mac[0] << 32 | mac[1]);
	hash = mix(hash, (__u64)mac[2] << 32 | eth->h_proto);

	const struct iphdr *ip = (const void *)(eth + 1);
	if (eth->h_proto == bpf_htons(ETH_P_IP) && (const void *)(ip + 1) <= end) {
		hash = mix(hash, (__u64)ip->saddr << 32 | ip->daddr);
		hash = mix(hash, ip->protocol);
		if (!(ip->frag_off & bpf_htons(IP_FRAGMENT)))
			hash = mix_ports(hash, ip->protocol, (const void *)ip + ip->ihl * 4, end);
	}
	const struct ipv6hdr *ip6 = (const void *)(eth + 1);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (const void *)(ip6 + 1) <= end) {
		const __u32 *words = (const void *)ip6;
#pragma unroll
		for (int i = 2; i < 10; i += 2)
			hash = mix(hash, (__u64)words[i] << 32 | words[i + 1]);
		hash = mix(hash, (__u64)(words[0] & bpf_htonl(0xfffff)) << 32 | ip6->nexthdr);
		hash = mix_ports(hash, ip6->nexthdr, ip6 + 1, end);
	}
	return hash >> 24;
}
