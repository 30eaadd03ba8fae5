"""Words that stand for elements, wherever elements are given: ``lanthanides``, ``toxic``, ``scarce``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from invdesign.composition.supply import TOXIC, scarce
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT, RADIOACTIVE, SYMBOLS

_LANTHANIDES = frozenset(SYMBOLS[57:72])

FAMILIES: dict[str, frozenset[str]] = {
    "alkali": frozenset(["Li", "Na", "K", "Rb", "Cs", "Fr"]),
    "alkaline-earths": frozenset(["Be", "Mg", "Ca", "Sr", "Ba", "Ra"]),
    "lanthanides": _LANTHANIDES,
    "rare-earths": _LANTHANIDES | {"Sc", "Y"},
    "actinides": frozenset(SYMBOLS[89:104]),
    "noble-metals": frozenset(["Ru", "Rh", "Pd", "Ag", "Os", "Ir", "Pt", "Au"]),
    "platinum-group": frozenset(["Ru", "Rh", "Pd", "Os", "Ir", "Pt"]),
    "pnictogens": frozenset(["N", "P", "As", "Sb", "Bi"]),
    "chalcogens": frozenset(["O", "S", "Se", "Te", "Po"]),
    "halogens": frozenset(["F", "Cl", "Br", "I", "At"]),
    "toxic": TOXIC,
    "radioactive": RADIOACTIVE,
    "scarce": scarce(),
    "abundant": frozenset(SYMBOLS[1:]) - scarce(),
}
"""Elements by word: IUPAC's collective names (Red Book 2005, IR-3.5), and those of supply and safety."""

_SEVERAL_WORDS = re.compile(r"\b\w{4,}(?:\s+(?:earth|group|metal|element)s?\b)+", re.IGNORECASE)
_LIKE = (
    *("Na K Rb Cs", "Mg Ca Sr Ba", "Zr Hf", "Nb Ta", "P As Sb Bi", "S Se Te", "Cl Br I"),
    " ".join(FAMILIES["rare-earths"]),
)
_STANDS_FOR = {symbol: max(group.split()) for group in _LIKE for symbol in group.split()}


def _key(word: str) -> str:
    """Return what the spellings of a family share: no hyphen, no plural, no ``metals`` or ``elements``."""
    plain = re.sub(r"[\W_]+", "", word.lower()).replace("anoid", "anide").replace("inoid", "inide")
    return re.sub(r"(?:metal|element)?s?$", "", plain)


_BY_KEY = {_key(name): name for name in FAMILIES}


def family(word: str) -> str | None:
    """Return the family that a word such as ``Rare_Earth`` or ``lanthanoids`` means; None: none."""
    return _BY_KEY.get(_key(word))


def one_word_each(text: str) -> str:
    """Return a list of elements with the words of a name joined: ``rare-earths`` for ``rare earths``."""
    return _SEVERAL_WORDS.sub(lambda name: "-".join(name[0].split()), text)


def members(words: Iterable[str], without: frozenset[str] = EXCLUDED_BY_DEFAULT) -> frozenset[str]:
    """Elements of symbols and families; of a family none that is in ``without``."""
    return frozenset().union(*(FAMILIES[word] - without if word in FAMILIES else {word} for word in words))


def like_for_like(symbols: Iterable[str]) -> dict[str, str]:
    """Return for each element of a compound the one that stands for all that are like it.

    Alike are the members of a family but its first, whose chemistry differs. Two that are alike in one
    compound stay what they are.
    """
    stands_for = {symbol: _STANDS_FOR.get(symbol, symbol) for symbol in symbols}
    once = Counter(stands_for.values())
    return {symbol: other if once[other] == 1 else symbol for symbol, other in stands_for.items()}


def in_words(symbols: frozenset[str], understood: frozenset[str]) -> list[str]:
    """Return symbols, sorted, with a family's name in place of all its members, largest families first.

    Args:
        symbols: to be listed.
        understood: elements that need not be listed: of a family they may be missing.
    """
    found = []
    for name, elements in sorted(FAMILIES.items(), key=lambda one: -len(one[1])):
        if name != "abundant" and len(elements & symbols) > 1 and elements <= symbols | understood:
            found.append(name)
            symbols -= elements - EXCLUDED_BY_DEFAULT
    return sorted(symbols) + sorted(found)
