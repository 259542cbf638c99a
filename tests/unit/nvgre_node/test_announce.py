"""What a VM says of itself after a move, read by Scapy (RFC 5227 section 3, RFC 4861 section 7.2.6)."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from nvgre_node.announce import announcements

MAC = "02:00:00:00:00:01"


@given(address=st.integers(0, (1 << 32) - 1).map(IPv4Address))
def test_an_ipv4_address_is_announced_by_arp_to_everyone(address: IPv4Address) -> None:
    [frame] = announcements(MAC, [address])
    seen = Ether(frame)
    assert (seen.src, seen.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    arp = seen[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, MAC, str(address), str(address))


@given(address=st.integers(0, (1 << 128) - 1).map(IPv6Address))
def test_an_ipv6_address_is_advertised_to_all_nodes_and_overrides_what_they_know(address: IPv6Address) -> None:
    [frame] = announcements(MAC, [address])
    seen = Ether(frame)
    assert (seen.src, seen.dst) == (MAC, "33:33:00:00:00:01")
    assert (IPv6Address(seen[IPv6].src), seen[IPv6].dst, seen[IPv6].hlim) == (address, "ff02::1", 255)
    advertisement = seen[ICMPv6ND_NA]
    assert (IPv6Address(advertisement.tgt), advertisement.O, advertisement.S) == (address, 1, 0)
    assert advertisement[ICMPv6NDOptDstLLAddr].lladdr == MAC
    told = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(seen))[ICMPv6ND_NA].cksum == told
