/* Packets that do not fit: never fragmented (F1), answered with ICMP into the VM (RFC 1191, RFC 8201, RFC 7588). */
#pragma once
#include <linux/tcp.h>
#include "icmp.h"
#include "vlan.h"

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

/*
 * Drops a frame that does not fit, and tells its sender which packet would: one of `mtu` bytes.
 * IPv4 senders are told with or without DF, since the NVE must not fragment for them.
 */
static __always_inline int too_big(struct __sk_buff *skb, const struct port *port, __u32 mtu)
{
	int action = drop_sent(skb, port, DROP_TOO_BIG);
	struct subnet_counters *subnet = counters_of(port->slot);
	if (!nve.tell_too_big || !subnet)
		return action;
	struct icmp_said said = {
		.type4 = ICMP_UNREACHABLE,
		.code4 = ICMP_FRAGMENTATION_NEEDED,
		.type6 = ICMPV6_PACKET_TOO_BIG,
		.mtu = mtu,
	};
	if (icmp_error(skb, port, &said) || push_tag(skb, port->vid))
		return action;
	subnet->told_too_big++;
	count_went(end_of(port), 1, skb->len);
	return bpf_redirect(skb->ingress_ifindex, 0);
}
