/*
 * ARP and Neighbour Discovery: the NVE answers for the router, and for VMs where it is their proxy (S2). What it does with
 * which message is told in nvgre_node/dataplane/model/neighbours.py.
 */
#pragma once
#include "counters.h"
#include "inner.h"
#include "policy.h"

#define ARP_ETHERNET 1
#define ND_HOP_LIMIT 255 /* RFC 4861 section 7.1: another one has passed a router */
#define ND_ROUTER 0x80
#define ND_SOLICITED 0x40
#define ND_OVERRIDE 0x20
#define ND_TARGET_LINK_LAYER_ADDRESS 2

/* The part that solicitations and advertisements have in common (RFC 4861 sections 4.3 and 4.4). */
struct discovery {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u8 flags;
	__u8 reserved[3];
	struct in6_addr target;
} __attribute__((packed));

struct advertisement {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct discovery nd;
	__u8 option; /* the target's link-layer address */
	__u8 option_words;
	__u8 mac[ETH_ALEN];
} __attribute__((packed));

#define ADVERTISEMENT_LEN ((int)(sizeof(struct advertisement) - sizeof(struct ethhdr) - sizeof(struct ipv6hdr)))

/* The ARP reply (RFC 826), in the place of its request. */
static __always_inline int answer_arp(struct __sk_buff *skb, const struct neighbour *found)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct arp *arp = (void *)(eth + 1);
	if ((void *)(arp + 1) > (void *)(long)skb->data_end)
		return -1;
	__be32 target = arp->target;
	arp->target = arp->sender;
	arp->sender = target;
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->sender_mac, found->mac, ETH_ALEN);
	arp->operation = bpf_htons(ARP_REPLY);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, found->mac, ETH_ALEN);
	return 0;
}

/* The Neighbour Advertisement (RFC 4861 section 7.2.4), in the place of its solicitation. */
static __always_inline int answer_discovery(struct __sk_buff *skb, const struct neighbour *found)
{
	if (bpf_skb_change_tail(skb, sizeof(struct advertisement), 0) ||
	    bpf_skb_pull_data(skb, sizeof(struct advertisement)))
		return -1;
	struct advertisement *said = (void *)(long)skb->data;
	if ((void *)(said + 1) > (void *)(long)skb->data_end)
		return -1;
	struct in6_addr asker = said->ip.saddr;
	int has_address = !is_unspecified(&asker);
	struct in6_addr all_nodes = {.s6_addr32 = {bpf_htonl(0xff020000), 0, 0, bpf_htonl(1)}};
	struct in6_addr to = has_address ? asker : all_nodes;
	if (has_address) {
		__builtin_memcpy(said->eth.h_dest, said->eth.h_source, ETH_ALEN);
	} else {
		__u8 all_nodes_mac[ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 1};
		__builtin_memcpy(said->eth.h_dest, all_nodes_mac, ETH_ALEN);
	}
	__builtin_memcpy(said->eth.h_source, found->mac, ETH_ALEN);
	said->ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(ADVERTISEMENT_LEN),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = ND_HOP_LIMIT,
		.saddr = said->nd.target,
		.daddr = to,
	};
	said->nd.type = NEIGHBOUR_ADVERTISEMENT;
	said->nd.code = 0;
	said->nd.checksum = 0;
	said->nd.flags = ND_OVERRIDE | (has_address ? ND_SOLICITED : 0) |
			 (found->type == RECORD_GATEWAY_WILDCARD || found->type == RECORD_ROUTER ? ND_ROUTER : 0);
	__builtin_memset(said->nd.reserved, 0, sizeof(said->nd.reserved));
	said->option = ND_TARGET_LINK_LAYER_ADDRESS;
	said->option_words = 1;
	__builtin_memcpy(said->mac, found->mac, ETH_ALEN);
	__u32 pseudo = bpf_htons(ADVERTISEMENT_LEN) + bpf_htons(IPPROTO_ICMPV6);
	pseudo = bpf_csum_diff(0, 0, (void *)&said->ip.saddr, 2 * sizeof(struct in6_addr), pseudo);
	said->nd.checksum = ~fold(bpf_csum_diff(0, 0, (void *)&said->nd, ADVERTISEMENT_LEN, pseudo));
	return 0;
}

