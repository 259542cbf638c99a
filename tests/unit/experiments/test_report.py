from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from experiments.explain import EXPLANATIONS
from experiments.report import flatten, quantity, render
from experiments.results import Check, Measurement, Outcome, Sample
from experiments.store import Run, RunError
from nvgre_node.fabric import Attachment, Fabric, FabricLink
from nvgre_node.policy import Nve, Policy, VirtualSubnet, Vm

PAS = IPv4Interface("192.168.0.1/24"), IPv4Interface("192.168.0.2/24")
POLICY = Policy(
    (Nve("host1", PAS[:1]), Nve("host2", PAS[1:])),
    (VirtualSubnet("red_net", "red", 5000, (IPv4Network("10.0.0.0/24"),)),),
    (
        Vm("red1", "red_net", "host1", "02:00:00:00:00:01", (IPv4Interface("10.0.0.1/24"),)),
        Vm("red2", "red_net", "host2", "02:00:00:00:00:02", (IPv4Interface("10.0.0.2/24"),)),
    ),
)
FABRIC = Fabric((), (FabricLink(Attachment("host1", PAS[:1]), Attachment("host2", PAS[1:])),), 1542)
PROBE: Sample = {
    "source": "red1",
    "destination": "red2",
    "source_tenant": "red",
    "destination_tenant": "red",
    "kind": "ARP",
    "expected": "heard",
    "observed": "heard",
    "reason": "",
}
GOOD, BAD = Check("red1 -> red2 ARP", "T4", "heard", "heard"), Check("red1 -> red2 UDP", "T4", "heard", "silent")
EVIL = "<script>alert('x')</script>"


def page(folder: Path, *outcomes: Outcome, scenario: str | None = "name: two_hosts\n") -> str:
    run = Run.create(folder, ["test"], {"seed": 7637, "tools": {"clang": None}, "note": EVIL}, scenario)
    for outcome in outcomes:
        run.add(outcome)
    run.save()
    return render(Run.open(run.folder), POLICY, FABRIC).read_text()


def isolation(*checks: Check, samples: tuple[Sample, ...] = (PROBE,)) -> Outcome:
    measurements = (Measurement("allowed probes heard", "probes", (1.0,)),)
    return Outcome("isolation", "ebpf", "two_hosts", measurements, checks, samples)


def test_the_page_says_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    skipped = Outcome("throughput", "gretap", "two_hosts", (), (), (), "no NET_IPGRE")
    html = page(tmp_path, isolation(GOOD, BAD), skipped)
    assert "1 failed, 1 skipped" in html
    assert EXPLANATIONS["isolation"].question in html
    assert '<span class="badge fail">fail</span>' in html
    assert '<span class="badge skip">skip</span>' in html
    assert "Skipped: no NET_IPGRE" in html
    assert "allowed probes heard" in html
    assert "7637" in html
    assert html.count('<img src="data:image/svg+xml;base64,') == 2  # the topology and one experiment


def test_failed_checks_come_first_and_passed_ones_are_folded(tmp_path: Path) -> None:
    html = page(tmp_path, isolation(GOOD, BAD))
    failed, folded = html.index("1 of 2 checks failed</h3>"), html.index("1 of 2 checks passed</summary>")
    assert failed < html.index("red1 -&gt; red2 UDP</td>") < folded < html.index("red1 -&gt; red2 ARP</td>")


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    html = page(tmp_path, isolation(GOOD))
    targets = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", html)
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert not re.search(r"@import|url\(|<script|<link|http-equiv", html)


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    evil = Outcome(EVIL, EVIL, EVIL, (Measurement(EVIL, EVIL, (1.0,)),), (Check(EVIL, EVIL, EVIL, "no"),), ())
    html = page(tmp_path, evil, scenario=EVIL)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_an_unknown_experiment_gets_a_section_without_a_figure(tmp_path: Path) -> None:
    html = page(tmp_path, Outcome("mystery", "ebpf", "two_hosts", (), (GOOD,), ({"anything": 1},)))
    assert '<section id="mystery">' in html
    assert html.count("<img") == 1


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    assert "nothing was run" in page(tmp_path)


