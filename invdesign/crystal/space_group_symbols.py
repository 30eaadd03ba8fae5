"""Space groups by the symbols that people write: short, full, old, of any setting, and Hall's."""

from __future__ import annotations

import re
import warnings
from functools import cache

from invdesign.crystal.settings import group_of_symbol, typed
from invdesign.errors import InputError, ReadAs, quoted

N_GROUPS = 230
_LONGEST = 60  # characters
_SCHOENFLIES = re.compile(r"(?:[CSD]\d?[hvdsi]?|Ci|Cs|Td|Th?|Oh?)\^?\d{0,2}")
_STATED = re.compile(r"\s*\((?:no\.?\s*)?(\d{1,3})\)$", re.IGNORECASE)  # Pnma (62)
_SETTING = re.compile(
    r"(?::\s*(?:[HRZS]|O?[12])|\s*(?:[HRZS]|O[12]))$", re.IGNORECASE
)  # axes or origin; ICSD writes Z and S
_SYSTEMS = {
    "triclinic": "1..2",
    "monoclinic": "3..15",
    "orthorhombic": "16..74",
    "tetragonal": "75..142",
    "trigonal": "143..167",
    "hexagonal": "168..194",
    "cubic": "195..230",
}


def space_group_number(symbol: str) -> int:
    """Return the number, 1 to 230, of a space group.

    Args:
        symbol: a number, or a Hermann-Mauguin symbol of any setting (``Fm-3m``, ``F m -3 m``, ``Fm3m``,
            ``P2_1/n``, ``Pbnm``, ``R-3m:H``, ``F 4/m -3 2/m``), or Hall's (``-F 4 2 3``). Where it is not the
            group's standard symbol, a :class:`~invdesign.errors.ReadAs` says which group it is.

    Raises:
        InputError: none of the 230.
    """
    text = _plain(symbol)
    if re.fullmatch(r"\d{1,3}", text) and 1 <= int(text) <= N_GROUPS:
        return int(text)
    number = _number(text)
    if number is None:
        raise InputError(f"space_group: {quoted(symbol)} {_wrong(text)}.")
    if (stated := _STATED.search(typed(symbol))) and int(stated[1]) != number:
        raise InputError(f"space_group: {quoted(symbol)} is no. {number}, not {stated[1]}; give one of them.")
    standard = standard_symbol(number)
    if {_key(text), _key(_SETTING.sub("", text))}.isdisjoint(_standard_keys(number)):
        warnings.warn(
            f"space_group: {symbol.strip()} is a setting or older symbol of {standard}, no. {number}.",
            ReadAs,
            stacklevel=2,
        )
    return number


def divided(text: str) -> list[str]:
    """Return the space groups of a text: divided by commas, or by blanks, which a symbol may also have.

    Raises:
        InputError: blanks make one symbol or several (``P2 3``; in ``P21 21 21`` they make one).
    """
    pieces = [piece.strip() for piece in re.split(r"[,;]", text) if piece.strip()]
    return [one for piece in pieces for one in _divided_by_blanks(piece)]


def _divided_by_blanks(piece: str) -> list[str]:
    words = re.sub(r"\s*(\.\.+|–)\s*", r"\1", piece).split()
    whole = not all(word[0].isdigit() for word in words) and _number(_plain(piece)) is not None
    one = len(words) > 2 or words[-1] == "1"  # P 1 beside another group is no one's wish
    several = len(words) > 1 and all(word[0].isdigit() or _number(_plain(word)) for word in words)
    if whole and several and not one:
        raise InputError(
            f"space_group: {quoted(piece)} is one symbol with blanks or several; divide several by commas."
        )
    return words if several and not whole else [piece]


@cache
def standard_symbol(number: int) -> str:
    """Return the short Hermann-Mauguin symbol of a group, ``P2_1/c``."""
    from moyopy import SpaceGroupType

    return str(SpaceGroupType(number).hm_short).replace(" ", "")


def _plain(symbol: str) -> str:
    """Return a symbol as typed, without quotes and its number in the tables."""
    text = re.sub(r"^([\"'])(.*)\1$", r"\2", typed(symbol))
    return _STATED.sub("", re.sub(r"^(?:no\.?|#|sg\.?)\s*(?=\d)", "", text.strip(), flags=re.IGNORECASE))


def _key(text: str) -> str:
    return re.sub(r"[\s_]", "", text).lower()


@cache
def _hall_symbols() -> dict[str, int]:
    """Return numbers by Hall's symbol, without those that everyone reads as another (``C 2``)."""
    import gemmi

    table = list(gemmi.spacegroup_table())
    monoclinic = {one.hm.replace(" 1", "").lower() for one in table if one.number in range(3, 16)}
    return {one.hall.lower(): one.number for one in table if one.hall.lower() not in monoclinic}


def _number(text: str) -> int | None:
    if len(text) > _LONGEST:
        return None
    # the Protein Data Bank has H for R on hexagonal axes
    found, by_hall = group_of_symbol(re.sub(r"^H(?= ?-?3)", "R", text)), _hall_symbols().get(text.lower())
    if found and by_hall not in {None, found}:
        raise InputError(
            f"space_group: {quoted(text)} is no. {found} or, as Hall's symbol, no. {by_hall}; give a number."
        )
    return found or by_hall


def _standard_keys(number: int) -> set[str]:
    """Return the standard symbol, short, and in full as ``F 4/m -3 2/m`` or ``P 1 21/c 1``."""
    from moyopy import SpaceGroupType

    group = SpaceGroupType(number)
    return {_key(group.hm_short), _key(group.hm_full)}


def _wrong(text: str) -> str:
    """Return what is wrong with a symbol, and what would be right."""
    from difflib import get_close_matches

    if system := _SYSTEMS.get(text.lower()):
        return f"is a crystal system; write space_group={system}"
    if _SCHOENFLIES.fullmatch(text.replace(" ", "")):
        return "is a Schoenflies symbol, which is not read; write the Hermann-Mauguin symbol (Fm-3m) or 225"
    standard = {_key(standard_symbol(n)): n for n in range(1, N_GROUPS + 1)}
    close = [] if text.isdigit() else get_close_matches(_key(text[:_LONGEST]), standard, n=2, cutoff=0.6)
    meant = " or ".join(f"{standard_symbol(standard[one])} ({standard[one]})" for one in close)
    hint = f"did you mean {meant}? Give" if meant else "give"
    return f"is none of the 230; {hint} a number, a range 195..206 or a symbol (Pnma)"
