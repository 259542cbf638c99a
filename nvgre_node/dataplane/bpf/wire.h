/* The wire format: outer IPv4 or IPv6, GRE with NVGRE's key, inner Ethernet (RFC 7637 section 3.2). */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* A function that the verifier judges once and by itself, and not anew at every call. If the function takes the packet,
 * that needs the kernel's own type information: a kernel without it gets objects that are compiled differently. */
#ifdef WITHOUT_KERNEL_BTF
#define JUDGED_APART static __noinline
#else
#define JUDGED_APART __noinline
#endif

#define GRE_CHECKSUM 0x8000 /* C, G1 */
#define GRE_ROUTING 0x4000  /* bit 1, G12 */
#define GRE_KEY 0x2000      /* K, G2 */
#define GRE_SEQUENCE 0x1000 /* S, G1 */
#define GRE_RESERVED 0x0c00 /* bits 4 and 5, G12 */
#define GRE_IGNORED 0x03f8  /* bits 6 to 12, G13 */
#define GRE_VERSION 0x0007  /* G14 */
#define GRE_LOW 0x0078      /* bits 9 to 12, between what RFC 2784 and what Linux takes for the version */

#define GRE_OPTION 4 /* bytes of a checksum, or of a sequence number, where a header has one */

#define VSID_FIRST 0x001000 /* V1 */
#define VSID_VENDOR 0xffffff /* V2 */
#define VSID_LAST 0xfffffe  /* V2 */

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_FRAGMENT 0x3fff /* MF and offset */
#define IP_OFFSET 0x1fff
#define ANSWER_TTL 64 /* of ICMP answers into a VM */
#define PACKET_HOST 0 /* <linux/if_packet.h>: addressed to this machine */

struct gre {
	__be16 flags;
	__be16 protocol;
	__be32 key; /* VSID << 8 | FlowID, G5 */
} __attribute__((packed));

/* What encapsulation puts in front of an inner frame. */
struct outer4 {
	struct ethhdr eth;
	struct iphdr ip;
	struct gre gre;
} __attribute__((packed));

struct outer6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct gre gre;
} __attribute__((packed));

_Static_assert(sizeof(struct outer4) == 42 && sizeof(struct outer6) == 62, "NVGRE costs 42 bytes, or 62 over IPv6");

/*
 * Bytes of outer headers. An inner IP packet grows by as many: by the inner Ethernet header instead of the outer one.
 */
static __always_inline __u32 outer_length(int is_v6)
{
	return is_v6 ? sizeof(struct outer6) : sizeof(struct outer4);
}

#define ETH_P_QINQ_OLD 0x9100

/* I4, I7: what counts as an 802.1Q tag. */
static __always_inline int is_tag(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(ETH_P_QINQ_OLD);
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

static __always_inline int is_unspecified(const struct in6_addr *address)
{
	const __be32 *words = address->s6_addr32;
	return !(words[0] | words[1] | words[2] | words[3]);
}

/* The ones' complement sum of RFC 1071, folded to 16 bits. */
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u16 ip_checksum(const void *ip)
{
	const __u16 *words = ip;
	__u32 sum = 0;
#pragma unroll
	for (int i = 0; i < (int)sizeof(struct iphdr) / 2; i++)
		sum += words[i];
	return fold(sum);
}

/* Ethernet, IPv4 with all its options or IPv6, and the fixed part of TCP. */
#define MAX_HEADERS (ETH_HLEN + 60 + 20)

/* Long frames may keep their headers outside the linear part, where direct access does not reach. */
static __always_inline long pull_headers(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS;
	if (skb->data_end - skb->data >= wanted)
		return 0;
	return bpf_skb_pull_data(skb, wanted);
}
