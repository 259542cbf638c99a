"""What an NVE refuses, it counts, under one reason: the one row whose verdict does not come from the wire alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet

from experiments.conformance.lab import DEAD, NOBODY, Lab, mark
from experiments.conformance.receiving import NO_VSID, UNLISTED_PA, header, spelled
from experiments.conformance.rows import Finding
from experiments.probes import TEST_ETHERTYPE
from nvgre_node.dataplane.base import Drop

_NOBODYS = "02:00:5e:00:53:03"  # locally administered, and of no VM


def counted(lab: Lab) -> Iterator[Finding]:
    """G16: each packet that is refused counts once, and nothing else counts it."""
    for reason, packet in _refused(lab).items():
        before = lab.net.dropped()
        (shot,) = lab.inject(packet)
        drops = lab.net.dropped() - before
        said = ", ".join(f"{count} {drop.label}" for drop, count in drops.items()) or "none"
        observed = f"{said}, {shot.delivered}" if shot.alive else DEAD
        yield Finding("G16", reason.label, spelled(packet), f"1 {reason.label}, {NOBODY}", observed)


def _refused(lab: Lab) -> dict[Drop, Packet]:
    """A packet for every reason that the wire alone can give."""

    def gre(flags: int, protocol: int = 0x6558) -> Packet:
        return lab.outer() / header(lab, flags, protocol) / lab.ethernet() / mark()

    tagged = lab.ethernet(type=0x8100) / Dot1Q(vlan=10, type=TEST_ETHERTYPE)
    return {
        Drop.CHECKSUM_BIT: gre(0xA000),
        Drop.SEQUENCE_BIT: gre(0x3000),
        Drop.RESERVED_BITS: gre(0x2400),
        Drop.NO_KEY: gre(0x0000),
        Drop.VERSION: gre(0x2001),
        Drop.PROTOCOL_TYPE: gre(0x2000, 0x0800),
        Drop.TRUNCATED: lab.outer() / mark(),
        Drop.RESERVED_VSID: lab.nvgre(vsid=1),
        Drop.UNKNOWN_VSID: lab.nvgre(vsid=NO_VSID),
        Drop.SOURCE_PA: lab.nvgre(src=UNLISTED_PA[lab.outer_version]),
        Drop.INNER_TAG: lab.nvgre(tagged / mark()),
        Drop.NOT_LOCAL: lab.nvgre(lab.ethernet(dst=_NOBODYS) / mark()),
    }


COUNTING: tuple[Callable[[Lab], Iterator[Finding]], ...] = (counted,)
