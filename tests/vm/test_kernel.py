"""A guest's kernel has what the documentation says, and a guest is what it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from nvgre_node import kernel
from testbed.verbs.vm import ENGINES
from testbed.vm.job import INSIDE

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lacks() -> dict[str, str]:
    return kernel.lacks()


@pytest.mark.parametrize("feature", kernel.PROBES)
def test_the_table_of_what_guests_have_is_true(feature: str, lacks: dict[str, str]) -> None:
    assert (lacks[feature] == "") == (feature in kernel.IN_GUESTS), lacks[feature]


def test_a_feature_that_no_kernel_has_is_found_missing() -> None:
    impossible = kernel.Probe("nothing", lambda ip, _: ip.link("add", ifname="none", kind="no-such-kind"))
    with IPRoute() as ip:
        ip.link("add", ifname="one", kind="veth", peer={"ifname": "other"})
        try:
            assert kernel.attempt(impossible) == "Operation not supported"
        finally:
            ip.link("del", index=ip.link_lookup(ifname="one")[0])


def test_its_engine_is_named_and_process_1_is_the_guests_own() -> None:
    assert os.environ[INSIDE] in ENGINES
    assert Path("/proc/1/cmdline").read_bytes().split(b"\0")[1] == b"/run/job/guest/job.sh"


def test_the_hosts_files_lie_under_an_overlay_and_only_the_jobs_folder_is_shared() -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    kinds = {point: kind for _, point, kind, *_ in mounts}
    assert kinds["/"] == "overlay"
    assert [point for point, kind in kinds.items() if kind in {"hostfs", "9p"}] == ["/run/job"]
    path = CHECKOUT / "pyproject.toml"
    path.write_text(path.read_text())  # a write succeeds, and is seen by nobody but the guest
