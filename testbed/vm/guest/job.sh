#!/bin/sh
# Process 1 of any guest once its root is there: runs the job, hands back what it wrote and how it ended, switches off.
# From the host, in /run/job: `command` and `back`, lists of words that each end with a NUL, and `mode`. OUT and ERR are
# the devices that lead to where the host takes output and error output.
set -eu
job=/run/job

run() { # the command, in a session of its own
    xargs -0 -x -n 1000000 -s 1000000 -a "$job/command" setsid --wait "$@" /bin/sh "$job/guest/command.sh"
}

raw() { # what is written to a terminal leaves it as it is
    [ ! -t 0 ] || stty raw -echo
}

end_all_but() { # what the command left running; kernel threads do not mind
    for process in /proc/[0-9]*; do
        number=${process#/proc/}
        case " 1 $* " in *" $number "*) ;; *) kill -KILL "$number" 2>/dev/null || : ;; esac
    done
}

ip link set lo up
read -r mode <"$job/mode"
case $mode in
terminal)
    run --ctty <"$OUT" >"$OUT" 2>&1 || :
    end_all_but
    ;;
pipes | dialogue) # the command must not take its output for a terminal
    raw <"$OUT"
    raw <"$ERR"
    mkfifo /run/out /run/err
    cat /run/out >"$OUT" &
    copies=$!
    cat /run/err >"$ERR" &
    copies="$copies $!"
    [ "$mode" = dialogue ] && input=$OUT || input=/dev/null
    run <"$input" >/run/out 2>/run/err || :
    end_all_but "$copies"
    # shellcheck disable=SC2086 # a list of words
    wait $copies
    ;;
esac

mkdir "$job/written"
cd /run/upper
xargs -0 -r -a "$job/back" -n 1 /bin/sh "$job/guest/back.sh" || echo "some" >"$job/lost"
cp /run/status "$job/status"
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
