"""From words (clauses, options, YAML) to the fields of :class:`invdesign.core.target.Target`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from math import gcd, inf, isfinite
from typing import Any

from invdesign.composition.families import FAMILIES, family, members, one_word_each
from invdesign.composition.formula import formula_amounts
from invdesign.core.properties import PROPERTIES, STABILITY, Window, known_property
from invdesign.core.target_hints import clause_meant, text_meant
from invdesign.crystal.chemical_formula import chemical_formula
from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN
from invdesign.crystal.space_group_symbols import N_GROUPS, divided, space_group_number
from invdesign.errors import InputError, quoted
from invdesign.io.config import suggest

_LONGEST = 10_000  # characters of a target
_NUMBER = r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,3})?"
_FIRST_UNIT = r"\s*(?P<first>(?!to\b)[A-Za-z][A-Za-z/]{0,20})?"
_UNIT = r"\s*(?P<unit>[A-Za-z][\w/()*·^⁻¹\s-]{0,20})?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER}){_FIRST_UNIT}\s*(?:\.\.+|…|–|to)\s*(?P<high>{_NUMBER}){_UNIT}")
_AROUND = re.compile(rf"(?P<middle>{_NUMBER}){_FIRST_UNIT}\s*(?:±|\+/?-)\s*(?P<half>{_NUMBER}){_UNIT}")
_SINGLE = re.compile(rf"(?P<number>{_NUMBER}){_UNIT}")
_CLAUSE = re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*(?P<sign>[=<>]+)\s*(?P<value>\S.*)", re.DOTALL)
_NEXT_CLAUSE = re.compile(r"(?<![\s,;])[\s,;]++(?=[A-Za-z][\w-]*\s*[=<>≤≥])")
_BETWEEN = re.compile(
    rf"(?<![^\s,;])(?P<end>{_NUMBER}\s*+(?:[A-Za-z][\w/]{{0,20}}\s*+)?)(?P<sign>[<>])=?\s*+"
    rf"(?P<name>[A-Za-z][\w-]*+)\s*+(?=(?P=sign)=?\s*[-+.\d])"
)
_OTHER_WAY = {"<": ">", ">": "<"}
_ENERGIES = {"eV": 1.0, "ev": 1.0, "EV": 1.0, "meV": 1e-3, "Ry": 13.605693, "Ha": 27.211386}
_PRESSURES = {"GPa": 1.0, "gpa": 1.0, "MPa": 1e-3, "kbar": 0.1, "Mbar": 100.0, "TPa": 1000.0, "Pa": 1e-9}
_CONDUCTIVITIES = dict.fromkeys(("W/m/K", "W/mK", "W/(mK)", "Wm-1K-1", "W/(m/K)"), 1.0)
_GROUPS = re.compile(r"(\d{1,3})\s*(?:\.\.+|–|-)\s*(\d{1,3})")
_WRITTEN = re.compile(r"[A-Za-z0-9()\[\]]+")
_PLAIN = str.maketrans({"≤": "<=", "≥": ">=", "−": "-"})

Read = Callable[[Any, str], Any]


def fields_of(given: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever YAML or a caller holds
    """Fields of a target, each of its final type, with nothing added that was not given.

    Args:
        given: one line, a list of clauses, or a mapping of the fields (values as text or as they will be).

    Raises:
        InputError: something cannot be read.
    """
    if isinstance(given, str):
        given = [given] if given.strip() else []
    if isinstance(given, Mapping):
        return _fields_of_mapping(given)
    if not isinstance(given, Iterable):
        raise InputError(f"target: {quoted(given)} is not a target; write clauses such as band_gap=1.5±0.25.")
    fields: dict[str, Any] = {}
    for text in given:
        if len(str(text)) > _LONGEST:
            raise InputError(f"target: {quoted(str(text))} is longer than {_LONGEST} characters; shorten it.")
        plain = _BETWEEN.sub(_one_ended, str(text).translate(_PLAIN))
        for clause in _NEXT_CLAUSE.split(plain.strip(" \t\n\r,;")):
            _add_clause(fields, clause)
    return fields


def _one_ended(match: re.Match[str]) -> str:
    """Return ``band_gap>1.2 band_gap`` for the ``1.2<band_gap`` of ``1.2<band_gap<1.8``."""
    return f"{match['name']}{_OTHER_WAY[match['sign']]}{match['end'].strip()} {match['name']}"


def amounts_of(formula: str, field: str) -> dict[str, int]:
    """Whole amounts by symbol in the smallest ratio; for an anonymous formula, by letter.

    Raises:
        InputError: not a formula.
    """
    amounts: dict[str, int]
    if field == "anonymous":
        pairs = re.findall(r"([A-Z])(\d{0,3})", formula[:_LONGEST])
        amounts = {letter: int(count or 1) for letter, count in pairs}
        whole = "".join(map("".join, pairs)) == formula and len(amounts) == len(pairs)
        if not pairs or not whole or not all(amounts.values()):
            raise InputError(f"anonymous: {quoted(formula)} is not a formula type; write one such as ABC3.")
    else:
        amounts = _chemical_amounts(formula)
    divisor = gcd(*amounts.values())
    return {name: count // divisor for name, count in amounts.items()}


def reduced_as_written(formula: str) -> str:
    """Return the reduced formula with its elements in the order given; the text itself where it is reduced.

    ``NiAl`` and ``Ca(OH)2`` stay, ``Ti2O4`` is ``TiO2``.

    Raises:
        InputError: not a formula.
    """
    amounts = amounts_of(formula, "formula")
    text = "".join(formula.split())
    as_written = _chemical_amounts(formula) == amounts and set(re.findall("[A-Z][a-z]?", text)) == set(
        amounts
    )
    return text if as_written and _WRITTEN.fullmatch(text) else spelled(amounts)


def spelled(amounts: Mapping[str, int]) -> str:
    """Amounts as a formula without brackets, in their order."""
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in amounts.items())


def _chemical_amounts(formula: str) -> dict[str, int]:
    found = formula_amounts(formula)
    if any(amount != int(amount) for amount in found.values()):
        raise InputError(
            f"formula: {quoted(formula)} is not of elements in whole amounts; write one such as Li2FeSiO4."
        )
    return {symbol: int(amount) for symbol, amount in found.items()}


def _fields_of_mapping(given: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        name: _READERS[name](value, name) if name in _READERS else value
        for name, value in given.items()
        if not (value is None and name in _READERS)
    }
    windows = fields.pop("windows", {})
    if not isinstance(windows, Mapping):
        raise InputError(
            f"windows: {quoted(windows)} is not a mapping; write a property a line: band_gap: 1.5±0.25."
        )
    for name, value in windows.items():
        _add_window(fields, str(name), _window_of(str(name), value))
    return fields


def _window_of(name: str, value: Any) -> Window:  # noqa: ANN401 - whatever YAML or a caller holds
    if isinstance(value, Window):
        return value
    if isinstance(value, Mapping) and value and set(value) <= {"low", "high"}:
        try:
            return Window(**{end: float(number) for end, number in value.items() if number is not None})
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
    if isinstance(value, str):
        text = value.translate(_PLAIN).strip()
        return _window(name, *re.match(r"([=<>]*)\s*(.*)", text, re.DOTALL).groups())  # type: ignore[union-attr]
    raise InputError(
        f"windows: {name}: {quoted(value)} is not a window; write 1.5±0.25, 1.2..1.8, '>3', or low and high."
    )


def _add_clause(fields: dict[str, Any], clause: str) -> None:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        text = clause.strip()
        hint = text_meant(text) or (
            "write clauses such as band_gap=1.5±0.25 or elements=O, with > and < in quotes for the shell"
        )
        raise InputError(f"target: cannot read {quoted(text)}; {hint}.")
    name, sign, value = match["name"], match["sign"], match["value"]
    if name in PROPERTIES:
        _add_window(fields, name, _window(name, sign, value))
        return
    key = name.replace("-", "_").lower()
    if key in _LIMITS:
        _add_limit(fields, key, sign, value)
        return
    if key not in _CLAUSES:
        hint = clause_meant(name) or suggest(name, (*PROPERTIES, *_CLAUSES, *_LIMITS))
        raise InputError(f"target: there is no property or condition {quoted(name)}; {hint}.")
    if sign != "=":
        raise InputError(f"{key}: write {key}=…, not {key}{sign}….")
    field = _CLAUSES[key]
    read = _READERS[field](value, key)
    if field in {"required", "excluded"}:
        read |= fields.get(field, frozenset())
    elif field in fields and fields[field] != read:
        raise InputError(f"{key}: given twice, differently; give it once.")
    fields[field] = read


def _add_limit(fields: dict[str, Any], key: str, sign: str, value: str) -> None:
    """Narrow a limit of supply, ``hhi<5000`` or ``abundance>1``."""
    field, direction, unit, example, most = _LIMITS[key]
    match = _SINGLE.fullmatch(value)
    if match is None or sign[0] != direction or match["unit"] not in {None, unit}:
        right = f"{key}{direction}{example} {unit}".strip()
        raise InputError(f"{key}: cannot read {key}{sign}{quoted(value)[1:-1]}; write {right}.")
    number = float(match["number"])
    if not 0 < number <= most:
        raise InputError(
            f"{key}: {number:g} is not above 0 and at most {most:g}; write {key}{direction}{example}."
        )
    narrower = min if direction == "<" else max
    fields[field] = narrower(number, fields.get(field, number))


def _add_window(fields: dict[str, Any], name: str, window: Window) -> None:
    """Narrow a property's window, within what is possible at all."""
    entry = known_property(name)
    clause = f"{name}{window.clause}"
    if (isfinite(window.low) and window.low < entry.low) or window.high < entry.low:
        raise InputError(
            f"target: {clause}: a {entry.words} is never below {entry.low:g} {entry.unit}; raise it."
        )
    if window.low >= entry.high or (isfinite(window.high) and window.high > entry.high):
        raise InputError(
            f"target: {clause}: no {entry.words} is above {entry.high:g} {entry.unit}; lower it."
        )
    if window.low == window.high:
        raise InputError(
            f"target: a window on {name} needs a width, {window.low:g} to {window.high:g} has none; give a "
            f"tolerance above 0, such as {name}={window.low:g}±{0.1 * abs(window.low) or 0.1:g}, or a range."
        )
    if name == STABILITY:
        if window.low > 0:
            raise InputError(f"target: {name} has an upper limit alone; write {name}<0.1.")
        fields["e_above_hull_max"] = min(window.high, fields.get("e_above_hull_max", inf))
        return
    windows = fields.setdefault("windows", {})
    before = windows.get(name, window)
    if before.low >= window.high or window.low >= before.high:
        raise InputError(f"target: {name} cannot be within both {before} and {window}; give one window.")
    windows[name] = before & window


