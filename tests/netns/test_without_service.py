"""Setting the machine up starts no Open vSwitch: the package's own scripts, run in a copy of this machine's files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .belongings import CHECKOUT

OURS, OTHER, POLICY = "openvswitch-switch.service", "another.service", "/usr/sbin/policy-rc.d"
SCRIPT = CHECKOUT / "testbed/without_service.sh"
INFO = Path("/var/lib/dpkg/info/openvswitch-switch.postinst")

pytestmark = [
    pytest.mark.skipif(not INFO.exists(), reason="openvswitch-switch is not a package of this machine"),
    pytest.mark.skipif(not shutil.which("deb-systemd-helper"), reason="this Debian has no init-system-helpers"),
]

# An overlay of this machine, in namespaces of its own: openvswitch-switch is not installed yet, and systemd seems
# to run. Installing is what dpkg does last: the status, and the package's own `postinst`.
STAGE = r"""
set -eu
mount -t tmpfs stage "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind /dev dev
mkdir -p run/systemd/system
rm -rf etc/rc?.d/*openvswitch-switch etc/systemd/system/*openvswitch-switch* usr/sbin/policy-rc.d
rm -rf etc/systemd/system/multi-user.target.wants/openvswitch-switch.service var/lib/systemd/deb-systemd-helper-*
mv usr/bin/systemctl usr/bin/systemctl.real
cat >usr/bin/systemctl <<'END'
#!/bin/sh
case " $* " in
*" is-enabled "*) echo enabled ;;
*" start "*) echo "$*" >>/started ;;
*" --root="*) exec /usr/bin/systemctl.real "$@" ;;
esac
END
chmod +x usr/bin/systemctl
sed -i '/^Package: openvswitch-switch$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' var/lib/dpkg/status
cat >install <<'END'
sed -i '/^Package: openvswitch-switch$/,/^$/s/^Status: .*/Status: install ok installed/' /var/lib/dpkg/status
export DPKG_MAINTSCRIPT_PACKAGE=openvswitch-switch DPKG_MAINTSCRIPT_NAME=postinst
/var/lib/dpkg/info/openvswitch-switch.postinst configure
deb-systemd-invoke start another.service
END
"""
REPORT = r"""
[ ! -e /started ] || grep -o "openvswitch-switch.service\|another.service" /started
[ ! -e /etc/systemd/system/multi-user.target.wants/openvswitch-switch.service ] || echo "at the next boot, by systemd"
! ls /etc/rc3.d/S*openvswitch-switch >/dev/null 2>&1 || echo "at the next boot, by init"
for policy in /usr/sbin/policy-rc.d*; do [ ! -e "$policy" ] || echo "$policy"; done
"""


def installed(tmp_path: Path, commands: str) -> list[str]:
    """What is running, or will be, or was left behind, when commands have been run in such a copy."""
    script = f"{STAGE}\nchroot . /bin/sh -c '{commands}' >&2\nchroot . /bin/sh -c \"$2\""
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*own, "sh", "-c", script, "-", str(tmp_path), REPORT], capture_output=True, text=True, check=False
    )
    if "overlay" in done.stderr and done.returncode == 32:
        pytest.skip("this kernel lays no overlay over this machine's files")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_its_service_is_neither_started_nor_will_it_be(tmp_path: Path) -> None:
    assert installed(tmp_path, f"sh {SCRIPT} sh /install") == [OTHER]


def test_without_that_it_would_be(tmp_path: Path) -> None:
    at_boot = [f"at the next boot, by {way}" for way in ("systemd", "init")]
    assert installed(tmp_path, "sh /install") == [OURS, OTHER, *at_boot]


def test_a_policy_that_there_was_stays_and_is_asked_about_others(tmp_path: Path) -> None:
    own = 'printf "#!/bin/sh\\nexit 101\\n" >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; '
    assert installed(tmp_path, f"{own} sh {SCRIPT} sh /install") == [POLICY]


def test_where_it_is_installed_it_is_somebodys_and_stays_as_it_is(tmp_path: Path) -> None:
    commands = f"sh /install; rm /started; sh {SCRIPT} true"
    assert installed(tmp_path, commands) == [f"at the next boot, by {way}" for way in ("systemd", "init")]


def test_what_fails_fails_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert installed(tmp_path, f'sh {SCRIPT} sh -c "exit 7"; [ $? = 7 ]') == []
