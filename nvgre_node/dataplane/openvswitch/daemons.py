"""The two daemons of a provider host's Open vSwitch, in its network namespace, with a folder of their own. Needs root.

They use nothing of the machine's own Open vSwitch, if there is one: database, sockets, pid files and logs are all in
the folder, which goes with the run that it belongs to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nvgre_node.dataplane.openvswitch.bridges import prepare
from nvgre_node.dataplane.openvswitch.jsonrpc import Rpc, RpcError
from nvgre_node.errors import MissingError
from nvgre_node.packet import receive_more
from nvgre_node.waiting import wait_until

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_START_SECONDS, _END_SECONDS = 30, 5


class ToolError(RuntimeError):
    """A tool of Open vSwitch has failed; the message is its own."""


class Daemons:
    """ovsdb-server and ovs-vswitchd of one provider host, started in the current network namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._environment = {**os.environ, **{f"OVS_{kind}DIR": str(folder) for kind in ("RUN", "LOG", "DB")}}

    @property
    def database(self) -> Path:
        """The socket of ovsdb-server."""
        return self.folder / "db.sock"

    def socket(self, bridge: str) -> Path:
        """Where a bridge speaks OpenFlow."""
        return self.folder / f"{bridge}.mgmt"

    def connect(self) -> Rpc:
        """A connection to the database; a context manager."""
        return Rpc(self.database)

    def start(self) -> None:
        """Starts both, and waits until they listen.

        Raises:
            MissingError: Open vSwitch is not installed.
        """
        if shutil.which("ovs-vswitchd") is None or not SCHEMA.exists():
            raise MissingError("Open vSwitch is missing (Debian: apt-get install openvswitch-switch)")
        self.folder.mkdir(parents=True, mode=0o700)
        self.run("ovsdb-tool", "create", str(self.folder / "conf.db"), str(SCHEMA))
        self._start("ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{self.database}")
        with self.connect() as database:
            prepare(database)
        self._start("ovs-vswitchd", f"unix:{self.database}")

    def _start(self, name: str, *arguments: str) -> None:
        """Starts a daemon in the foreground of a session of its own, where no terminal's Ctrl-C reaches it."""
        own = [f"--{kind}={self.folder / name}.{end}" for kind, end in _FILES.items()]
        command = [name, *arguments, *own, "-vconsole:off"]
        nowhere = subprocess.DEVNULL
        daemon = subprocess.Popen(
            command, env=self._environment, start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
        self._running.append(daemon)
        wait_until(lambda: self._listens(daemon, name), f"{name} to listen", timeout=_START_SECONDS)

    def _listens(self, daemon: subprocess.Popen[bytes], name: str) -> bool:
        if daemon.poll() is not None:
            raise RuntimeError(f"{name} has ended, with status {daemon.returncode}: {self._last_words(name)}")
        with suppress(OSError), self.control(name):
            return True
        return False

    def _last_words(self, name: str) -> str:
        with suppress(OSError):
            return (self.folder / f"{name}.log").read_text().splitlines()[-1]
        return "it has left no log"

    def control(self, name: str = "ovs-vswitchd") -> Rpc:
        """A connection to a daemon, for what `ovs-appctl` can ask; a context manager."""
        return Rpc(self.folder / f"{name}.ctl")

    def widen(self) -> None:
        """Lets as many packets wait for ovs-vswitchd as for our own packet sockets, and not as the kernel has it.

        Each flow that is new costs user space time, and meanwhile packets that come in a burst would be lost.
        """
        receive_more(self._running[-1].pid)

    def run(self, *command: str, given: Sequence[str] = ()) -> str:
        """Runs a tool of Open vSwitch, with lines on its standard input, and returns what it prints."""
        done = subprocess.run(
            command, input="\n".join(given), env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ToolError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout

    def close(self) -> None:
        """Ends both by their pids, the last first, and waits for that. Safe to call twice."""
        while self._running:
            daemon = self._running.pop()
            if self._running:  # ovs-vswitchd takes what is in the kernel with it only if asked to
                with suppress(OSError, RpcError), self.control() as control:
                    control.call("exit", "--cleanup")
            daemon.terminate()
            try:
                daemon.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_FILES = {"pidfile": "pid", "log-file": "log", "unixctl": "ctl"}
