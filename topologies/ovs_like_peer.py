"""One NVE as the rules have it, one that deviates as Open vSwitch does, for Mininet's own command.

`./nvgre mn --custom topologies/ovs_like_peer.py --topo ovs_like_peer`
"""

from topologies import load

topos = {"ovs_like_peer": load("ovs_like_peer").topo}
