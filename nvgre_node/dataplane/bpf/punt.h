/* Unknown unicast: dropped, or handed to user space, which may know more (B6). */
#pragma once
#include "counters.h"
#include "policy.h"

/* How much of a frame user space gets: all of those that are not GSO frames, and of these more than their headers. */
#define PUNT_BYTES 2048

struct punting {
	__u32 enabled; /* B6; 0: what is not flooded is dropped */
};

const volatile struct punting punting SEC(".rodata.punt");

/* What stands in front of a frame. Mirrored in nvgre_node.dataplane.punt. */
struct punted {
	__u32 ifindex; /* of the port it came from */
	__u32 vsid;
	__u32 length; /* of what follows */
};

/* Its buffers are bounded: a frame for which there is no room is dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} punts SEC(".maps");

static __always_inline int unknown_unicast(struct __sk_buff *skb, const struct port *port)
{
	struct punted head = {
		.ifindex = skb->ingress_ifindex,
		.vsid = port->vsid,
		.length = skb->len < PUNT_BYTES ? skb->len : PUNT_BYTES,
	};
	__u64 flags = BPF_F_CURRENT_CPU | (__u64)head.length << 32;
	if (!punting.enabled || bpf_perf_event_output(skb, &punts, flags, &head, sizeof(head)))
		return drop_sent(skb, port, DROP_UNKNOWN_UNICAST);
	struct subnet_counters *subnet = counters_of(port->slot);
	if (subnet)
		subnet->punted += packets_in(skb);
	return TC_ACT_SHOT;
}
