/* The policy tables: what user space wrote from the lookup records. Layouts are mirrored in nvgre_node.dataplane.ebpf. */
#pragma once
#include "wire.h"

/* How many NVEs, and how many ports of one host, a virtual subnet may have: bounds the replication loops. */
#define MAX_REPLICAS 128
/* How many PAs an NVE may have (nvgre_node.policy). */
#define MAX_PAS 8

/* A PA of either IP version: IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
#define MAPPED bpf_htonl(0xffff)

static __always_inline int is_mapped(const struct in6_addr *pa)
{
	return !(pa->s6_addr32[0] | pa->s6_addr32[1]) && pa->s6_addr32[2] == MAPPED;
}

/* One per provider host, written before the programs are loaded: the verifier then removes what is switched off. */
struct nve {
	__be32 pas4[MAX_PAS];
	struct in6_addr pas6[MAX_PAS];
	__u8 pas4_count;
	__u8 pas6_count;
	__u8 pa_from_flow;     /* E3; 0: the port's */
	__u8 flowid_from_flow; /* G8; 0: FlowID is always zero, G9 */
	__u8 tell_too_big;     /* 0: the black hole */
	__u8 flood_unknown;    /* B6; 0: unknown unicast is dropped */
	__u8 clamp_mss;        /* 0: what VMs agree on is theirs */
	__u8 source_check;     /* C1: enum source_check */
	__u8 fragment_inner;   /* RFC 7588; 0: what does not fit is dropped */
	__u8 proxy_neighbours; /* S2; 0: ARP requests and solicitations are flooded */
	__u8 ttl;              /* of the outer header, O8 */
	__u8 dscp;             /* of the outer header, where it is in the traffic class: in the upper six bits */
	__u8 copy_dscp;        /* RFC 2983, uniform model: the inner DSCP goes out, the outer one comes in */
	__u8 copy_ecn;         /* RFC 6040 section 4.1, normal mode; 0: compatibility mode */
	__u8 trunks;           /* I5; 0: no port is a trunk port */
	__u8 pcp_to_dscp;      /* 0: the priority of tags is lost */
	__u8 dscp_of_pcp[8];   /* as dscp, by priority; NO_DSCP: dscp decides */
	__u8 routes;           /* X6; 0: no tenant here has a router */
	__u8 reassemble;       /* F2; 0: outer fragments are dropped */
	__u8 fragment_outer;   /* which F1 forbids: outer packets have no DF, and are fragmented */
	__u8 acls;             /* whether any port has rules */
	__u8 probe;            /* V2: the vendors' VSID is in use with peers that are listed for it */
	__u8 carries_ip;       /* and ARP, and nothing else; 0: any Ethernet frame, I1 */
	__u8 by_ca;            /* inside a virtual subnet, too, IP goes by CAs */
	__u8 reserved;
	__u32 deviations;      /* by enum deviation, one bit each: what this NVE does wrong */
	__u32 slow_path;       /* index of the interface that leads to the slow path, or 0 */
};

const volatile struct nve nve SEC(".rodata.nve");

enum source_check { SOURCE_CHECK_NONE, SOURCE_CHECK_MAC, SOURCE_CHECK_CA };

/*
 * What known implementations do against the rules, in the order of nvgre_node.choices.Deviation, which says what each is.
 * The verifier removes what is switched off, as everything that hangs on `nve`.
 */
enum deviation {
	KEEPS_TAGS,
	DELIVERS_TAGS,
	TAKES_CHECKSUMS,
	TAKES_SEQUENCE_NUMBERS,
	REFUSES_RESERVED_BITS,
	EXACT_KEYS,
	HIDES_CE,
	IGNORES_ECT1,
	CLEARS_DF,
	REPEATS_ID,
	TAKES_RESERVED_BITS,
	WIDENS_VERSION,
	VARIES_ID,
};

static __always_inline int deviates(enum deviation how)
{
	return nve.deviations >> how & 1;
}

#define NO_DSCP 1 /* where the lower two bits must be 0 */

/* The ends of an NVE, by which it counts, are numbered: ports from FIRST_PORT on by their own numbers, PAs behind them. */
#define NO_PORT 0
#define NO_PA 1
#define FIRST_PORT 1 /* a port's number is 1 at least */

/* A VM's port; on a trunk port, one for each VLAN id, and one with 0 for untagged frames. */
struct port_key {
	__u32 ifindex;
	__u32 vid;
};

/* Its virtual subnet, the VM's MAC address, and the source PA of what it sends. */
struct port {
	__u32 vsid;
	__u32 slot;
	__u16 number;  /* by which the slow path and the map sources know it, from 1 on */
	__u16 vid;     /* of the tag that its VM gets, or 0 */
	__u8 mac[ETH_ALEN];
	__u8 any_ca; /* nobody knows from which its VM may send */
	__u8 access; /* whatever tag a frame has, it is for this port */
	__be32 pa4;
	struct in6_addr pa6;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct port_key);
	__type(value, struct port);
} ports SEC(".maps");