/* Reads an ARP message: whether it is one, of whom it speaks, and whether it asks. */
static __always_inline int read_arp(const struct ethhdr *eth, const void *end, struct neighbour_key *about, int *asks)
{
	const struct arp *arp = (const void *)(eth + 1);
	if ((const void *)(arp + 1) > end || arp->hardware != bpf_htons(ARP_ETHERNET) ||
	    arp->protocol != bpf_htons(ETH_P_IP) || arp->hardware_bytes != ETH_ALEN ||
	    arp->protocol_bytes != sizeof(__be32))
		return 0;
	about->version = 4;
	about->ca.s6_addr32[0] = arp->target;
	*asks = arp->operation == bpf_htons(ARP_REQUEST);
	return 1;
}

/* The same of Neighbour Discovery. Its checksum is not looked at: it may be left to hardware. */
static __always_inline int read_discovery(const struct ethhdr *eth, const void *end, struct neighbour_key *about,
					  int *asks)
{
	const struct ipv6hdr *ip = (const void *)(eth + 1);
	const struct discovery *nd = (const void *)(ip + 1);
	if ((const void *)(nd + 1) > end || ip->nexthdr != IPPROTO_ICMPV6 || ip->hop_limit != ND_HOP_LIMIT || nd->code)
		return 0;
	about->version = 6;
	about->ca = nd->target;
	*asks = nd->type == NEIGHBOUR_SOLICITATION;
	return nd->type == NEIGHBOUR_SOLICITATION || nd->type == NEIGHBOUR_ADVERTISEMENT;
}

static __always_inline int answer_neighbour(struct __sk_buff *skb, const struct port *port, const struct neighbour *found)
{
	int is_arp = skb->protocol == bpf_htons(ETH_P_ARP);
	if ((is_arp ? answer_arp(skb, found) : answer_discovery(skb, found)) || push_tag(skb, port->vid))
		return drop_sent(skb, port, DROP_MALFORMED);
	struct subnet_counters *subnet = counters_of(port->slot);
	if (subnet)
		subnet->answered++;
	count_went(end_of(port), 1, skb->len);
	return bpf_redirect(skb->ingress_ifindex, 0);
}

/*
 * What becomes of a VM's frame to a group or to the router, or TC_ACT_UNSPEC where it is like any other. Not inline: the
 * compiler would then keep addresses of the context's fields, which the verifier refuses.
 */
static __noinline int ask_neighbours(struct __sk_buff *skb, const struct port *port)
{
	const struct ethhdr *eth = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	struct neighbour_key about = {.vsid = port->vsid};
	int asks = 0;
	if ((const void *)(eth + 1) > end)
		return TC_ACT_UNSPEC;
	int is_arp = eth->h_proto == bpf_htons(ETH_P_ARP);
	if (is_arp ? !read_arp(eth, end, &about, &asks) :
		     eth->h_proto != bpf_htons(ETH_P_IPV6) || !read_discovery(eth, end, &about, &asks))
		return TC_ACT_UNSPEC;

	int is_group = eth->h_dest[0] & 1;
	struct neighbour *found = bpf_map_lookup_elem(&neighbours, &about);
	if (asks && found && found->type == RECORD_ROUTER)
		return answer_neighbour(skb, port, found);
	if (!is_group || !nve.proxy_neighbours)
		return TC_ACT_UNSPEC;
	if (asks && found && found->type != RECORD_L2ONLY) {
		struct record *record = find_record(port->vsid, found->mac);
		if (record && record->ifindex == skb->ingress_ifindex && record->vid == port->vid)
			return drop_sent(skb, port, DROP_OWN_ADDRESS);
		return answer_neighbour(skb, port, found);
	}
	struct neighbour_key unknown = {.vsid = port->vsid, .version = 4}; /* that of l2only records */
	if (bpf_map_lookup_elem(&neighbours, &unknown))
		return TC_ACT_UNSPEC;
	return drop_sent(skb, port, asks ? DROP_UNKNOWN_NEIGHBOUR : DROP_ANNOUNCEMENT);
}
