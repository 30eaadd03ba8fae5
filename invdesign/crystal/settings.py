"""Settings of space groups: the operators that a Hermann-Mauguin or Hall symbol or an operator list means.

gemmi's table has the 530 settings of the International Tables and 34 more. A symbol may leave the setting
open: the origin choice, hexagonal or rhombohedral axes, the unique axis. :func:`settings_of` then gives all
that it can mean; the cell and the file's other statements decide.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import quoted

if TYPE_CHECKING:
    import gemmi

N_HALL = 530
MAX_OPERATORS = 1000
"""A list of operators has 192 at most in a conventional cell, and some times more in a supercell."""

ON_POSITION = 1e-4
"""Fraction of a cell edge; a site less than this off its special position is left where it is."""

_ROUNDED = 0.005  # of a translation with two digits
_EDGES, _ANGLES = 1e-3, 0.1  # relative, degrees: how exactly a cell must keep its symmetry
# "S" and "Z" (standard, centre) are the origin choices of old databases
_ORIGIN = {"s": "1", "z": "2", "o1": "1", "o2": "2", "hr": "h", "hs": "h", "rs": "r"}
_SUFFIX = re.compile(r"(?:o?[12]|[hrsz]|-?[abc]\d|[hr][rs]|[12]?(?:cab|bca|ba-c|-cba|a-cb)|[abc])$")
_STATED = re.compile(r"[\s(]+(?:no\.?|#)?\s*(\d{1,3})\)$|\s*(?:no\.?|#)\s*(\d{1,3})$", re.IGNORECASE)
_DECIMAL = re.compile(r"\d*\.\d+")
_UNIQUE_AXES = "bca"  # in the order in which a symbol that names none is read
_MONOCLINIC = range(3, 16)
_CUBIC = range(195, 231)


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group in one setting.

    Attributes:
        name: Hermann-Mauguin symbol, with the origin choice or axes where there are several; "" if unknown.
        rotations: (n, 3, 3) acting on columns of fractional coordinates.
        translations: (n, 3) in [0, 1).
    """

    name: str
    number: int
    rotations: np.ndarray
    translations: np.ndarray

    def keeps(self, metric: np.ndarray) -> bool:
        """Whether the symmetry keeps a cell, given its metric tensor (3, 3) in Å²."""
        turned = np.einsum("nji,jk,nkl->nil", self.rotations, metric, self.rotations)
        edges, angles = _parameters(metric[None])
        other_edges, other_angles = _parameters(turned)
        return bool(
            (np.abs(other_edges / edges - 1) < _EDGES).all()
            and (np.abs(other_angles - angles) < _ANGLES).all()
        )

    def same_operators(self, other: Setting) -> bool:
        """Whether the two are one group in one setting."""
        return _operator_keys(self) == _operator_keys(other)


def _operator_keys(setting: Setting) -> set[tuple[int, ...]]:
    translations = np.rint(setting.translations * 24).astype(int) % 24
    rotations = np.rint(setting.rotations).astype(int).reshape(-1, 9)
    return set(map(tuple, np.hstack([rotations, translations]).tolist()))


