"""Cross-premise networks of two tenants: figure 2 of RFC 7637, for Mininet's own command.

`./nvgre mn --custom topologies/cross_premise.py --topo cross_premise`
"""

from topologies import load

topos = {"cross_premise": load("cross_premise").topo}
