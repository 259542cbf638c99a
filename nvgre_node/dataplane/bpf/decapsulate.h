/* From the wire to a VM: every check that a received NVGRE packet must pass, then the inner frame as it was sent. */
#pragma once
#include "learn.h"
#include "replicate.h"
#include "traffic_class.h"
#include "vendor.h"

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4 /* Linux 6.3 */
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

#define NEXTHDR_FRAGMENT 44 /* RFC 8200 section 4.5 */

/* A GRE packet for this NVE, as its outer IP header has it. */
struct arrival {
	struct in6_addr pa; /* of the NVE that sent it */
	__u32 end;          /* of the IP packet in the frame; what follows is the underlay's padding */
	int is_v6;
	__u8 traffic_class;
};

/* The provider host's own traffic, in place of a drop reason. */
#define NOT_OURS ((enum drop)(DROP_REASONS + 1))

/* Against G11 and G12: the bits that may be set; the fields of C and S are then skipped. */
static __always_inline __u16 tolerated(void)
{
	return (deviates(TAKES_CHECKSUMS) ? GRE_CHECKSUM : 0) | (deviates(TAKES_SEQUENCE_NUMBERS) ? GRE_SEQUENCE : 0) |
	       (deviates(TAKES_RESERVED_BITS) ? GRE_RESERVED : 0);
}

/* Why the flags and protocol type of a GRE header are refused, or DROP_REASONS where they are NVGRE's (G11 to G15). */
static __always_inline enum drop gre_fault(const struct gre *gre)
{
	__u16 flags = bpf_ntohs(gre->flags) & ~tolerated();
	if (flags & (GRE_VERSION | (deviates(WIDENS_VERSION) ? GRE_LOW : 0)))
		return DROP_VERSION;
	if (flags & (GRE_ROUTING | GRE_RESERVED))
		return DROP_RESERVED_BITS;
	if (deviates(REFUSES_RESERVED_BITS) && flags & GRE_IGNORED)
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

/* Why a VSID and the PA that sent it are refused, or DROP_REASONS; whatever is known of them is then in `from`. */
static __always_inline enum drop sender_fault(__u32 vsid, const struct in6_addr *pa, struct origin *from)
{
	struct peer_key key = {.vsid = vsid, .pa = *pa};
	struct peer *peer = bpf_map_lookup_elem(&peers, &key);
	if (peer) {
		from->slot = peer->slot;
		from->end = peer->end;
		return DROP_REASONS;
	}
	if (vsid < VSID_FIRST || vsid > VSID_LAST)
		return DROP_RESERVED_VSID;
	__u32 *slot = bpf_map_lookup_elem(&subnets, &vsid);
	if (!slot)
		return DROP_UNKNOWN_VSID;
	from->slot = *slot;
	return DROP_SOURCE_PA;
}

static __always_inline int is_own_pa4(__be32 pa)
{
	for (int i = 0; i < MAX_PAS && i < nve.pas4_count; i++)
		if (nve.pas4[i] == pa)
			return 1;
	return 0;
}

static __always_inline int is_own_pa6(const struct in6_addr *pa)
{
	for (int i = 0; i < MAX_PAS && i < nve.pas6_count; i++) {
		const volatile __be32 *own = nve.pas6[i].s6_addr32;
		if (own[0] == pa->s6_addr32[0] && own[1] == pa->s6_addr32[1] && own[2] == pa->s6_addr32[2] &&
		    own[3] == pa->s6_addr32[3])
			return 1;
	}
	return 0;
}

/* Reads an outer IPv4 header: DROP_REASONS where it is sound. */
static __always_inline enum drop arrival4(const struct __sk_buff *skb, struct arrival *arrival)
{
	const struct outer4 *outer = (void *)(long)skb->data;
	if ((void *)&outer->gre > (void *)(long)skb->data_end || outer->ip.protocol != IPPROTO_GRE)
		return NOT_OURS;
	struct in6_addr to = {.s6_addr32 = {0, 0, MAPPED, outer->ip.daddr}};
	if (!(skb->pkt_type == PACKET_HOST ? is_own_pa4(outer->ip.daddr) : is_joined(&outer->eth, &to)))
		return NOT_OURS;
	arrival->end = ETH_HLEN + bpf_ntohs(outer->ip.tot_len);
	if (outer->ip.version != 4 || outer->ip.ihl != 5 || ip_checksum(&outer->ip) != 0xffff || arrival->end > skb->len)
		return DROP_BAD_OUTER;
	if (outer->ip.frag_off & bpf_htons(IP_FRAGMENT))
		return DROP_OUTER_FRAGMENT; /* F2 */
	arrival->pa = (struct in6_addr){.s6_addr32 = {0, 0, MAPPED, outer->ip.saddr}};
	arrival->traffic_class = outer->ip.tos;
	return DROP_REASONS;
}

/* Reads an outer IPv6 header. Extension headers but for fragments are the provider host's business. */
static __always_inline enum drop arrival6(const struct __sk_buff *skb, struct arrival *arrival)
{
	const struct outer6 *outer = (void *)(long)skb->data;
	__u8 fragmented = 0;
	if ((void *)&outer->gre > (void *)(long)skb->data_end)
		return NOT_OURS;
	struct in6_addr to = outer->ip.daddr;
	if (!(skb->pkt_type == PACKET_HOST ? is_own_pa6(&to) : is_joined(&outer->eth, &to)))
		return NOT_OURS;
	if (outer->ip.nexthdr == NEXTHDR_FRAGMENT) {
		bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &fragmented, 1);
		return fragmented == IPPROTO_GRE ? DROP_OUTER_FRAGMENT : NOT_OURS; /* F2 */
	}
	if (outer->ip.nexthdr != IPPROTO_GRE)
		return NOT_OURS;
	arrival->end = ETH_HLEN + sizeof(struct ipv6hdr) + bpf_ntohs(outer->ip.payload_len);
	if (outer->ip.version != 6 || arrival->end > skb->len)
		return DROP_BAD_OUTER;
	arrival->pa = outer->ip.saddr;
	arrival->traffic_class = outer->ip.priority << 4 | outer->ip.flow_lbl[0] >> 4;
	arrival->is_v6 = 1;
	return DROP_REASONS;
}

