"""Two leaves, two spines and four provider hosts, two tenants, for Mininet's own command.

`./nvgre mn --custom topologies/leaf_spine.py --topo leaf_spine`
"""

from topologies import load

topos = {"leaf_spine": load("leaf_spine").topo}
