"""docs/faults.md lists every fault, with the sentence and the mend that `doctor` says."""

from __future__ import annotations

from pathlib import Path

from nvgre_node.faults import SENTENCES, Fault

PAGE = Path(__file__).parents[3] / "docs/faults.md"


def test_the_page_has_every_fault_with_its_sentence_and_its_mend() -> None:
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    told = {row[0]: (row[2], row[3]) for row in rows if row[0] != "fault"}
    assert told == {str(fault): SENTENCES[fault] for fault in Fault}
