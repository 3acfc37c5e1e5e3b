"""XXH64 of many texts at once."""

from __future__ import annotations

import pytest

from vedette.kit.xxhash import xxh64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_published_values(text: bytes, wanted: int) -> None:
    """The hash of known texts is the known one, alone and among others of other lengths."""
    assert int(xxh64([text])[0]) == wanted
    assert int(xxh64([b"x" * 100, text, b"yy", text])[3]) == wanted


def test_long_texts_differ() -> None:
    """Every byte of a text counts, whatever stripe, word or tail it falls into."""
    texts = [bytes(100)] + [bytes(k) + b"\x01" + bytes(99 - k) for k in range(100)]
    assert len(set(xxh64(texts).tolist())) == 101
