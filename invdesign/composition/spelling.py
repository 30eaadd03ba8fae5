"""How people write formulas: read where there is one meaning, else refused with what to write instead."""

from __future__ import annotations

import re
import unicodedata
import warnings
from fractions import Fraction

from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN, RADIOACTIVE
from invdesign.errors import InputError, ReadAs, quoted

LONGEST_FORMULA = 1_000  # characters

_AMOUNT = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PIECE = re.compile(rf"[(\[{{]*[A-Z][a-z]?{_AMOUNT}?(?:[)\]}}]+{_AMOUNT}?)?|{_AMOUNT}|[(\[{{].*")
_AMOUNT_APART = re.compile(rf"{_AMOUNT}?(?:[A-Z][a-z]?)?{_AMOUNT}?")
_CHARGED = "has a charge; give the neutral compound, such as Na2SO4"
_UP = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_MIXED = re.compile(r"\d\s*[¼-¾⅐-⅞]")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | {"⁄": "/", "∕": "/"})
_SUBSCRIPT = re.compile(r"<sub>([^<]*)</sub>|\$?_\{([^{}]*)\}\$?|\$?_([\d.x]+)\$?|~([\d.]+)~|\$")
_LATEX = re.compile(r"\$?\\(?:ce|mathrm|text|rm)\s*\{(.*)\}\$?")
_QUOTED = re.compile(r"([\"'“‘`])(.*)[\"'”’`]")

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
_DASH = re.compile(rf"(?<=[A-Za-z\d)\]}}])\s*-\s*(?={_AMOUNT}?\s*[A-Z(\[])")
_MAPPING = re.compile(rf"\W*(?:([A-Z][a-z]?)[\"']?\s*:\s*({_AMOUNT})\W*)+")
_SOLUTION = re.compile(r"[(\[][^()\[\]]*[A-Za-z\d]\s*[,/]\s*[A-Z][^()\[\]]*[)\]]")

_SEPARATOR = re.compile(r"\s*[·•⋅∙・*×]\s*|\s*x\s*(?=\d+\s*H2O)|(?<=[A-Za-z\d)\]])\.(?=[A-Z(\[])")
_MOLECULE = "(?:[HD]2O|N[HD]3|N2H4|CO2|HF|HCl|CH3OH|C2H5OH)"
_GROUP = rf"(?:{_MOLECULE}|\({_MOLECULE}\)|\[{_MOLECULE}\])"
_TIMES = rf"(?:\d+/\d+|{_AMOUNT})"
_DOTTED = re.compile(
    rf"(?<=[A-Za-z\d)\]}}])(?:\.|\s\.\s*|\.\s+)({_TIMES})\s*({_GROUP})"
    rf"(?=\s*(?:$|[·•⋅∙・*×]|\.\s*{_TIMES}?\s*{_GROUP}))"
)
_END_OF_SALT = re.compile(r"(?:[)\]}]|O|S|Se|Te|F|Cl|Br|I|N|P|As|C|H|B|Si)(?![01]$)\d*$")  # no one writes O1
_MOST_WATER = 30  # beyond it, .75H2O is a fraction as well
_BLANK = re.compile(rf"(?<=[A-Za-z\d)\]}}])(?<!\sx)\s+({_TIMES})\s*({_GROUP})$")
_FRACTION = re.compile(r"([A-Z][a-z]?|[)\]}])(\d{1,9})/(\d{1,9})(?![\d/.])")
_PART = re.compile(rf"({_AMOUNT}(?:/\d+)?)?\s*(\S.*)")
_ONE_ELEMENT = re.compile(r"(?<=[A-Za-z\d\])])\s*\(([A-Z][a-z]?)\)$")
_TRITIUM = re.compile(r"T2O|[HD]TO|T2|DT|LiT|TiT2")
_T = re.compile(r"T(?![a-z])")
_CAPITALS = re.compile(r"[A-Z]+(?![a-z])")
_LONGEST_RUN = 24  # capitals
_MEANT = ATOMIC_NUMBER.keys() - RADIOACTIVE | {"Th", "U"}
_ANOTHER = re.compile(
    "BI|CU|IN|NB|NI|PB|SB|SI|SN|YB|HF(?=[A-Z])|(?<!H)(?<!H\\d)CO(?=\\d?O)(?!COOH)"
)  # two elements that may be one; not carbonates, acids, hydrogen fluorides
_TWO_NUMBERS = re.compile(r"\d\.?\s+\.?\d")
_TWO_WAYS = re.compile(r"([A-Z][a-z]?|[)\]}])([1-9]\d*)?\.([1-9]\d*)(?=[A-Z(\[])")
_ADDUCT = re.compile(r"\.[1-9]\d*[(\[{][^()\[\]{}]*[)\]}]$")


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
    text = _LATEX.sub(lambda match: match[1], text)
    text = _SUBSCRIPT.sub(lambda match: "".join(filter(None, match.groups())), text)
    text = unicodedata.normalize("NFKC", text).translate(_DASHES).strip().rstrip(",; ")
    if wrapped := _QUOTED.fullmatch(text):
        text = wrapped[2].strip()
    text = _with_middle_dots(text, formula)
    text = _FRACTION.sub(lambda match: _decimal(match, formula), text)
    _check(text, formula)
    _check_signs(text, formula)
    _refuse_two_meanings(text, formula)
    parts = _SEPARATOR.split(text)
    for part in parts:
        if two := next((match for match in _TWO_WAYS.finditer(part) if _repeated(match, part)), None):
            raise _two_compounds(formula, two[0])
        if (adduct := _ADDUCT.search(part)) and _compound(part[: adduct.start()]):
            raise _two_compounds(formula, adduct[0])
    if len(parts) == 1 and not (text[:1].isdigit() and len(re.findall("[A-Z]", text)) > 1):
        return _joined(text, formula)
    return "".join(_bracketed(part, formula) for part in parts)


