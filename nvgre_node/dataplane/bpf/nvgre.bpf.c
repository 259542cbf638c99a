/*
 * The NVE of RFC 7637 as tc programs: `from_port` on each VM's port, `from_uplink` on each link to the underlay, and
 * `from_slow_path` for what has to be made whole first.
 * Read this file first; each step is a header of its own, in the order in which a packet meets them.
 */
#include "slow_path.h"
#include "source_check.h"
#include "neighbours.h"
#include "punt.h"
#include "route.h"

SEC("tc")
int from_port(struct __sk_buff *skb)
{
	enum drop fault;
	struct port *port = find_port(skb, &fault);
	if (!port)
		return drop_unknown(skb, fault);
	keep_priority(skb);
	if (strip_tags(skb))
		return drop_sent(skb, port, DROP_TAG_DEPTH);
	count_came(end_of(port), packets_in(skb), skb->len);

	if (pull_headers(skb))
		return drop_sent(skb, port, DROP_MALFORMED);
	struct ethhdr *eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return drop_sent(skb, port, DROP_MALFORMED);
	if (!is_carried(eth->h_proto))
		return drop_sent(skb, port, DROP_NOT_IP);
	fault = source_fault(skb, port, eth);
	if (fault != DROP_REASONS)
		return drop_sent(skb, port, fault);
	if (denied(skb, skb->ingress_ifindex, port->vid, DIRECTION_OUT))
		return drop_sent(skb, port, DROP_ACL_OUT);
	int is_group = eth->h_dest[0] & 1;
	struct router *router = nve.routes && is_router(eth->h_dest) ? find_router(port->vsid) : 0;
	if (nve.by_ca && !is_group && !router) {
		address_by_ca(skb, port->vsid);
		eth = (void *)(long)skb->data;
		if ((void *)(eth + 1) > (void *)(long)skb->data_end)
			return drop_sent(skb, port, DROP_MALFORMED);
	}
	struct record *record = find_record(port->vsid, eth->h_dest);
	if (!record)
		record = find_learnt(port->vsid, eth->h_dest);
	if ((is_group && (nve.proxy_neighbours || nve.routes)) || router) {
		int action = ask_neighbours(skb, port);
		if (action != TC_ACT_UNSPEC)
			return action;
	}
	if (nve.routes && router) {
		struct verdict verdict = {};
		int done = route(skb, router, &verdict);
		if (done != FORWARDED)
			return not_forwarded(skb, port, done, &verdict);
		record = bpf_map_lookup_elem(&records, &verdict.next);
		struct subnet_counters *subnet = counters_of(port->slot);
		if (subnet)
			subnet->routed += packets_in(skb);
	}
	if (is_group || (!record && nve.flood_unknown && !router)) {
		struct origin from = sent_by(skb, port);
		replicate_local(skb, port->vsid, port->vid, &from);
		return replicate(skb, port);
	}
	if (!record)
		return router ? drop_sent(skb, port, DROP_UNKNOWN_UNICAST) : unknown_unicast(skb, port);
	if (!record->ifindex)
		return encapsulate(skb, port, record);
	if (record->ifindex == skb->ingress_ifindex && record->vid == port->vid)
		return drop_sent(skb, port, DROP_OWN_ADDRESS);
	if (denied(skb, record->ifindex, record->vid, DIRECTION_IN))
		return drop_sent(skb, port, DROP_ACL_IN);

	struct subnet_counters *subnet = counters_of(port->slot);
	if (subnet)
		subnet->local += packets_in(skb);
	count_went(record->end, packets_in(skb), skb->len);
	bpf_skb_change_type(skb, PACKET_HOST);
	if (push_tag(skb, record->vid))
		return drop_sent(skb, port, DROP_MALFORMED);
	/* What has kept a tag comes in at the VM like any other frame, so that the tag is found. */
	return deviates(KEEPS_TAGS) ? bpf_redirect(record->ifindex, 0) : bpf_redirect_peer(record->ifindex, 0);
}

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	/* What has no headers that can be read is the provider host's own business. */
	return pull_headers(skb) ? TC_ACT_OK : decapsulate(skb);
}

SEC("tc")
int from_slow_path(struct __sk_buff *skb)
{
	__u32 mark = skb->mark;
	skb->mark = 0;
	if ((nve.fragment_inner || nve.fragment_outer) && mark)
		return fragment(skb, mark);
	if (nve.reassemble && !mark && !pull_headers(skb))
		return decapsulate(skb);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
