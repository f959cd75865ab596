"""Blobs come back from their bytes as they were, and nothing else comes back at all."""

import random
from array import array

import pytest

from vmjit.jit.blob import Blob

FULL = Blob(b"\x90\xc3" * 20, {"f": 0, "täst": 12, "\udc80": 39}, array("Q", [0, 4, 30]), array("I", [7, 0, 2**32 - 1]))
EMPTY = Blob(b"", {})


@pytest.mark.parametrize("blob", [FULL, EMPTY, Blob(b"\xc3", {"": 0})])
def test_round_trip(blob):
    assert Blob.from_bytes(blob.to_bytes()) == blob


def test_every_truncation_is_a_value_error():
    data = FULL.to_bytes()
    for size in range(len(data)):
        with pytest.raises(ValueError):
            Blob.from_bytes(data[:size])
    with pytest.raises(ValueError):
        Blob.from_bytes(data + b"\0")


def test_every_changed_bit_is_a_value_error():
    data = FULL.to_bytes()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            Blob.from_bytes(bytes(damaged))


def test_wrong_sizes_with_a_right_checksum_are_a_value_error():
    import zlib

    source = random.Random(1)
    for _ in range(500):
        body = bytearray(FULL.to_bytes()[16:])
        body[source.randrange(20)] ^= 1 << source.randrange(8)
        with pytest.raises(ValueError):
            Blob.from_bytes(FULL.to_bytes()[:12] + zlib.crc32(body).to_bytes(4, "little") + body)


def test_line_at():
    assert [FULL.line_at(offset) for offset in (-1, 0, 3, 4, 29, 30, 1000)] == [
        None, 7, 7, None, None, 2**32 - 1, 2**32 - 1,
    ]  # fmt: skip
    assert EMPTY.line_at(0) is None
