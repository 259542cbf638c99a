"""A stock kernel beside the machine's own: guests that see the host's files, read-only, and run one command.

`job` is what a guest is asked to do, an engine (`uml`, `qemu`) knows how to boot one, `machine` runs it to its end,
`confine` keeps it from writing to the host, and `guest/` holds what runs inside. QEMU's `kernels` come from `debian`,
and start with an `initramfs`. `trial` tries the data planes on a kernel, `matrix` on several.
"""
