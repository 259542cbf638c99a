"""Scripts of Hyper-V's cmdlets: what is read, everything that is wrong in one pass, and never anything else."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topologies import Scenario, ScenarioError, load
from topologies.powershell import imported, script
from topologies.powershell.importing import PROBLEMS_AT_MOST

from .scenario_cases import edited

PAGE = Path(__file__).parents[3] / "docs/hnv.md"

GOOD = """\
New-NetVirtualizationProviderAddress -ProviderAddress 192.168.1.10 -PrefixLength 24 -InterfaceIndex 12 -CimSession host1
New-NetVirtualizationProviderAddress -ProviderAddress 192.168.2.20 -PrefixLength 24 -InterfaceIndex 12 -CimSession host2
New-NetVirtualizationProviderRoute -DestinationPrefix 0.0.0.0/0 -NextHop 192.168.1.1 -InterfaceIndex 12 \
-CimSession host1
New-NetVirtualizationProviderRoute -DestinationPrefix 0.0.0.0/0 -NextHop 192.168.2.254 -InterfaceIndex 12 \
-CimSession host2
$red = '{11111111-2222-3333-4444-000000005001}'
New-NetVirtualizationCustomerRoute -RoutingDomainID $red -VirtualSubnetID 5001 -DestinationPrefix 10.0.0.0/24 \
-NextHop 0.0.0.0
New-NetVirtualizationCustomerRoute -RoutingDomainID $red -VirtualSubnetID 5001 -DestinationPrefix 0.0.0.0/0 \
-NextHop 10.0.0.7
New-NetVirtualizationLookupRecord -CustomerAddress 10.0.0.5 -VirtualSubnetID 5001 -MACAddress 101010101105 \
-ProviderAddress 192.168.1.10 -Rule TranslationMethodEncap -VMName Red1
New-NetVirtualizationLookupRecord -CustomerAddress 10.0.0.7 -VirtualSubnetID 5001 -MACAddress 101010101107 \
-ProviderAddress 192.168.2.20 -Rule TranslationMethodEncap -VMName Red2
"""
RECORD = GOOD.splitlines()[7]


def scenario_of(text: str, folder: Path) -> Scenario:
    """The network that a script makes."""
    (folder / "net.yaml").write_text(imported(text, "net.ps1").text())
    return load(folder / "net.yaml")


def wrong_with(text: str) -> list[str]:
    """All that is said about a script; nothing if it is good."""
    try:
        imported(text, "net.ps1")
    except ScenarioError as error:
        return str(error).splitlines()
    return []


def test_the_good_script_is_good(tmp_path: Path) -> None:
    policy = scenario_of(GOOD, tmp_path).policy

    assert [(str(r.ca), r.mac, str(r.pa), r.vm, r.vsid) for r in policy.records] == [
        ("10.0.0.5", "10:10:10:10:11:05", "192.168.1.10", "red1", 5001),
        ("10.0.0.7", "10:10:10:10:11:07", "192.168.2.20", "red2", 5001),
    ]
    assert [(str(r.prefix), str(r.next_hop), r.domain) for r in policy.routes] == [
        ("10.0.0.0/24", "None", "red"),
        ("0.0.0.0/0", "10.0.0.7", "red"),
    ]
    fabric = load(tmp_path / "net.yaml").fabric
    hops = [str(route.next_hop) for host in ("host1", "host2") for route in fabric.routes(host)]
    assert hops == ["192.168.1.1", "192.168.2.254"]
    assert imported(GOOD, "net.ps1").notes == ()


DOCUMENTED = r"""
PS C:\> New-NetVirtualizationLookupRecord -CustomerAddress "10.0.0.5" -VirtualSubnetID "6000" `
    -MACAddress "101010101105" -ProviderAddress "192.168.1.101" -Rule "TranslationMethodEncap" -VMName "BlueS1-VM1"
PS C:\>New-NetVirtualizationCustomerRoute -RoutingDomainID "{11111111-2222-3333-4444-000000000000}" `
    -VirtualSubnetID 8392 -DestinationPrefix "172.16.0.0/16" -NextHop "172.16.0.1"
