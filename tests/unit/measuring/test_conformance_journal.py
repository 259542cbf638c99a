"""The evidence behind a finding: which frames it rests on, the capture of its row, and a packet in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapNgReader

from experiments.conformance import dissect
from experiments.conformance.journal import Frame, Journal
from experiments.conformance.rows import Finding

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
INNER = Ether(src="02:00:0a:00:00:01", dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="10.0.0.1", pdst="10.0.0.2")
NVGRE = Ether(**MACS) / IP(src="192.0.2.1", dst="192.0.2.2", flags="DF", proto=47)
KEY = GRE(key_present=1, proto=0x6558, key=5001 << 8 | 0x5E)


def frame(time: float, data: bytes = b"x" * 60, sent: bool = True, role: str = "sent, 1 of 1") -> Frame:
    return Frame(time, "sent:web" if sent else "host1:eth0", data, role, sent)


def finding(row: str = "G12", what: str = "bit 1 set", observed: str = "nothing") -> Finding:
    return Finding(row, what, "a packet", "nothing", observed)


def read(capture: bytes, folder: Path) -> list[tuple[str, str, bytes]]:
    """Interface, comment and bytes of each packet, by another reader than the writer's own tests use."""
    path = folder / "capture.pcapng"
    path.write_bytes(capture)
    with RawPcapNgReader(str(path)) as reader:
        return [(about.ifname.decode(), about.comments[0].decode(), data) for data, about in reader]


# What a finding rests on


def test_a_finding_rests_on_what_was_sent_since_the_one_before() -> None:
    journal = Journal()

    def row() -> Iterator[Finding]:
        journal.record([frame(1, b"a" * 60)])
        yield finding("G12")
        journal.record([frame(2, b"b" * 60)])
        journal.record([frame(3, b"c" * 60)])
        yield finding("G13")
        yield finding("G14")

    list(journal.follow(row()))
    sizes = {name: sum(capture.count(letter * 60) for letter in (b"a", b"b", b"c")) for name, capture in
             journal.captures().items()}  # fmt: skip
    assert sizes == {"G12": 1, "G13": 2, "G14": 2}


def test_a_row_for_which_nothing_was_sent_has_no_capture() -> None:
    journal = Journal()
    assert list(journal.follow([finding()])) == [finding()]
    assert (journal.captures(), journal.packets()) == ({}, {})


def test_a_frame_that_several_findings_of_a_row_rest_on_is_there_once_with_all_of_them(tmp_path: Path) -> None:
    journal = Journal()

    def row() -> Iterator[Finding]:
        journal.record([frame(1)])
        yield finding(what="on the wire")
        yield finding(what="delivered", observed="a leak")

    list(journal.follow(row()))
    ((_, comment, _),) = read(journal.captures()["G12"], tmp_path)
    assert "on the wire: expected nothing; seen nothing; pass" in comment
    assert "delivered: expected nothing; seen a leak; fail" in comment


# The capture


def test_a_capture_has_named_interfaces_and_a_comment_on_every_packet_in_the_order_of_time(tmp_path: Path) -> None:
    journal = Journal()

    def row() -> Iterator[Finding]:
        journal.record([frame(2, b"s" * 14, sent=False, role="carries 1 of 1"), frame(1, b"f" * 15)])
        yield finding()

    list(journal.follow(row()))
    first, second = read(journal.captures()["G12"], tmp_path)
    assert (first[0], first[2], second[0], second[2]) == ("sent:web", b"f" * 15, "host1:eth0", b"s" * 14)
    assert first[1].splitlines() == [
        "G12 bit 1 set: sent, 1 of 1",
        "RFC 2784 2.3 MUST: a receiver discards packets with bit 1, 4 or 5 set",
        "bit 1 set: expected nothing; seen nothing; pass",
    ]
    assert second[1] == "G12 bit 1 set: carries 1 of 1"


def test_of_a_whole_run_a_capture_keeps_a_thousand_frames_and_says_so(tmp_path: Path) -> None:
    journal = Journal()

    def row() -> Iterator[Finding]:
        journal.recall([frame(n, sent=False, role="seen") for n in range(1200)])
        yield finding("T1", "at VM ports")

    list(journal.follow(row()))
    packets = read(journal.captures()["T1"], tmp_path)
    assert (len(packets), packets[0][1]) == (1000, "T1 at VM ports: seen, the first 1000 of 1200")


# One packet in one line


LINES = {
    "IP 192.0.2.1 > 192.0.2.2 DF | GRE 20 00 65 58 00 13 89 5e, VSID 5001, FlowID 0x5e | "
    "Ether / ARP who has 10.0.0.2 says 10.0.0.1": NVGRE / KEY / INNER,
    "IP 192.0.2.1 > 192.0.2.2 | GRE 20 00 65 58 00 13 89 5e, VSID 5001, FlowID 0x5e | 0 bytes": Ether(**MACS)
    / Dot1Q(vlan=7)
    / IP(src="192.0.2.1", dst="192.0.2.2", proto=47)
    / KEY,
    "IP 192.0.2.1 > 192.0.2.2 MF offset 80 | GRE a0 00 65 58 00 00 00 00": Ether(**MACS)
    / IP(src="192.0.2.1", dst="192.0.2.2", flags="MF", frag=10, proto=47)
    / Raw(bytes.fromhex("a0006558 00000000")),
    "IPv6 2001:db8::1 > 2001:db8::2 | GRE 20 00": Ether(**MACS)
    / IPv6(src="2001:db8::1", dst="2001:db8::2", nh=47)
    / Raw(b"\x20\x00"),
}


@pytest.mark.parametrize(("line", "packet"), LINES.items(), ids=list(range(len(LINES))))
def test_a_packet_of_the_underlay_is_spelled_out(line: str, packet: Packet) -> None:
    assert dissect.line(bytes(packet)) == f"02:00:00:00:00:01 > 02:00:00:00:00:02 | {line}"


def test_what_is_no_nvgre_is_named_as_scapy_does() -> None:
    packet = bytes(Ether(**MACS) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5, dport=6))
    assert dissect.line(packet) == Ether(packet).summary()
    assert dissect.outer(packet) is None


@pytest.mark.parametrize("size", range(80))
def test_a_packet_that_is_cut_short_has_a_line_too(size: int) -> None:
    assert isinstance(dissect.line(bytes(NVGRE / KEY / INNER)[:size]), str)


def test_the_packet_of_a_row_is_one_of_what_failed_and_an_nvgre_packet_if_there_is_one() -> None:
    journal, vsid = Journal(), GRE(key_present=1, proto=0x6558, key=6001 << 8)

    def row() -> Iterator[Finding]:
        journal.record([frame(1, bytes(NVGRE / KEY / INNER))])
        yield finding()
        journal.record([frame(2, bytes(INNER)), replace(frame(3, bytes(NVGRE / vsid / INNER)), sent=False)])
        yield finding(observed="a leak")

    list(journal.follow(row()))
    assert "VSID 6001" in journal.packets()["G12"]
