#!/bin/sh
# Process 1 of a User-Mode Linux guest. The host's root, read-only, lies under an overlay in the guest's memory; the folder
# of the job is the only one that both share. JOB and MODULES come from the kernel's command line.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t tmpfs -o mode=755,size=75% guest /run
mkdir -p /run/modules/lib/modules /run/upper /run/work /run/root
read -r release </proc/sys/kernel/osrelease
ln -s "$MODULES/$release" "/run/modules/lib/modules/$release"
modprobe -d /run/modules -a overlay ipv6 # other stock kernels have IPv6 from the start
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root

cd /run/root
mkdir -p lib/modules
ln -s "$MODULES/$release" "lib/modules/$release" # for modprobe, the kernel's own calls included
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mkdir dev/net dev/pts dev/shm
mknod -m 666 dev/net/tun c 10 200 # elsewhere kmod or udev makes it; who opens it has the kernel load its module
ln -s /proc/self/fd dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${name%:*}" "dev/${name#*:}"; done # udev's work as well
mount -t devpts -o ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir run/job run/upper run/old
mount -t hostfs -o "$JOB" job run/job
mount --bind /run/upper run/upper
pivot_root . run/old # not chroot: the kernel's own calls of modprobe start at process 1's root
umount -l /run/old
exec /bin/sh /run/job/guest/job.sh