PS C:\> New-NetVirtualizationProviderAddress -ProviderAddress "192.168.1.101" -InterfaceIndex 23 -PrefixLength 24
PS C:\> New-NetVirtualizationProviderRoute -DestinationPrefix "0.0.0.0/0" -InterfaceIndex 23 `
    -NextHop "192.168.1.1" -Metric 5
PS C:\> Get-NetVirtualizationLookupRecord -VirtualSubnetID 6000
"""
"""The examples of Microsoft's reference, with the prompt that stands before them there."""


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```powershell\n(.*?)```", PAGE.read_text(), re.DOTALL)
    scenario = scenario_of(example, tmp_path)

    assert [(r.vm, str(r.ca), str(r.pa)) for r in scenario.policy.records] == [
        ("blue1", "10.0.0.5", "192.168.1.10"),
        ("blue2", "10.0.0.7", "192.168.2.20"),
    ]
    assert [nve.host for nve in scenario.policy.nves] == ["host1", "host2"]
    assert "# - Import-Module makes no part of the policy" in (tmp_path / "net.yaml").read_text()


def test_the_examples_of_the_documentation_are_read(tmp_path: Path) -> None:
    policy = scenario_of(DOCUMENTED, tmp_path).policy

    (record,) = policy.records
    assert (record.vsid, str(record.ca), str(record.pa), record.vm) == (6000, "10.0.0.5", "192.168.1.101", "blues1_vm1")
    assert [(subnet.vsid, str(subnet.prefixes[0])) for subnet in policy.subnets] == [
        (8392, "172.16.0.0/16"),
        (6000, "10.0.0.0/24"),
    ]
    head = (tmp_path / "net.yaml").read_text().partition("\n\n")[0]
    assert "VSID 6000: no on-link customer route says its prefix; 10.0.0.0/24 is assumed" in head


WRITTEN_OTHERWISE = {
    "case": GOOD.replace("New-NetVirtualization", "new-netVIRTUALIZATION").replace(
        "-CustomerAddress", "-customeraddress"
    ),
    "names cut short": GOOD.replace("-CustomerAddress", "-CustomerA").replace("-PrefixLength", "-Prefix"),
    "an alias": GOOD.replace("-CimSession", "-Session"),
    "colons": GOOD.replace("-PrefixLength 24", "-PrefixLength:24"),
    "quotes": GOOD.replace("10.0.0.5", "'10.0.0.5'").replace("192.168.1.10", '"192.168.1.10"'),
    "quotes and dashes of a word processor": GOOD.replace("10.0.0.5", "\u201c10.0.0.5\u201d").replace(
        "-VMName", "\u2013VMName"
    ),
    "backticks": GOOD.replace(" -ProviderAddress", " `\n    -ProviderAddress"),
    "carriage returns": GOOD.replace(" -ProviderAddress", " `\n -ProviderAddress").replace("\n", "\r\n"),
    "comments": "<# -CustomerAddress\n#>\n" + GOOD.replace("\n", " # 'it\n"),
    "semicolons": GOOD.replace("\n", "; "),
    "variables": "$pa = '192.168.1.10'\n${vsid_net5001} = 5001\n"
    + GOOD.replace("192.168.1.10", "$pa").replace("5001 -", "${vsid_net5001} -"),
    "variables in text": '$net = "192.168"\n' + GOOD.replace("192.168.1.10", '"$net.1.10"'),
    "a cast": GOOD.replace("$red =", "[string]$red ="),
    "hexadecimal": GOOD.replace("VirtualSubnetID 5001", "VirtualSubnetID 0x1389"),
    "a GUID without braces": GOOD.replace("{", "").replace("}", ""),
    "MAC addresses with dashes": GOOD.replace("101010101105", "10-10-10-10-11-05"),
    "what only a running script knows": "$n = Get-NetAdapter x\n"
    + GOOD.replace("-InterfaceIndex 12", "-InterfaceIndex (Get-NetAdapter -Name 'a(').ifIndex", 1).replace(
        "-InterfaceIndex 12", "-InterfaceIndex $n.InterfaceIndex", 1
    ),
    "lists of hosts": "$hosts = @('host1', 'host2')\n" + GOOD.replace("-Rule", "-CimSession $hosts -Rule"),
    "sessions": "$host1 = New-CimSession -ComputerName host1.contoso.com\n"
    + GOOD.replace("-CimSession host1", "-CimSession $host1"),
    "common parameters": GOOD.replace("-Rule", "-Verbose -Confirm:$false -ErrorAction Stop -Rule"),
    "results that nobody wants": GOOD.replace("New-NetVirtualizationLookup", "$null = New-NetVirtualizationLookup"),
    "pipes that lead nowhere": GOOD.replace("-VMName Red1", "-VMName Red1 | Out-Null"),
    "the type that is usual": GOOD.replace("-Rule", "-Type Static -UseVmMACAddress $false -Rule"),
    "the router as the next hop on-link": GOOD.replace("10.0.0.0/24 -NextHop 0.0.0.0", "10.0.0.0/24 -NextHop 10.0.0.1"),
}


