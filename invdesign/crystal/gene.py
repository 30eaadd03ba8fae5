"""The discrete identity of a crystal: space group and occupied Wyckoff positions."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from invdesign.crystal.chemical_formula import chemical_formula
from invdesign.crystal.wyckoff import Array, space_group_table, wyckoff_table
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Composition


_TEXT = re.compile(r"(\d{1,3})((?: [A-Z][a-z]?@[A-Za-z])+)")


@dataclass(frozen=True)
class Gene:
    """Space group + multiset of (element, Wyckoff letter), in the ITA standard setting.

    ``orbits`` is sorted by (letter, element). A letter with free coordinates may occur several times.
    """

    space_group: int
    orbits: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "orbits", tuple(sorted(self.orbits, key=lambda o: (o[1], o[0]))))

    def __str__(self) -> str:
        return f"{self.space_group} " + " ".join(f"{element}@{letter}" for element, letter in self.orbits)

    @classmethod
    def parse(cls, text: str) -> Gene:
        """Read ``225 Cl@b Na@a``.

        Raises:
            InputError: not of that form, an unknown element, or letters that this space group lacks.
        """
        from pymatgen.core import Element

        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise InputError(f"gene: {text!r} is not of the form '225 Na@a Cl@b'.")
        gene = cls(int(match[1]), tuple(tuple(site.split("@")) for site in match[2].split()))
        table = wyckoff_table(gene.space_group)
        for element, letter in gene.orbits:
            if not Element.is_valid_symbol(element):
                raise InputError(f"gene: {element!r} in {text!r} is not an element.")
            if letter not in table:
                raise InputError(
                    f"gene: space group {gene.space_group} has positions {''.join(table)}, not {letter!r}."
                )
        return gene

    @property
    def letters(self) -> str:
        """Wyckoff letters of the orbits, sorted."""
        return "".join(letter for _, letter in self.orbits)

    @property
    def prototype(self) -> str:
        """Return the gene without its elements, space group and Wyckoff letters: ``225:ab``."""
        return f"{self.space_group}:{self.letters}"

    @cached_property
    def multiplicities(self) -> tuple[int, ...]:
        """Sites of each orbit in the primitive cell."""
        table = wyckoff_table(self.space_group)
        return tuple(len(table[letter].primitive) for _, letter in self.orbits)

    @property
    def n_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return sum(self.multiplicities)

    @property
    def n_free(self) -> int:
        """Free coordinates that the gene leaves to the geometry."""
        table = wyckoff_table(self.space_group)
        return sum(len(table[letter].free) for _, letter in self.orbits)

    @property
    def realisable(self) -> bool:
        """Whether no position without free coordinates is occupied twice."""
        table = wyckoff_table(self.space_group)
        fixed = [letter for _, letter in self.orbits if not table[letter].free]
        return len(fixed) == len(set(fixed))

    @cached_property
    def amounts(self) -> dict[str, int]:
        """Atoms of each element in the primitive cell, by symbol, alphabetically."""
        counts: dict[str, int] = {}
        for (element, _), sites in zip(self.orbits, self.multiplicities, strict=True):
            counts[element] = counts.get(element, 0) + sites
        return dict(sorted(counts.items()))

    @property
    def elements(self) -> tuple[str, ...]:
        """Element symbols, alphabetically."""
        return tuple(self.amounts)

    @property
    def composition(self) -> Composition:
        """Composition of the primitive cell."""
        from pymatgen.core import Composition

        return Composition(self.amounts)

    @cached_property
    def formula(self) -> str:
        """Reduced formula as chemists write it."""
        return chemical_formula(self.amounts)

    @property
    def anonymous_formula(self) -> str:
        """Reduced formula without element names: ``ABC3``."""
        return str(self.composition.anonymized_formula)

    def canonical(self) -> Gene:
        """Return the smallest labelling among the equivalent settings (origin and axis choices)."""
        return self.canonical_with_map()[0]

    def canonical_with_map(self) -> tuple[Gene, Array, dict[str, str]]:
        """Return the canonical gene, the (4, 4) affine map to its setting, and the letters' images."""

        def relabelled(mapping: dict[str, str]) -> Gene:
            return Gene(
                self.space_group, tuple((element, mapping[letter]) for element, letter in self.orbits)
            )

        options = [
            (relabelled(m), affine, m) for m, affine in space_group_table(self.space_group).relabellings
        ]
        return min(options, key=lambda option: (option[0].letters, option[0].orbits))

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal characters that equivalent genes share."""
        return hashlib.sha256(str(self.canonical()).encode()).hexdigest()[:16]
