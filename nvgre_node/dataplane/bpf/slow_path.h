/*
 * The slow path: what must first be made whole comes here through a pair of interfaces of the host's own. The first of
 * them has no offloads, so that frames leave it cut to size and summed; the second is where this program sees them.
 * Frames with a mark are those of VMs; frames without are packets that the kernel reassembled.
 */
#pragma once
#include "decapsulate.h"

/* By number: the keys of lookup records, for frames whose mark holds no more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct record_key);
} record_keys SEC(".maps");

/* By number: the keys of ports. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct port_key);
} port_keys SEC(".maps");

static __always_inline struct port *port_of(__u32 number)
{
	struct port_key *key = bpf_map_lookup_elem(&port_keys, &number);
	return key ? bpf_map_lookup_elem(&ports, key) : 0;
}

static __always_inline struct record *record_of(__u32 number)
{
	struct record_key *key = bpf_map_lookup_elem(&record_keys, &number);
	return key ? bpf_map_lookup_elem(&records, key) : 0;
}

/* Makes the packet its own first fragment, if it does not fit; the rest comes round again. */
static __always_inline int cut_to_fit(struct __sk_buff *skb, __u32 mark, const struct port *port,
				      const struct record *record)
{
	struct shipment to = shipment(skb, record);
	__u32 largest = largest_packet(skb, port, &to);
	if (skb->len - ETH_HLEN <= largest)
		return 0;
	__u32 room = (largest - sizeof(struct iphdr)) / FRAGMENT_UNIT * FRAGMENT_UNIT;
	return !is_fragmentable(skb, largest) || cut(skb, mark, room) || pull_headers(skb);
}

/* An inner frame that does not fit leaves in fragments, or whole in outer fragments, whichever is the mode. */
static __always_inline int fragment(struct __sk_buff *skb, __u32 mark)
{
	struct port *port = port_of(SLOW_PATH_PORT(mark));
	if (nve.pcp_to_dscp)
		skb->cb[0] = SLOW_PATH_PRIORITY(mark);
	struct record *record = record_of(SLOW_PATH_RECORD(mark));
	if (!port || !record || record->ifindex)
		return drop_unknown(skb, DROP_MALFORMED);
	if (nve.fragment_outer && deviates(KEEPS_TAGS) && keep_tags(skb)) /* the kernel has moved them again */
		return drop_sent(skb, port, DROP_MALFORMED);
	if ((mark & SLOW_PATH_REST && keep_rest(skb)) || pull_headers(skb))
		return drop_sent(skb, port, DROP_MALFORMED);
	if (nve.fragment_inner && cut_to_fit(skb, mark, port, record))
		return drop_sent(skb, port, DROP_TOO_BIG);
	return encapsulate_any(skb, port, record, nve.fragment_outer);
}
