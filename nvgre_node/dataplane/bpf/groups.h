/* Multicast groups of the underlay: one packet for everybody in a virtual subnet (B1 to B4). */
#pragma once
#include "encapsulate.h"

/* The way of every group: routes know none. Written before the programs are loaded, as `nve` is. */
struct group_uplink {
	__u32 ifindex; /* 0: no virtual subnet has a group */
	__u8 mac[ETH_ALEN];
	__u16 reserved;
};

const volatile struct group_uplink group_uplink SEC(".rodata.uplink");

/* B2, B3: the group that carries frames to a MAC address; all zeros: to every other one of the virtual subnet. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct record_key);
	__type(value, struct remote);
} groups SEC(".maps");

/* The groups that this NVE is a member of: what others send arrives too, where no switch keeps it away. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct in6_addr);
	__type(value, __u8);
} joined SEC(".maps");

static __always_inline struct remote *find_group(struct __sk_buff *skb, __u32 vsid)
{
	struct record_key key = {.vsid = vsid};
	if (!group_uplink.ifindex || bpf_skb_load_bytes(skb, 0, key.mac, ETH_ALEN))
		return 0;
	struct remote *own = bpf_map_lookup_elem(&groups, &key);
	if (own)
		return own;
	__builtin_memset(key.mac, 0, ETH_ALEN);
	return bpf_map_lookup_elem(&groups, &key);
}

/* The MAC address of a group: of IPv4, RFC 1112 section 6.4; of IPv6, RFC 2464 section 7. */
static __always_inline void group_mac(__u8 *mac, const struct in6_addr *group)
{
	__u32 bits = bpf_ntohl(group->s6_addr32[3]);
	if (is_mapped(group)) {
		mac[0] = 0x01;
		mac[1] = 0x00;
		mac[2] = 0x5e;
		mac[3] = bits >> 16 & 0x7f;
	} else {
		mac[0] = 0x33;
		mac[1] = 0x33;
		mac[2] = bits >> 24;
		mac[3] = bits >> 16;
	}
	mac[4] = bits >> 8;
	mac[5] = bits;
}

/* Whether a packet is for a group of ours, and not merely addressed so inside an Ethernet frame for another. */
static __always_inline int is_joined(const struct ethhdr *eth, const struct in6_addr *group)
{
	__u8 mac[ETH_ALEN];
	if (!group_uplink.ifindex || !bpf_map_lookup_elem(&joined, group))
		return 0;
	group_mac(mac, group);
	for (int i = 0; i < ETH_ALEN; i++)
		if (mac[i] != eth->h_dest[i])
			return 0;
	return 1;
}

/* Encapsulates a frame once, for a group (B2). The MTU is the uplink's: nobody answers for a path to many. */
static __always_inline int send_to_group(struct __sk_buff *skb, const struct port *port, const struct remote *group)
{
	struct shipment to = {
		.pa = &group->pa,
		.end = group->end,
		.is_v6 = nve.pas6_count && !is_mapped(&group->pa),
		.vsid = port->vsid,
		.flow = nve.flowid_from_flow || nve.pa_from_flow ? flow_hash(skb) : 0,
		.traffic_class = outer_traffic_class(skb),
		.frame_bytes = skb->len,
	};
	struct bpf_fib_lookup path = {};
	__u32 packet = packet_length(skb), overhead = outer_length(to.is_v6), mtu = 0;
	if (bpf_check_mtu(skb, group_uplink.ifindex, &mtu, 0, 0) < 0)
		return drop_sent(skb, port, DROP_NO_ROUTE);
	if (packet + overhead > mtu || to.frame_bytes - ETH_HLEN + overhead > 0xffff)
		return drop_sent(skb, port, DROP_TOO_BIG);
	group_mac(path.dmac, &group->pa);
	for (int i = 0; i < ETH_ALEN; i++)
		path.smac[i] = group_uplink.mac[i];
	if (to.is_v6)
		*(struct in6_addr *)path.ipv6_src = source6(port, to.flow);
	else
		path.ipv4_src = source4(port, to.flow);
	count_encapsulated(skb, port, &to);
	if (make_room(skb, to.is_v6) || write_outer(skb, &to, &path))
		return drop_sent(skb, port, DROP_MALFORMED);
	return bpf_redirect(group_uplink.ifindex, 0);
}
