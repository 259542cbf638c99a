"""What each experiment asks, and how to read its figure: for somebody who is learning this. Pure text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """The question in one sentence, how to read the figure in two, and the clause that both rest on."""

    question: str
    reading: str
    clause: str


EXPLANATIONS = {
    "isolation": Explanation(
        question="Do two tenants with the same addresses stay invisible to each other, whatever they send?",
        reading=(
            "Each row is a sender and a listener, each column a kind of traffic: blue was allowed and arrived, grey "
            "was forbidden and stayed silent, for the reason in the cell. A black frame marks an error: LEAK was "
            "heard by somebody who must not hear it, LOST did not reach somebody who should have heard it."
        ),
        clause="RFC 7637 sections 3.1 and 3.2: virtual subnets are told apart by the VSID in the GRE key alone.",
    ),
    "mtu": Explanation(
        question="How large may a tenant's packet be, and what happens to one that is larger?",
        reading=(
            "Each panel is one MTU of the underlay: up to the dashed line packets arrive, beyond it the sender should "
            "be told the size that fits. Where nobody tells it (bars below) a TCP connection opens, since its first "
            "packets are small, and then stalls: a path MTU black hole, which each remedy closes in its own way; outer "
            "fragments, which RFC 7637 forbids, close it only where every receiver reassembles them."
        ),
        clause=(
            "RFC 7637 section 4.4: an NVE must not fragment NVGRE packets. Over IPv4 they are 42 bytes larger than the "
            "inner packet: outer IPv4 20, GRE 8, inner Ethernet 14."
        ),
    ),
    "throughput": Explanation(
        question="What does NVGRE cost in throughput and CPU time, beside VXLAN and the bare underlay?",
        reading=(
            "Bars are medians, circles are single rounds, whiskers are the 95 % interval of the median. Absolute "
            "figures belong to this machine and this hour; the ratio above each panel compares paths that took turns "
            "in the same rounds, so it carries over far better."
        ),
        clause="RFC 7637 section 3.2, RFC 7348 section 5: over IPv4, NVGRE adds 42 bytes and VXLAN 50.",
    ),
    "ecmp": Explanation(
        question="By what must a router hash so that NVGRE spreads over paths of equal cost?",
        reading=(
            "Each row is what differs between packets, all else being equal, each column what the routers hash, and "
            "each bar how 128 flows of two packets each were shared among the paths; they spread where each path got "
            "as many flows as a fair hash gives it in all but one of a million runs. To plain routers (left) all "
            "between two NVEs is one flow, unless these have several PAs; a hash of the key (right) spreads what has "
            "several FlowIDs, such as the bottom row, where the NVE made them of ports, and a hash of inner headers "
            "does without them."
        ),
        clause=(
            "RFC 7637 section 4.1: ECMP should hash the outer headers with the entire key, or the inner headers; "
            "meanwhile an NVE may have several PAs."
        ),
    ),
    "migration": Explanation(
        question="How long is a VM cut off while it moves to another provider host?",
        reading=(
            "A VM moves from host to host while another sends it a datagram every millisecond, and as much on a TCP "
            "connection; addresses, VSID and connection stay. Each curve says what share of the moves had cut it off "
            "for at most so long: from the first datagram that was lost to the first that arrived again, and the "
            "longest time that the TCP stream stood still."
        ),
        clause=(
            "RFC 7637 section 4.1: NVEs get new policy as VMs move, and addresses stay (T2, P2); the order "
            "is that of Hyper-V Network Virtualization: the target's policy, the switch-over, then every other NVE."
        ),
    ),
    "interop": Explanation(
        question="Who understands whom: our data planes, and NVGRE that nobody here wrote?",
        reading=(
            "Each cell is a pair on the two ends of one virtual subnet: blue ones work whatever the FlowID is, yellow "
            "ones where the sender keeps to FlowID 0, since to the receiver all 32 bits of a key count; either is what "
            "the ends declare. A pair that does otherwise is red, and grey was not tried, for the reason in the cell; "
            "sizes are those of the largest inner packet that got through, and one byte more did not."
        ),
        clause="RFC 7637 section 3.2: the VSID is 24 bits of the key, and the FlowID is not for the receiver to judge.",
    ),
    "expectations": Explanation(
        question="Who reaches whom, by what, with packets how large and over which way: as the scenario expects?",
        reading=(
            "Each row is a line of the scenario's `expect:`, with the pairs of VMs that it is about; a pair that shows "
            "something else has a framed row of its own. What should get there was tried until it did; what should "
            "not counts as silent only if something else got through after it."
        ),
        clause=("RFC 7637 sections 3.1 and 3.2 say who can reach whom; who may, and how, is what its author wants."),
    ),
    "conformance": Explanation(
        question="Does the NVE do on the wire what RFC 7637 asks, clause by clause?",
        reading=(
            "Each cell is one requirement, by its row in the table below: blue was tried on a running network and "
            "held, orange did not. Grey was not tried, since the feature is not there yet, and white cannot show on a "
            "wire; neither counts as passed."
        ),
        clause="RFC 7637, with RFC 2784 and RFC 2890 for the GRE header: MUST binds, SHOULD and MAY do not.",
    ),
}
