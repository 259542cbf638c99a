/*
 * An NVGRE-aware device that only looks (RFC 7637 section 4.9, D1): a filter of packet sockets that takes no packet in,
 * and accounts each that passes by VSID, FlowID, direction and remote PA. It shares nothing with the NVE but the wire format.
 */
#include "wire.h"

#define MAX_FLOWS 32768
#define GRE_LAYOUT (GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE) /* what says where the key is */
#define PACKET_OUTGOING 4 /* <linux/if_packet.h> */

/* Mirrored by nvgre_node.monitor. */
struct flow {
	__u32 vsid;
	__u8 flow_id;
	__u8 outgoing;
	__u16 reserved;
	struct in6_addr pa; /* of the other end: where it goes to, or comes from; IPv4 as ::ffff:a.b.c.d */
};

struct account {
	__u64 packets; /* on the wire: a GSO frame counts once per segment */
	__u64 bytes;   /* of inner frames, headers of a GSO frame once: as NVEs count */
};

/* All memory for it is taken at once: a program that asks for more may be refused for a moment, and lose flows. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, struct account);
} accounts SEC(".maps");

/* What found no place among the flows. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct account);
} overflow SEC(".maps");

static __always_inline int is_outgoing(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_OUTGOING;
}

/* Where GRE starts, where the IP packet ends, and the PA of the other end; or 0: no GRE, or not from its beginning on. */
static __always_inline __u32 find_gre(const struct __sk_buff *skb, __u32 *end, struct in6_addr *pa)
{
	struct iphdr ip;
	struct ipv6hdr ip6;
	__be16 ethertype = 0;
	bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(ethertype), &ethertype, sizeof(ethertype));
	if (ethertype == bpf_htons(ETH_P_IP) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) {
		*end = ETH_HLEN + bpf_ntohs(ip.tot_len);
		pa->s6_addr32[2] = bpf_htonl(0xffff);
		pa->s6_addr32[3] = is_outgoing(skb) ? ip.daddr : ip.saddr;
		return ip.protocol == IPPROTO_GRE && !(ip.frag_off & bpf_htons(IP_FRAGMENT)) ? ETH_HLEN + ip.ihl * 4 : 0;
	}
	if (ethertype == bpf_htons(ETH_P_IPV6) && !bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6))) {
		*end = ETH_HLEN + sizeof(ip6) + bpf_ntohs(ip6.payload_len);
		*pa = is_outgoing(skb) ? ip6.daddr : ip6.saddr;
		return ip6.nexthdr == IPPROTO_GRE ? ETH_HLEN + sizeof(ip6) : 0;
	}
	return 0;
}

static __always_inline struct account *account_of(const struct flow *flow)
{
	struct account nothing = {};
	__u32 zero = 0;
	struct account *account = bpf_map_lookup_elem(&accounts, flow);
	if (account)
		return account;
	bpf_map_update_elem(&accounts, flow, &nothing, BPF_NOEXIST);
	return bpf_map_lookup_elem(&accounts, flow) ?: bpf_map_lookup_elem(&overflow, &zero);
}

SEC("socket")
int look(struct __sk_buff *skb)
{
	struct gre gre;
	struct flow flow = {};
	__u32 end = 0, at = find_gre(skb, &end, &flow.pa);
	if (!at || bpf_skb_load_bytes(skb, at, &gre, sizeof(gre)) || gre.protocol != bpf_htons(ETH_P_TEB) ||
	    (bpf_ntohs(gre.flags) & GRE_LAYOUT) != GRE_KEY)
		return 0;
	__u32 key = bpf_ntohl(gre.key);
	flow.vsid = key >> 8;
	flow.flow_id = key & 0xff;
	flow.outgoing = is_outgoing(skb);
	struct account *account = account_of(&flow);
	if (account) {
		account->packets += skb->gso_segs ?: 1;
		barrier_var(end); /* in a register, or clang reads either of both through one pointer */
		account->bytes += (skb->gso_size ? skb->len : end) - at - sizeof(gre);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