@pytest.mark.parametrize("text", WRITTEN_OTHERWISE.values(), ids=WRITTEN_OTHERWISE)
def test_the_same_policy_may_be_written_otherwise(text: str, tmp_path: Path) -> None:
    good = scenario_of(GOOD, tmp_path)
    again = scenario_of(text, tmp_path)

    assert text != GOOD
    assert (again.policy, again.fabric) == (good.policy, good.fabric)


class Case(NamedTuple):
    """In the good script, `edits` replace text by text; `wrong` is all that is then said, each after `net.ps1:`."""

    name: str
    edits: dict[str, str]
    wrong: list[str]


CASES = [
    Case(
        "the VSID is reserved",
        {"10.0.0.5 -VirtualSubnetID 5001": "10.0.0.5 -VirtualSubnetID 4095"},
        ["8:78: -VirtualSubnetID: VSID 4095 is reserved: 0 to 4095 are kept for future use (RFC 7637 section 3.4) "
         "(use 4096 to 16777214)"],
    ),
    Case(
        "the VSID is too large",
        {"10.0.0.5 -VirtualSubnetID 5001": "10.0.0.5 -VirtualSubnetID 16777215"},
        ["8:78: -VirtualSubnetID: VSID 16777215 is reserved for vendors' NVE-to-NVE communication "
         "(RFC 7637 section 3.4) (use 4096 to 16777214)"],
    ),
    Case(
        "a rule that is not NVGRE",
        {"TranslationMethodEncap -VMName Red1": "TranslationMethodNat -VMName Red1"},
        ["8:144: -Rule: TranslationMethodNat is not NVGRE, and has no words here (use TranslationMethodEncap)"],
    ),
    Case(
        "values that are none",
        {
            "10.0.0.5 ": "10.0.0.500 ",
            "101010101105": "1010101011",
            "'{11111111-": "'{1111111-",
            "0.0.0.0/0 -NextHop 10": "0/0 -NextHop 10",
        },
        [
            "6:53: -RoutingDomainID: '{1111111-2222-3333-4444-000000005001}' is not a GUID "
            '(such as "{11111111-2222-3333-4444-000000000000}")',
            "7:53: -RoutingDomainID: '{1111111-2222-3333-4444-000000005001}' is not a GUID "
            '(such as "{11111111-2222-3333-4444-000000000000}")',
            "7:99: -DestinationPrefix: '0/0' is not a prefix (such as 10.1.1.0/24 or fd00::/64)",
            "8:52: -CustomerAddress: '10.0.0.500' is not an IP address (such as 10.0.0.5)",
            "8:97: -MACAddress: '1010101011' is not a MAC address (twelve hexadecimal digits, such as 101010101105)",
        ],
    ),
    Case(
        "a parameter lacks, and one is unknown",
        {" -Rule TranslationMethodEncap -VMName Red1": "", "-VMName Red2": "-VmNaem Red2"},
        [
            "8:1: New-NetVirtualizationLookupRecord lacks -Rule (such as -Rule TranslationMethodEncap)",
            "9:167: New-NetVirtualizationLookupRecord has no parameter -VmNaem (did you mean VMName? there are: "
            "CimSession, Context, CustomerAddress, CustomerID, MACAddress, ProviderAddress, Rule, Type, "
            "UseVmMACAddress, VMName, VirtualSubnetID)",
        ],
    ),
    Case(
        "a CA outside of the prefix",
        {"-CustomerAddress 10.0.0.5": "-CustomerAddress 10.0.1.5"},
        ["8:52: 10.0.1.5 is outside every prefix of net5001 (which has 10.0.0.0/24)"],
    ),
    Case(
        "a next hop that nobody has",
        {"-NextHop 10.0.0.7": "-NextHop 10.0.0.9"},
        ["7:118: no VM of tenant red has the CA 10.0.0.9 (there are: 10.0.0.5, 10.0.0.7)"],
    ),
    Case(
        "a VM at two places",
        {
            "-CustomerAddress 10.0.0.7": "-CustomerAddress 10.0.0.6",
            "101010101107": "101010101105",
            "-NextHop 10.0.0.7": "-NextHop 10.0.0.5",
        },
        ["9:125: -ProviderAddress: 192.168.2.20: line 8 has MAC address 10:10:10:10:11:05 of VSID 5001 behind "
         "192.168.1.10 (a VM is behind one PA)"],
    ),
    Case(
        "types that do not go together",
        {"-VMName Red1": "-VMName Red1 -Type L2Only", "-VMName Red2": "-VMName Red2 -Type Wild"},
        [
            "8:52: -CustomerAddress: 10.0.0.5: a record of type L2Only knows no CA (use 0.0.0.0, or :: for IPv6)",
            "9:186: -Type: 'Wild' is not a type of records (Static, Dynamic, L2Only, GatewayWildcard)",
        ],
    ),
    Case(
        "a provider route to nowhere, and a prefix length of the other IP version",
        {"-NextHop 192.168.1.1": "-NextHop 192.168.3.1", "20 -PrefixLength 24": "20 -PrefixLength 64"},
        [
            "2:82: -PrefixLength: 64 is too long for 192.168.2.20 (use 1 to 32)",
            "3:74: -NextHop: 192.168.3.1 is in no prefix of host1 (it has 192.168.1.0/24)",
        ],
    ),
    Case(
        "hosts in one prefix, and others",
        {"192.168.2.": "192.168.1."},
        ["2:55: -ProviderAddress: host2 is in 192.168.1.0/24, where host1 is too "
         "(links are point to point here: give each host a prefix of its own, and routes)"],
    ),
    Case(
        "a route that nobody takes",
        {"$red = ": "Set-NetVirtualizationGlobal -UseExternalRouter $true\n$red = "},
        ["8:118: -NextHop: UseExternalRouter is on, so that no host takes this route "
         "(leave it out, or say -UseExternalRouter $false)"],
    ),
    Case(
        "what decides or repeats",
        {"$red = ": "foreach ($h in 1..2) { Get-Date }\nif ($true) { }\n$red = "},
        [
            "5:1: 'foreach' is not read (write out what it does, one cmdlet per line)",
            "6:1: 'if' is not read (write out what it does, one cmdlet per line)",
        ],
    ),
    Case(
        "other cmdlets of the family",
        {"$red = ": "Remove-NetVirtualizationCustomerRoute\n$red = "},
        ["5:1: 'Remove-NetVirtualizationCustomerRoute' is not read (did you mean New-NetVirtualizationCustomerRoute? "
         "there are: New-NetVirtualizationCustomerRoute, New-NetVirtualizationLookupRecord, "
         "New-NetVirtualizationProviderAddress, New-NetVirtualizationProviderRoute, Set-NetVirtualizationGlobal)"],
    ),
    Case(
        "values without a parameter, variables without a value, values that only a running script has",
        {
            "-CustomerAddress 10.0.0.5": "10.0.0.5",
            "-MACAddress 101010101107": "-MACAddress $mac",
            "5001 -DestinationPrefix 0": "(1+2) -DestinationPrefix 0",
        },
        [
            "7:75: -VirtualSubnetID: is known only when the script runs (write its value out)",
            "8:35: '10.0.0.5' is behind no parameter (every value stands behind the name of its parameter)",
            "9:95: $mac has no value here (there are: red)",
        ],
    ),
    Case(
        "brackets and quotes that are never closed",
        {"-VMName Red1": "-VMName 'Red1", "-NextHop 192.168.2.254": "-NextHop (192.168.2.254"},
        [
            "4:74: this ( is never closed (close it with ))",
            "8:175: this quotation mark is never closed (close it on the same line)",
        ],
    ),
    Case(
        "a blank behind a backtick",
        {" -VMName Red1": " ` \n -VMName Red1"},
        ["8:167: a blank stands behind the backtick (it must be the last on its line)"],
    ),
    Case(
        "a host that is not told",
        {"$red = ": "$all = 'host1', 'host2'\n$red = ", "Encap -VMName Red1": "Encap -CimSession $all[0] -VMName Red1"},
        ["9:179: -CimSession: is not the name of a host (such as host1, or a variable with the session)"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_told_at_its_place_with_the_mend(case: Case) -> None:
    assert wrong_with(edited(GOOD, case.edits)) == [f"net.ps1:{line}" for line in case.wrong]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "makes no policy"),
        ("# nothing\n$a = 5\nGet-Date", "makes no policy"),
        (
            GOOD[: GOOD.index("New-NetVirtualizationLookup")].replace("-NextHop 10.0.0.7", "-NextHop 10.0.0.1"),
            "names a VM",
        ),
    ],
    ids=["nothing", "no cmdlet", "no VM"],
)
def test_a_script_that_makes_no_network_is_told_so(text: str, said: str) -> None:
    assert [said in line for line in wrong_with(text)] == [True]


