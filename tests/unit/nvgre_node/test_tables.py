"""How the tables of one policy become those of another: by no more than the difference, and never with a twin."""

from copy import deepcopy
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nvgre_node.dataplane.layouts import REPLICA_KEY, U32
from nvgre_node.dataplane.tables import ORDER, Numbering, Table, changes, tables
from nvgre_node.policy import NvePolicy, Policy
from topologies import load

SCENARIO = load("leaf_spine")
VMS, HOSTS = sorted(SCENARIO.policy.machines), [nve.host for nve in SCENARIO.policy.nves]
ARRAYS = frozenset({"port_keys", "record_keys", "end_pas"})
MOVES = st.lists(st.tuples(st.sampled_from(VMS), st.sampled_from(HOSTS)), max_size=6)


def index_of(policy: NvePolicy) -> dict[str, int]:
    return {name: 10 + VMS.index(name) for name in policy.interfaces}


def filled(numbering: Numbering, policy: NvePolicy) -> dict[str, Table]:
    numbering.cover(policy)
    return tables(policy, index_of(policy), numbering)


def applied(old: dict[str, Table], new: dict[str, Table]) -> dict[str, Table]:
    result = {name: dict(table) for name, table in old.items()}
    for name, key, value in changes(old, new):
        if value is None:
            del result[name][key]
        else:
            result[name][key] = value
    return result


@given(moves=MOVES, host=st.sampled_from(HOSTS))
def test_whatever_moves_the_maps_end_as_if_they_had_been_filled_anew(moves: list[tuple[str, str]], host: str) -> None:
    policies: list[Policy] = [SCENARIO.policy]
    for vm, target in moves:
        policies.append(policies[-1].moved(vm, target))
    numbering, held = Numbering(policies[0].for_host(host)), dict[str, Table]()
    for policy in policies:
        wanted = filled(numbering, policy.for_host(host))
        held = applied({name: held.get(name, {}) for name in ORDER}, wanted)
        for name in set(ORDER) - ARRAYS:  # arrays, in which the former may stay
            assert held[name] == wanted[name]
        assert all(held[name].items() >= wanted[name].items() for name in ARRAYS)


@given(moves=MOVES, host=st.sampled_from(HOSTS))
def test_what_stays_is_not_touched(moves: list[tuple[str, str]], host: str) -> None:
    policies = [SCENARIO.policy]
    for vm, target in moves:
        policies.append(policies[-1].moved(vm, target))
    numbering = Numbering(policies[0].for_host(host))
    filled_ones = [filled(numbering, policy.for_host(host)) for policy in policies]
    for old, new in pairwise(filled_ones):
        for name, key, value in changes(old, new):
            assert old[name].get(key) != value
    assert list(changes(filled_ones[-1], filled_ones[-1])) == []


def test_a_number_once_given_stays() -> None:
    numbering = Numbering(SCENARIO.policy.for_host(HOSTS[0]))
    before = deepcopy(numbering)
    numbering.cover(SCENARIO.policy.moved(VMS[-1], HOSTS[0]).for_host(HOSTS[0]))
    assert numbering.slots.items() >= before.slots.items()
    assert numbering.records.items() >= before.records.items()
    assert numbering.ports.items() > before.ports.items()


@given(old=st.sets(st.integers(1, 20)), new=st.sets(st.integers(1, 20)))
def test_a_list_of_replicas_never_has_an_nve_twice_while_it_changes(old: set[int], new: set[int]) -> None:
    """Else a broadcast that leaves at that moment would arrive there twice."""

    def listed(members: set[int]) -> dict[str, Table]:
        return {"remote_replicas": {REPLICA_KEY.pack(5000, n): U32.pack(pa) for n, pa in enumerate(sorted(members))}}

    held = dict(listed(old)["remote_replicas"])
    for _, key, value in changes(listed(old), listed(new)):
        if value is None:
            del held[key]
        else:
            held[key] = value
        assert len(set(held.values())) == len(held)
