"""What is in a Linux kernel's image, as boot loaders read it (Documentation/arch/x86/boot.rst). Pure.

An image unpacks itself, which takes seconds where every instruction is emulated: QEMU boots what is packed in it.
"""

from __future__ import annotations

import lzma
import struct
import zlib

from nvgre_node.errors import BadInputError

_MAGIC, _MAGIC_AT = b"HdrS", 0x202
_VERSION_AT, _RELEASE_AT, _PAYLOAD_AT, _SETUP_SECTORS_AT = 0x206, 0x20E, 0x248, 0x1F1
_WITH_PAYLOAD = 0x208
"""The version of the boot protocol that says where the packed kernel is."""
_SECTOR = 512
_XZ, _GZIP = b"\xfd7zXZ\0", b"\x1f\x8b"
_ANY_HEADER = 32 + zlib.MAX_WBITS


def release(image: bytes) -> str:
    """The release of a kernel, as `uname -r` says it.

    Raises:
        BadInputError: this is no image of a kernel for x86.
    """
    if image[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        raise BadInputError("it is no Linux kernel for x86 (a bzImage, such as /boot/vmlinuz-...)")
    start = _SECTOR + struct.unpack_from("<H", image, _RELEASE_AT)[0]
    return image[start : image.index(b"\0", start)].split(b" ")[0].decode(errors="replace")


def unpacked(image: bytes) -> bytes | None:
    """The kernel that is packed in an image; None: packed in a way that is not known here, and the image must do."""
    if struct.unpack_from("<H", image, _VERSION_AT)[0] < _WITH_PAYLOAD:
        return None
    setup = (image[_SETUP_SECTORS_AT] or 4) + 1
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    start = setup * _SECTOR + offset
    packed = image[start : start + length]
    if packed.startswith(_XZ):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed)  # its size follows, which is not xz's
    if packed.startswith(_GZIP):
        return zlib.decompressobj(_ANY_HEADER).decompress(packed)
    return None
