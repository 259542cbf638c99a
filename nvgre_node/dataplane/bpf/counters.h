/* What the NVE did: counters per virtual subnet, port and PA, and one named reason for every drop (G16). */
#pragma once
#include "policy.h"

/* The order is that of nvgre_node.dataplane.base.Drop. */
enum drop {
	/* from a VM */
	DROP_UNKNOWN_UNICAST,
	DROP_OWN_ADDRESS,
	DROP_TOO_BIG,
	DROP_NO_ROUTE,
	DROP_NO_NEIGHBOUR,
	DROP_TAG_DEPTH,
	DROP_MALFORMED,
	/* from the underlay */
	DROP_BAD_OUTER,
	DROP_OUTER_FRAGMENT,
	DROP_CHECKSUM_BIT,
	DROP_SEQUENCE_BIT,
	DROP_RESERVED_BITS,
	DROP_NO_KEY,
	DROP_VERSION,
	DROP_PROTOCOL_TYPE,
	DROP_TRUNCATED,
	DROP_RESERVED_VSID,
	DROP_UNKNOWN_VSID,
	DROP_SOURCE_PA,
	DROP_INNER_TAG,
	DROP_NOT_LOCAL,
	/* from a VM, as forged (C1) */
	DROP_SOURCE_MAC,
	DROP_SOURCE_CA,
	/* from a VM, to the proxy for neighbours */
	DROP_UNKNOWN_NEIGHBOUR,
	DROP_ANNOUNCEMENT,
	/* from the underlay: congestion that the inner packet cannot tell (RFC 6040) */
	DROP_CE_ON_NOT_ECT,
	/* from a VM on a trunk port (I5) */
	DROP_UNTAGGED,
	DROP_UNKNOWN_VLAN,
	/* from a VM, to the distributed router */
	DROP_MARTIAN,
	DROP_NO_CUSTOMER_ROUTE,
	DROP_TTL_EXCEEDED,
	DROP_ROUTER_ADDRESS,
	/* by access control lists */
	DROP_ACL_OUT,
	DROP_ACL_IN,
	/* where an NVE carries IP and ARP alone */
	DROP_NOT_IP,
	DROP_REASONS
};

/* Mirrored by nvgre_node.dataplane.ebpf.SubnetCounters. Packets are wire packets: a GSO frame counts once per segment. */
struct subnet_counters {
	__u64 encapsulated;
	__u64 encapsulated_bytes;
	__u64 decapsulated;
	__u64 decapsulated_bytes;
	__u64 local;
	__u64 told_too_big;
	__u64 answered;
	__u64 punted;
	__u64 routed;
	__u64 outer_fragments;
	__u64 dropped[DROP_REASONS];
};

/* Indexed by a subnet's slot. Slot 0 counts what belongs to no subnet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct subnet_counters);
} counters SEC(".maps");

static __always_inline struct subnet_counters *counters_of(__u32 slot)
{
	return bpf_map_lookup_elem(&counters, &slot);
}

/* What came from one end of the NVE, and went to it: a VM's port, or a PA of the underlay. `dropped` is of what came. */
struct end_counters {
	__u64 came;
	__u64 came_bytes;
	__u64 went;
	__u64 went_bytes;
	__u64 dropped[DROP_REASONS];
};

/* By number: first the ends that nobody knows, then the ports, then the PAs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct end_counters);
} ends SEC(".maps");

/* By the number of an end: its PA, for those who read the counters. All zeros: it is none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct in6_addr);
} end_pas SEC(".maps");

/* Not static, as the other two below: so the verifier judges them once, and not anew at every turn of a loop. */
__noinline int count_came(__u32 end, __u32 packets, __u32 bytes)
{
	struct end_counters *own = bpf_map_lookup_elem(&ends, &end);
	if (own) {
		own->came += packets;
		own->came_bytes += bytes;
	}
	return 0;
}

__noinline int count_went(__u32 end, __u32 packets, __u32 bytes)
{
	struct end_counters *own = bpf_map_lookup_elem(&ends, &end);
	if (own) {
		own->went += packets;
		own->went_bytes += bytes;
	}
	return 0;
}

static __always_inline __u32 packets_in(const struct __sk_buff *skb)
{
	return skb->gso_segs ?: 1;
}

/* Where a frame came from: by what its drop is counted, and how many packets it is on the wire. */
struct origin {
	__u32 slot;
	__u32 end;
	__u32 packets;
};

/* The reason is as wide as a register: what is compared is then what is added. */
__noinline int count_dropped(__u32 slot, __u32 end, __u32 packets, __u64 reason)
{
	struct subnet_counters *subnet = counters_of(slot);
	struct end_counters *own = bpf_map_lookup_elem(&ends, &end);
	if (subnet && reason < DROP_REASONS)
		subnet->dropped[reason] += packets;
	if (own && reason < DROP_REASONS)
		own->dropped[reason] += packets;
	return 0;
}

static __always_inline int drop_from(const struct origin *from, enum drop reason)
{
	count_dropped(from->slot, from->end, from->packets, reason);
	return TC_ACT_SHOT;
}

static __always_inline __u32 end_of(const struct port *port)
{
	return FIRST_PORT + port->number;
}

static __always_inline struct origin sent_by(const struct __sk_buff *skb, const struct port *port)
{
	return (struct origin){.slot = port->slot, .end = end_of(port), .packets = packets_in(skb)};
}

/* Drops what a VM sent. */
static __always_inline int drop_sent(const struct __sk_buff *skb, const struct port *port, enum drop reason)
{
	struct origin from = sent_by(skb, port);
	return drop_from(&from, reason);
}

/* Drops what came in at a port of the host, but is for none of those that its policy knows there. */
static __always_inline int drop_unknown(const struct __sk_buff *skb, enum drop reason)
{
	struct origin from = {.end = NO_PORT, .packets = packets_in(skb)};
	return drop_from(&from, reason);
}
