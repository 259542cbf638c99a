/*
 * Broadcast and multicast: one copy to each local port, and one encapsulated copy to the virtual subnet's group (B2) or,
 * where it has none, to each remote NVE (N-way unicast, B5).
 */
#pragma once
#include "acl.h"
#include "groups.h"

/*
 * Copies the inner frame to the subnet's ports here, but not back to where it came from, which is an interface and
 * a VLAN id of it, nor past their access lists.
 * A function of its own, which returns before the larger ones begin: on top of theirs, the stack of the lists is too much.
 */
static __noinline int replicate_local(struct __sk_buff *skb, __u32 vsid, __u32 vid, const struct origin *from)
{
	for (__u32 position = 0; position < MAX_REPLICAS; position++) {
		struct replica_key key = {.vsid = vsid, .position = position};
		struct local_replica *to = bpf_map_lookup_elem(&local_replicas, &key);
		if (!to)
			break;
		if (to->ifindex == skb->ingress_ifindex && to->vid == vid)
			continue;
		if (denied(skb, to->ifindex, to->vid, DIRECTION_IN)) {
			drop_from(from, DROP_ACL_IN);
			continue;
		}
		count_went(to->end, from->packets, skb->len);
		if (push_tag(skb, to->vid))
			continue;
		bpf_clone_redirect(skb, to->ifindex, 0);
		pop_tag(skb, to->vid);
	}
	return 0;
}

/* Opens the gap for the outer headers, or widens the one that IPv4 copies needed: they come first. */
static __always_inline long widen(struct __sk_buff *skb, __u32 *gap, int is_v6)
{
	__u32 had = *gap, wanted = outer_length(is_v6);
	*gap = wanted;
	if (!had)
		return make_room(skb, is_v6);
	return had < wanted ? bpf_skb_change_head(skb, wanted - had, 0) : 0;
}

static __always_inline int replicate_remote(struct __sk_buff *skb, const struct port *port)
{
	struct bpf_fib_lookup path;
	struct shipment to = {
		.vsid = port->vsid,
		.flow = nve.flowid_from_flow || nve.pa_from_flow ? flow_hash(skb) : 0,
		.traffic_class = outer_traffic_class(skb),
		.frame_bytes = skb->len,
	};
	__u32 packet = packet_length(skb), gap = 0;
	for (__u32 position = 0; position < MAX_REPLICAS; position++) {
		struct replica_key key = {.vsid = port->vsid, .position = position};
		struct remote *remote = bpf_map_lookup_elem(&remote_replicas, &key);
		if (!remote)
			break;
		to.pa = &remote->pa;
		to.end = remote->end;
		to.is_v6 = nve.pas6_count && !is_mapped(to.pa);
		long found = find_path(skb, port, &to, packet, &path);
		if (found) {
			drop_sent(skb, port,
			     found == BPF_FIB_LKUP_RET_FRAG_NEEDED ? DROP_TOO_BIG :
			     found == BPF_FIB_LKUP_RET_NO_NEIGH    ? DROP_NO_NEIGHBOUR :
								     DROP_NO_ROUTE);
			continue;
		}
		if (widen(skb, &gap, to.is_v6) || write_outer(skb, &to, &path))
			return drop_sent(skb, port, DROP_MALFORMED);
		bpf_clone_redirect(skb, path.ifindex, 0);
		count_encapsulated(skb, port, &to);
	}
	return TC_ACT_SHOT; /* the original; its copies are under way */
}

/*
 * A function of its own: in a larger one the compiler keeps addresses of skb's fields from one use to the next, and the
 * verifier takes none of those.
 */
static __noinline int replicate(struct __sk_buff *skb, const struct port *port)
{
	struct remote *group = find_group(skb, port->vsid);
	return group ? send_to_group(skb, port, group) : replicate_remote(skb, port);
}