def _window(name: str, sign: str, text: str) -> Window:
    """Return the window that ``sign`` and ``text`` describe, in the property's unit."""
    entry = known_property(name)
    text, sign = text.strip(), sign or "="
    if sign == "=" and (match := _RANGE.fullmatch(text)):
        scale = _scale(name, match["first"], match["unit"])
        low, high = float(match["low"]) * scale, float(match["high"]) * scale
    elif sign == "=" and (match := _AROUND.fullmatch(text)):
        scale = _scale(name, match["first"], match["unit"])
        middle, half = float(match["middle"]), float(match["half"])
        # the tolerance may reach below what exists, the value asked for may not
        low = middle * scale if middle * scale < entry.low else max(entry.low, _sum(middle, -half) * scale)
        high = _sum(middle, half) * scale
    elif sign in {"<", "<=", ">", ">="} and (match := _SINGLE.fullmatch(text)):
        number = float(match["number"]) * _scale(name, match["unit"])
        low, high = (number, inf) if ">" in sign else (-inf, number)
    elif match := _SINGLE.fullmatch(text):
        number = float(match["number"])
        around = f"{name}={number:g}±{abs(number) / 6 or 0.1:.2g}"
        raise InputError(
            f"target: {name}{sign}{quoted(text)[1:-1]} is one number; give a tolerance ({around}) or a range."
        )
    else:
        forms = f"{name}=1.5±0.25, {name}=1.2..1.8, {name}>3 or {name}<0.5"
        raise InputError(f"target: cannot read {name}{sign}{quoted(text)[1:-1]}; write {forms}.")
    if low > high or inf in {low, -high}:
        raise InputError(
            f"target: {name}{sign}{quoted(text)[1:-1]} is impossible; write the lower end first."
        )
    return Window(low, high)


