#!/bin/sh
# Runs a command that may install openvswitch-switch, whose service then neither starts now nor at the next boot: every
# provider host runs an Open vSwitch of its own. Where the package is there already, its service is somebody's, and is
# left as it is. Exit status: that of the command.
set -eu
package=openvswitch-switch
policy=/usr/sbin/policy-rc.d other=/usr/sbin/policy-rc.d.before-nvgre

is_installed() {
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed
}

# What Debian's packages ask before they start a service; what it says of others, a policy that was there still says.
forbid() {
    [ ! -e "$policy" ] || mv "$policy" "$other"
    cat >"$policy" <<END
#!/bin/sh
case " \$* " in *" $package "* | *" $package.service "* | *" ovs-"*) exit 101 ;; esac
[ ! -x $other ] || exec $other "\$@"
END
    chmod +x "$policy"
}

permit() {
    [ ! -e "$policy" ] || rm "$policy"
    [ ! -e "$other" ] || mv "$other" "$policy"
}

# At boot, by systemd or otherwise; also in an image that is being made, where nothing runs yet. Upgrades leave it so.
disable() {
    ! command -v update-rc.d >/dev/null || update-rc.d "$package" disable
}

if is_installed; then
    exec "$@"
fi
[ ! -e "$other" ] || permit # a run that was killed has left it
trap permit EXIT
trap 'exit 130' HUP INT TERM
forbid
status=0
"$@" || status=$?
! is_installed || disable
exit "$status"
