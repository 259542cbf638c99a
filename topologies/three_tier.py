"""Three tiers of one application, twice, with the same addresses, for Mininet's own command.

`./nvgre mn --custom topologies/three_tier.py --topo three_tier`
"""

from topologies import load

topos = {"three_tier": load("three_tier").topo}
