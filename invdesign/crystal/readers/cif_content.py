"""What a CIF's block says of its atoms: numbers, elements, the formula, Z, volume and density.

What is stated of the content of the cell must agree with the cell and the sites.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import hypot, isfinite

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN, element_table
from invdesign.crystal.soundness import MAX_ATOMS
from invdesign.errors import InputError, quoted

CELL = (
    *("cell_length_a", "cell_length_b", "cell_length_c"),
    *("cell_angle_alpha", "cell_angle_beta", "cell_angle_gamma"),
)
"""Names of the cell parameters, without the leading underscore."""
UNKNOWN = {"", "?", "."}
"""Values that say nothing."""

_THIRD = 1e-4  # relative, of a coordinate that is taken as a third
_VOLUME, _DENSITY = 0.01, 0.05  # relative differences between what is stated and what cell and sites give
_VOLUME_ROUNDED = 0.5  # Å³
_AMOUNT = 0.01  # of an element in a formula, which may be rounded to two decimals
_GRAM_PER_CM3 = 1.66053907  # 1 u/Å³
_FRACTION = re.compile(r"([+-]?\d{1,4})\s*/\s*(\d{1,4})")
_LONGEST_FORMULA = 500  # characters
_AMOUNT_OF = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")
_TWO_ELEMENTS = re.compile(
    r"([A-Z][A-Za-z](?![A-Za-z])|[A-Z][a-z]?)(?P<amount>\d*)(?P<between>[-/,|:&+_(.]?)(?P<decimals>\d*)"
    r"(?P<second>[A-Z][A-Za-z]?)(?![A-Za-z])(?P<after>[\d.]*)"
)
_EITHER = set("/,|:&+")
_LETTERED = {"H", "C", "N", "O"}  # followed by single letters that are no elements: H1N, O(W), C1B
_SITE_LETTERS = set("BCF")
_DIGITS = re.compile(r"[^/eEdD]*\.(\d{2,})[^/eEdD]*")
_BLUR, _LEAST_BLUR, _MOST_BLUR = 1.5, 0.04, 0.15  # units of the last digit; Å
_VALENCE = re.compile(r"(?<=^C)val$|(?<=^Si)va$", re.IGNORECASE)  # scattering factors of valence electrons
_FAULTS = {
    r"\0": "it has NUL bytes; give it as text",
    r"\Adata_(?P<what>\S*[ \t]+(?!loop_)[^\s_#].*)": "its name {what} has a blank; write one word",
    r"^_(?P<what>cell_\S+[ \t]+[\d.()]+[ \t]+[^\s#_].*)": "{what} is more than a number; give that alone",
    r"(?P<what>\"{3}|'{3}|^_\S+[ \t]+[\[{])": "it is CIF 2 (triple quotes, lists, tables); give CIF 1.1",
}
_WATER = re.compile(r"H\d+O")  # water as a label


def snap_thirds(positions: np.ndarray) -> np.ndarray:
    """Return fractional coordinates, those near 0.3333 and 0.6667 made thirds, as the symmetry needs them."""
    for third in (1 / 3, 2 / 3):
        positions = np.where(np.abs(positions / third - 1) <= _THIRD, third, positions)
    return positions


def check_content(
    stated: Mapping[str, str], counts: Mapping[str, int], volume: float, where: str, *, heavy: float = 0.0
) -> None:
    """Check the atoms and the volume of a cell against what a block says of them.

    Args:
        stated: values of a block by their names, in small letters, without the leading underscore.
        counts: atoms of each element in the cell.
        volume: Å³.
        where: the file or table row, for error messages.
        heavy: mass of deuterium and tritium beyond hydrogen's, u.

    Raises:
        InputError: formula, number of formula units, volume or density disagree.
    """
    factor = None
    if formula := stated_formula(stated):
        text, amounts = formula
        factor = sum(counts.values()) / sum(amounts.values())
        same = counts.keys() == amounts.keys() and all(
            abs(counts[element] / factor - n) <= _AMOUNT for element, n in amounts.items()
        )
        if not same or abs(factor - round(factor)) > 2 * _AMOUNT * factor:
            raise InputError(
                f"{where}: the sites give {_words(counts)} in the cell, the formula is {text!r}; "
                "give every site with its element and the space group, or the right formula."
            )
    units = number_of(stated.get("cell_formula_units_z"))
    if units is not None and units >= 1:
        whole = factor is None or round(factor) == 1  # pymatgen's formula is that of the cell
        divides = whole and all(n % units == 0 for n in counts.values())
        if not divides and (factor is None or abs(factor - units) > 2 * _AMOUNT * units):
            raise InputError(
                f"{where}: the sites give {_words(counts)} in the cell, and Z is {units:g}"
                f"{f' for the formula {text!r}' if formula else ''}; give the right space group, sites or Z."
            )
    _check_size(stated, counts, volume, heavy, where)


def _words(counts: Mapping[str, int]) -> str:
    return " ".join(f"{element}{n}" for element, n in sorted(counts.items()))


def _check_size(
    stated: Mapping[str, str], counts: Mapping[str, int], volume: float, heavy: float, where: str
) -> None:
    said = number_of(stated.get("cell_volume"))
    if said and abs(said - volume) > max(_VOLUME * volume, _VOLUME_ROUNDED):
        raise InputError(
            f"{where}: the cell parameters give {volume:.2f} Å³, the cell volume is said to be {said:g}; "
            "give the right cell."
        )
    said = number_of(stated.get("exptl_crystal_density_diffrn"))
    if said:
        mass = element_table()["mass"]
        total = heavy + sum(float(mass[ATOMIC_NUMBER[element]]) * n for element, n in counts.items())
        density = total / volume * _GRAM_PER_CM3
        if abs(said - density) > _DENSITY * density:
            raise InputError(
                f"{where}: the sites in the cell give {density:.3g} g/cm³, the density is said to be "
                f"{said:g}; give every site, the right space group and cell, or the right density."
            )


def stated_formula(stated: Mapping[str, str]) -> tuple[str, dict[str, float]] | None:
    """Return the formula that a block states, as text and as amounts, D and T counted as H."""
    for name in ("chemical_formula_sum", "chemical_formula_structural", "chemical_formula_moiety"):
        text = stated.get(name, "").strip().strip("'\"")
        if text not in UNKNOWN and (amounts := _amounts(text)):
            return text, amounts
    return None


@lru_cache(maxsize=1024)
def _amounts(formula: str) -> dict[str, float] | None:
    """Amounts of a plain formula such as ``Mg H2 O2``; None where it is more than that."""
    plain = "".join(formula.split())
    if len(plain) > _LONGEST_FORMULA or not re.fullmatch(r"[A-Za-z0-9.()\[\]]+", plain):
        return None
    if re.sub(_AMOUNT_OF, "", plain):
        return _amounts_in_brackets(plain)
    amounts: dict[str, float] = defaultdict(float)
    for element, amount in _AMOUNT_OF.findall(plain):
        amounts["H" if element in HEAVY_HYDROGEN else element] += float(amount or 1)
    sound = amounts.keys() <= ATOMIC_NUMBER.keys() and all(0 < n < MAX_ATOMS for n in amounts.values())
    return dict(amounts) if sound else None


def _amounts_in_brackets(formula: str) -> dict[str, float] | None:
    from pymatgen.core import Composition

    try:
        return _amounts(Composition(formula).formula)
    except (ValueError, KeyError):
        return None


def number_of(text: str | None) -> float | None:
    """Return a CIF number, such as ``5.64(1)`` or ``1/3``; None for what is none."""
    import gemmi

    if text is None:
        return None
    text = text.strip()
    number = gemmi.cif.as_number(text)
    if isfinite(number):
        return number
    match = _FRACTION.fullmatch(text)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def fault_of_text(text: str) -> str:
    """Return what is wrong with a block that cannot be parsed, if it is a known mistake."""
    for pattern, told in _FAULTS.items():
        if match := re.search(pattern, text, re.MULTILINE):
            what = quoted(" ".join(match["what"].split())) if "what" in match.groupdict() else ""
            return told.format(what=what)
    return ""


def blur_of(coordinates: Sequence[str], edges: Sequence[float]) -> float:
    """Return how far apart (Å) the images of a site on a special position may be by its rounded coordinates.

    Fractions and coordinates of one digit are exact; edges in Å.
    """
    matches = [_DIGITS.fullmatch(text.strip()) for text in coordinates]
    units = [10.0 ** -len(match[1]) if match else 0.0 for match in matches]
    blur = _BLUR * hypot(*(unit * edge for unit, edge in zip(units, edges, strict=True)))
    return min(max(blur, _LEAST_BLUR), _MOST_BLUR)


def element_of_type(symbol: str) -> str | None:
    """Return the element of a type symbol such as ``Fe3+``, ``Fe+3``, ``FE``, ``O2-``, ``D``, ``2H``."""
    symbol = _VALENCE.sub("", symbol)
    match = re.fullmatch(r"\d{0,3}([A-Za-z]{1,2})[\s_]*(?:[\d+.-]*|\([IVX\d+-]+\))", symbol)
    name = match[1].capitalize() if match else ""
    return name if name in ATOMIC_NUMBER.keys() | HEAVY_HYDROGEN else None


def element_of_label(label: str, formula: Mapping[str, float] | None) -> str | None:
    """Return the element that a label such as ``Fe1``, ``FE1``, ``O2A`` names, with the formula's help.

    A label whose letters are more than an element's symbol (``OW1``, ``SiT``, ``NA`` for N) is read only if a
    formula is given, of which the element is a part; the count of atoms then shows whether it was right.
    """
    match = re.match(r"[A-Za-z]+(?:-[A-Za-z]+)?", label)
    letters = match[0].replace("-", "") if match else ""
    pair, single = letters[:2].capitalize(), letters[:1].upper()
    known = [name for name in dict.fromkeys((pair, single)) if name in ATOMIC_NUMBER or name == "D"]
    if letters[:2] == pair and pair in ATOMIC_NUMBER and len(pair) == 2:
        known = [pair]
    if formula:
        heavy = {"D"} if "H" in formula else set()
        return next((name for name in known if name in formula.keys() | heavy), known[0] if known else None)
    return known[0] if known and known[0].lower() == letters.lower() and not _WATER.match(label) else None


def names_two_elements(label: str) -> bool:
    """Whether a label is that of a mixed site: ``Si/Al1``, ``Ca(Sr)1``, ``Mg.5Fe.5``, ``Si1Al``."""
    match = _TWO_ELEMENTS.match(label)
    if match is None:
        return False
    first, second, between = match[1].capitalize(), match["second"], match["between"]
    if between in _EITHER:
        return {first, second.capitalize()} <= ATOMIC_NUMBER.keys()
    if not {first, second} <= ATOMIC_NUMBER.keys() or not (match["amount"] or between):
        return False
    amounts = between == "." and bool(match["decimals"])
    bare = not between and not match["after"]  # Fe1N, as against Na1K1
    return len(second) > 1 or amounts or not (bare or first in _LETTERED or second in _SITE_LETTERS)
