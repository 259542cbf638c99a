/* Data-plane learning: behind which PA a source MAC address that no record knows was seen last, for a while (T8). */
#pragma once
#include "policy.h"

#define MAX_LEARNT 4096 /* of one NVE; of more, those that were used least recently are forgotten */

struct learning {
	__u64 age; /* nanoseconds until what is not seen again is forgotten; 0: nothing is learnt */
};

const volatile struct learning learning SEC(".rodata.learning");

struct learnt {
	__u64 seen; /* CLOCK_MONOTONIC */
	struct record record;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_LEARNT);
	__type(key, struct record_key);
	__type(value, struct learnt);
} learnt SEC(".maps");

/* Where a MAC address was seen that no lookup record knows, unless that was too long ago. */
static __always_inline struct record *find_learnt(__u32 vsid, const __u8 *mac)
{
	struct record_key key = {.vsid = vsid};
	if (!learning.age)
		return 0;
	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	struct learnt *found = bpf_map_lookup_elem(&learnt, &key);
	if (!found || bpf_ktime_get_ns() - found->seen >= learning.age)
		return 0;
	return &found->record;
}

/* Learns from a frame that passed every check. A record wins, and what was learnt follows the MAC address to another PA. */
static __always_inline void learn(__u32 vsid, const __u8 *mac, const struct in6_addr *pa, __u32 end)
{
	struct record_key key = {.vsid = vsid};
	struct learnt value;
	if (!learning.age || mac[0] & 1 || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]) ||
	    find_record(vsid, mac))
		return;
	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	__builtin_memset(&value, 0, sizeof(value)); /* its padding too */
	value.seen = bpf_ktime_get_ns();
	value.record.vsid = vsid;
	value.record.pa = *pa;
	value.record.end = end;
	bpf_map_update_elem(&learnt, &key, &value, BPF_ANY);
}
