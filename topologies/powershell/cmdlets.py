"""The cmdlets that build the policy of Hyper-V Network Virtualization: their parameters, and the ranges of those. Pure.

They are those of the PowerShell module NetWNV, as Microsoft documents them. Every reader takes the text of a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from nvgre_node.choices import RecordType
from nvgre_node.policy import Address
from topologies import values
from topologies.powershell.profile import TYPES
from topologies.problems import show
from topologies.values import BadValueError

_NUMBER = re.compile(r"[0-9]{1,19}|0[xX][0-9A-Fa-f]{1,15}", re.ASCII)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:([-:]?)[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """A parameter: what reads its value, and an example. `many` may be a list, `free` a value that is not known yet."""

    reader: Callable[[str], Any]
    example: str
    mandatory: bool = False
    many: bool = False
    free: bool = False
    alias: str = "-"


@dataclass(frozen=True)
class Cmdlet:
    """A cmdlet with its parameters, in the order in which Microsoft lists them."""

    name: str
    parameters: dict[str, Parameter]


def number(text: str) -> int:
    """A whole number, decimal or hexadecimal."""
    if not _NUMBER.fullmatch(text):
        raise BadValueError(f"{show(text)} is not a whole number")
    return int(text, 16 if text[:2].lower() == "0x" else 10)


def vsid(text: str) -> int:
    """A VirtualSubnetID (V5): 4096 to 16777214."""
    return values.vsid(number(text))


def address(text: str) -> Address:
    """An IP address of either version, without a zone."""
    try:
        read = ip_address(text)
    except ValueError as error:
        raise BadValueError(f"{show(text)} is not an IP address", "such as 10.0.0.5") from error
    if "%" in text:
        raise BadValueError(f"{show(text)} has a zone", "write the address alone")
    return read


def mac(text: str) -> str:
    """A MAC address, which the cmdlets want without separators; dashes and colons are passed over."""
    if not _MAC.fullmatch(text):
        raise BadValueError(f"{show(text)} is not a MAC address", "twelve hexadecimal digits, such as 101010101105")
    digits = re.sub("[-:]", "", text).lower()
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def guid(text: str) -> str:
    """A GUID in braces or without, in small letters without them."""
    bare = text[1:-1] if text[:1] + text[-1:] == "{}" else text
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", bare, re.ASCII):
        hint = 'such as "{11111111-2222-3333-4444-000000000000}"'
        raise BadValueError(f"{show(text)} is not a GUID", hint)
    return str(UUID(bare))


def rule(text: str) -> str:
    """What is done to packets; only NVGRE is NVGRE."""
    known = {"translationmethodencap": "encap", "translationmethodnat": "nat", "translationmethodnone": "none"}
    if text.lower() not in known:
        hint = "TranslationMethodEncap, TranslationMethodNat or TranslationMethodNone"
        raise BadValueError(f"{show(text)} is not a rule", hint)
    if known[text.lower()] != "encap":
        raise BadValueError(f"{text} is not NVGRE, and has no words here", "use TranslationMethodEncap")
    return known[text.lower()]


def record_type(text: str) -> RecordType:
    """The type of a lookup record."""
    found = next((own for own, name in TYPES.items() if name.lower() == text.lower()), None)
    if found is None:
        raise BadValueError(f"{show(text)} is not a type of records", ", ".join(TYPES.values()))
    return found


def truth(text: str) -> bool:
    """$true or $false."""
    known = {"$true": True, "$false": False, "1": True, "0": False}
    if text.lower() not in known:
        raise BadValueError(f"{show(text)} is neither $true nor $false")
    return known[text.lower()]


def not_true(text: str) -> bool:
    """What may only be $false where the rule is TranslationMethodEncap."""
    if truth(text):
        raise BadValueError("is for TranslationMethodNat", "leave it out")
    return False


def metric(text: str) -> int:
    """The metric of a route, as large as the scenario language has it."""
    return values.metric(number(text))


def index(text: str) -> int:
    """The index of an interface."""
    read = number(text)
    if read > 0xFFFFFFFF:
        raise BadValueError(f"an index of {read} is too large", "use 1 to 4294967295")
    return read


def prefix_length(text: str) -> int:
    """The length of a PA's prefix; whether it fits the IP version is known with the address."""
    read = number(text)
    if not 1 <= read <= 128:
        raise BadValueError(f"a prefix length of {read} is too {'small' if read < 1 else 'large'}", "use 1 to 128")
    return read


