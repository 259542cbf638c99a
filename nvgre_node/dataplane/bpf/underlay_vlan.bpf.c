/*
 * The VLAN of a link of the underlay (RFC 7637 section 3.2, O4), at one of its ends: what leaves gets the outer tag, and
 * what comes in must have it, and loses it. Who is behind, an NVE or a router, sees a link without VLANs. It shares
 * nothing with the NVE but the wire format.
 */
#include "wire.h"

#define VLAN_VID 0x0fff

struct vlan {
	__u32 vid;
};

const volatile struct vlan vlan SEC(".rodata.vlan");

/* What has a tag already was made so on purpose. */
SEC("tc")
int tag(struct __sk_buff *skb)
{
	if (skb->vlan_present || is_tag(skb->protocol))
		return TC_ACT_UNSPEC;
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan.vid) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* TC_ACT_UNSPEC: the next program decides, such as the NVE's. */
SEC("tc")
int untag(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & VLAN_VID) != vlan.vid)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
