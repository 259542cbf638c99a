/* From the wire to a VM: every check that a received NVGRE packet must pass, then the inner frame as it was sent. */
#pragma once
#include "replicate.h"

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV6 /* Linux 6.3 */
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

/* Why the flags and protocol type of a GRE header are refused, or DROP_REASONS where they are NVGRE's (G11 to G15). */
static __always_inline enum drop gre_fault(const struct gre *gre)
{
	__u16 flags = bpf_ntohs(gre->flags);
	if (flags & GRE_VERSION)
		return DROP_VERSION;
	if (flags & (GRE_ROUTING | GRE_RESERVED))
		return DROP_RESERVED_BITS;
	if (flags & GRE_CHECKSUM)
		return DROP_CHECKSUM_BIT;
	if (flags & GRE_SEQUENCE)
		return DROP_SEQUENCE_BIT;
	if (!(flags & GRE_KEY))
		return DROP_NO_KEY;
	if (gre->protocol != bpf_htons(ETH_P_TEB))
		return DROP_PROTOCOL_TYPE;
	return DROP_REASONS;
}

/* Why a VSID and the PA that sent it are refused, or DROP_REASONS with the subnet's slot set. */
static __always_inline enum drop sender_fault(__u32 vsid, __be32 pa, __u32 *slot)
{
	struct peer_key key = {.vsid = vsid, .pa = pa};
	__u32 *found = bpf_map_lookup_elem(&peers, &key);
	if (found) {
		*slot = *found;
		return DROP_REASONS;
	}
	if (vsid < VSID_FIRST || vsid > VSID_LAST)
		return DROP_RESERVED_VSID;
	found = bpf_map_lookup_elem(&subnets, &vsid);
	if (!found)
		return DROP_UNKNOWN_VSID;
	*slot = *found;
	return DROP_SOURCE_PA;
}

/* Closes the gap in front of the inner frame. Returns 1 where skb->protocol then names the inner packet, 0 where not. */
static __always_inline int strip_outer(struct __sk_buff *skb, const struct ethhdr *inner)
{
	__u32 inner_packet = skb->len - OUTER_LEN - ETH_HLEN;
	/* adjust_room wants an IPv4 header's worth of bytes to remain: lend them to shorter frames, which are not IP. */
	__u32 lent = inner_packet < sizeof(struct iphdr) ? sizeof(struct iphdr) - inner_packet : 0;
	if (lent && bpf_skb_change_tail(skb, skb->len + lent, 0))
		return -1;
	int named = inner->h_proto == bpf_htons(ETH_P_IP);
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	if (inner->h_proto == bpf_htons(ETH_P_IPV6))
		named = !bpf_skb_adjust_room(skb, -OUTER_LEN, BPF_ADJ_ROOM_MAC, flags | BPF_F_ADJ_ROOM_DECAP_L3_IPV6);
	if (!(named && inner->h_proto == bpf_htons(ETH_P_IPV6)) &&
	    bpf_skb_adjust_room(skb, -OUTER_LEN, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	if (lent && bpf_skb_change_tail(skb, skb->len - lent, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0))
		return -1;
	return named;
}

static __always_inline int decapsulate(struct __sk_buff *skb)
{
	struct outer *outer = (void *)(long)skb->data;
	if ((void *)&outer->gre > (void *)(long)skb->data_end)
		return TC_ACT_OK;
	if (outer->eth.h_proto != bpf_htons(ETH_P_IP) || outer->ip.protocol != IPPROTO_GRE ||
	    outer->ip.daddr != nve.pa || skb->pkt_type != PACKET_HOST)
		return TC_ACT_OK; /* the provider host's own traffic */

	__u32 total = bpf_ntohs(outer->ip.tot_len);
	if (outer->ip.version != 4 || outer->ip.ihl != 5 || ip_checksum(&outer->ip) != 0xffff ||
	    total + ETH_HLEN > skb->len)
		return drop(skb, 0, DROP_BAD_OUTER);
	if (outer->ip.frag_off & bpf_htons(IP_FRAGMENT))
		return drop(skb, 0, DROP_OUTER_FRAGMENT); /* F2 */
	if (bpf_skb_pull_data(skb, OUTER_LEN + ETH_HLEN))
		return drop(skb, 0, DROP_TRUNCATED);
	/* What follows the IP packet is the underlay's padding. */
	if (!skb->gso_size && total + ETH_HLEN < skb->len && bpf_skb_change_tail(skb, total + ETH_HLEN, 0))
		return drop(skb, 0, DROP_BAD_OUTER);

	outer = (void *)(long)skb->data;
	struct ethhdr *eth = (void *)(outer + 1);
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return drop(skb, 0, DROP_TRUNCATED);
	enum drop fault = gre_fault(&outer->gre);
	if (fault != DROP_REASONS)
		return drop(skb, 0, fault);
	__u32 vsid = bpf_ntohl(outer->gre.key) >> 8; /* any FlowID, G10 */
	__u32 slot = 0;
	fault = sender_fault(vsid, outer->ip.saddr, &slot);
	if (fault != DROP_REASONS)
		return drop(skb, slot, fault);
	if (is_tag(eth->h_proto))
		return drop(skb, slot, DROP_INNER_TAG); /* I6 */

	struct ethhdr inner = *eth;
	__u32 ifindex = 0;
	if (!(inner.h_dest[0] & 1)) {
		struct record *record = find_record(vsid, inner.h_dest);
		if (record ? !record->ifindex : !nve.flood_unknown)
			return drop(skb, slot, DROP_NOT_LOCAL); /* split horizon: the wire never feeds the wire */
		ifindex = record ? record->ifindex : 0;
	}
	__u32 packets = packets_in(skb); /* before adjust_room forgets the segments */
	int named = strip_outer(skb, &inner);
	if (named < 0)
		return drop(skb, slot, DROP_MALFORMED);
	struct subnet_counters *subnet = counters_of(slot);
	if (subnet) {
		subnet->decapsulated += packets;
		subnet->decapsulated_bytes += skb->len;
	}
	if (!ifindex) {
		replicate_local(skb, vsid);
		return TC_ACT_SHOT;
	}
	/* Straight into the VM's namespace, unless the receiving stack has to find out the EtherType anew. */
	return named ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(ifindex, 0);
}
