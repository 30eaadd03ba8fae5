"""The one exception a user sees, the one warning, and how both quote what the user gave."""

from __future__ import annotations

import re

MOST_QUOTED = 120  # characters
_LONGEST_MESSAGE = 700  # characters
_LINE_END = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence on one line: the field, what was wrong, what would be right.
    The command line prints it and exits with code 2; Python callers catch it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(_LINE_END.sub(" ", message), _LONGEST_MESSAGE))


class ReadAs(UserWarning):
    """How an input was read that can be spelled in several ways; the command line prints it."""


def no_such_file(path: object, give: str) -> InputError:
    """Return the error for a path where nothing is; ``give`` says what would be right."""
    return InputError(f"{quoted(str(path))}: no such file or folder; give {give}.")


def quoted(given: object) -> str:
    """Return what a user gave for a message: in quotes where it is text, shortened where it is long."""
    if isinstance(given, str):
        longer = f" ({len(given)} characters)" if len(given) > MOST_QUOTED else ""
        return f"{shortened(given, MOST_QUOTED)!r}{longer}"
    try:
        return shortened(repr(given), MOST_QUOTED)
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(given).__name__} beyond any sense"


def shortened(text: str, most: int) -> str:
    """Return the text, without its middle where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 4 :]}"
