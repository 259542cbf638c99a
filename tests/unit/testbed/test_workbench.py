"""What experiments are told of this machine and of guests: from what kernels were found to have."""

from __future__ import annotations

import pytest

from experiments.interop.ends import ThirdParty
from nvgre_node import kernel
from nvgre_node.dataplane import DATAPLANES
from testbed import workbench
from testbed.vm.job import INSIDE
from testbed.vm.uml import UserModeLinux
from testbed.workbench import Guests


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    """On a machine whose kernel has nothing beyond the usual, and that has guests."""
    monkeypatch.delenv(INSIDE, raising=False)
    monkeypatch.setattr(workbench, "_lacks", lambda: dict.fromkeys(kernel.PROBES, "Operation not supported"))
    monkeypatch.setattr(workbench, "missing_for", lambda _, **_kept: "")
    monkeypatch.setattr(UserModeLinux, "missing", lambda _: "")
    return Guests()


@pytest.mark.parametrize("name", ["gretap", ThirdParty.BY_HAND])
def test_what_needs_gretap_devices_is_for_guests(guests: Guests, name: str) -> None:
    assert guests.lacks(name) == "this kernel has no gretap, no ip6gretap"
    assert guests.guests_lack(name) == ""


def test_what_user_mode_linux_is_needed_for_is_not_for_guests(guests: Guests) -> None:
    assert guests.lacks(ThirdParty.UML) == ""
    assert guests.guests_lack(ThirdParty.UML) == "a guest runs no other"


def test_in_a_guest_there_is_no_other(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSIDE, "uml")
    assert guests.lacks(ThirdParty.UML) == guests.guests_lack("ebpf") == "a guest runs no other"


def test_without_user_mode_linux_the_reason_says_how_to_get_it(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserModeLinux, "missing", lambda _: "it is missing: apt-get install it")
    assert guests.lacks(ThirdParty.UML) == guests.guests_lack("gretap") == "it is missing: apt-get install it"


def test_a_program_that_is_missing_is_missing_in_guests_too(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "missing_for", lambda names, **_kept: f"{names[0]} is missing")
    assert guests.lacks("ovs") == guests.guests_lack("ovs") == "ovs is missing"
    assert guests.lacks(ThirdParty.SCAPY) == ""


def test_whatever_a_kernel_must_have_can_be_found_out() -> None:
    for name in (*DATAPLANES, *ThirdParty):
        assert set(workbench.kernel_features(name)) <= kernel.PROBES.keys()


def test_lines_are_handed_on_whole() -> None:
    said: list[str] = []
    lines = workbench._Lines(said.append)
    for chunk in (b"trying o", b"ne\ntry", b"ing two\nlast words"):
        lines(chunk)
    assert said == ["trying one", "trying two"]
    assert lines.last() == "trying one\ntrying two\nlast words"
