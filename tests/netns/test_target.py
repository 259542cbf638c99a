"""`./nvgre run conformance --target`: our own NVEs pass as if they were somebody else's, and what is wrong is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET

import pytest
from scapy.layers.l2 import ARP, Ether

from experiments import conformance
from experiments.base import Context
from experiments.conformance import foreign, receiving, rows
from experiments.conformance.foreign import answers, peer
from experiments.conformance.journal import Journal
from experiments.results import Outcome, Verdict
from experiments.watch import Place, Watch
from nvgre_node.choices import TooBig
from nvgre_node.dataplane.base import Drop
from nvgre_node.dataplane.model import decapsulate, encapsulate
from nvgre_node.dataplane.planes import ebpf
from nvgre_node.errors import BadInputError
from nvgre_node.namespace import netlink
from nvgre_node.net import NvgreNet
from nvgre_node.node import NamespacedNode
from testbed.cli import main
from topologies import Scenario, load
from topologies.target import load_target

from .mutation import Mutant, without

OPTIONS = "flow_ids: flow, ttl: 64, dscp: 0, ecn: copy, fragments: drop, optional_fields: drop, checks_source: true"
OVER_IPV6 = {
    "mtu": "1562",
    "nve": "{pa: 'fd00::c0a8:1'}",
    "us": "{pa: 'fd00::c0a8:2'}",
    "inside": "{ca: 'fd00:10::1', priority_tags: true}",
    "outside": "{ca: 'fd00:10::2', mac: 02:00:0a:00:00:02}",
}
BEHIND_A_ROUTER = {
    "nve": "{pa: 192.168.1.10, via: 192.168.2.1}",
    "us": "{pa: 192.168.2.20}",
    "vsid": "5001",
    "other_vsid": "6001",
    "inside": "{ca: 10.1.1.11, priority_tags: true}",
    "outside": "{ca: 10.1.1.12, mac: 02:00:0a:01:01:0c}",
}

BUT_FLOWS = tuple(row for row in foreign.EVERYTHING if row is not answers.flow_ids)
"""All but 4096 flows, which take their time."""


@contextmanager
def standing(dataplane: str = "ebpf", scenario: Scenario | None = None) -> Iterator[NvgreNet]:
    """A network in which host2 has no NVE any more: we take its place, towards host1."""
    with NvgreNet(scenario or load("two_hosts"), dataplane) as net:
        net["host2"].dataplane.close()
        yield net


def written(folder: Path, net: NvgreNet, **changes: str) -> Path:
    """The target file for host1 as host2 sees it."""
    said = {
        "interface": "host2-eth0",
        "namespace": f"{net.own.id}-host2",
        "mtu": "1542",
        "nve": "{pa: 192.168.0.1}",
        "us": "{pa: 192.168.0.2}",
        "vsid": "5000",
        "other_vsid": "6000",
        "inside": "{ca: 10.0.0.1, priority_tags: true}",
        "outside": "{ca: 10.0.0.2, mac: 02:00:0a:00:00:02}",
        "options": f"{{{OPTIONS}}}",
    } | changes
    path = folder / "mine.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in said.items() if value))
    return path


def tried(path: Path, *todo: foreign.Tried) -> Outcome:
    """What comes of some rows, or of all."""
    target = load_target(path)
    context = Context(target.scenario, "foreign", lambda *_: None, target=target)
    if not todo:
        return conformance.run(context)
    return conformance.outcome(context, list(foreign.findings(context, target, Journal(), todo)))


def of(outcome: Outcome, verdict: str) -> list[str]:
    return [row for row, found in rows.verdicts(outcome.samples).items() if found == verdict]


# What is right passes.


def all_well(found: Outcome) -> None:
    assert (found.verdict, found.reason, of(found, "fail")) == (Verdict.PASS, "", [])


@pytest.mark.parametrize("dataplane", ["ebpf", "model"])
def test_our_own_nve_passes_every_row_that_is_judged(dataplane: str, tmp_path: Path) -> None:
    with standing(dataplane) as net:
        found = tried(written(tmp_path, net))
    all_well(found)
    assert {"G10", "G13", "I6", "F1", "F2", "O8", "C1", "T4", "B5"} <= set(of(found, "pass"))
    assert of(found, "reported") == ["I7"]  # a VM refuses a service tag itself
    assert {sample["capture"] for sample in found.samples if sample["what"]} <= found.files.keys()
    assert all(sample["reason"] for sample in found.samples if not sample["what"])


def test_over_ipv6_with_a_pa_that_only_we_answer_for(tmp_path: Path) -> None:
    with standing(scenario=load("two_hosts").over_ipv6()) as net:
        pas = [str(pa) for nve in net.topo.policy.nves for pa in nve.pas]
        changes = OVER_IPV6 | {"nve": f"{{pa: '{pas[0].split('/')[0]}'}}", "us": f"{{pa: '{pas[1].split('/')[0]}'}}"}
        without_address(net["host2"], pas[1])
        all_well(tried(written(tmp_path, net, **changes), *BUT_FLOWS))


def test_behind_a_router_with_a_pa_that_only_we_answer_for(tmp_path: Path) -> None:
    with standing(scenario=load("contoso_fabrikam")) as net:
        without_address(net["host2"], "192.168.2.20/24")
        found = tried(written(tmp_path, net, **BEHIND_A_ROUTER), *BUT_FLOWS)
    all_well(found)
    assert {"O2", "O3"} <= set(of(found, "not applicable"))


def test_what_the_file_does_not_say_is_reported_and_not_judged(tmp_path: Path) -> None:
    with standing() as net:
        todo = (answers.sent_traffic_class, receiving.senders, receiving.outer_fragments, receiving.inner_tags)
        found = tried(written(tmp_path, net, options="", inside="{ca: 10.0.0.1}"), *todo)
    assert of(found, "reported") == ["O8", "I6", "I7", "F2", "C1"]
    assert [check.id for check in found.checks] == []


# What is wrong is found.


@dataclass(frozen=True)
class Fault:
    """Something wrong with an NVE, what to try on it, and exactly the rows that must fail."""

    mutant: Mutant
    todo: foreign.Tried
    rows: tuple[str, ...]


FAULTS = {
    "bits that must be discarded": Fault(
        without("decapsulate.h", "flags & (GRE_ROUTING | GRE_RESERVED)"), receiving.header_bits, ("G12",)
    ),
    "another version": Fault(
        without("decapsulate.h", "flags & (GRE_VERSION | (deviates(WIDENS_VERSION) ? GRE_LOW : 0))"),
        receiving.header_bits,
        ("G14",),
    ),
    "no key": Fault(without("decapsulate.h", "!(flags & GRE_KEY)"), receiving.checksum_sequence_no_key, ("G11",)),
    "another protocol type": Fault(
        without("decapsulate.h", "gre->protocol != bpf_htons(ETH_P_TEB)"), receiving.header_bits, ("G15",)
    ),
    "inner tags": Fault(without("decapsulate.h", "is_tag(head.eth.h_proto)"), receiving.inner_tags, ("I6",)),
    "an unlisted PA": Fault(
        Mutant("decapsulate.h", "return DROP_SOURCE_PA;", "return DROP_REASONS;"), receiving.senders, ("C1",)
    ),
    "any VSID": Fault(
        Mutant("decapsulate.h", "find_record(vsid, inner.h_dest)", "find_record(5000, inner.h_dest)"),
        answers.another_subnet,
        ("T4",),
    ),
    "fragments": Fault(
        without("decapsulate.h", "outer->ip.frag_off & bpf_htons(IP_FRAGMENT)"), receiving.outer_fragments, ("F2",)
    ),
    "no DF": Fault(Mutant("encapsulate.h", "bpf_htons(IP_DF)", "0"), answers.headers, ("F5",)),
    "TTL": Fault(Mutant("encapsulate.h", ".ttl = nve.ttl", ".ttl = 63"), answers.sent_traffic_class, ("O8",)),
    "ECN does not go out": Fault(
        Mutant("traffic_class.h", "nve.copy_ecn ? inner & ECN_MASK : 0", "0"), answers.sent_traffic_class, ("O8",)
    ),
    "congestion does not come in": Fault(
        Mutant("traffic_class.h", "return ECN_CE;", "return inner;"), answers.received_traffic_class, ("O8",)
    ),
    "one FlowID": Fault(
        Mutant("encapsulate.h", "nve.flowid_from_flow ? to->flow : 0", "7"), answers.flow_ids, ("G8", "G9")
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_of_the_target_is_found(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = fault.mutant.compiled(tmp_path)
    monkeypatch.setattr(ebpf, "object_file", lambda: programs)
    with standing() as net:
        assert tuple(of(tried(written(tmp_path, net), fault.todo), "fail")) == fault.rows


def test_a_fault_of_a_flow_id_that_decides_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of devices that take the whole key for the virtual subnet."""
    whole = decapsulate.gre_fault
    monkeypatch.setattr(decapsulate, "gre_fault", lambda nve, gre: Drop.NO_KEY if gre[7] else whole(nve, gre))
    with standing("model") as net:
        found = tried(written(tmp_path, net), receiving.every_flow_id)
    assert of(found, "fail") == ["G10"]
    assert found.failed[0].observed == "1 delivered to inside"


