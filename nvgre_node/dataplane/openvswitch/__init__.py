"""What the data plane `ovs` is made of: its flows (pure), its daemons and their sockets, and the underlay's state."""
