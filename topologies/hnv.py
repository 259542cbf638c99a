"""Hyper-V Network Virtualization: two routing domains of one customer, for Mininet's own command.

`./nvgre mn --custom topologies/hnv.py --topo hnv`
"""

from topologies import load

topos = {"hnv": load("hnv").topo}
