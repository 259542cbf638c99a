/*
 * The distributed router: an IP packet to its MAC address goes on into the virtual subnet of its destination (X6). What it
 * does with which packet is told in nvgre_node/dataplane/model/route.py.
 */
#pragma once
#include "icmp.h"
#include "inner.h"

#define MAX_IP_HEADER 60

/* Whether a header with options sums up. */
static __always_inline int sums_up(const struct __sk_buff *skb, __u32 length)
{
	__u8 header[MAX_IP_HEADER] = {};
	if (length < sizeof(struct iphdr) || length > MAX_IP_HEADER || bpf_skb_load_bytes(skb, ETH_HLEN, header, length))
		return 0;
	return fold(bpf_csum_diff(0, 0, (void *)header, sizeof(header), 0)) == 0xffff;
}

/* Reads the packet in a frame; 0 where there is none that is sound. */
static __always_inline int read_packet(const struct __sk_buff *skb, struct route_key *to, struct in6_addr *source,
				       __u8 *hops)
{
	struct iphdr ip;
	struct ipv6hdr ip6;
	__be16 ethertype = ethertype_of(skb);
	if (ethertype == bpf_htons(ETH_P_IP) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) {
		__u32 header = ip.ihl * 4, total = bpf_ntohs(ip.tot_len);
		to->version = 4;
		to->ca.s6_addr32[0] = ip.daddr;
		source->s6_addr32[0] = ip.saddr;
		*hops = ip.ttl;
		return ip.version == 4 && header <= total && total + ETH_HLEN <= skb->len &&
		       (header == sizeof(ip) ? ip_checksum(&ip) == 0xffff : sums_up(skb, header));
	}
	if (ethertype == bpf_htons(ETH_P_IPV6) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6))) {
		to->version = 6;
		to->ca = ip6.daddr;
		*source = ip6.saddr;
		*hops = ip6.hop_limit;
		return ip6.version == 6 && ETH_HLEN + sizeof(ip6) + bpf_ntohs(ip6.payload_len) <= skb->len;
	}
	return 0;
}

/* Whether an address is one of a host beyond its link (RFC 1812 section 5.3.7, RFC 3927, RFC 4291 section 2.5). */
static __always_inline int is_routable(__u32 version, const struct in6_addr *address)
{
	__u8 first = address->s6_addr[0], second = address->s6_addr[1];
	if (version == 4)
		return first != 0 && first != 127 && first < 224 && !(first == 169 && second == 254);
	if (first == 0xff || (first == 0xfe && (second & 0xc0) == 0x80))
		return 0;
	const __be32 *words = address->s6_addr32;
	return (words[0] | words[1] | words[2]) || bpf_ntohl(words[3]) > 1;
}

/* The checksum of an ICMP message that gets another type and code (RFC 1624): what was wrong stays wrong. */
static __always_inline void change_icmp(struct icmp_header *icmp, __u8 type)
{
	__u16 *kind = (void *)icmp;
	__u32 sum = (__u16)~icmp->checksum + (__u32)(__u16)~*kind;
	icmp->type = type;
	icmp->checksum = ~fold(sum + *kind);
}

/* Makes an echo request its reply; 0 where that was done. */
static __always_inline int echo_reply(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	if ((void *)(ip + 1) + sizeof(struct icmp_header) > end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct icmp_header *icmp = (void *)(ip + 1);
		if (ip->ihl != 5 || ip->protocol != IPPROTO_ICMP || ip->frag_off & bpf_htons(IP_FRAGMENT) ||
		    icmp->type != ICMP_ECHO || icmp->code)
			return -1;
		__be32 asker = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = asker;
		ip->ttl = ANSWER_TTL;
		ip->check = 0;
		ip->check = ~ip_checksum(ip);
		change_icmp(icmp, ICMP_ECHO_REPLY);
	} else {
		struct icmp_header *icmp = (void *)(ip6 + 1);
		if ((void *)(icmp + 1) > end || ip6->nexthdr != IPPROTO_ICMPV6 || icmp->type != ICMPV6_ECHO || icmp->code)
			return -1;
		struct in6_addr asker = ip6->saddr;
		ip6->saddr = ip6->daddr;
		ip6->daddr = asker;
		ip6->hop_limit = ANSWER_TTL;
		change_icmp(icmp, ICMPV6_ECHO_REPLY);
	}
	__u8 router[ETH_ALEN];
	__builtin_memcpy(router, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, router, ETH_ALEN);
	return 0;
}

/* Sends the frame on: from the router, to a MAC address, with one hop less to go. */
static __always_inline int rewrite(struct __sk_buff *skb, const __u8 *mac)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	if ((void *)(ip + 1) > end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		__u16 *hops = (void *)&ip->ttl; /* and the protocol */
		__u32 sum = (__u16)~ip->check + (__u32)(__u16)~*hops;
		ip->ttl--;
		ip->check = ~fold(sum + *hops);
	} else {
		if ((void *)(ip6 + 1) > end)
			return -1;
		ip6->hop_limit--;
	}
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	return 0;
}

