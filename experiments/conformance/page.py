"""The result as a page: a Markdown table of all rows. Pure, except that `python -m` runs the experiment for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from experiments.conformance import rows
from experiments.results import Sample, Verdict

_HEAD = """\
# Conformance

What RFC 7637 asks of an NVE, row by row, and what the `ebpf` data plane did on the running network `contoso_fabrikam`.
Of {rows} rows, {tally}.

Verdicts come from the wire alone: Scapy's packets went in at VMs and from the underlay, and the ports of all VMs and
all uplinks were watched. Behind each packet that must be dropped goes a sound one that must arrive, so that silence
means drop.

`./nvgre run conformance` writes for each check what was sent, expected and seen (`conformance.csv` in its run), on any
scenario and data plane. A row that says MUST, or says how NVGRE works, must hold; SHOULD, RECOMMENDED and MAY are
reported and bind nobody. *Not applicable*: it cannot show on this wire, and does not count as passed. Levels: *desc*,
the RFC describes it; *inferred*, we conclude it; *inherited*, it is from the RFC that is named; *silent*, the RFC
leaves it open and this is our choice. In brackets: the reason for which the NVE counted a drop.

This page is made: `.venv/bin/python -m experiments.conformance.page > docs/conformance.md`.
"""
_COLUMNS = ("row", "clause", "level", "statement", "verdict", "what was tried, or why nothing was")


def page(samples: Sequence[Sample]) -> str:
    """The page of one run's samples: nothing in it depends on the hour or the machine."""
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{' --- |' * len(_COLUMNS)}"]
    lines += [_line(row, verdict, _of(row, samples)) for row, verdict in rows.verdicts(samples).items()]
    return "\n".join([_HEAD.format(rows=len(rows.verdicts(samples)), tally=tally(samples)), *lines, ""])


def tally(samples: Iterable[Sample]) -> str:
    """How many rows ended how: `76 passed, 0 failed, 8 not applicable`."""
    counted = Counter(rows.verdicts(samples).values())
    words = {
        str(Verdict.PASS): "passed",
        str(Verdict.FAIL): "failed",
        str(rows.Status.NOT_APPLICABLE): "not applicable",
    }
    return ", ".join(f"{counted[v]} {word}" for v, word in words.items())


def _of(row: str, samples: Iterable[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample["row"] == row]


def _line(row: str, verdict: str, tried: Sequence[Sample]) -> str:
    first = tried[0]
    shown = f"**{verdict}**" if verdict == Verdict.FAIL else verdict
    remark = "; ".join(filter(None, map(_remark, tried)))
    cells = (row, first["clause"], first["level"], first["statement"], shown, remark)
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _remark(sample: Sample) -> str:
    what, reason = str(sample["what"]), str(sample["reason"])
    if not what:
        return reason
    counted = f" [{reason}]" if reason else ""
    failed = f" (expected {sample['expected']}, saw {sample['observed']})" if sample["verdict"] == Verdict.FAIL else ""
    return what + counted + failed


def _run() -> str:
    from experiments.base import Context
    from experiments.conformance import run
    from topologies import load

    return page(run(Context(load("contoso_fabrikam"), "ebpf", lambda *_: None)).samples)


if __name__ == "__main__":
    print(_run(), end="")