def test_figures_lie_beside_the_page(tmp_path: Path) -> None:
    page(tmp_path, isolation(GOOD))
    names = {path.name for path in tmp_path.rglob("*.???")}
    assert {"topology.svg", "topology.png", "isolation.svg", "isolation.png"} <= names


def test_samples_that_cannot_be_drawn_are_a_damaged_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"isolation\.csv: cannot be drawn: column 'kind'"):
        page(tmp_path, isolation(GOOD, samples=({**PROBE, "kind": 7},)))


def requirement(row: str, **columns: str) -> Sample:
    own = {"row": row, "clause": "RFC 7637 3.2", "level": "MUST", "statement": EVIL, "what": "tried", "reason": ""}
    own |= {"choice": "", "expected": "x", "observed": "x", "verdict": "pass", "packet": "a | GRE 20 00 | b"}
    return {**own, "capture": f"captures/ebpf/{row}.pcapng", **columns}


def test_each_requirement_leads_to_its_capture_where_there_is_one(tmp_path: Path) -> None:
    samples = (requirement("G1"), requirement("G2"))
    files = {"captures/ebpf/G1.pcapng": b""}
    html = page(tmp_path, Outcome("conformance", "ebpf", "two_hosts", (), (), samples, files=files))
    assert re.findall(r'<a href="(captures/[^"]*)"', html) == ["captures/ebpf/G1.pcapng"]
    assert EVIL not in html
    assert "<span>GRE 20 00</span>" in html


def test_a_requirement_says_what_failed_what_was_chosen_and_why_nothing_was_tried(tmp_path: Path) -> None:
    samples = (
        requirement("G1", observed="y", verdict="fail"),
        requirement("G11", level="silent", choice="strict"),
        requirement("O4", what="", verdict="not applicable", reason="no VLANs"),
    )
    html = page(tmp_path, Outcome("conformance", "ebpf", "two_hosts", (), (GOOD,), samples))
    assert "<strong>tried: expected x; seen y</strong>" in html
    assert '<span class="choice">Our choice</span> strict' in html
    assert '<p class="tried">no VLANs</p>' in html


def test_who_understands_whom_is_a_table_with_a_reason_in_every_empty_cell(tmp_path: Path) -> None:
    setting = {"outer": "IPv4", "flow_ids": "zero", "place": "here"}
    ends = {"left": "ebpf", "right": "ebpf", "sender": "ebpf", "receiver": "ebpf"}
    seen: Sample = {**setting, **ends, "tried": "ping", "expected": "answered", "observed": "answered", "reason": ""}
    untried: Sample = dict.fromkeys(("sender", "receiver", "tried", "expected", "observed", "place"), "")
    not_tried: Sample = {**seen, **untried, "right": "gretap", "reason": f"no gretap {EVIL}"}
    html = page(tmp_path, Outcome("interop", "each with each", "two_hosts", (), (GOOD,), (seen, not_tried)))
    assert '<tr><th>ebpf</th><td><span class="badge pass">works, with any FlowID</span></td></tr>' in html
    assert '<tr><th>gretap</th><td><span class="badge skip">not tried</span><br>no gretap' in html
    assert EVIL not in html


def test_every_explanation_is_complete() -> None:
    for explanation in EXPLANATIONS.values():
        assert explanation.question.endswith("?")
        assert explanation.reading.count(". ") == 1
        assert "RFC 7637" in explanation.clause


@pytest.mark.parametrize(
    ("value", "shown"),
    [(42.0, "42"), (8958.0, "8\N{NARROW NO-BREAK SPACE}958"), (1.06, "1.060"), (0.00012345, "0.0001234"), (-3.0, "-3")],
)
def test_numbers_are_for_people(value: float, shown: str) -> None:
    assert quantity(value) == shown


def test_the_manifest_becomes_rows() -> None:
    rows = dict(flatten({"load_before": [0.5, 1.0], "source": {"commit": None, "dirty": True}, "mtus": {}}))
    assert rows == {"load before": "0.5000, 1", "source, commit": "—", "source, dirty": "yes", "mtus": "—"}