static __always_inline enum drop read_outer(const struct __sk_buff *skb, struct arrival *arrival)
{
	/* The kernel keeps an outer tag aside: it names a VLAN that this link is not in, and must not end up at a VM. */
	if (skb->vlan_present)
		return NOT_OURS;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return arrival4(skb, arrival);
	if (nve.pas6_count && skb->protocol == bpf_htons(ETH_P_IPV6))
		return arrival6(skb, arrival);
	return NOT_OURS;
}

/* Bytes of the fields that a GRE header has for those bits. */
static __always_inline __u32 option_bytes(const struct gre *gre)
{
	__u16 options = bpf_ntohs(gre->flags) & tolerated();
	return (options & GRE_CHECKSUM ? GRE_OPTION : 0) + (options & GRE_SEQUENCE ? GRE_OPTION : 0);
}

#define SUMMED_AT_ONCE 64
#define MOST_SUMS (65536 / SUMMED_AT_ONCE)

/* Whether a packet sums up from its GRE header, which is at `at`, to its end. */
JUDGED_APART int gre_sums_up(struct __sk_buff *skb, __u32 at)
{
	__u8 bytes[SUMMED_AT_ONCE + sizeof(__u32)];
	__u32 sum = 0, rest = (skb->len - at) % SUMMED_AT_ONCE;
	for (int i = 0; i < MOST_SUMS && at + SUMMED_AT_ONCE <= skb->len; i++) {
		if (bpf_skb_load_bytes(skb, at, bytes, SUMMED_AT_ONCE))
			return 0;
		sum = bpf_csum_diff(0, 0, (void *)bytes, SUMMED_AT_ONCE, fold(sum));
		at += SUMMED_AT_ONCE;
	}
	__builtin_memset(bytes, 0, sizeof(bytes));
	/* With the byte before it: Linux 6.1 refuses a length that it takes for zero, whatever was compared. */
	if (bpf_skb_load_bytes(skb, at - 1, bytes + 1, rest + 1))
		return 0;
	bytes[1] = 0;
	return fold(bpf_csum_diff(0, 0, (void *)bytes, sizeof(bytes), fold(sum))) == 0xffff;
}

/* A GRE header without options, and the Ethernet header behind it. */
struct head {
	struct gre gre;
	struct ethhdr eth;
} __attribute__((packed));

/* Reads key and inner Ethernet header from behind the options that are there; `overhead` is then what they end. */
static __always_inline enum drop skip_options(struct __sk_buff *skb, struct head *head, __u32 *overhead)
{
	int has_checksum = !!(head->gre.flags & bpf_htons(GRE_CHECKSUM));
	__u32 start = *overhead - sizeof(struct gre);
	__u32 key = start + offsetof(struct gre, key) + (has_checksum ? GRE_OPTION : 0);
	*overhead += option_bytes(&head->gre);
	if (*overhead + ETH_HLEN > skb->len || bpf_skb_load_bytes(skb, key, &head->gre.key, sizeof(head->gre.key)) ||
	    bpf_skb_load_bytes(skb, *overhead, &head->eth, sizeof(head->eth)))
		return DROP_TRUNCATED;
	return has_checksum && !gre_sums_up(skb, start) ? DROP_CHECKSUM_BIT : DROP_REASONS;
}

static __always_inline __u64 decap_flag(__be16 inner_type)
{
	return inner_type == bpf_htons(ETH_P_IPV6) ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
}