def _parameters(metrics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (n, 3) in Å and angles (n, 3) in degrees of metric tensors (n, 3, 3)."""
    edges = np.sqrt(np.einsum("nii->ni", metrics))
    i, j = [1, 0, 0], [2, 2, 1]
    cosines = metrics[:, i, j] / (edges[:, i] * edges[:, j])
    return edges, np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def settings_of(symbol: str, number: int | None = None, code: str | None = None) -> list[list[Setting]]:
    """What a Hermann-Mauguin symbol can mean, in groups of equal right, the most usual reading first.

    Spaces, underscores, parentheses and case do not matter; short, full, extended and old symbols are known,
    a suffix (``:2``, ``:R``, ``Z``, ``:cab``) names the setting.

    Args:
        symbol: such as ``F d -3 m Z``, ``P21/n``, ``F 4/m -3 2/m``, ``R-3m:H``.
        number: of the space group in the International Tables; readings of another are left out.
        code: of the coordinate system in the International Tables, as a suffix has it.

    Returns:
        Nothing for an unknown symbol.
    """
    if stated := _STATED.search(symbol):  # Pnma (62)
        symbol, said = symbol[: stated.start()], int(stated[1] or stated[2])
        if number not in {None, said}:
            return []
        number = said
    name, suffix = _split(_plain(symbol))
    wanted = [mark for mark in (suffix, code and _plain(code)) if mark]
    levels: dict[int, list[Setting]] = defaultdict(list)
    for level, entry in _names().get(name, []):
        if (number is None or entry.number == number) and all(_has(entry, mark) for mark in wanted):
            levels[level].append(_table_setting(entry.hall))
    return [list(dict.fromkeys(levels[level])) for level in sorted(levels)]


def settings_of_number(number: int, code: str | None = None) -> list[list[Setting]]:
    """What the number of a space group can mean: its standard setting, in either origin or axes.

    Returns:
        As :func:`settings_of`; nothing for a number outside 1 to 230.
    """
    import gemmi

    levels: dict[int, list[Setting]] = defaultdict(list)
    for entry in gemmi.spacegroup_table():
        standard = entry.is_reference_setting() or (entry.ext in {"1", "H", "R"} and not entry.qualifier)
        if entry.number == number and (_has(entry, _plain(code)) if code else standard):
            levels[0].append(_table_setting(entry.hall))
        elif entry.number == number and not code and entry.qualifier in {"c", "c1"}:
            levels[1].append(_table_setting(entry.hall))
    return [levels[level] for level in sorted(levels)]


def setting_of_hall(symbol: str) -> Setting | None:
    """Return the setting that a Hall symbol names; None if it is no Hall symbol."""
    try:
        return _table_setting(symbol.strip().replace("=", '"').replace("''", '"'))
    except (RuntimeError, ValueError):
        return None


def centred(operators: Sequence[str], centring: Sequence[str]) -> list[str]:
    """Return all products of operators with centring translations, each such as ``x+1/2, y, z``.

    Raises:
        ValueError: one is no symmetry operator.
    """
    shifts = [_operator(text) for text in centring]
    return [(shift * _operator(text)).wrap().triplet() for shift in shifts for text in operators]


def group_of_symbol(symbol: str) -> int | None:
    """Return the number of the space group that a Hermann-Mauguin symbol means; None if it is none.

    Where a symbol is one of the 530 settings and one of the others too (``B 2``), it is that of the 530.
    """
    name, suffix = _split(_plain(symbol))
    entries = [entry for _, entry in _names().get(name, [])]
    if suffix and not (":" in symbol and _SUFFIX.fullmatch(suffix)):
        entries = [entry for entry in entries if _has(entry, suffix)]
    return int(entries[0].number) if entries else None


def names_setting(symbol: str) -> bool:
    """Whether a symbol has a suffix that names its setting, such as ``:2`` or ``Z``."""
    return _split(_plain(symbol))[1] is not None


@lru_cache(maxsize=512)
def setting_of_operators(operators: tuple[str, ...]) -> Setting:
    """Return the setting of a complete list of operators such as ``-x, y+1/2, z``, in their order.

    Raises:
        ValueError: one is no symmetry operator, or they are no group; a sentence without its end.
    """
    import gemmi

    parsed = list({operator.triplet(): operator for operator in map(_operator, operators)}.values())
    group = gemmi.GroupOps(parsed)
    if not _is_group(group, {operator.triplet() for operator in parsed}):
        raise ValueError(f"the {len(operators)} symmetry operators are not the whole of a group")
    entry = gemmi.find_spacegroup_by_ops(group)
    rotations, translations = _arrays(parsed)
    number = entry.number if entry else _number(rotations, translations)
    return Setting(entry.xhm() if entry else "", number, rotations, translations)


def orbit_of(position: np.ndarray, setting: Setting, matrix: np.ndarray, blur: float) -> np.ndarray:
    """Return the distinct images (m, 3) of a site, in the order of the operators, in [0, 1).

    Images within ``blur`` of one another are one atom: the site is moved onto its special position if it is
    more than :data:`ON_POSITION` off.

    Args:
        position: fractional, (3,).
        setting: of the space group.
        matrix: cell vectors (3, 3), Å.
        blur: how far apart rounded coordinates put what is one atom, Å.
    """
    special = position
    stabilizer = np.zeros(len(setting.rotations), bool)
    while True:
        images: np.ndarray = setting.rotations @ special + setting.translations
        gaps = images - special
        gaps -= np.rint(gaps)
        near = np.linalg.norm(gaps @ matrix, axis=1) < blur
        if (near <= stabilizer).all():
            break
        stabilizer |= near
        special = special + gaps[stabilizer].mean(axis=0)
    if stabilizer.sum() == 1:
        return images % 1
    gaps = images[:, None] - images
    gaps -= np.rint(gaps)
    same = np.einsum("ijk,ijk->ij", gaps, gaps) < ON_POSITION**2
    first = same.argmax(axis=1) == np.arange(len(images))
    moved = special if np.abs(special - position).max() > ON_POSITION else position
    orbit: np.ndarray = setting.rotations[first] @ moved + setting.translations[first]
    return orbit % 1


def _is_group(group: gemmi.GroupOps, listed: set[str]) -> bool:
    """Whether all products of the operators are among those listed, as triplets."""
    centring = {tuple(vector) for vector in group.cen_ops}
    sums = {
        tuple((a + b) % 24 for a, b in zip(one, two, strict=True)) for one in centring for two in centring
    }
    try:
        group.add_missing_elements()
    except RuntimeError:
        return False
    return sums == centring and {operator.wrap().triplet() for operator in group} == listed


def _operator(text: str) -> gemmi.Op:
    import gemmi

    try:
        axes = ",".join(text.lower().split(",")[:3])
        operator = gemmi.Op(_DECIMAL.sub(_in_24ths, axes)).wrap()
    except RuntimeError as error:
        raise ValueError(f"{quoted(text)} is no symmetry operator") from error
    rotation = np.array(operator.rot)
    if (rotation % 24).any() or abs(round(np.linalg.det(rotation / 24))) != 1:
        raise ValueError(f"{quoted(text)} is no symmetry operator")
    return operator


def _in_24ths(decimal: re.Match[str]) -> str:
    """Return a rounded number such as 0.67 as a fraction; what is near none, as it is."""
    parts = round(24 * float(decimal[0]))
    return f"{parts}/24" if abs(parts / 24 - float(decimal[0])) < _ROUNDED else decimal[0]


def _arrays(operators: Sequence[gemmi.Op]) -> tuple[np.ndarray, np.ndarray]:
    rotations = np.array([operator.rot for operator in operators]) / 24
    return rotations, np.array([operator.tran for operator in operators]) / 24 % 1


def _number(rotations: np.ndarray, translations: np.ndarray) -> int:
    """Return the space group's number of a setting that no table has: that of a crystal built with it."""
    import moyopy

    shape = np.array([[1.0, 0.1, 0.2], [0.1, 1.3, 0.3], [0.2, 0.3, 1.7]])
    metric = np.einsum("nji,jk,nkl->il", rotations, shape, rotations) / len(rotations)
    general = np.array([[0.123, 0.287, 0.411], [0.058, 0.171, 0.337], [0.229, 0.094, 0.463]])
    sites = np.concatenate([rotations @ x + translations for x in general])
    kinds = np.repeat([1, 2, 3], len(rotations))
    cell = moyopy.Cell((np.linalg.cholesky(metric) * 20).tolist(), (sites % 1).tolist(), kinds.tolist())
    return int(moyopy.MoyoDataset(cell, symprec=1e-3).number)


@lru_cache(maxsize=1024)
def _table_setting(hall: str) -> Setting:
    import gemmi

    group = gemmi.symops_from_hall(hall)
    entry = gemmi.find_spacegroup_by_ops(group)
    rotations, translations = _arrays(list(group))
    number = entry.number if entry else _number(rotations, translations)
    return Setting(entry.xhm() if entry else "", number, rotations, translations)


def typed(symbol: str) -> str:
    """Return a symbol in ASCII: subscripts, dashes, bars and marks of LaTeX as they are typed."""
    text = unicodedata.normalize("NFKC", symbol)
    text = re.sub(r"(\d)[\u0304\u0305]", r"-\1", text)
    text = re.sub(r"\\(?:bar|overline)\s*\{?\s*(\d)\s*\}?", r"-\1", text)
    text = re.sub(r"[${}_]", "", text.translate(dict.fromkeys(map(ord, "‐‑‒–—−"), "-")))
    return " ".join(text.split())


def _plain(symbol: str) -> str:
    """Symbol as typed, in small letters without spaces and parentheses."""
    symbol = typed(symbol).lower().replace("origin choice", ":").replace("origin", ":")
    return re.sub(r"[\s(),]", "", symbol)


def _split(plain: str) -> tuple[str, str | None]:
    """Symbol without the suffix that names its setting, and the suffix."""
    if plain.startswith("h") and "r" + plain[1:] in _names():
        return "r" + plain[1:], "h"
    name, colon, suffix = plain.partition(":")
    if colon:
        return name, _ORIGIN.get(suffix, suffix)
    if name not in _names() and (found := _SUFFIX.search(name)) and name[: found.start()] in _names():
        return name[: found.start()], _ORIGIN.get(found[0], found[0])
    return name, None


def _has(entry: gemmi.SpaceGroup, mark: str) -> bool:
    """Whether a setting is the one that a suffix or code names."""
    extension = "" if entry.ext == "\0" else entry.ext.lower()
    qualifier = entry.qualifier.removeprefix("abc")
    return mark.removesuffix("abc") in {extension, qualifier, extension + qualifier}


@lru_cache(maxsize=1)
def _names() -> dict[str, list[tuple[int, gemmi.SpaceGroup]]]:
    """All spellings of the table's settings, with the level at which each is read so."""
    import gemmi

    full, short = _modern_symbols()
    names: dict[str, dict[tuple[str, str], tuple[int, gemmi.SpaceGroup]]] = defaultdict(dict)
    for entry in gemmi.spacegroup_table():
        spellings = dict(_spellings(entry, full.get(entry.hall), short.get(entry.hall)))
        for spelling, level in spellings.items():
            names[_plain(spelling)].setdefault((entry.hall, entry.qualifier), (level, entry))
    return {name: list(entries.values()) for name, entries in names.items()}


def _spellings(entry: gemmi.SpaceGroup, full: str | None, short: str | None) -> Iterator[tuple[str, int]]:
    symbols = [entry.hm]
    if full and short and entry.number not in _MONOCLINIC:
        symbols += [full, short]
    yield from ((symbol, 0) for symbol in symbols)
    if entry.number in _MONOCLINIC:
        axis = _UNIQUE_AXES.index(str(entry.monoclinic_unique_axis()))
        yield "".join(part for part in entry.hm.split() if part != "1"), axis
    if entry.number in _CUBIC:
        yield from ((symbol.replace("-3", "3"), 0) for symbol in symbols)


def _modern_symbols() -> tuple[dict[str, str], dict[str, str]]:
    """Full and short Hermann-Mauguin symbols (since 1992 with "e") by gemmi's Hall symbol."""
    import moyopy

    full, short = {}, {}
    for number in range(1, N_HALL + 1):
        entry = moyopy.HallSymbolEntry(number)
        hall = entry.hall_symbol.replace("=", '"')
        full[hall], short[hall] = entry.hm_full, entry.hm_short
    return full, short