def vlan(text: str) -> int:
    """A VLAN id, or 0 for none."""
    read = number(text)
    return values.vid(read) if read else 0


def any_text(text: str) -> str:
    """Any text."""
    return text


_SESSION = Parameter(any_text, "host1", many=True, free=True, alias="Session")
_VSID = Parameter(vsid, "5001", mandatory=True)
_PREFIX = Parameter(values.prefix, "10.0.0.0/24", mandatory=True)
_NEXT_HOP = Parameter(address, "0.0.0.0", mandatory=True)  # noqa: S104
_INDEX = Parameter(index, "12", mandatory=True, free=True)
_METRIC = Parameter(metric, "10")

LOOKUP_RECORD = Cmdlet(
    "New-NetVirtualizationLookupRecord",
    {
        "CustomerAddress": Parameter(address, "10.0.0.5", mandatory=True),
        "VirtualSubnetID": _VSID,
        "MACAddress": Parameter(mac, "101010101105", mandatory=True),
        "ProviderAddress": Parameter(address, "192.168.1.101", mandatory=True),
        "CustomerID": Parameter(any_text, "{...}", free=True),
        "Context": Parameter(any_text, "text", free=True),
        "Rule": Parameter(rule, "TranslationMethodEncap", mandatory=True),
        "VMName": Parameter(any_text, "sql1", free=True),
        "UseVmMACAddress": Parameter(not_true, "$false"),
        "Type": Parameter(record_type, "Static"),
        "CimSession": _SESSION,
    },
)
CUSTOMER_ROUTE = Cmdlet(
    "New-NetVirtualizationCustomerRoute",
    {
        "RoutingDomainID": Parameter(guid, '"{11111111-2222-3333-4444-000000000000}"', mandatory=True),
        "VirtualSubnetID": _VSID,
        "DestinationPrefix": _PREFIX,
        "NextHop": _NEXT_HOP,
        "Metric": _METRIC,
        "CimSession": _SESSION,
    },
)
PROVIDER_ADDRESS = Cmdlet(
    "New-NetVirtualizationProviderAddress",
    {
        "ProviderAddress": Parameter(address, "192.168.1.10", mandatory=True),
        "InterfaceIndex": _INDEX,
        "PrefixLength": Parameter(prefix_length, "24", mandatory=True),
        "VlanID": Parameter(vlan, "100"),
        "MACAddress": Parameter(mac, "101010101105"),
        "CimSession": _SESSION,
    },
)
PROVIDER_ROUTE = Cmdlet(
    "New-NetVirtualizationProviderRoute",
    {
        "InterfaceIndex": _INDEX,
        "DestinationPrefix": _PREFIX,
        "NextHop": _NEXT_HOP,
        "Metric": Parameter(index, "5"),
        "CimSession": _SESSION,
    },
)
GLOBAL = Cmdlet(
    "Set-NetVirtualizationGlobal",
    {"UseExternalRouter": Parameter(truth, "$true", mandatory=True), "CimSession": _SESSION},
)

CMDLETS = {own.name.lower(): own for own in (LOOKUP_RECORD, CUSTOMER_ROUTE, PROVIDER_ADDRESS, PROVIDER_ROUTE, GLOBAL)}
"""Every cmdlet that is read, by its name in small letters."""

COMMON = (
    *("AsJob", "Confirm", "Debug", "ErrorAction", "ErrorVariable", "InformationAction", "InformationVariable"),
    *("OutBuffer", "OutVariable", "PassThru", "PipelineVariable", "ThrottleLimit", "Verbose", "WarningAction"),
    *("WarningVariable", "WhatIf"),
)
"""Parameters that every cmdlet has, and that make no difference to the policy."""

HARMLESS = frozenset(
    (
        *("import-module", "new-cimsession", "set-vmnetworkadapter", "set-strictmode"),
        *("enable-netadapterbinding", "disable-netadapterbinding", "rename-netadapter"),
    )
)
"""Commands that make no part of the policy, beside those that only look: a VM's port is where its record says."""
