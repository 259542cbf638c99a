"""One end of a site-to-site tunnel (RFC 7637 section 4.6): WireGuard, by the kernel where it has it, else wireguard-go.

Everything is in the node's namespaces: the device, the process, and a `/run` of its own for the process's socket. Keys
are files in the run's folder, which only root can read. All of it goes with the node and the run.
"""

from __future__ import annotations

import base64
import errno
import secrets
import shutil
import subprocess
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from nvgre_node.errors import MissingError
from nvgre_node.namespace import netlink
from nvgre_node.node import NamespacedNode
from nvgre_node.outside import TUNNEL, Peer
from nvgre_node.run import Run

PORT = 51820
_OVERHEAD = 80
"""Bytes that WireGuard adds to an IP packet at most: outer IPv6 40, UDP 8, its own 32."""


def open_tunnel(node: NamespacedNode, link: str, peer: Peer) -> None:
    """Opens a node's end of the tunnel to a peer, whose address is reached over `link`.

    Raises:
        MissingError: neither the kernel nor a program can do it.
    """
    _make_device(node)
    prefixes = tuple(map(str, peer.beyond))
    host = f"[{peer.endpoint}]" if peer.endpoint.version == 6 else str(peer.endpoint)
    remote = [
        "peer",
        _public(_private(node.run, peer.name)),
        "endpoint",
        f"{host}:{PORT}",
        "allowed-ips",
        ",".join(prefixes),
    ]
    command = ["wg", "set", TUNNEL, "listen-port", str(PORT), "private-key", "/dev/stdin", *remote]
    done = node.start_process(command, stdin=subprocess.PIPE)
    _, said = done.communicate(_private(node.run, node.name))
    if done.returncode:
        raise MissingError(f"the tunnel of {node.name} cannot be set up: {said.strip()}")
    with node.inside(), netlink() as ip:
        mtu = int(ip.get_links(ip.link_lookup(ifname=link)[0])[0].get("mtu"))
        (index,) = ip.link_lookup(ifname=TUNNEL)
        ip.link("set", index=index, mtu=mtu - _OVERHEAD, state="up")
        for prefix in prefixes:
            ip.route("add", dst=prefix, oif=index)


def _make_device(node: NamespacedNode) -> None:
    if not shutil.which("wg"):
        raise MissingError("wg is missing (Debian: apt-get install wireguard-tools)")
    with node.inside(), netlink() as ip:
        try:
            ip.link("add", ifname=TUNNEL, kind="wireguard")
        except NetlinkError as error:
            if error.code != errno.EOPNOTSUPP:
                raise
        else:
            return
    if not shutil.which("wireguard-go"):
        raise MissingError("this kernel has no WireGuard, and wireguard-go is missing (apt-get install wireguard-go)")
    if Path(f"/proc/{node.pid}/ns/mnt").samefile("/proc/self/ns/mnt"):
        raise MissingError(f"{node.name} has no mount namespace of its own, in which its tunnel could have a socket")
    for command in (["mount", "-t", "tmpfs", "tmpfs", "/run"], ["wireguard-go", TUNNEL]):
        done = node.run_process(command)
        if done.returncode:
            raise MissingError(f"the tunnel of {node.name} cannot be opened: {done.stderr.strip()[-200:]}")


def _private(run: Run, node: str) -> str:
    """The private key of a node's end, made when it is first asked for."""
    path = run.directory / f"{node}.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text()


def _public(private: str) -> str:
    return subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout.strip()