/* Addresses an IP packet to whom the lookup record of its destination CA names, if there is one. */
static __noinline int address_by_ca(struct __sk_buff *skb, __u32 vsid)
{
	struct route_key to = {};
	struct in6_addr source = {};
	__u8 hops = 0;
	if (!read_packet(skb, &to, &source, &hops))
		return 0;
	struct neighbour_key target = {.vsid = vsid, .version = to.version, .ca = to.ca};
	struct neighbour *found = bpf_map_lookup_elem(&neighbours, &target);
	struct ethhdr *eth = (void *)(long)skb->data;
	if (found && found->type != RECORD_ROUTER && found->type != RECORD_L2ONLY &&
	    (void *)(eth + 1) <= (void *)(long)skb->data_end)
		__builtin_memcpy(eth->h_dest, found->mac, ETH_ALEN);
	return 0;
}

/* What route() makes of a frame: it goes on to `next`, or there is a reason to drop it, and what its sender is told. */
struct verdict {
	struct record_key next;
	__u32 reason;         /* enum drop */
	struct icmp_said said; /* type4 is 0 where it is told nothing */
};

#define FORWARDED -1
#define ANSWERED -2
#define REFUSED -3

static __always_inline int refused(struct verdict *verdict, enum drop reason, __u8 code4, __u8 code6)
{
	verdict->reason = reason;
	verdict->said.type4 = reason == DROP_TTL_EXCEEDED ? ICMP_TIME_EXCEEDED : ICMP_UNREACHABLE;
	verdict->said.type6 = reason == DROP_TTL_EXCEEDED ? ICMPV6_TIME_EXCEEDED : ICMPV6_UNREACHABLE;
	verdict->said.code4 = code4;
	verdict->said.code6 = code6;
	return REFUSED;
}

static __always_inline int ignored(struct verdict *verdict, enum drop reason)
{
	verdict->reason = reason;
	return REFUSED;
}

/*
 * Rewrites a frame that a VM sent to the router, to go on; or makes it the answer; or says why neither. Not inline: the
 * verifier judges it apart, with a stack of its own.
 */
static __noinline int route(struct __sk_buff *skb, const struct router *router, struct verdict *verdict)
{
	struct route_key to = {.bits = ROUTE_KEY_BITS, .domain = router->domain};
	struct in6_addr source = {};
	__u8 hops = 0;
	if (!read_packet(skb, &to, &source, &hops))
		return ignored(verdict, DROP_MALFORMED);
	if (!is_routable(to.version, &source) || !is_routable(to.version, &to.ca))
		return ignored(verdict, DROP_MARTIAN);
	struct route *found = bpf_map_lookup_elem(&routes, &to);
	if (!found)
		return refused(verdict, DROP_NO_CUSTOMER_ROUTE, 0, 0); /* network unreachable, no route */
	struct neighbour_key target = {
		.vsid = found->vsid,
		.version = to.version,
		.ca = found->is_on_link ? to.ca : found->next_hop,
	};
	struct neighbour *neighbour = bpf_map_lookup_elem(&neighbours, &target);
	if (neighbour && neighbour->type == RECORD_ROUTER)
		return echo_reply(skb) ? refused(verdict, DROP_ROUTER_ADDRESS, 3, 4) /* port unreachable */ : ANSWERED;
	if (hops <= 1)
		return refused(verdict, DROP_TTL_EXCEEDED, 0, 0);
	if (!neighbour)
		return refused(verdict, DROP_UNKNOWN_NEIGHBOUR, 1, 3); /* host unreachable, address unreachable */
	if (rewrite(skb, neighbour->mac))
		return ignored(verdict, DROP_MALFORMED);
	verdict->next.vsid = found->vsid;
	__builtin_memcpy(verdict->next.mac, neighbour->mac, ETH_ALEN);
	return FORWARDED;
}

/* What becomes of a frame that the router answers, or drops and tells its sender why where that is allowed. */
static __always_inline int not_forwarded(struct __sk_buff *skb, const struct port *port, int done,
					 const struct verdict *verdict)
{
	struct subnet_counters *subnet = counters_of(port->slot);
	if (done == REFUSED) {
		int action = drop_sent(skb, port, verdict->reason);
		if (!verdict->said.type4 || icmp_error(skb, port, &verdict->said))
			return action;
	}
	if (push_tag(skb, port->vid))
		return drop_sent(skb, port, DROP_MALFORMED);
	if (subnet)
		subnet->answered++;
	count_went(end_of(port), 1, skb->len);
	return bpf_redirect(skb->ingress_ifindex, 0);
}
