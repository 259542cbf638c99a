/*
 * Whether a frame comes from the VM that sends it: its MAC address, and its CAs in IP, ARP and ND (C1). What a VM without
 * an address may say, and what counts as forged, is in nvgre_node/dataplane/model/source_check.py.
 */
#pragma once
#include "inner.h"
#include "policy.h"

#define DHCP_CLIENT 68
#define DHCP_SERVER 67
#define ND_FIRST 133 /* router solicitation; then router advertisement, */
#define ND_LAST 137 /* redirect */
#define MLD_REPORT 131
#define MLD_DONE 132
#define MLD2_REPORT 143
#define ND_SOURCE_LINK_LAYER 1
#define ND_TARGET_LINK_LAYER 2
#define MAX_OPTIONS 16

struct nd_option {
	__u8 kind;
	__u8 words; /* of 8 bytes each, this header included */
	__u8 mac[ETH_ALEN];
};

static __always_inline int is_own_address(__u32 port, __u32 version, const struct in6_addr *address)
{
	struct source_key key = {.port = port, .version = version, .address = *address};
	return !!bpf_map_lookup_elem(&sources, &key);
}

static __always_inline int is_own_address4(__u32 port, __be32 address)
{
	struct in6_addr padded = {.s6_addr32 = {address}};
	return is_own_address(port, 4, &padded);
}

static __always_inline int is_own_packet4(const struct __sk_buff *skb, __u32 port, const struct inner_packet *packet)
{
	__be16 ports[2];
	if (packet->source.s6_addr32[0])
		return is_own_address(port, 4, &packet->source);
	if (packet->protocol != IPPROTO_UDP || !packet->at || packet->destination.s6_addr32[0] != 0xffffffff)
		return 0;
	return !bpf_skb_load_bytes(skb, packet->at, ports, sizeof(ports)) && ports[0] == bpf_htons(DHCP_CLIENT) &&
	       ports[1] == bpf_htons(DHCP_SERVER);
}

static __always_inline int is_own_arp(const struct __sk_buff *skb, __u32 port, const __u8 *mac)
{
	struct arp arp;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return 0;
	if (arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_bytes != ETH_ALEN || arp.protocol_bytes != 4)
		return 0;
	if (!same_mac(arp.sender_mac, mac))
		return 0;
	if (arp.sender)
		return is_own_address4(port, arp.sender);
	return arp.operation == bpf_htons(ARP_REQUEST) && is_own_address4(port, arp.target);
}

/* Bytes of an ND message in front of its options. */
static __always_inline __u32 nd_bytes(__u8 message)
{
	switch (message) {
	case ND_FIRST:
		return 8;
	case ND_FIRST + 1:
		return 16;
	case ND_LAST:
		return 40;
	default:
		return 24;
	}
}

/* Whether a neighbour discovery message claims nothing but this VM's own addresses. */
static __always_inline int is_own_nd(const struct __sk_buff *skb, __u32 port, const struct inner_packet *packet,
				     __u8 message, int from_nobody, const __u8 *mac)
{
	__u32 option = packet->at + nd_bytes(message), end;
	__be16 length;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, payload_len), &length, sizeof(length)))
		return 0;
	end = ETH_HLEN + sizeof(struct ipv6hdr) + bpf_ntohs(length);
	if (end > skb->len)
		return 0;
	if (message == NEIGHBOUR_ADVERTISEMENT || (message == NEIGHBOUR_SOLICITATION && from_nobody)) {
		struct in6_addr target;
		if (bpf_skb_load_bytes(skb, packet->at + 8, &target, sizeof(target)) ||
		    !is_own_address(port, 6, &target))
			return 0;
	}
	for (int i = 0; i < MAX_OPTIONS; i++) {
		struct nd_option found;
		if (option + sizeof(found) > end || bpf_skb_load_bytes(skb, option, &found, sizeof(found)) || !found.words)
			break;
		if ((found.kind == ND_SOURCE_LINK_LAYER || found.kind == ND_TARGET_LINK_LAYER) && !same_mac(found.mac, mac))
			return 0;
		option += found.words * 8;
	}
	return option == end;
}

static __always_inline int may_come_from_nobody(__u8 message, const struct inner_packet *packet)
{
	int kind = message == ND_FIRST || message == NEIGHBOUR_SOLICITATION || message == MLD_REPORT ||
		   message == MLD_DONE || message == MLD2_REPORT;
	return kind && packet->destination.s6_addr16[0] == bpf_htons(0xff02);
}

static __always_inline int is_own_packet6(const struct __sk_buff *skb, __u32 port, const struct inner_packet *packet,
					  const __u8 *mac)
{
	const __be32 *source = packet->source.s6_addr32;
	int from_nobody = !(source[0] | source[1] | source[2] | source[3]);
	__u8 message;
	if (packet->protocol == UNKNOWN_PROTOCOL && !packet->later)
		return 0;
	if (!from_nobody && !is_own_address(port, 6, &packet->source))
		return 0;
	if (packet->protocol != IPPROTO_ICMPV6 || !packet->at ||
	    bpf_skb_load_bytes(skb, packet->at, &message, sizeof(message)))
		return !from_nobody;
	if (from_nobody && !may_come_from_nobody(message, packet))
		return 0;
	if (message < ND_FIRST || message > ND_LAST)
		return 1;
	return is_own_nd(skb, port, packet, message, from_nobody, mac);
}

/* Whether the addresses in a frame are this port's. */
JUDGED_APART int has_own_addresses(struct __sk_buff *skb, __u32 port)
{
	struct inner_packet packet;
	__u8 mac[ETH_ALEN]; /* has been checked */
	if (bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)))
		return 0;
	__be16 ethertype = ethertype_of(skb);
	if (ethertype == bpf_htons(ETH_P_ARP))
		return is_own_arp(skb, port, mac);
	if (ethertype != bpf_htons(ETH_P_IP) && ethertype != bpf_htons(ETH_P_IPV6))
		return 1;
	read_inner(skb, &packet);
	if (packet.version == 4)
		return is_own_packet4(skb, port, &packet);
	return packet.version == 6 && is_own_packet6(skb, port, &packet, mac);
}

/* Why a frame is not from the VM at this port, or DROP_REASONS. */
static __always_inline enum drop source_fault(struct __sk_buff *skb, const struct port *port,
					      const struct ethhdr *eth)
{
	if (nve.source_check >= SOURCE_CHECK_MAC && !same_mac(eth->h_source, port->mac))
		return DROP_SOURCE_MAC;
	if (nve.source_check == SOURCE_CHECK_CA && !port->any_ca && !has_own_addresses(skb, port->number))
		return DROP_SOURCE_CA;
	return DROP_REASONS;
}
