"""What a policy asks of a data plane: its choices beyond the defaults, and what its network has."""

from __future__ import annotations

from typing import Any

import pytest

from nvgre_node.choices import (
    Carries,
    Deviation,
    Ecn,
    FlowIds,
    Fragments,
    Neighbours,
    PaChoice,
    SourceCheck,
    TooBig,
    UnknownUnicast,
)
from nvgre_node.dataplane.capability import EVERYTHING, Capability, asked_for, check
from nvgre_node.errors import BadInputError
from nvgre_node.policy import NvePolicy
from topologies import load

PLAIN = load("two_hosts")

CHOICES: list[tuple[dict[str, Any], Capability]] = [
    ({"flow_ids": FlowIds.NONE}, Capability.NO_FLOW_IDS),
    ({"too_big": TooBig.DROP}, Capability.DROPS_TOO_BIG),
    ({"too_big": TooBig.FRAGMENT}, Capability.FRAGMENTS_INNER),
    ({"too_big": TooBig.FRAGMENT_OUTER}, Capability.FRAGMENTS_OUTER),
    ({"fragments": Fragments.REASSEMBLE}, Capability.REASSEMBLES),
    ({"unknown": UnknownUnicast.FLOOD}, Capability.FLOODS_UNKNOWN),
    ({"unknown": UnknownUnicast.PUNT}, Capability.PUNTS_UNKNOWN),
    ({"neighbours": Neighbours.PROXY}, Capability.PROXIES),
    ({"clamp_mss": True}, Capability.CLAMPS_MSS),
    ({"source_check": SourceCheck.MAC}, Capability.CHECKS_SOURCES),
    ({"probe": True}, Capability.PROBES),
    ({"ttl": 63}, Capability.OUTER_TTL),
    ({"dscp": 10}, Capability.OUTER_DSCP),
    ({"dscp": "copy"}, Capability.COPIES_DSCP),
    ({"ecn": Ecn.ZERO}, Capability.ZERO_ECN),
    ({"pcp_to_dscp": {5: 46}}, Capability.DSCP_OF_PRIORITY),
    ({"learning": 300}, Capability.LEARNS),
    ({"carries": Carries.IP}, Capability.CARRIES_IP),
    ({"deviations": frozenset({Deviation.KEEPS_TAGS})}, Capability.DEVIATES),
]


def policy(**choices: Any) -> NvePolicy:
    scenario = PLAIN.with_nve(**choices)
    return scenario.policy.for_host(scenario.policy.nves[0].host)


def test_defaults_ask_for_nothing() -> None:
    assert asked_for(policy()) == frozenset()
    check(policy(), "anything", ())


@pytest.mark.parametrize(("choices", "capability"), CHOICES, ids=lambda value: str(value))
def test_a_choice_asks_for_what_it_names(choices: dict[str, Any], capability: Capability) -> None:
    assert asked_for(policy(**choices)) == {capability}
    with pytest.raises(BadInputError):
        check(policy(**choices), "lacking", EVERYTHING - {capability})


def test_a_network_asks_for_what_it_has() -> None:
    six = PLAIN.over_ipv6().policy
    assert asked_for(six.for_host(six.nves[0].host)) == {Capability.OUTER_IPV6}
    assert asked_for(policy(pa_choice=PaChoice.FLOW)) == frozenset()  # of one PA


def test_the_message_names_host_data_plane_and_all_that_it_lacks() -> None:
    with pytest.raises(BadInputError) as refused:
        check(policy(ttl=63, clamp_mss=True), "plain", EVERYTHING - {Capability.OUTER_TTL, Capability.CLAMPS_MSS})
    said = "host1: the data plane plain has no MSS clamping; no TTL of its own choice (O8)"
    assert str(refused.value) == said
