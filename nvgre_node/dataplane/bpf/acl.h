/* Whether a port's access control list lets a frame pass. What rules are about is in nvgre_node/acl.py. */
#pragma once
#include "counters.h"
#include "inner.h"
#include "policy.h"

#define ANY_PROTOCOL 0xffff
#define ND_HOP_LIMIT 255

/* How a rule and a packet go together: these bits are collected over its fields. */
#define OTHER 1   /* a field differs: no match */
#define UNREAD 2  /* a field cannot be read: no match for `allow`, a match for `deny` */

/* What is to ARP in IPv4 as it is to IPv6: without it nobody could reach anybody. */
static __always_inline int is_address_resolution(const struct __sk_buff *skb, const struct inner_packet *packet)
{
	__u8 hop_limit = 0, message = 0;
	if (packet->version != 6 || packet->protocol != IPPROTO_ICMPV6 || !packet->at)
		return 0;
	bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hop_limit, sizeof(hop_limit));
	bpf_skb_load_bytes(skb, packet->at, &message, sizeof(message));
	return hop_limit == ND_HOP_LIMIT && (message == NEIGHBOUR_SOLICITATION || message == NEIGHBOUR_ADVERTISEMENT);
}

static __always_inline __u32 address_bits(const struct in6_addr *prefix, const struct in6_addr *mask,
					  const struct in6_addr *address, int readable)
{
	const __be32 *wanted = prefix->s6_addr32, *bits = mask->s6_addr32, *given = address->s6_addr32;
	__u32 asked = bits[0] | bits[1] | bits[2] | bits[3];
	__u32 differs = ((wanted[0] ^ given[0]) & bits[0]) | ((wanted[1] ^ given[1]) & bits[1]) |
			((wanted[2] ^ given[2]) & bits[2]) | ((wanted[3] ^ given[3]) & bits[3]);
	if (!readable)
		return asked ? UNREAD : 0;
	return differs ? OTHER : 0;
}

static __always_inline __u32 port_bits(const __u16 *range, __u16 port, int readable)
{
	if (range[0] == 0 && range[1] == 0xffff)
		return 0;
	if (!readable)
		return UNREAD;
	return port < range[0] || port > range[1] ? OTHER : 0;
}

static __always_inline __u32 protocol_bits(__u16 wanted, __u16 protocol)
{
	if (wanted == ANY_PROTOCOL)
		return 0;
	if (protocol == UNKNOWN_PROTOCOL)
		return UNREAD;
	return wanted != protocol ? OTHER : 0;
}

/* What rules are compared with. */
struct acl_packet {
	struct inner_packet inner;
	__u8 version; /* by its EtherType: also of a packet that cannot be read */
	__u8 has_ports;
	__u16 source_port, destination_port;
	__u16 reserved; /* no padding: all of it must be initialised */
};

/* How a rule and a packet go together. Not static: so the verifier judges it once, and not anew for every rule. */
__noinline int rule_bits(const struct acl_rule *rule, const struct acl_packet *packet)
{
	if (!rule || !packet) /* the verifier's wish */
		return OTHER;
	const struct inner_packet *inner = &packet->inner;
	__u32 bits = rule->version && rule->version != packet->version ? OTHER : 0;
	bits |= address_bits(&rule->source, &rule->source_mask, &inner->source, inner->version);
	bits |= address_bits(&rule->destination, &rule->destination_mask, &inner->destination, inner->version);
	bits |= protocol_bits(rule->protocol, inner->protocol);
	bits |= port_bits(rule->source_ports, packet->source_port, packet->has_ports);
	bits |= port_bits(rule->destination_ports, packet->destination_port, packet->has_ports);
	return bits;
}

static __always_inline void read_ports(const struct __sk_buff *skb, struct acl_packet *packet)
{
	__be16 ports[2];
	if (!has_ports(packet->inner.protocol) || !packet->inner.at ||
	    bpf_skb_load_bytes(skb, packet->inner.at, ports, sizeof(ports)))
		return;
	packet->has_ports = 1;
	packet->source_port = bpf_ntohs(ports[0]);
	packet->destination_port = bpf_ntohs(ports[1]);
}

/* Whether the list of a port stops a frame. */
JUDGED_APART int acl_denies(struct __sk_buff *skb, __u32 ifindex, __u32 vid, __u32 direction)
{
	struct acl_key key = {.ifindex = ifindex, .vid = vid, .direction = direction};
	struct acl *acl = bpf_map_lookup_elem(&acls, &key);
	__be16 ethertype = ethertype_of(skb);
	if (!acl || (ethertype != bpf_htons(ETH_P_IP) && ethertype != bpf_htons(ETH_P_IPV6)))
		return 0;
	struct acl_packet packet = {.version = ethertype == bpf_htons(ETH_P_IP) ? 4 : 6};
	read_inner(skb, &packet.inner);
	if (is_address_resolution(skb, &packet.inner))
		return 0;
	read_ports(skb, &packet);
	for (__u32 i = 0; i < MAX_RULES; i++) {
		if (i >= acl->count)
			break;
		int bits = rule_bits(&acl->rules[i], &packet);
		if (bits == 0 || (bits == UNREAD && acl->rules[i].deny))
			return acl->rules[i].deny;
	}
	return 0;
}

/* No rules on this host: no code. */
static __always_inline int denied(struct __sk_buff *skb, __u32 ifindex, __u32 vid, enum direction direction)
{
	return nve.acls && acl_denies(skb, ifindex, vid, direction);
}
