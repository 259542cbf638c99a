"""What Wireshark's dissector reads on the wire while two companies with identical addresses talk."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from nvgre_node.net import NvgreNet
from nvgre_node.node import ProviderHost
from nvgre_node.waiting import wait_until
from topologies import load

CONTOSO, FABRIKAM = 0x001389, 0x001771
PINGS = 8
FIELDS = ("gre.flags_and_version", "gre.proto", "gre.key", "eth.type", "ip.flags.df", "ip.src", "ip.dst")
Row = dict[str, list[str]]

pytestmark = [
    pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is missing: apt-get install {tool}")
    for tool in ("tcpdump", "tshark")
]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The NVGRE packets of Contoso's and Fabrikam's pings, as host1's uplink saw them."""
    file = tmp_path_factory.mktemp("capture") / "uplink.pcap"
    with NvgreNet(load("contoso_fabrikam")) as net:
        tcpdump = start_tcpdump(net["host1"], file)
        try:
            for vm in ("contoso_web", "fabrikam_web"):
                assert net[vm].ping("10.1.1.11", count=PINGS)
                assert net[vm].ping("fd00:10:1:1::11")
            smallest = 24 + 4 * PINGS * (16 + 140)  # pcap's headers, and the shortest echo inside NVGRE
            wait_until(lambda: file.stat().st_size >= smallest, "tcpdump to write")
        finally:
            tcpdump.terminate()
            tcpdump.communicate(timeout=10)
    return file


def start_tcpdump(host: ProviderHost, file: Path) -> subprocess.Popen[str]:
    """A tcpdump that is listening, writes each packet at once, and stays root to be able to."""
    command = ["tcpdump", "-i", host.uplinks[0], "-U", "--immediate-mode", "-Z", "root", "-w", str(file), "proto 47"]
    process = host.start_process(command)
    assert process.stderr
    while line := process.stderr.readline():
        if "listening on" in line:
            return process
    raise AssertionError(f"tcpdump ended with status {process.wait()}")


def rows(file: Path) -> list[Row]:
    """Per packet, the values of every field, outer first."""
    options = [part for field in FIELDS for part in ("-e", field)]
    command = ["tshark", "-r", str(file), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", *options]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    values = [[value.split(",") for value in line.split("|")] for line in out.splitlines()]
    return [dict(zip(FIELDS, row, strict=True)) for row in values]


@pytest.fixture(scope="module")
def packets(capture: Path) -> list[Row]:
    return rows(capture)


def number(row: Row, field: str) -> int:
    (value,) = row[field]
    return int(value, 0)


def test_every_packet_is_nvgre_g1_to_g4(packets: list[Row]) -> None:
    headers = Counter((number(row, "gre.flags_and_version"), number(row, "gre.proto")) for row in packets)

    assert set(headers) == {(0x2000, 0x6558)}
    assert headers.total() >= 4 * PINGS


def test_every_key_is_contosos_or_fabrikams_g5_t4(packets: list[Row]) -> None:
    vsids = Counter(number(row, "gre.key") >> 8 for row in packets)

    assert set(vsids) == {CONTOSO, FABRIKAM}
    assert min(vsids.values()) >= 2 * PINGS


def test_no_inner_frame_is_tagged_i4(packets: list[Row]) -> None:
    inner = {int(row["eth.type"][1], 0) for row in packets}

    assert inner <= {0x0800, 0x0806, 0x86DD}


def test_every_outer_packet_forbids_fragmentation_f5(packets: list[Row]) -> None:
    assert {row["ip.flags.df"][0] in ("1", "True") for row in packets} == {True}


def test_the_outer_addresses_are_pas_and_the_inner_ones_cas_t1_t2(packets: list[Row]) -> None:
    pings = [row for row in packets if len(row["ip.src"]) == 2]

    assert {frozenset((row["ip.src"][0], row["ip.dst"][0])) for row in packets} == {
        frozenset(("192.168.1.10", "192.168.2.20"))
    }
    assert {frozenset((row["ip.src"][1], row["ip.dst"][1])) for row in pings} == {frozenset(("10.1.1.11", "10.1.1.12"))}


def test_both_companies_show_the_same_inner_addresses_under_their_own_vsid_t4(packets: list[Row]) -> None:
    inner = Counter((number(row, "gre.key") >> 8, row["ip.src"][1]) for row in packets if len(row["ip.src"]) == 2)

    assert inner == {(vsid, ca): PINGS for vsid in (CONTOSO, FABRIKAM) for ca in ("10.1.1.11", "10.1.1.12")}


def test_wireshark_finds_no_fault(capture: Path) -> None:
    command = [
        "tshark",
        "-r",
        str(capture),
        "-o",
        "ip.check_checksum:TRUE",
        "-Y",
        "_ws.malformed || ip.checksum.status == 0",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
