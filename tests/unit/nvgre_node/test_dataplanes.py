"""A data plane is one file in `dataplane/planes`: nothing else in the project knows it by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nvgre_node.dataplane import DATAPLANES, implementation
from nvgre_node.dataplane.capability import Capability
from nvgre_node.errors import BadInputError

FOURTH = '''
"""A hub, such as somebody might add."""
from nvgre_node.dataplane.base import Home, SubnetCounters
from nvgre_node.needs import Need

class Hub:
    name = "a_hub"
    summary = "sends everything everywhere"
    needs = (Need("a plug", lambda: False, "buy one"),)
    capabilities = frozenset()
    takes_offloads = False
    datapath = None

    def __init__(self, home: Home) -> None: ...
'''


@pytest.mark.parametrize("name", DATAPLANES)
def test_each_says_what_it_is_and_what_it_can(name: str) -> None:
    plane = implementation(name)
    assert plane.name == name
    assert plane.summary
    assert plane.capabilities <= frozenset(Capability)


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match=r"no data plane 'dpdk'; there are: ebpf, "):
        implementation("dpdk")


def test_a_file_more_is_a_data_plane_more_to_every_command(tmp_path: Path) -> None:
    (tmp_path / "a_hub.py").write_text(FOURTH)
    again = f"d.planes.__path__.append({str(tmp_path)!r}); importlib.reload(d); "
    add = f"import nvgre_node.dataplane as d, importlib; {again}"
    run = "from testbed.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", add + run, "list", "--json"], capture_output=True, text=True, check=False
    )
    [entry] = [entry for entry in json.loads(said.stdout) if entry["name"] == "a_hub"]
    assert entry["what"] == "sends everything everywhere"
    assert "a plug (needed by a_hub): buy one" in entry["missing"]
