/*
 * 802.1Q between a VM and its port (I5): which virtual subnet a tag selects, what becomes of its priority, and the tag of
 * what is delivered. What there is to know about it is in nvgre_node/dataplane/model/vlan.py.
 */
#pragma once
#include "counters.h"
#include "inner.h"
#include "policy.h"

#define MAX_TAGS 4
#define VLAN_VID 0x0fff
#define VLAN_PCP(tci) ((tci) >> 13 & 7)
/* skb->cb[0] keeps the priority of a tag that was taken off. */
#define PRIORITY_KNOWN 8

/* The port that a frame is for, by the outermost tag that it still has; else the reason why there is none. */
static __always_inline struct port *find_port(const struct __sk_buff *skb, enum drop *fault)
{
	struct port_key key = {.ifindex = skb->ingress_ifindex};
	if (skb->vlan_present)
		key.vid = skb->vlan_tci & VLAN_VID;
	struct port *port = bpf_map_lookup_elem(&ports, &key);
	*fault = DROP_UNTAGGED;
	if (port || !key.vid)
		return port;
	*fault = DROP_UNKNOWN_VLAN;
	key.vid = 0;
	port = bpf_map_lookup_elem(&ports, &key);
	return port && port->access ? port : 0;
}

static __always_inline void keep_priority(struct __sk_buff *skb)
{
	if (nve.pcp_to_dscp)
		skb->cb[0] = skb->vlan_present ? PRIORITY_KNOWN | VLAN_PCP(skb->vlan_tci) : 0;
}

/* The outer DSCP that the priority of a tag chose, or NO_DSCP. */
static __always_inline __u8 dscp_of_priority(const struct __sk_buff *skb)
{
	if (!nve.pcp_to_dscp)
		return NO_DSCP;
	__u32 kept = skb->cb[0];
	return kept & PRIORITY_KNOWN ? nve.dscp_of_pcp[kept & 7] : NO_DSCP;
}

/*
 * Against I5: brings every tag back into the frame, where what is behind it cannot be seen; the kernel keeps the outermost
 * aside, and would put it in front of the outer headers. Returns 0 where that was done; what GSO has yet to cut would then
 * be cut wrongly. A function with a stack of its own.
 */
static __noinline int keep_tags(struct __sk_buff *skb)
{
	__u8 macs[2 * ETH_ALEN];
	__be16 tags[MAX_TAGS][2];
	__u32 bytes = 0;
	for (int i = 0; i < MAX_TAGS && skb->vlan_present; i++) {
		tags[i][0] = skb->vlan_proto;
		tags[i][1] = bpf_htons(skb->vlan_tci);
		if (bpf_skb_vlan_pop(skb))
			return -1;
		bytes += sizeof(tags[i]);
	}
	if (!bytes)
		return 0;
	if (skb->vlan_present || skb->gso_size || bytes > sizeof(tags))
		return -1;
	return bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) || bpf_skb_change_head(skb, bytes, 0) ||
	       bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) ||
	       bpf_skb_store_bytes(skb, sizeof(macs), tags, bytes, 0);
}

/* Removes every 802.1Q and 802.1ad tag. Returns 0 when none is left. */
static __always_inline int strip_tags(struct __sk_buff *skb)
{
	if (deviates(KEEPS_TAGS))
		return keep_tags(skb);
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++)
		if (skb->vlan_present && bpf_skb_vlan_pop(skb))
			return -1;
	return skb->vlan_present || is_tag(skb->protocol);
}

/* Gives a frame the tag of a trunk port's VLAN. */
static __always_inline long push_tag(struct __sk_buff *skb, __u32 vid)
{
	return nve.trunks && vid ? bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vid) : 0;
}

static __always_inline long pop_tag(struct __sk_buff *skb, __u32 vid)
{
	return nve.trunks && vid ? bpf_skb_vlan_pop(skb) : 0;
}