/* C1: the addresses that the VM at a port may send from. */
struct source_key {
	__u32 port; /* its number */
	__u32 version;
	struct in6_addr address; /* IPv4: in the first word, the others 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct source_key);
	__type(value, __u8);
} sources SEC(".maps");

/* The rules of a port in one direction, its virtual subnet's behind its own; the first that matches decides. */
#define MAX_RULES 64

enum direction { DIRECTION_IN, DIRECTION_OUT };

struct acl_key {
	__u32 ifindex;
	__u32 vid; /* of the tag that its VM gets, or 0 */
	__u32 direction;
};

struct acl_rule {
	__u8 deny;
	__u8 version;   /* of its addresses; 0: it has none */
	__u16 protocol; /* or ANY_PROTOCOL */
	__u16 source_ports[2], destination_ports[2]; /* first and last */
	struct in6_addr source, source_mask, destination, destination_mask; /* IPv4: in the first word, the others 0 */
};

struct acl {
	__u32 count;
	struct acl_rule rules[MAX_RULES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct acl_key);
	__type(value, struct acl);
} acls SEC(".maps");

/* By VSID: the subnets that this host serves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32); /* slot */
} subnets SEC(".maps");

/* The lookup records: where a MAC address of a virtual subnet is. */
struct record_key {
	__u32 vsid;
	__u8 mac[ETH_ALEN];
	__u16 reserved;
};

struct record {
	__u32 ifindex; /* of a local port, or 0 */
	__u32 vsid;    /* the VSID to deliver into */
	__u32 number;  /* by which the slow path finds it, below 65536 */
	__u16 vid;     /* of the tag for a local port, or 0 */
	__u16 end;     /* by which what goes there is counted: of the local port, or of the PA */
	struct in6_addr pa; /* of the remote NVE */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct record_key);
	__type(value, struct record);
} records SEC(".maps");

/* The lookup records by CA: who has it. An l2only record is there under the CA 0.0.0.0. */
struct neighbour_key {
	__u32 vsid;
	__u32 version;      /* of IP */
	struct in6_addr ca; /* IPv4: in the first word, the others 0 */
};

/* The order is that of nvgre_node.choices.RecordType; then what has the addresses of the distributed router. */
enum record_type { RECORD_STATIC, RECORD_DYNAMIC, RECORD_L2ONLY, RECORD_GATEWAY_WILDCARD, RECORD_ROUTER };

struct neighbour {
	__u8 mac[ETH_ALEN];
	__u8 type; /* enum record_type */
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct neighbour_key);
	__type(value, struct neighbour);
} neighbours SEC(".maps");

/* The MAC address of the distributed router, everywhere (nvgre_node.routing). */
#define ROUTER_MAC ((const __u8[ETH_ALEN]){0x02, 0x4e, 0x56, 0x47, 0x52, 0x45})

/* By VSID: the interface of the distributed router, if there is one. An address that it has not is 0. */
struct router {
	__u32 domain;
	__be32 address4;
	struct in6_addr address6;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct router);
} routers SEC(".maps");

/* The routes of all routing domains: `bits` of what follows it count. */
struct route_key {
	__u32 bits;
	__u32 domain;
	__u32 version; /* of IP */
	struct in6_addr ca;
};

#define ROUTE_KEY_BITS (8 * (sizeof(struct route_key) - sizeof(__u32)))

struct route {
	__u32 vsid;
	__u32 is_on_link; /* to the destination itself; 0: to the next hop */
	struct in6_addr next_hop;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct route_key);
	__type(value, struct route);
} routes SEC(".maps");

/* C1: the PAs that may send into a virtual subnet. */
struct peer_key {
	__u32 vsid;
	struct in6_addr pa;
};

struct peer {
	__u32 slot;
	__u32 end;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct peer_key);
	__type(value, struct peer);
} peers SEC(".maps");

/* B5: where a broadcast of a virtual subnet goes, by VSID and position; the first gap ends the list. */
struct replica_key {
	__u32 vsid;
	__u32 position;
};

struct local_replica {
	__u32 ifindex;
	__u16 vid;
	__u16 end;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct replica_key);
	__type(value, struct local_replica);
} local_replicas SEC(".maps");

/* A PA that frames go to, or a group in its place. */
struct remote {
	struct in6_addr pa;
	__u32 end;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct replica_key);
	__type(value, struct remote);
} remote_replicas SEC(".maps");

static __always_inline struct record *find_record(__u32 vsid, const __u8 *mac)
{
	struct record_key key = {.vsid = vsid};
	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	return bpf_map_lookup_elem(&records, &key);
}

static __always_inline int is_router(const __u8 *mac)
{
	return same_mac(mac, ROUTER_MAC);
}

static __always_inline struct router *find_router(__u32 vsid)
{
	return bpf_map_lookup_elem(&routers, &vsid);
}
