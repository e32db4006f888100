"""Compressed data of image files, unpacked piece by piece: the image libraries take damaged data for whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 20
_PIECE = 1 << 22  # bytes unpacked at once, whatever a damaged file claims
_ZLIB_OR_GZIP = 47


def unpack(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """What the zlib or gzip data hold that begin where `file` stands, and are no longer than `size` bytes. Further gzip
    members belong to it, other bytes behind do not.

    Raises:
        EOFError: the data are cut off.
        zlib.error: they are damaged, by their checksum or earlier.
    """
    left = size

    def read() -> bytes:
        nonlocal left
        block = file.read(_BLOCK if left is None else min(_BLOCK, left))
        left = None if left is None else left - len(block)
        return block

    block = read()
    while True:
        unpacker = zlib.decompressobj(_ZLIB_OR_GZIP)
        while not unpacker.eof:
            if block:
                yield unpacker.decompress(block, _PIECE)
                block = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail or read()
                continue
            yield unpacker.flush()
            if not unpacker.eof:
                raise EOFError("the compressed data are cut off")
        if len(block) < len(GZIP_MAGIC):
            block += read()
        if not block.startswith(GZIP_MAGIC):
            return


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes from where `file` stands, as they are."""
    return iter(lambda: file.read(_PIECE), b"")