def test_a_wildcard_beside_a_record_is_a_gateway_with_and_without_a_type(tmp_path: Path) -> None:
    wild = edited(RECORD, {"10.0.0.5": "0.0.0.0", "Red1": "'wildcard v4'"})  # noqa: S104
    for more in ("", " -Type GatewayWildcard"):
        for text in (f"{GOOD}{wild}{more}\n", f"{wild}{more}\n{GOOD}"):
            vms = {vm.name: vm for vm in scenario_of(text, tmp_path).policy.vms}
            assert (vms["red1"].record, [str(ca) for ca in vms["red1"].cas]) == ("gateway_wildcard", ["10.0.0.5/24"])


def test_hosts_that_no_session_names_are_told_apart_by_their_pas(tmp_path: Path) -> None:
    text = GOOD.replace(" -CimSession host1", "").replace(" -CimSession host2", "")
    policy = scenario_of(text, tmp_path).policy

    assert {nve.host: str(nve.pas[0]) for nve in policy.nves} == {
        "host1": "192.168.1.10/24",
        "host2": "192.168.2.20/24",
    }


# Whatever is in a file.

TEXTS = [GOOD, script(load("hnv")), script(load("two_hosts")), DOCUMENTED, *WRITTEN_OTHERWISE.values()]
PIECES = [
    *("", "\n", "`", '"', "'", "$", "@(", "(", ")", "{", "}", "[", "#", "<#", "#>", ",", ";", "|", "-", "=", "::"),
    *("%", "$x", "\0", "\N{EARTH GLOBE EUROPE-AFRICA}", "9" * 99),
]