def test_outer_fragments_are_found(tmp_path: Path) -> None:
    """An NVE that does what F1 forbids, on a path that is narrower than what its VMs send."""
    with standing(scenario=load("two_hosts").with_mtu(underlay=1400).with_nve(too_big=TooBig.FRAGMENT_OUTER)) as net:
        found = tried(written(tmp_path, net, mtu="1400"), answers.sizes)
    assert "F1" in of(found, "fail")


# Bad input, and nobody there


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nve": "{pa: 192.168.0.77}"}, "nobody has the address 192.168.0.77: is it up, and is that its interface?"),
        ({"vsid": "7777"}, "nobody behind it says where 10.0.0.1 is: does it serve VSID 7777, and know 10.0.0.2"),
        ({"inside": "{ca: 10.0.0.1, mac: 02:00:00:00:00:99}"}, "10.0.0.1, 02:00:00:00:00:99, answers no ping"),
        ({"interface": "eth9"}, "mine.yaml: interface: there is no eth9 here"),
        ({"namespace": "nowhere"}, "mine.yaml: namespace: there is no network namespace nowhere here"),
        ({"mtu": "9000"}, "mine.yaml: mtu: host2-eth0 carries no more than 1542 bytes"),
    ],
    ids=["no such PA", "no such VSID", "no such MAC", "no such interface", "no such namespace", "too narrow"],
)
def test_where_nothing_answers_one_message_says_what(
    changes: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "_SECONDS", 0.1)
    with standing() as net, pytest.raises(BadInputError) as caught:
        tried(written(tmp_path, net, **changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_target_that_falls_silent_passes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_SECONDS", 0.1)

    def dies(talk: peer.Foreign) -> Iterator[rows.Finding]:
        net["host1"].dataplane.close()
        yield from receiving.header_bits(talk)

    with standing("model") as net:
        found = tried(written(tmp_path, net), dies)
    assert of(found, "pass") == []
    assert {check.observed for check in found.checks} == {"nothing gets through, not even a sound frame"}


# What it does to others


def test_it_sends_to_the_target_alone_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with standing() as net, Watch([Place(net["host1"], "host1-eth0")]) as watch:
        before = belongings(net["host2"])
        watch.until_quiet()
        tried(written(tmp_path, net), receiving.header_bits, receiving.virtual_subnets, answers.headers)
        assert belongings(net["host2"]) == before
        own = net["host2"].interface_mac("host2-eth0")
        sent = [packet.payload for s in watch.heard(0) if (packet := Ether(s.frame)).src == own]
    to = {packet.pdst if isinstance(packet, ARP) else packet.dst for packet in sent}
    assert {address for address in to if not address.startswith("ff02::")} == {"192.168.0.1"}  # those are the kernel's


def belongings(node: NamespacedNode) -> list[str]:
    """Links, addresses and IPv4 routes of a node; those of IPv6 the kernel makes itself, when it finds the time."""
    with node.inside(), netlink() as ip:
        found = [*ip.get_links(), *ip.get_addr(), *ip.get_routes(family=AF_INET)]
    return [
        repr([(key, entry.get(key)) for key in ("index", "ifname", "address", "promisc", "dst")]) for entry in found
    ]


def without_address(node: NamespacedNode, address: str) -> None:
    plain, _, length = address.partition("/")
    with node.inside(), netlink() as ip:
        index = ip.link_lookup(ifname=f"{node.name}-eth0")[0]
        ip.addr("del", index=index, address=plain, prefixlen=int(length))


# The command line


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["nvgre", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_run_names_the_target_file_and_can_be_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "EVERYTHING", (answers.headers, receiving.header_bits))
    monkeypatch.setattr(foreign.findings, "__defaults__", ((answers.headers, receiving.header_bits),))
    with standing() as net:
        file = written(tmp_path, net)
        assert run(monkeypatch, "run", "conformance", "--target", str(file), "--out", str(tmp_path / "out")) == 0
    (folder,) = (tmp_path / "out").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["target"] == {"name": "mine", "sha256": load_target(file).scenario.sha256}
    assert "scenario" not in manifest
    assert (folder / "target.yaml").read_text() == file.read_text()
    (folder / "report.html").unlink()
    assert run(monkeypatch, "report", str(folder)) == 0
    assert "The target file" in (folder / "report.html").read_text()


def test_a_must_that_does_not_hold_ends_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encapsulate, "DF", 0)
    monkeypatch.setattr(foreign.findings, "__defaults__", ((answers.headers,),))
    with standing("model") as net:
        file = written(tmp_path, net)
        assert run(monkeypatch, "run", "conformance", "--target", str(file), "--out", str(tmp_path / "out")) == 1


def test_where_nobody_answers_it_ends_with_two_and_writes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "_SECONDS", 0.1)
    with standing() as net:
        file = written(tmp_path, net, nve="{pa: 192.168.0.77}")
        assert run(monkeypatch, "run", "conformance", "--target", str(file), "--out", str(tmp_path / "out")) == 2
    assert "no answer from 192.168.0.77 on host2-eth0" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
