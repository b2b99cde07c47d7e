"""Compressed data from outside, which may be a kilobyte that becomes a gigabyte."""

import zlib


def decompress(data: bytes, most: int) -> bytes:
    """Return the decompressed data of at most `most` bytes, and never hold more.

    Raises:
        ValueError: It is not complete zlib data, or larger.
    """
    decompressor = zlib.decompressobj()
    try:
        clear = decompressor.decompress(data, most)
    except zlib.error as error:
        raise ValueError(f"it is not compressed data: {error}") from None
    if not decompressor.eof:
        raise ValueError(f"it is cut, or has more than {most} bytes")
    return clear