/* Closes the gap in front of the inner frame. Returns 1 where skb->protocol then names the inner packet, 0 where not. */
static __always_inline int strip_outer(struct __sk_buff *skb, int is_v6, __u32 overhead, const struct ethhdr *inner)
{
	__s32 gap = -(__s32)overhead;
	__u32 inner_packet = skb->len + gap - ETH_HLEN;
	__be16 outer_type = is_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	int is_ip = inner->h_proto == bpf_htons(ETH_P_IP) || inner->h_proto == bpf_htons(ETH_P_IPV6);
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	int named = 0;
	if (inner->h_proto == outer_type)
		named = 1;
	else if (is_ip && !bpf_skb_adjust_room(skb, gap, BPF_ADJ_ROOM_MAC, flags | decap_flag(inner->h_proto)))
		return bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0) ? -1 : 1;
	/* adjust_room wants an IP header's worth of bytes to remain: lend them to shorter frames. */
	__u32 least = is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 lent = inner_packet < least ? least - inner_packet : 0;
	if (lent && bpf_skb_change_tail(skb, skb->len + lent, 0))
		return -1;
	if (bpf_skb_adjust_room(skb, gap, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	if (lent && bpf_skb_change_tail(skb, skb->len - lent, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0) ? -1 : named;
}

/* The kernel makes packets whole before sockets get them; user space brings them back on the slow path (F2). */
static __always_inline int leave_to_kernel(void)
{
	struct subnet_counters *subnet = counters_of(0);
	if (subnet)
		subnet->outer_fragments++;
	return TC_ACT_OK;
}

static __always_inline int decapsulate(struct __sk_buff *skb)
{
	struct arrival arrival = {};
	struct origin from = {.end = NO_PA, .packets = packets_in(skb)}; /* before adjust_room forgets the segments */
	enum drop fault = read_outer(skb, &arrival);
	if (fault == NOT_OURS)
		return TC_ACT_OK;
	if (fault == DROP_OUTER_FRAGMENT && nve.reassemble)
		return leave_to_kernel();
	if (fault != DROP_REASONS)
		return drop_from(&from, fault);
	if (arrival.end < (__u32)outer_length(arrival.is_v6) + ETH_HLEN)
		return drop_from(&from, DROP_TRUNCATED);
	if (!skb->gso_size && arrival.end < skb->len && bpf_skb_change_tail(skb, arrival.end, 0))
		return drop_from(&from, DROP_BAD_OUTER);

	struct head head;
	__u32 overhead = outer_length(arrival.is_v6);
	if (bpf_skb_load_bytes(skb, overhead - sizeof(struct gre), &head, sizeof(head)))
		return drop_from(&from, DROP_TRUNCATED);
	fault = gre_fault(&head.gre);
	if (fault == DROP_REASONS && option_bytes(&head.gre))
		fault = skip_options(skb, &head, &overhead);
	if (fault != DROP_REASONS)
		return drop_from(&from, fault);
	if (deviates(EXACT_KEYS) && head.gre.key & bpf_htonl(0xff))
		return drop_from(&from, DROP_UNKNOWN_VSID);
	__u32 vsid = bpf_ntohl(head.gre.key) >> 8; /* any FlowID, G10 */
	fault = sender_fault(vsid, &arrival.pa, &from);
	if (fault != DROP_REASONS)
		return drop_from(&from, fault);
	if (nve.probe && vsid == VSID_VENDOR)
		return option_bytes(&head.gre) ? drop_from(&from, DROP_RESERVED_VSID) :
						 from_peer(skb, &arrival.pa, arrival.is_v6, &from);
	if (is_tag(head.eth.h_proto))
		if (!deviates(DELIVERS_TAGS))
			return drop_from(&from, DROP_INNER_TAG); /* I6 */
	if (!is_carried(head.eth.h_proto))
		return drop_from(&from, DROP_NOT_IP);

	struct ethhdr inner = head.eth;
	__u32 ifindex = 0, vid = 0, end = NO_PORT;
	if (!(inner.h_dest[0] & 1)) {
		struct record *record = find_record(vsid, inner.h_dest);
		if (record ? !record->ifindex : !nve.flood_unknown)
			return drop_from(&from, DROP_NOT_LOCAL); /* split horizon: the wire never feeds the wire */
		ifindex = record ? record->ifindex : 0;
		vid = record ? record->vid : 0;
		end = record ? record->end : NO_PORT;
	}
	if (apply_traffic_class(skb, overhead, arrival.traffic_class))
		return drop_from(&from, DROP_CE_ON_NOT_ECT);
	int named = strip_outer(skb, arrival.is_v6, overhead, &inner);
	if (named < 0)
		return drop_from(&from, DROP_MALFORMED);
	if (ifindex && denied(skb, ifindex, vid, DIRECTION_IN))
		return drop_from(&from, DROP_ACL_IN);
	learn(vsid, inner.h_source, &arrival.pa, from.end);
	struct subnet_counters *subnet = counters_of(from.slot);
	if (subnet) {
		subnet->decapsulated += from.packets;
		subnet->decapsulated_bytes += skb->len;
	}
	count_came(from.end, from.packets, skb->len);
	if (!ifindex) {
		replicate_local(skb, vsid, 0, &from);
		return TC_ACT_SHOT;
	}
	count_went(end, from.packets, skb->len);
	if (group_uplink.ifindex)
		bpf_skb_change_type(skb, PACKET_HOST); /* it may have come in by a group */
	if (push_tag(skb, vid))
		return drop_from(&from, DROP_MALFORMED);
	/* Straight into the VM's namespace, unless the receiving stack has to find out the EtherType anew. */
	return named ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(ifindex, 0);
}