def capitalised(text: str) -> str:
    """Return ``PbTiO3`` for ``PBTIO3``; empty where the capitals make no elements."""
    runs = [_in_symbols(run[0]) for run in _CAPITALS.finditer(text) if run[0]]
    if not all(runs):
        return ""
    left = iter(runs)
    return _CAPITALS.sub(lambda run: "".join(next(left)) if run[0] else "", text)


def report_another_meaning(formula: str) -> None:
    """Say how a formula in capitals is read where two of them may be one element: ``HFO2``, ``INSB``."""
    letters = re.findall("[A-Z]", formula)
    if len(letters) > 2 and _ANOTHER.search(formula):
        meant = _ANOTHER.sub(lambda pair: pair[0].capitalize(), formula)
        symbols = ", ".join(dict.fromkeys(letters))
        warnings.warn(
            f"formula: {quoted(formula)} is read as {symbols}; write {quoted(meant)} if that is meant.",
            ReadAs,
            stacklevel=1,
        )


def _in_symbols(capitals: str) -> list[str]:
    """Return the elements that capitals spell, of two letters where possible; empty where they spell none."""
    if len(capitals) > _LONGEST_RUN:
        return []
    for length in (2, 1):
        symbol, rest = capitals[:length].capitalize(), capitals[length:]
        if symbol in _MEANT and len(capitals) >= length:
            if not rest:
                return [symbol]
            if behind := _in_symbols(rest):
                return [symbol, *behind]
    return []


def _with_middle_dots(text: str, formula: str) -> str:
    """Return ``CuSO4·5H2O`` for ``CuSO4.5H2O`` and ``CuSO4.5(H2O)``, but ``Li0.5(H2O)`` as it is.

    Raises:
        InputError: it is either.
    """
    done = 0
    while match := _DOTTED.search(text, done):
        number, group = match.groups()
        before = _SEPARATOR.split(text[: match.start()])[-1]
        whole = number.isdigit()
        fraction = before.isdigit() or (
            whole and group[0] in "([" and re.search(r"(?<!\d)0$|^[A-Z][a-z]?\d*$", before)
        )
        if whole and not fraction and not (_compound(before) and _may_count(number)):
            raise _refused(formula, "is a fraction or a hydrate; write the water in brackets, Na(H2O)5")
        head = text[: match.start()] + (match[0] if fraction else f"·{number}{group}")
        text, done = head + text[match.end() :], len(head)
    return text


def _may_count(number: str) -> bool:
    return number[0] != "0" and int(number) <= _MOST_WATER


def _compound(before: str) -> bool:
    """Whether a text is of several elements in whole numbers, the last no metal: a dot may end it."""
    several = len(re.findall("[A-Z]", before)) > 1
    return several and "." not in before and bool(_END_OF_SALT.search(before))


