"""Damage to a file as disks, editors, transfers and people do it, by seed."""

from __future__ import annotations

import random
import re

NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eEdD][-+]?\d+)?")
WORD = re.compile(rb"[^\s,'\"<>=]+")
NUMBERS = (
    *(
        b"0",
        b"-1",
        b"1e400",
        b"-1e308",
        b"1e-320",
        b"nan",
        b"inf",
        b"-inf",
        b"NaN",
        b"9" * 40,
        b"1" + b"0" * 5000,
    ),
    *(
        b"999999999",
        b"1.5.2",
        b"1,5",
        b"0x10",
        b"1_000",
        b"****",
        b"******",
        b"5.64(1)",
        b"?",
        b".",
        b"--3",
        b"1D+01",
    ),
    *(
        "٣".encode(),
        "½".encode(),
        b"1e5",
        b"1e-9",
        b"0.333",
        b"1/3",
        b"1/0",
        b"2147483648",
        b"18446744073709551616",
    ),
)
WORDS = (
    *(
        b"data_",
        b"loop_",
        b"_atom_site_label",
        b";",
        b"'",
        b'"',
        b"#",
        b"\x00",
        b"\xff\xfe",
        b"\r",
        b"Xx",
        b"D",
        b"Og",
    ),
    *(
        b"O2-",
        b"Fe+3",
        b"[" * 2000,
        b"(" * 2000,
        b"{",
        b"}",
        b"]",
        b"&a [*a]",
        b"!!python/object:os.system",
        b"%d",
        b"\\",
    ),
    *(
        b"None",
        b"null",
        b"true",
        b"<a>",
        b"</a>",
        b"&lol;",
        b"x" * 3000,
        "µ·²₂δ–".encode(),
        b"-",
        b"=",
        b"..",
        b"../../x",
    ),
)


def mutate(content: bytes, seed: int) -> bytes:
    """Return the content with one to three faults."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(FAULTS)(content, rng)
    return content


def _number(content: bytes, rng: random.Random) -> bytes:
    return _replaced(NUMBER, content, rng.choice(NUMBERS), rng)


def _digit(content: bytes, rng: random.Random) -> bytes:
    return _replaced(re.compile(rb"\d"), content, str(rng.randrange(10)).encode(), rng)


def _word(content: bytes, rng: random.Random) -> bytes:
    return _replaced(WORD, content, rng.choice(WORDS), rng)


def _moved_word(content: bytes, rng: random.Random) -> bytes:
    words = WORD.findall(content)
    return _replaced(WORD, content, rng.choice(words), rng) if words else content


def _replaced(pattern: re.Pattern[bytes], content: bytes, by: bytes, rng: random.Random) -> bytes:
    found = list(pattern.finditer(content))
    if not found:
        return content + by
    one = rng.choice(found)
    return content[: one.start()] + by + content[one.end() :]


def _bytes(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 30)) if damaged else 0):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _slice(content: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + content[min(last, first + rng.choice((1, 20, 400))) :]


def _repeated(content: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    piece = content[first : min(last, first + 400)]
    return content[:first] + piece * rng.choice((2, 2, 50)) + content[last:]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(j, lines[i])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = rng.choice(WORDS) + b" " + lines[i]
    return b"\n".join(lines)


def _recoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("latin-1")
    return rng.choice(
        (
            b"\xef\xbb\xbf" + content,
            text.encode("utf-16"),
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content.replace(b" ", b"\t"),
            content.replace(b" ", "\u00a0".encode()),
            content.upper(),
            content.lower(),
        )
    )


FAULTS = (
    _number,
    _number,
    _digit,
    _word,
    _moved_word,
    _bytes,
    _cut,
    _slice,
    _repeated,
    _lines,
    _lines,
    _recoded,
)
