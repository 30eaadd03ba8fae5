"""What is asked for: property windows, elements in and out, stability, as one typed object.

The language, one clause a condition, in any order, as arguments, as one line, or in YAML::

    band_gap=1.5±0.25  band_gap=1.2..1.8  band_gap>3  e_above_hull<0.05
    elements=O  only=Li,Fe,O  exclude=Pb,lanthanides  formula=Li2FeSiO4  anonymous=ABC3
    space_group=225,Pnma,195..206  n_atoms=5..20  dimensionality=2..3  exclude=toxic  hhi<5000  abundance>1

``docs/guide/targets.md`` explains it; :func:`parse_target` reads it, ``str(target)`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isnan
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from invdesign.composition.families import FAMILIES, in_words, members
from invdesign.composition.supply import scarcer_than, supply_of, too_concentrated, unconcentrated
from invdesign.core.measured_gap import as_pbe, meaning
from invdesign.core.properties import GAPS, MEASURED_GAP, PBE_GAP, PROPERTIES, STABILITY, Property, Window
from invdesign.core.target_parser import amounts_of, fields_of
from invdesign.crystal.dimensionality import WORDS
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.verdict import Verdict

__all__ = ["MAX_ATOMS", "PROPERTIES", "STABILITY", "Property", "Target", "Window", "parse_target"]

MAX_ATOMS = 20
"""Largest primitive cell that the generators propose."""


class Target(BaseModel):
    """What a crystal must be. Built by :func:`parse_target`, or from a mapping, a line or a list of clauses.

    Attributes:
        windows: property name → window, in the units of :data:`PROPERTIES`.
        required: elements that must be there.
        one_of: families of which an element must be there; names of families among ``required`` belong here.
        allowed: the only elements that may be there; None: any.
        excluded: elements that must not; the default ones belong to it unless required or allowed by name.
        formula: reduced formula, exactly; it sets ``required`` and ``allowed``.
        anonymous_formula: reduced formula without names, ``ABC3``.
        space_groups: numbers, 1 to 230; None: any.
        n_atoms: fewest and most atoms in the primitive cell.
        dimensionality: least and most directions in which the relaxed crystal is connected, 0 to 3.
        e_above_hull_max: limit of the energy above the hull, eV/atom.
        hhi_max: limit of the supply risk (Herfindahl-Hirschman index, to 10 000), of production and reserves.
        abundance_min: least abundance in the earth's crust that an element must have, mg/kg.

    Raises:
        InputError: (inside pydantic's ValidationError) nothing could fulfil it, or a name is unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    windows: dict[str, Window] = {}
    required: frozenset[str] = frozenset()
    one_of: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    excluded: frozenset[str] = EXCLUDED_BY_DEFAULT
    formula: str | None = None
    anonymous_formula: str | None = None
    space_groups: frozenset[int] | None = None
    n_atoms: tuple[int, int] = (1, MAX_ATOMS)
    dimensionality: tuple[int, int] = (0, 3)
    e_above_hull_max: float = Field(0.1, ge=0, le=10, allow_inf_nan=False)
    hhi_max: float | None = Field(None, gt=0, le=10_000, allow_inf_nan=False)
    abundance_min: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:  # noqa: ANN401 - whatever YAML or a caller holds
        return _completed(fields_of(given))

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        _check_supply(self)
        _check_chemistry(self)
        _check_size(self)
        return self

    def with_formula(self, formula: str) -> Target:
        """Return the target narrowed to one formula.

        Raises:
            InputError: the target fixes a formula already, or this one is none or cannot meet it.
        """
        self.check_open()
        return build(Target, {**dict(self), "formula": formula}, "target")

    def check_open(self) -> None:
        """Check that the target leaves the choice of formulas.

        Raises:
            InputError: it does not.
        """
        for name, given in (("formula", self.formula), ("anonymous", self.anonymous_formula)):
            if given:
                raise InputError(
                    f"target: {name}={given} excludes a list of formulas (--from); give one of the two."
                )

    @property
    def elements(self) -> frozenset[str]:
        """Every element that may occur, within the limits of supply in some compound."""
        universe = frozenset(SYMBOLS[1:]) if self.allowed is None else self.allowed
        open_ = universe - self.excluded - self.scarce
        if self.hhi_max is None or not open_:
            return open_
        return open_ - too_concentrated(self.hhi_max, self.required, open_, self.n_atoms[1])

    @property
    def safe_elements(self) -> frozenset[str]:
        """The elements that need no other to be within the limit of supply, and the required ones."""
        return (
            self.elements
            if self.hhi_max is None
            else self.elements & (unconcentrated(self.hhi_max) | self.required)
        )

    @property
    def families(self) -> dict[str, frozenset[str]]:
        """The elements of each family that must be represented, those that may occur."""
        return {name: FAMILIES[name] & self.elements for name in sorted(self.one_of)}

    @property
    def unmet(self) -> tuple[frozenset[str], ...]:
        """The elements of each family that no required element represents."""
        return tuple(elements for elements in self.families.values() if elements.isdisjoint(self.required))

    @property
    def scarce(self) -> frozenset[str]:
        """Elements below the least abundance asked for."""
        return frozenset() if self.abundance_min is None else scarcer_than(self.abundance_min)

    @property
    def guiding_windows(self) -> dict[str, Window]:
        """The windows as generators know them: a measured gap as the PBE gap that it stands for."""
        windows = dict(self.windows)
        measured = windows.pop(MEASURED_GAP, None)
        return windows if measured is None else {PBE_GAP: as_pbe(measured), **windows}

    @property
    def wants_gap(self) -> bool:
        """Whether a band gap above zero is asked for."""
        return any(self.windows[name].low > 0 for name in GAPS & self.windows.keys())

    def allows(self, gene: Gene) -> Verdict:
        """Whether a gene is what was asked for, as far as a gene can tell; gate ``target``."""
        reason = self._objection(gene)
        return Verdict("target", passed=reason is None, reason=reason or "as asked")

    def _objection(self, gene: Gene) -> str | None:
        present = set(gene.elements)
        fewest, most = self.n_atoms
        if missing := [*(self.required - present), *self._lacking(present)]:
            return f"required element missing: {_and(missing)}"
        if reason := self.supply_objection(gene.amounts):
            return reason
        if strange := present - self.elements:
            return f"element excluded: {_and(strange)}"
        if not fewest <= gene.n_atoms <= most:
            return f"{gene.n_atoms} atoms: {fewest} to {most} wanted"
        if gene.space_group not in (self.space_groups or {gene.space_group}):
            return f"another space group: {gene.space_group}"
        if self.formula is not None and gene.formula != self.formula:
            return f"another formula: {gene.formula}"
        if self.anonymous_formula is None or gene.anonymous_formula == self.anonymous_formula:
            return None
        return f"another formula type: {gene.anonymous_formula}"

    def _lacking(self, present: set[str]) -> list[str]:
        """Families of which an element is missing."""
        return [f"one of the {name}" for name, of in self.families.items() if of.isdisjoint(present)]

    def connectivity_objection(self, directions: int) -> str | None:
        """Why a crystal that is connected in so many directions is not what was asked for."""
        fewest, most = self.dimensionality
        if fewest <= directions <= most:
            return None
        return f"{WORDS[directions]} ({directions}D), not {_dimensions(self)}"

    def supply_objection(self, amounts: Mapping[str, float]) -> str | None:
        """Why a composition breaks a limit of supply."""
        if scarce := self.scarce & amounts.keys():
            return f"element too scarce: {_and(scarce)}"
        if self.hhi_max is None:
            return None
        production, reserves, *_ = supply_of(amounts)
        if isnan(production):
            return "supply risk unknown: an element has no value"
        if max(production, reserves) <= self.hhi_max:
            return None
        return f"supply risk too high: HHI {production:.0f} of production, {reserves:.0f} of reserves"

    def __str__(self) -> str:
        """Return the target in the language of targets: ``parse_target(str(target)) == target``."""
        clauses = [f"{name}{window.clause}" for name, window in self.windows.items()]
        clauses.append(f"{STABILITY}<{self.e_above_hull_max!r}")
        if self.formula is not None:
            clauses.append(f"formula={self.formula}")
        else:
            clauses += _listed("elements", self.required | self.one_of)
            clauses += _listed("only", in_words(self.allowed or frozenset(), EXCLUDED_BY_DEFAULT))
        clauses += _listed("exclude", self._exclusions)
        if self.anonymous_formula is not None:
            clauses.append(f"anonymous={self.anonymous_formula}")
        clauses += _listed("space_group", self.space_groups or ())
        if self.n_atoms != (1, MAX_ATOMS):
            clauses.append(f"n_atoms={self.n_atoms[0]}..{self.n_atoms[1]}")
        if self.dimensionality != (0, 3):
            clauses.append(f"dimensionality={self.dimensionality[0]}..{self.dimensionality[1]}")
        if self.hhi_max is not None:
            clauses.append(f"hhi<{self.hhi_max!r}")
        if self.abundance_min is not None:
            clauses.append(f"abundance>{self.abundance_min!r}")
        return " ".join(clauses)

    @property
    def _exclusions(self) -> list[str]:
        """What is excluded beyond the default, families by their names."""
        return in_words(self.excluded - EXCLUDED_BY_DEFAULT, self.excluded)

    def describe(self) -> str:
        """Return the target in plain English, as printed before a run starts."""
        parts = [_in_words(name, window) for name, window in self.windows.items()]
        if (pbe := self.windows.get(PBE_GAP)) and MEASURED_GAP not in self.windows and (note := meaning(pbe)):
            place = list(self.windows).index(PBE_GAP)
            parts[place] += f" ({note})"
        parts.append(f"at most {self.e_above_hull_max:g} eV/atom above the hull")
        if self.formula is not None:
            parts.append(f"formula {self.formula}")
        else:
            if self.required:
                parts.append(f"with {_and(self.required)}")
            parts += [f"with one of the {_in_a_sentence(name)}" for name in sorted(self.one_of)]
            if self.allowed is not None:
                allowed = in_words(self.allowed, EXCLUDED_BY_DEFAULT)
                parts.append(f"of nothing but {_and(map(_in_a_sentence, allowed))}")
        if named := self._exclusions:
            parts.append(f"without {_and(map(_in_a_sentence, named))}")
        if self.allowed is None and self.excluded & EXCLUDED_BY_DEFAULT:
            parts.append("no radioactive or inert elements")
        if self.anonymous_formula is not None:
            parts.append(f"formula type {self.anonymous_formula}")
        if self.space_groups is not None:
            parts.append(f"space group {_or(self.space_groups)}")
        if self.n_atoms != (1, MAX_ATOMS):
            parts.append(f"{self.n_atoms[0]} to {self.n_atoms[1]} atoms in the primitive cell")
        return ", ".join([*parts, *_limits_in_words(self)])


def parse_target(
    clauses: str | Iterable[str] = (),
    *,
    elements: str | Iterable[str] = (),
    only: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    formula: str | None = None,
    anonymous: str | None = None,
    space_group: str | int | Iterable[str | int] | None = None,
    n_atoms: str | int | Sequence[int] | None = None,
    dimensionality: str | int | Sequence[int] | None = None,
) -> Target:
    """Read a target from its language (see the module), the keywords adding to the clauses.

    Args:
        clauses: one line, or several clauses such as ``band_gap=1.5±0.25``.
        elements: symbols that must be there; of a family (``halogens``) one of its elements.
        only: the only symbols and families that may be there.
        exclude: symbols and families that must not be there, in addition to the default ones.
        formula: exact formula.
        anonymous: formula type, ``ABC3``.
        space_group: numbers, symbols, or ranges ``195..206``.
        n_atoms: ``5..20``, or exactly so many.
        dimensionality: ``2..3`` for layers and frameworks, 0 molecules, 1 chains.

    Raises:
        InputError: a clause cannot be read, a name is unknown, or nothing could fulfil the target.
    """
    keywords = {
        "required": elements or None,
        "allowed": only,
        "excluded": exclude or None,
        "formula": formula,
        "anonymous_formula": anonymous,
        "space_groups": space_group,
        "n_atoms": n_atoms,
        "dimensionality": dimensionality,
    }
    fields = fields_of(clauses if isinstance(clauses, str) else list(clauses))
    given = fields_of({name: value for name, value in keywords.items() if value is not None})
    if twice := sorted(set(fields) & set(given) - {"required", "excluded"}):
        raise InputError(
            f"target: {twice[0].rstrip('s')} is given both as a clause and as an option; give it once."
        )
    for name in ("required", "excluded"):
        if name in fields and name in given:
            given[name] = fields[name] | given[name]
    return build(Target, fields | given, "target")


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields with what follows from a formula and from families, and the default exclusions.

    An element of a family, unlike one that is named, gives way to an exclusion.

    Raises:
        InputError: an element is asked for and excluded, a family wholly so.
    """
    families, empty = FAMILIES.keys(), frozenset[str]()
    words: dict[str, frozenset[str]] = {
        name: fields.get(name) or empty for name in ("required", "one_of", "allowed", "excluded")
    }
    one_of = words["one_of"] | words["required"] & families
    required, allowed = words["required"] - families, words["allowed"] - families
    excluded = members(words["excluded"], without=empty)
    for name in sorted(words["allowed"] & families):
        if not (left := members([name]) - excluded):
            raise InputError(
                f"target: only={name} has no element that is not excluded; exclude less, or allow more."
            )
        allowed |= left
    if formula := fields.get("formula"):
        symbols = frozenset(amounts_of(formula, "formula"))
        if strange := required - symbols or {n for n in one_of if symbols.isdisjoint(FAMILIES[n])}:
            raise InputError(
                f"target: the formula {formula} has no {_or(strange)}; drop the formula or the elements."
            )
        if allowed and (strange := symbols - allowed):
            raise InputError(
                f"target: {_and(strange)} of the formula {formula} is not among the allowed; allow it."
            )
        required = allowed = symbols
        one_of = empty
    asked = required if formula else required | words["allowed"] - families
    if both := asked & excluded:
        by = [name for name in sorted(words["excluded"] & families) if both & FAMILIES[name]]
        verb, reason = "is" if len(both) == 1 else "are", f" ({_and(by)})" if by else ""
        raise InputError(
            f"target: {_and(both)} {verb} both asked for and excluded{reason}; drop one of the two."
        )
    fields = {**fields, "required": required, "one_of": one_of}
    if formula or fields.get("allowed") is not None:
        fields["allowed"] = allowed
    return {**fields, "excluded": excluded | (EXCLUDED_BY_DEFAULT - asked)}


def _check_supply(target: Target) -> None:
    if scarce := target.required & target.scarce:
        raise InputError(
            f"target: {_and(scarce)} must be there, of which the earth's crust has less than the "
            f"{target.abundance_min:g} mg/kg asked for; lower abundance or drop it."
        )
    if target.hhi_max is None:
        return
    if target.formula is not None:
        reason = target.supply_objection(amounts_of(target.formula, "formula"))
        beyond = reason and f"{target.formula} is not ({reason})"
    else:
        impossible = target.required - target.elements or not target.elements
        needed = f"with {_and(target.required)} " if target.required else ""
        beyond = f"no compound {needed}of at most {target.n_atoms[1]} atoms is" if impossible else None
    if beyond:
        raise InputError(
            f"target: {beyond} within a supply risk of {target.hhi_max:g}; raise hhi (--max-hhi)."
        )


def _check_chemistry(target: Target) -> None:
    if target.allowed is not None and (strange := target.required - target.allowed):
        raise InputError(
            f"target: {_and(strange)} must be there but is not among the allowed elements; allow it."
        )
    if not target.elements:
        raise InputError("target: no element is left after the exclusions; exclude fewer.")
    for name, elements in target.families.items():
        if not elements:
            raise InputError(
                f"target: one of the {name} must be there, but none is allowed; allow one, or drop {name}."
            )
    if target.anonymous_formula is None:
        return
    kinds = amounts_of(target.anonymous_formula, "anonymous")
    if target.formula is not None:
        amounts = amounts_of(target.formula, "formula")
        if sorted(amounts.values()) != sorted(kinds.values()):
            raise InputError(
                f"target: {target.formula} is not of the type {target.anonymous_formula}; give one of them."
            )
    required = len(target.required) + len(target.unmet)
    if not required <= len(kinds) <= len(target.elements):
        raise InputError(
            f"target: {target.anonymous_formula} has {len(kinds)} elements, but {required} "
            f"are required and {len(target.elements)} allowed; change one of them."
        )


def _check_size(target: Target) -> None:
    fewest, most = target.dimensionality
    if not 0 <= fewest <= most <= len(WORDS) - 1:
        raise InputError(
            f"dimensionality: {fewest}..{most} is not a range between 0 and 3; give one such as 2..3."
        )
    fewest, most = target.n_atoms
    if not 1 <= fewest <= most <= MAX_ATOMS:
        raise InputError(
            f"n_atoms: {fewest}..{most} is not a range between 1 and {MAX_ATOMS}; give one such as 5..20."
        )
    if (required := len(target.required) + len(target.unmet)) > most:
        raise InputError(f"n_atoms: {required} required elements do not fit into {most} atoms; allow more.")
    for kind, text in {"formula": target.formula, "anonymous": target.anonymous_formula}.items():
        unit = 1 if text is None else sum(amounts_of(text, kind).values())
        if fewest > most // unit * unit:
            raise InputError(
                f"n_atoms: no multiple of the {unit} atoms of {text} lies within {fewest}..{most}; "
                f"widen n_atoms, up to {MAX_ATOMS}."
            )


def _listed(name: str, values: Iterable[Any]) -> list[str]:
    values = sorted(values)
    return [f"{name}={','.join(map(str, values))}"] if values else []


def _dimensions(target: Target) -> str:
    fewest, most = target.dimensionality
    return _or(f"{directions}D" for directions in range(fewest, most + 1))


def _in_a_sentence(word: str) -> str:
    """Return a symbol as it is, ``noble metals``, ``toxic elements``."""
    noun = word.replace("-", " ")
    return noun if word not in FAMILIES or noun.endswith("s") else f"{noun} elements"


def _in_words(name: str, window: Window) -> str:
    words, unit = PROPERTIES[name].words, PROPERTIES[name].unit
    if window.high == inf:
        return f"{words} above {window.low:g} {unit}"
    if window.low == -inf:
        below = "at most" if window.high == PROPERTIES[name].low else "below"
        return f"{words} {below} {window.high:g} {unit}"
    return f"{words} {window.low:g} to {window.high:g} {unit}"


def _limits_in_words(target: Target) -> list[str]:
    parts = [_dimensions(target)] if target.dimensionality != (0, 3) else []
    if target.hhi_max is not None:
        parts.append(f"supply risk (HHI) at most {target.hhi_max:g}")
    if target.abundance_min is not None:
        parts.append(f"no element scarcer than {target.abundance_min:g} mg/kg in the earth's crust")
    return parts


def _and(values: Iterable[Any]) -> str:
    return _joined(values, "and")


def _or(values: Iterable[Any]) -> str:
    return _joined(values, "or")


def _joined(values: Iterable[Any], word: str) -> str:
    *most, last = map(str, sorted(values))
    return f"{', '.join(most)} {word} {last}" if most else last
