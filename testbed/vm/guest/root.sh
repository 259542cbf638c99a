#!/bin/sh
# Process 1 of any guest. The host's root, read-only, lies under an overlay in the guest's memory; the folder of the job is
# the only one that both share. ENGINE, JOB, MODULES, OUT and ERR come from the kernel's command line.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

case $ENGINE in
uml)
    first="overlay ipv6" # other stock kernels have IPv6 from the start
    share() { mount -t hostfs -o "$JOB" job "$1"; }
    ;;
qemu)
    first="overlay virtio_console"
    share() { mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 job "$1"; }
    ;;
esac

mount -t proc proc /proc
mount -t tmpfs -o mode=755,size=75% guest /run
mkdir -p /run/modules/lib/modules /run/upper /run/work /run/root
read -r release </proc/sys/kernel/osrelease
ln -s "$MODULES/$release" "/run/modules/lib/modules/$release"
# shellcheck disable=SC2086 # a list of words
modprobe -d /run/modules -a $first
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root

cd /run/root
mkdir -p lib/modules
ln -sfn "$MODULES/$release" "lib/modules/$release" # for modprobe, the kernel's own calls included
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mkdir -p dev/net dev/pts dev/shm
[ -e dev/net/tun ] || mknod -m 666 dev/net/tun c 10 200 # elsewhere kmod or udev makes it; who opens it has the kernel load its module
ln -sfn /proc/self/fd dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${name%:*}" "dev/${name#*:}"; done # udev's work as well
mount -t devpts -o ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir run/job run/upper run/old
share run/job
mount --bind /run/upper run/upper
pivot_root . run/old # not chroot: the kernel's own calls of modprobe start at process 1's root
umount -l /run/old
for _ in $(seq 500); do # QEMU's come when they come
    [ -c "$OUT" ] && [ -c "$ERR" ] && break
    sleep 0.02
done
exec /bin/sh /run/job/guest/job.sh