@st.composite
def mutilated(draw: st.DrawFn) -> str:
    """A script after some accidents with lines, words and characters."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["lines", "words", "characters"]))
        pieces = {"lines": text.splitlines(keepends=True), "words": text.split(" "), "characters": list(text)}[kind]
        at = draw(st.integers(0, max(0, len(pieces) - 1)))
        pieces[at : at + 1] = [draw(st.sampled_from([*PIECES, *pieces[:40]]))]
        text = (" " if kind == "words" else "").join(pieces)
    return text


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutilated() | st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_a_mutilated_script_is_a_scenario_or_told_what_is_wrong(text: str, tmp_path: Path) -> None:
    problems = []
    try:
        (tmp_path / "net.yaml").write_text(imported(text, "net.ps1").text())
    except ScenarioError as error:
        problems = [(problem.line, problem.column) for problem in error.problems]
        said = str(error).splitlines()
    if not problems:
        load(tmp_path / "net.yaml")
        return
    assert all(line.startswith("net.ps1:") for line in said)
    assert problems == sorted(problems)
    assert max(line for line, _ in problems) <= text.count("\n") + 1


STALLING = ["(", "@(", "'", '"', "`", "$a[", "<#", "@('a',", "$x.y(", "''", '""', "{\n", "(\n", "'\n", "$a = @('b')\n"]


@pytest.mark.parametrize("piece", STALLING, ids=map(repr, STALLING))
def test_a_long_script_of_the_same_is_read_to_its_end(piece: str) -> None:
    said = wrong_with(piece * (60_000 // len(piece)))

    assert 1 <= len(said) <= PROBLEMS_AT_MOST
