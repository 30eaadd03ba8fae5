"""How people write formulas: read where there is one meaning, else refused with what to write instead."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN
from invdesign.errors import InputError, quoted

LONGEST_FORMULA = 1_000  # characters

_AMOUNT = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PIECE = re.compile(rf"[A-Z][a-z]?{_AMOUNT}?|{_AMOUNT}|[(\[{{].*")
_CHARGED = "has a charge; give the neutral compound, such as Na2SO4"
_UP = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_MIXED = re.compile(r"\d\s*[¼-¾⅐-⅞]")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | {"⁄": "/", "∕": "/"})
_SUBSCRIPT = re.compile(r"<sub>([^<]*)</sub>|\$?_\{([^{}]*)\}\$?|\$?_([\d.x]+)\$?|\$")

_ROMAN = r"(?:I{1,3}|IV|VI{0,3})"
_STATE = re.compile(
    rf"(?<=[A-Za-z\d\])])\s*\(\s*(?:[+-]?{_ROMAN}(?:\s*[,/]\s*{_ROMAN})*[+-]?|[+-]?\d{{1,2}}[+-]?)\s*\)",
    re.IGNORECASE,
)
_WORD = r"[^\W\d_]*[a-z]{3,}[a-z\d ]*"  # three small letters in a row are no elements
_GREEK = "αβγδεζηθικλ"
_PREFIX = re.compile(
    rf"((?:[{_GREEK}]|[a-z]{{1,2}}|\d{{1,2}}[CHRT]['′]?|{_WORD})['′]?\d?)\s*-\s*(?=[A-Z(\[])"
)
_FIRST_WORD = re.compile(rf"({_WORD}?)\s+(?=[A-Z(\[])")
_LAST_WORD = re.compile(rf"[\s_-]+({_WORD}|[αβγκθ]|\d{{1,2}}[CHRT])$")
_LAST_BRACKET = re.compile(r"\s*\(([^()]+)\)$")

_LETTER = "(?:delta|[xyzuvwnmdδε])"
_VARIABLE = re.compile(
    rf"[-+±]\s*{_AMOUNT}?({_LETTER})(?![a-zα-ω])|(?<=[\d)\]}}·•⋅∙*.(])({_LETTER})(?![a-zα-ω])"
)
_AFTER_SYMBOL = re.compile(rf"([A-Z][a-z]?)({_LETTER})(?![a-z])|([A-Z])([xyzuvwnmdδε])(?![a-z])")
_SYSTEM = re.compile(r"[A-Z][a-z]?(?:\s*-\s*[A-Z][a-z]?)+")
_CHARGE = re.compile(r"\^|\+|\d*-$")

_SEPARATOR = re.compile(r"\s*[·•⋅∙・*×]\s*|\s*x\s*(?=\d+\s*H2O)|(?<=[A-Za-z\d)\]])\.(?=[A-Z(\[])")
_MOLECULE = "(?:[HD]2O|N[HD]3|N2H4|CO2|HF|HCl|CH3OH|C2H5OH)"
_DOTTED_MOLECULE = re.compile(rf"(?<=[A-Za-z\d)\]])\.(?={_AMOUNT}{_MOLECULE}$)")
_PART = re.compile(rf"({_AMOUNT}(?:/\d+)?)?\s*(\S.*)")
_ONE_ELEMENT = re.compile(r"(?<=[A-Za-z\d\])])\s*\(([A-Z][a-z]?)\)$")
_CAPITALS = re.compile("(?:DY|T[BCHI])(?![a-z])")  # D and T before a symbol of one letter, or an element
_TWO_NUMBERS = re.compile(r"\d\.?\s+\.?\d")
_TWO_WAYS = re.compile(r"([A-Z][a-z]?|[)\]}])([1-9]\d*)?\.([1-9]\d*)(?=[A-Z(\[])")


def plain_formula(formula: str) -> str:
    """Return a formula of elements, amounts and brackets alone; a hydrate's water in brackets.

    Raises:
        InputError: a charge, an oxidation state, a variable, a name, several formulas, two meanings.
    """
    if len(formula) > LONGEST_FORMULA:
        raise InputError(
            f"formula: {quoted(formula)} is longer than {LONGEST_FORMULA} characters; shorten it."
        )
    text = "".join(c for c in formula if unicodedata.category(c) != "Cf")  # marks that are not seen
    if any(c in _UP for c in text):
        if text[0] in _UP:
            raise _refused(formula, "names an isotope; write the element (D and T are read as H)")
        raise _refused(formula, _CHARGED)
    if _MIXED.search(text):
        raise _refused(formula, "has a whole number and a fraction together; write 1.5, say")
    text = _SUBSCRIPT.sub(lambda match: "".join(filter(None, match.groups())), text)
    text = unicodedata.normalize("NFKC", text).translate(_DASHES).strip()
    _check(text, formula)
    _refuse_two_meanings(text, formula)
    parts = _SEPARATOR.split(text)
    if len(parts) == 1 and (dot := _DOTTED_MOLECULE.search(text)):
        parts = [text[: dot.start()], text[dot.end() :]]
        if re.search(r"[A-Za-z)\]][01]$", parts[0]):
            raise _refused(formula, "is a fraction or a hydrate; write the water in brackets, Na(H2O)5")
    elif two := next((match for match in _TWO_WAYS.finditer(text) if _repeated(match, text)), None):
        raise _refused(
            formula,
            f"is a fraction or two compounds at {two[0]!r}; write the second in brackets, Al2O3(SiO2)3",
        )
    if len(parts) == 1:
        return _joined(text, formula)
    return "".join(_bracketed(part, formula) for part in parts)


def _refused(formula: str, why: str) -> InputError:
    return InputError(f"formula: {quoted(formula)} {why}.")


def _check(text: str, formula: str) -> None:
    """Refuse what formulas are decorated with.

    Raises:
        InputError: a charge, an oxidation state, a variable, a name, several formulas.
    """
    if _STATE.search(text):
        raise _refused(
            formula,
            "looks like an oxidation state in brackets; leave it out (I and V go without brackets)",
        )
    if variable := _variable(text):
        raise _refused(
            formula, f"has the variable {variable}; write a number in its place, such as Li0.5CoO2"
        )
    if _SYSTEM.fullmatch(text):
        raise _refused(formula, "is a chemical system, no formula; write amounts, such as LiFeO2")
    bracket = _LAST_BRACKET.search(text)
    if bracket and bracket.start() and not _of_elements(bracket[1]):
        raise _refused(formula, f"has a name in it; leave out {quoted(bracket[0].strip())}")
    if match := _PREFIX.match(text) or _FIRST_WORD.match(text) or _LAST_WORD.search(text):
        raise _refused(formula, f"has a name in it; leave out {quoted(match[1].strip())}")
    if _CHARGE.search(text):
        raise _refused(formula, _CHARGED)
    if ":" in text:
        raise _refused(formula, "names a dopant; give the compound alone, or all amounts: Ca0.9Eu0.1F2")
    if re.search(r"[,;&|]|[A-Za-z)\]\d]/[A-Z]", text):
        raise _refused(formula, "is several; write one a line")


def _refuse_two_meanings(text: str, formula: str) -> None:
    """Refuse a phase's letter in brackets, ``TIO2``, an amount in two pieces.

    Raises:
        InputError: one of them is there.
    """
    if bracket := _ONE_ELEMENT.search(text):
        raise _refused(
            formula, f"ends with an element or a name in brackets; leave out the brackets or {bracket[1]}"
        )
    if pair := _CAPITALS.search(text):
        raise _refused(
            formula, f"has {pair[0]}; write {pair[0].capitalize()}, or H for deuterium and tritium"
        )
    if numbers := _TWO_NUMBERS.search(text):
        raise _refused(formula, f"has two numbers at {numbers[0]!r}; write one, or CuSO4·5H2O")


def _variable(text: str) -> str:
    """Return the letter that stands for an amount; empty where there is none."""
    if match := _VARIABLE.search(text):
        return match[1] or match[2]
    for match in _AFTER_SYMBOL.finditer(text):
        symbol, letter = (match[1], match[2]) if match[1] else (match[3], match[4])
        if symbol in ATOMIC_NUMBER and symbol + letter not in ATOMIC_NUMBER:
            return letter
    return ""


def _of_elements(text: str) -> bool:
    """Whether a text is of symbols, amounts and spaces."""
    symbols = re.findall(r"[A-Z][a-z]?", text)
    return bool(re.fullmatch(rf"(?:\s*[A-Z][a-z]?{_AMOUNT}?)+\s*", text)) and {*symbols} <= {
        *ATOMIC_NUMBER,
        *HEAVY_HYDROGEN,
    }


def _repeated(match: re.Match[str], text: str) -> bool:
    """Whether an element that has a fraction stands again behind it, outside of brackets."""
    behind = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", text[match.end() :])
    before = [match[1]] if match[1].isalpha() else re.findall(r"[A-Z][a-z]?", text[: match.start()])
    return not {*before}.isdisjoint(re.findall(r"[A-Z][a-z]?", behind))


def _joined(part: str, formula: str) -> str:
    """Return a part without its spaces.

    Raises:
        InputError: they divide several formulas.
    """
    pieces = [piece for piece in part.split(" ") if piece]
    if len(pieces) > 1 and not all(_PIECE.fullmatch(piece) for piece in pieces):
        raise _refused(formula, "is several; write one a line")
    return "".join(pieces)


def _bracketed(part: str, formula: str) -> str:
    """Return one compound of a hydrate or adduct in brackets, its number behind them."""
    match = _PART.fullmatch(part.strip())
    if match is None or not match[2][0].isascii() or not (match[2][0].isupper() or match[2][0] in "([{"):
        raise _refused(formula, "has a dot without a compound behind it; write it like CuSO4·5H2O")
    number = match[1] or "1"
    if "/" in number:
        above, below = number.split("/")
        if not int(below[:9]):
            raise _refused(formula, "divides by zero; write it like CaSO4·0.5H2O")
        number = f"{float(Fraction(above) / int(below[:9])):.9f}".rstrip("0")
    return f"({_joined(match[2], formula)}){number}"
