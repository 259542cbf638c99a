"""What the C programs and Python must agree on: names of drops and deviations, and the size of lists."""

import re
from pathlib import Path

from nvgre_node import acl
from nvgre_node.choices import Deviation
from nvgre_node.dataplane import layouts
from nvgre_node.dataplane.base import Drop

BPF = Path(layouts.__file__).parent / "bpf"


def c_names() -> list[str]:
    found = re.search(r"enum drop \{(.*?)\};", (BPF / "counters.h").read_text(), re.DOTALL)
    assert found
    return re.findall(r"\bDROP_(\w+)", re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL))


def test_the_drops_have_the_same_names_in_the_same_order_g16() -> None:
    assert [drop.name for drop in Drop] == c_names()[:-1]
    assert c_names()[-1] == "REASONS"


def test_the_values_of_the_drops_count_up_from_zero() -> None:
    assert [drop.value for drop in Drop] == list(range(len(Drop)))


def test_every_drop_has_a_label_of_its_own_in_words_g16() -> None:
    assert len({drop.label for drop in Drop}) == len(Drop)
    assert Drop.UNKNOWN_UNICAST.label == "unknown unicast"


def test_the_deviations_have_the_same_names_in_the_same_order() -> None:
    found = re.search(r"enum deviation \{(.*?)\};", (BPF / "policy.h").read_text(), re.DOTALL)
    assert found
    assert [deviation.name for deviation in Deviation] == re.findall(r"\w+", found[1])


def test_both_sides_allow_as_many_replicas_b5() -> None:
    found = re.search(r"#define MAX_REPLICAS (\d+)", (BPF / "policy.h").read_text())

    assert found
    assert int(found[1]) == layouts.MAX_REPLICAS


def test_both_sides_allow_as_many_rules() -> None:
    found = re.search(r"#define MAX_RULES (\d+)", (BPF / "policy.h").read_text())

    assert found
    assert int(found[1]) == acl.MAX_RULES
