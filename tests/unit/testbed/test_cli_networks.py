"""`show SCENARIO --as FORMAT` and `import-hnv`: what they print and write, and what they refuse."""

import json
from pathlib import Path

import pytest

from topologies import load

from .command_line import nvgre, nvgre_as_nobody

FORMATS = {
    "yaml": "name: two_hosts\n",
    "json": "{\n",
    "dot": 'graph "two_hosts" {\n',
    "svg": "<?xml ",
    "mermaid": "flowchart TB\n",
    "powershell": "# two_hosts: Two provider hosts on one link, two tenants\n",
}
LONELY = """\
New-NetVirtualizationLookupRecord -CustomerAddress 10.0.0.5 -VirtualSubnetID 6000 -MACAddress 101010101105 `
    -ProviderAddress 192.168.1.101 -Rule TranslationMethodEncap -VMName blue1
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A script, which `show` printed."""
    path = tmp_path / "policy.ps1"
    path.write_text(nvgre("show", "contoso_fabrikam", "--as", "powershell").out)
    return path


@pytest.mark.parametrize(("wanted", "start"), FORMATS.items(), ids=FORMATS)
def test_show_prints_a_scenario_in_every_format(wanted: str, start: str) -> None:
    said = nvgre("show", "two_hosts", "--as", wanted)

    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(start)
    assert said.out.endswith("\n")


def test_show_prints_yaml_unless_told_otherwise_also_of_a_file() -> None:
    as_yaml = nvgre("show", "two_hosts", "--as", "yaml")

    assert nvgre("show", "two_hosts") == as_yaml
    assert nvgre("show", str(load("two_hosts").path)) == as_yaml
    assert nvgre("show", "two_hosts", "--json") == nvgre("show", "two_hosts", "--as", "json")


def test_show_of_a_scenario_and_import_hnv_need_no_root(policy: Path) -> None:
    assert nvgre_as_nobody("show", "two_hosts").status == 0
    policy.parent.chmod(0o755)
    assert nvgre_as_nobody("import-hnv", "-h").status == 0


def test_a_shown_scenario_is_good(tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(nvgre("show", "hnv").out)

    assert nvgre("check", str(path)).status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recods"], ["recods", "did you mean records?", "two_hosts"]),
        (["./nowhere.yaml"], ["nowhere.yaml", "no such file"]),
        (["two_hosts", "--as", "png"], ["png", "svg"]),
        (["two_hosts", "--as", "svg", "--json"], ["--json", "--as svg"]),
        (["records", "two_hosts", "--as", "yaml"], ["--as", "records"]),
        (["two_hosts", "records"], ["two_hosts"]),
        ([], ["WHAT"]),
    ],
    ids=" ".join,
)
def test_show_refuses_what_it_cannot_show(arguments: list[str], words: list[str]) -> None:
    said = nvgre("show", *arguments)

    assert (said.status, said.out) == (2, "")
    assert [word for word in words if word not in said.err] == []


def test_import_hnv_prints_a_scenario(policy: Path, tmp_path: Path) -> None:
    said = nvgre("import-hnv", str(policy))
    (tmp_path / "back.yaml").write_text(said.out)

    assert (said.status, said.err) == (0, "")
    assert load(tmp_path / "back.yaml").policy.records == load("contoso_fabrikam").policy.records


def test_import_hnv_prints_json(policy: Path) -> None:
    told = json.loads(nvgre("import-hnv", str(policy), "--json").out)

    assert told["notes"] == []
    assert told["scenario"]["tenants"]["contoso"]["subnets"]["contoso_net"]["vsid"] == 5001


def test_import_hnv_writes_a_file_and_writes_over_none_unless_told(policy: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    command = ["import-hnv", str(policy), "--output", str(path)]

    assert nvgre(*command) == (0, "", "")
    written = path.read_text()
    assert written == nvgre("import-hnv", str(policy)).out
    path.write_text("mine")
    refused = nvgre(*command)
    assert refused.status == 2
    assert "is there already; --force writes over it" in refused.err
    assert path.read_text() == "mine"
    assert nvgre(*command, "--force").status == 0
    assert path.read_text() == written


def test_import_hnv_writes_nothing_of_a_script_with_mistakes(tmp_path: Path) -> None:
    bad, path = tmp_path / "bad.ps1", tmp_path / "net.yaml"
    bad.write_text(LONELY.replace("6000", "60").replace("101010101105", "1010"))
    said = nvgre("import-hnv", str(bad), "--output", str(path))

    assert said.status == 2
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        [f"{bad}:1:78", "-VirtualSubnetID"],
        [f"{bad}:1:93", "-MACAddress"],
    ]
    assert not path.exists()


def test_what_is_assumed_is_in_the_file_and_on_standard_error(tmp_path: Path) -> None:
    lonely, path = tmp_path / "lonely.ps1", tmp_path / "net.yaml"
    lonely.write_text(LONELY)
    said = nvgre("import-hnv", str(lonely), "--output", str(path))

    assumed = [line.removeprefix("# - ") for line in path.read_text().splitlines() if line.startswith("# - ")]
    assert len(assumed) == 3
    assert said.err.splitlines() == [f"{path}: assumed, or left out: {line}" for line in assumed]
    assert nvgre("check", str(path)).status == 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\0", b"(" * 5000, b"$a = " * 99], ids=repr)
def test_import_hnv_has_one_answer_to_any_file_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.ps1"
    path.write_bytes(content)
    said = nvgre("import-hnv", str(path))

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(str(path))


def test_import_hnv_of_what_is_no_file_is_bad_input(tmp_path: Path) -> None:
    assert "is a directory" in nvgre("import-hnv", str(tmp_path)).err
    assert "no such file" in nvgre("import-hnv", str(tmp_path / "nowhere.ps1")).err
