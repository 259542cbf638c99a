"""Kernels for guests: what is read of an image, what an initramfs has, where Debian's come from, what is refused."""

from __future__ import annotations

import gzip
import lzma
import platform
import shutil
import struct
from pathlib import Path

import pytest

from nvgre_node.errors import BadInputError, MissingError
from testbed.vm import debian, image, initramfs, kernels

RELEASE = "6.1.0-50-amd64"
ELF = b"\x7fELF and the rest of a kernel" * 40


def an_image(payload: bytes = b"", release: str = RELEASE, protocol: int = 0x20F) -> bytes:
    """A kernel's image: two sectors of set-up, and what is packed after them."""
    head = bytearray(3 * 512)
    head[0x1F1] = 2
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<HH", head, 0x206, protocol, 0)
    struct.pack_into("<H", head, 0x20E, 0x300)
    text = f"{release} (builder@debian) #1\0".encode()
    head[0x500 : 0x500 + len(text)] = text
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload + b"trailing"


@pytest.mark.parametrize("packed", [lzma.compress(ELF) + struct.pack("<I", len(ELF)), gzip.compress(ELF, mtime=0)])
def test_the_kernel_in_an_image_is_unpacked(packed: bytes) -> None:
    assert image.release(an_image(packed)) == RELEASE
    assert image.unpacked(an_image(packed)) == ELF


def test_what_is_packed_in_a_way_that_is_not_known_stays_packed() -> None:
    assert image.unpacked(an_image(b"\x28\xb5\x2f\xfd zstd")) is None
    assert image.unpacked(an_image(lzma.compress(ELF), protocol=0x207)) is None


@pytest.mark.parametrize("content", [b"", b"MZ" + bytes(600), ELF])
def test_what_is_no_kernel_is_refused(content: bytes) -> None:
    with pytest.raises(BadInputError, match="no Linux kernel for x86"):
        image.release(content)


DEPENDENCIES = """\
kernel/net/9p/9pnet.ko:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko kernel/virtio/virtio_ring.ko kernel/virtio/virtio.ko
kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko
kernel/fs/netfs/netfs.ko:
kernel/virtio/virtio-ring.ko: kernel/virtio/virtio.ko
kernel/virtio/virtio.ko:
kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko
"""


def test_modules_come_after_those_that_they_need_and_once() -> None:
    assert initramfs.in_order(DEPENDENCIES, "kernel/virtio/virtio_pci.ko\n") == [
        "kernel/virtio/virtio.ko",
        "kernel/virtio/virtio_ring.ko",
        "kernel/net/9p/9pnet.ko",
        "kernel/net/9p/9pnet_virtio.ko.xz",
        "kernel/fs/netfs/netfs.ko",
        "kernel/fs/9p/9p.ko",
    ]


def test_a_kernel_that_cannot_find_the_hosts_files_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"no virtio_pci and no 9p, by which"):
        initramfs.in_order(DEPENDENCIES.replace("/9p.ko", "/8p.ko"), "")


def entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """Names, modes and contents of a cpio archive, read as the kernel does (init/initramfs.c)."""
    found = []
    while archive:
        assert archive[:6] == b"070701"
        fields = [int(archive[at : at + 8], 16) for at in range(6, 110, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        start = (110 + name_size + 3) // 4 * 4
        found.append((archive[110 : 109 + name_size].decode(), mode, archive[start : start + size]))
        archive = archive[(start + size + 3) // 4 * 4 :]
    return found


def test_an_archive_has_its_files_after_their_folders() -> None:
    assert entries(initramfs.archive({"init": b"x", "modules/0": b"odd", "modules/1": b""})) == [
        ("modules", 0o040755, b""),
        ("init", 0o100755, b"x"),
        ("modules/0", 0o100755, b"odd"),
        ("modules/1", 0o100755, b""),
        ("TRAILER!!!", 0, b""),
    ]


@pytest.mark.parametrize(
    ("name", "content"), [("a.ko", b"module"), ("a.ko.xz", lzma.compress(b"module"))], ids=["plain", "xz"]
)
def test_modules_are_unpacked(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert initramfs.module(tmp_path / name) == b"module"


def test_modules_that_nobody_here_can_unpack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"compressed .*: a\.ko\.lz9"):
        initramfs.module(tmp_path / "a.ko.lz9")


# Where Debian's come from.

TARGETS = """\
Debian Debian-Security http://mirror/debian-security/
google cloud-sdk-bookworm https://packages.cloud.google.com/apt/
Debian Debian http://mirror/debian/
Debian Debian http://other/debian/
"""
RECORD = """\
Package: linux-image-amd64
Version: 6.12.95-1~bpo12+1
Depends: linux-image-6.12.95+deb12-amd64 (= 6.12.95-1~bpo12+1)
Provides: virtualbox-guest-modules
"""


def test_they_come_from_the_mirror_that_apt_knows() -> None:
    assert debian.mirror_of(TARGETS) == "http://mirror/debian/"


@pytest.mark.parametrize("targets", ["", "Ubuntu Ubuntu http://archive.ubuntu.com/ubuntu/\n"])
def test_where_apt_knows_none_it_says_so(targets: str) -> None:
    with pytest.raises(MissingError, match=r"no mirror of Debian's .*--kernel FILE"):
        debian.mirror_of(targets)


def test_the_newest_of_a_series_is_chosen_and_no_other() -> None:
    assert debian.package_of(RECORD, "6.12") == "linux-image-6.12.95+deb12-amd64"
    with pytest.raises(MissingError, match=r"no Linux 6\.1 in bookworm, but linux-image-6\.12"):
        debian.package_of(RECORD, "6.1")
    with pytest.raises(MissingError, match=r"no Linux 6\.1 in bookworm: name"):
        debian.package_of("", "6.1")


def test_elsewhere_than_on_debian_a_kernel_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "this is no Debian: name a kernel's image, --kernel FILE" in debian.missing("6.1")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "this machine is aarch64" in debian.missing("6.1")


def test_what_could_not_be_fetched_leaves_nothing_and_apts_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "missing", lambda _: "")
    monkeypatch.setattr(debian, "mirror", lambda: f"file://{tmp_path}/no-mirror")
    with pytest.raises(MissingError, match=r"could not be fetched; apt-get says:\n(?s:.)*no-mirror"):
        debian.kernel("6.1")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


# What a user can name.


@pytest.mark.parametrize("choice", ["5.15", "6", "/no/such/file", "", "/"])
def test_a_kernel_that_is_none_is_refused_with_those_that_are(choice: str) -> None:
    with pytest.raises(BadInputError, match=r"Debian's are 6\.1 and 6\.12; any other is the path"):
        kernels.check(choice)


def test_a_file_has_its_modules_in_the_tree_that_it_was_unpacked_to(tmp_path: Path) -> None:
    path, modules = tmp_path / "boot/vmlinuz", tmp_path / "lib/modules" / RELEASE
    path.parent.mkdir()
    path.write_bytes(an_image())
    with pytest.raises(BadInputError, match=f"vmlinuz: its modules are not there: no {RELEASE}/modules.dep"):
        kernels.find(str(path))
    modules.mkdir(parents=True)
    (modules / "modules.dep").touch()
    assert kernels.find(str(path)) == kernels.Kernel(path, modules)


def test_a_file_that_is_no_kernel_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel")
    with pytest.raises(BadInputError, match=f"{tmp_path}/text: it is no Linux kernel"):
        kernels.find(str(tmp_path / "text"))