def _sum(one: float, other: float) -> float:
    """Add numbers as they are written: 1.6 - 0.4 is 1.2."""
    return float(f"{one + other:.12g}")


def _scale(name: str, *units: str | None) -> float:
    """Factor from the written units, which must be one, to that of the property.

    Raises:
        InputError: another quantity's unit, or two units.
    """
    expected = PROPERTIES[name].unit
    given = {re.sub(r"[\s·*^]", "", unit).replace("⁻¹", "-1") for unit in units if unit}
    if len(given) > 1:
        raise InputError(
            f"target: {name} is given in {' and in '.join(sorted(given))}; give both in {expected}."
        )
    unit = next(iter(given), expected)
    factors = {expected: 1.0}
    if expected.startswith("eV"):
        per = expected.removeprefix("eV")
        factors |= {f"{energy}{end}": f for energy, f in _ENERGIES.items() for end in ("", per)}
    for table in (_PRESSURES, _CONDUCTIVITIES):
        factors |= table if expected in table else {}
    if unit not in factors:
        moles = " (96.5 kJ per mole of atoms are 1 eV/atom)" if "mol" in unit else ""
        raise InputError(f"target: {name} is given in {expected}{moles}, not in {quoted(unit)}.")
    return factors[unit]


def _pieces(value: Any, name: str) -> list[str]:  # noqa: ANN401 - whatever YAML or a caller holds
    """``"Pb,Cd"``, ``["Pb", "Cd"]`` or a set of them as a list of texts."""
    if isinstance(value, str):
        return [piece for piece in re.split(r"[\s,;]+", one_word_each(value)) if piece]
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return [piece for entry in value for piece in _pieces(entry, name)]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    raise InputError(
        f"{name}: {quoted(value)} is not a list of names (YAML reads a bare No as false: quote it)."
    )