def _decimal(match: re.Match[str], formula: str) -> str:
    """Return an amount that is a fraction as a decimal.

    Raises:
        InputError: it divides by zero, or is the end of one formula and the begin of another.
    """
    if not int(match[3]):
        raise _refused(formula, "divides by zero; write Ba0.5Sr0.5TiO3")
    part = Fraction(int(match[2]), int(match[3]))
    behind = match.string[match.end() :]
    if part.denominator == 1 or (behind and match[1] == "O") or _repeated(match, match.string):
        raise _refused(formula, "is several or has a fraction; write one a line, or Ba0.5Sr0.5TiO3")
    return match[1] + _digits(part)


def _digits(part: Fraction) -> str:
    return f"{float(part):.9f}".rstrip("0").rstrip(".")


def _two_compounds(formula: str, where: str) -> InputError:
    return _refused(
        formula,
        f"is a fraction or two compounds at {where!r}; write the second in brackets, Al2O3(SiO2)3",
    )


def _refused(formula: str, why: str) -> InputError:
    return InputError(f"formula: {quoted(formula)} {why}.")


def _check(text: str, formula: str) -> None:
    """Refuse what formulas are decorated with.

    Raises:
        InputError: an oxidation state, a variable, a name, a chemical system.
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


def _check_signs(text: str, formula: str) -> None:
    """Refuse what is written between elements and between formulas.

    Raises:
        InputError: a charge, a dash, a dopant, amounts as a table, a solid solution, several formulas.
    """
    if _CHARGE.search(text):
        raise _refused(formula, _CHARGED)
    if _DASH.search(text):
        raise _refused(formula, "has a dash; write 0.5Li2O·0.5B2O3 for two compounds, O1.95 for O2-0.05")
    if _MAPPING.fullmatch(text):
        pairs = re.findall(rf"([A-Z][a-z]?)\W*({_AMOUNT})", text)
        raise _refused(formula, f"is a table of amounts; write {quoted(''.join(map(''.join, pairs)))}")
    if ":" in text:
        raise _refused(formula, "names a dopant; give the compound alone, or all amounts: Ca0.9Eu0.1F2")
    if solution := _SOLUTION.search(text):
        raise _refused(
            formula, f"is a solid solution at {quoted(solution[0])}; give each amount, (Ba0.5Sr0.5)TiO3"
        )
    if re.search(r"\d,\d", text):
        raise _refused(formula, "has a decimal comma; write a point, Al1.5O3")
    if re.search(r"[,;&|]|[A-Za-z)\]\d]/[A-Z]", text):
        raise _refused(formula, "is several; write one a line")


def _refuse_two_meanings(text: str, formula: str) -> None:
    """Refuse a phase's letter in brackets, ``TIO2``, a hydrate without its dot, an amount in two pieces.

    Raises:
        InputError: one of them is there.
    """
    if bracket := _ONE_ELEMENT.search(text):
        raise _refused(
            formula, f"ends with an element or a name in brackets; leave out the brackets or {bracket[1]}"
        )
    if "DY" in text:
        raise _refused(formula, "has DY; write Dy, or H for deuterium")
    if _T.search(text) and not _TRITIUM.fullmatch(text):
        meant = capitalised(text)
        instead = f"write {quoted(meant)}" if meant else "write the element that is meant, such as Ti"
        raise _refused(formula, f"has T; {instead}, or H for tritium")
    if water := _BLANK.search(text):
        hydrate = f"{text[: water.start()]}·{water[1]}{water[2]}"
        raise _refused(formula, f"looks like a hydrate; write {quoted(hydrate)}")
    if numbers := _TWO_NUMBERS.search(text):
        raise _refused(formula, f"has two numbers at {numbers[0]!r}; write one, or CuSO4·5H2O")


def _variable(text: str) -> str:
    """Return the letter that stands for an amount; empty where there is none."""
    if match := _VARIABLE.search(text):
        return match[1] or match[2]
    if len(text) == 2 and {*text.upper()} <= ATOMIC_NUMBER.keys():
        return ""  # Bn, a misspelt BN
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
        if all(_AMOUNT_APART.fullmatch(piece) for piece in pieces):
            raise _refused(formula, f"has amounts apart from their elements; write {''.join(pieces)}")
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
        number = _digits(Fraction(above) / int(below[:9]))
    return f"({_joined(match[2], formula)}){number}"
