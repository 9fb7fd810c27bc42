"""WAV files as programs write them that don't know the length, or know it in their own way."""

from __future__ import annotations

import struct

import numpy as np

RAMP = (np.arange(1600) % 200 - 100).astype("<i2") * 100
"""A tenth of a second at 16 kHz."""


def riff(
    data: bytes = RAMP.tobytes(),
    *,
    size: int | None = None,
    whole: int | None = None,
    code: int = 1,
    bits: int = 16,
    channels: int = 1,
    rate: int = 16_000,
    before: bytes = b"",
    after: bytes = b"",
    mark: bytes = b"RIFF",
    extensible: bool = False,
) -> bytes:
    """A file made by hand. ``size`` and ``whole``: what it says of its sound and of itself, if not the truth."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * block, block, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, code) + bytes.fromhex("000000001000800000aa00389b71")
    body = b"WAVE" + before + chunk(b"fmt ", form)
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data + after
    return mark + struct.pack("<I", len(body) if whole is None else whole) + body


def chunk(name: bytes, content: bytes, *, padded: bool = True) -> bytes:
    return name + struct.pack("<I", len(content)) + content + (b"\0" if padded and len(content) % 2 else b"")


def wave64(data: bytes = RAMP.tobytes(), size: int | None = None) -> bytes:
    """Sony's Wave64."""
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    body = b"wave" + tail + b"fmt " + tail + struct.pack("<Q", 24 + len(form)) + form
    body += b"data" + tail + struct.pack("<Q", 24 + (len(data) if size is None else size)) + data
    return b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(body)) + body


def ds64(sound: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", sound + 100, sound, sound // 2, 0))


LENGTH = RAMP.nbytes
PIPED = {
    "zeros (libsndfile)": riff(size=0, whole=0),
    "an empty file's header (wave modules)": riff(size=0, whole=36),
    "largest signed (ElevenLabs)": riff(size=0x7FFFFFFF, whole=0x7FFFFFFF),
    "a page below it (espeak-ng)": riff(size=0x7FFFF000, whole=0x7FFFF024),
    "two billion (pocket-tts)": riff(size=2_000_000_000, whole=2_000_000_036),
    "largest (OpenAI)": riff(size=0xFFFFFFFF, whole=0xFFFFFFFF),
    "largest less the header (sox)": riff(size=0x7FFFFFDB, whole=0x7FFFFFFF),
    "largest unsigned less the header": riff(size=0xFFFFFFDB, whole=0xFFFFFFFF),
    "one gigabyte": riff(size=2**30, whole=2**30 + 36),
    "half of it": riff(size=2**29, whole=0),
}
"""Lengths that were never known; all of the ramp is there."""
TAKEN = {
    **PIPED,
    "right": riff(),
    "right, of a file of length zero": riff(whole=0),
    "with the header counted in": riff(size=LENGTH + 44),
    "with a part of the header counted in": riff(size=LENGTH + 36),
    "an odd byte more": riff(RAMP.tobytes() + b"x"),
    "an odd byte more than it says": riff(RAMP.tobytes() + b"x", size=LENGTH),
    "an odd byte at the end of a pipe": riff(RAMP.tobytes() + b"x", size=0xFFFFFFFF),
    "half a sample that it speaks of": riff(RAMP.tobytes() + b"x", size=LENGTH + 1, whole=0),
    "half a sample that it speaks of and has not": riff(size=LENGTH + 1, whole=0),
    "notes behind": riff(after=chunk(b"LIST", b"INFOnotes")),
    "notes before": riff(before=chunk(b"LIST", b"INFOodd") + chunk(b"bext", bytes(603))),
    "notes before, not filled up": riff(before=chunk(b"LIST", b"INFOodd", padded=False)),
    "a cover picture before": riff(before=chunk(b"id3 ", bytes(300_000))),
    "extensible": riff(extensible=True),
    "RF64": riff(mark=b"RF64", size=0xFFFFFFFF, whole=0xFFFFFFFF, before=ds64(LENGTH)),
    "BW64": riff(mark=b"BW64", size=0xFFFFFFFF, whole=0xFFFFFFFF, before=ds64(LENGTH)),
    "RF64 to a pipe": riff(mark=b"RF64", size=0xFFFFFFFF, whole=0xFFFFFFFF, before=ds64(0)),
    "RF64 that needs no 64 bits": riff(mark=b"RF64", before=chunk(b"JUNK", bytes(28))),
    "Wave64": wave64(),
    "Wave64 to a pipe": wave64(size=0),
    "24 bits": riff((RAMP.astype(np.int32) << 8).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes(), bits=24),
    "32 bits": riff((RAMP.astype("<i4") << 16).tobytes(), bits=32),
    "floats": riff((RAMP / np.float32(32768)).astype("<f4").tobytes(), code=3, bits=32),
    "doubles": riff((RAMP / 32768).astype("<f8").tobytes(), code=3, bits=64),
    "extensible floats": riff((RAMP / np.float32(32768)).astype("<f4").tobytes(), code=3, bits=32, extensible=True),
    "stereo": riff(np.repeat(RAMP, 2).tobytes(), channels=2),
}
"""All of these hold the ramp, to the sample."""
EMPTY = {
    "no sound and notes": riff(b"", after=chunk(b"LIST", b"INFOnotes")),
    "no sound": riff(b""),
}
CUT = {
    "in the sound": riff()[:-1000],
    "in the sound of an RF64": TAKEN["RF64"][:-1000],
    "in the sound of a Wave64": wave64()[:-1000],
    "in the header": riff()[:30],
    "before the sound": riff()[:36],
}
SENSELESS = {
    "no format": b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
    "half a format": b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcdabcd",
    "no channels": riff(channels=1)[:22] + b"\0\0" + riff()[24:],
    "no rate": riff(rate=0),
    "a block that is none": riff()[:32] + b"\3\0" + riff()[34:],
    "an endless header": riff(before=b"junk\xff\xff\xff\x7f"),
}
