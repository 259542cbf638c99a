/*
 * A cable between two interfaces of one network namespace: what comes in at one goes out at the other, as it is. With it
 * the port of a VM that has moved leads to the VM's new host.
 */
#include "wire.h"

/* Mirrored by nvgre_node.cable. The other end, by interface. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} ends SEC(".maps");

SEC("tc")
int pass_on(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ingress_ifindex;
	__u32 *end = bpf_map_lookup_elem(&ends, &ifindex);
	return end ? bpf_redirect(*end, 0) : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