def words_of(value: Any, name: str) -> frozenset[str]:  # noqa: ANN401 - whatever YAML or a caller holds
    """``"Cu,Zn,halogens"``, or a list of them, as a set of symbols and names of families.

    Raises:
        InputError: one is neither.
    """
    words = set()
    for piece in _pieces(value, name):
        word = piece if piece in ATOMIC_NUMBER else family(piece)
        if word is None:
            if piece in HEAVY_HYDROGEN:
                raise InputError(f"{name}: {piece} is an isotope; write H.")
            close = piece.capitalize()
            symbol = f"did you mean {close}?"
            hint = symbol if close in ATOMIC_NUMBER else f"{suggest(piece, tuple(FAMILIES))}."
            raise InputError(
                f"{name}: {quoted(piece)} is not a chemical element nor a family of them; {hint}"
            )
        words.add(word)
    return frozenset(words)


def symbols_of(value: Any, name: str) -> frozenset[str]:  # noqa: ANN401 - whatever YAML or a caller holds
    """As :func:`words_of`, with its elements in place of a family; none that is excluded by default.

    Raises:
        InputError: one is neither an element nor a family.
    """
    return members(words_of(value, name))


def _formula(value: Any, name: str) -> str:  # noqa: ANN401 - whatever YAML or a caller holds
    return chemical_formula(amounts_of(str(value).strip(), name))


def _anonymous(value: Any, _name: str) -> str:  # noqa: ANN401 - whatever YAML or a caller holds
    counts = sorted(amounts_of(str(value).strip(), "anonymous").values())
    return "".join(f"{chr(65 + i)}{count if count > 1 else ''}" for i, count in enumerate(counts))


def range_of(value: Any, name: str) -> tuple[int, int]:  # noqa: ANN401 - whatever YAML or a caller holds
    """Both ends of ``"5..20"``, of ``10``, or of two numbers.

    Args:
        value: as given.
        name: ``n_atoms``, ``n_elements``: the field, and what is counted.

    Raises:
        InputError: none of these.
    """
    ends = value if isinstance(value, list | tuple) else re.split(r"\.\.+|…|–|-", str(value))
    try:
        numbers = [int(str(end)[:20]) for end in ends]
        fewest, most = numbers * 2 if len(numbers) == 1 else numbers
    except ValueError as error:
        counted = name.removeprefix("n_")
        right = (
            "a number of directions; write 2..3"
            if name == "dimensionality"
            else (f"a number of {counted}; write 5..20, or 10 for exactly ten")
        )
        raise InputError(f"{name}: {quoted(value)} is not {right}.") from error
    return fewest, most


def _space_groups(value: Any, name: str) -> frozenset[int]:  # noqa: ANN401 - whatever YAML or a caller holds
    return frozenset(number for piece in _symbols_of_groups(value, name) for number in _groups_of(piece))


def _symbols_of_groups(value: Any, name: str) -> list[str]:  # noqa: ANN401 - whatever YAML or a caller holds
    if isinstance(value, str):
        return divided(value)
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return [piece for entry in value for piece in _symbols_of_groups(entry, name)]
    return _pieces(value, name)


def _groups_of(piece: str) -> range:
    numbers = _GROUPS.fullmatch(piece)
    if numbers is None:
        number = space_group_number(piece)
        return range(number, number + 1)
    groups = range(int(numbers[1]), int(numbers[2]) + 1)
    if not groups or groups[0] < 1 or groups[-1] > N_GROUPS:
        raise InputError(
            f"space_group: {quoted(piece)} is no range within 1..230; give one such as 195..206."
        )
    return groups


_READERS: dict[str, Read] = {
    "required": words_of,
    "one_of": words_of,
    "allowed": words_of,
    "excluded": words_of,
    "formula": _formula,
    "anonymous_formula": _anonymous,
    "space_groups": _space_groups,
    "n_atoms": range_of,
    "dimensionality": range_of,
}

_CLAUSES = {
    "elements": "required",
    "only": "allowed",
    "exclude": "excluded",
    "formula": "formula",
    "anonymous": "anonymous_formula",
    "space_group": "space_groups",
    "n_atoms": "n_atoms",
    "dimensionality": "dimensionality",
}

_LIMITS = {
    "hhi": ("hhi_max", "<", "", "5000", 10_000),
    "abundance": ("abundance_min", ">", "mg/kg", "1", 1_000_000),
}
"""Limits of supply: field, direction, unit, example, most."""
