/*
 * A server without an NVE: plain Ethernet and 802.1Q tags between its machines and its uplink, to where the NVE is
 * (RFC 7637 section 4.9, D5). It knows nothing of NVGRE, and is a program only because not every kernel has VLANs.
 */
#include "wire.h"

#define VLAN_VID 0x0fff
#define MAX_MACHINES 4094

/* Mirrored by nvgre_node.server. The interface of each machine, by the VLAN id that it has on the uplink, and back. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MACHINES);
	__type(key, __u32);
	__type(value, __u32);
} interfaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MACHINES);
	__type(key, __u32);
	__type(value, __u32);
} vids SEC(".maps");

const volatile __u32 uplink SEC(".rodata.server") = 0;

/* An access port: what has a tag already is not let out, else a machine could speak as another. */
SEC("tc")
int from_machine(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ingress_ifindex;
	__u32 *vid = bpf_map_lookup_elem(&vids, &ifindex);
	if (!vid || skb->vlan_present || bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), *vid))
		return TC_ACT_SHOT;
	return bpf_redirect(uplink, 0);
}

SEC("tc")
int from_server_uplink(struct __sk_buff *skb)
{
	__u32 vid = skb->vlan_tci & VLAN_VID;
	__u32 *ifindex = skb->vlan_present ? bpf_map_lookup_elem(&interfaces, &vid) : 0;
	if (!ifindex || bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(*ifindex, 0);
}

char LICENSE[] SEC("license") = "GPL";
