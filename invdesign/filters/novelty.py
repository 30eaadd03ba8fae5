"""What is known: compositions, crystals and prototypes, reported and hypothetical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.composition.formula import composition_key, text_hash
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, STABILITY
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.crystal.matching import first_match
from invdesign.errors import InputError
from invdesign.filters.known_crystals import Crystals, starts
from invdesign.io import artifacts
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

GATE = "novelty"
INDEX = "known.npz"
MVC = 1 << 31
"""Added to the numbers of the Materials Project's crystals whose ids begin with ``mvc``."""
_NAMED = 3  # ids that a reason names
REPORTED_COLUMNS = (PBE_GAP, MEASURED_GAP, STABILITY)


class Source(IntFlag):
    """Where a composition or a crystal is known from, as a sum."""

    MATERIALS_PROJECT = 1
    REPORTED = 2  # an experimentally known crystal of mp20 or mpts52
    HYPOTHETICAL = 4  # computed, made by element substitution (WBM)
    AFLOW = 8


class Novelty(IntEnum):
    """What is known of a crystal; the value of the verdict."""

    KNOWN = 0
    COMPOSITION_KNOWN = 1  # no structure of it is at hand: this may be the known one
    NEW = 2  # nothing of this composition is known
    NEW_STRUCTURE = 3  # of a known composition, unlike its known structures


NOVELTY = {
    Novelty.KNOWN: "known",
    Novelty.COMPOSITION_KNOWN: "composition known",
    Novelty.NEW: "new",
    Novelty.NEW_STRUCTURE: "new structure",
}
"""Words of tables."""


Wanted = Literal["new", "any", "known"]
"""What is wanted: new compositions and new structures of known ones; any; or known crystals alone."""


def novelty_wanted(verdict: Verdict, wanted: Wanted, *, named: bool) -> bool:
    """Whether crystals of a verdict's :class:`Novelty` are wanted.

    Args:
        verdict: on novelty.
        wanted: what is asked for.
        named: whether the composition itself is asked for, so that a known one is as good as a new one.
    """
    if wanted == "any":
        return True
    if wanted == "known":
        return verdict.value == Novelty.KNOWN
    new = (Novelty.NEW, Novelty.NEW_STRUCTURE)
    return verdict.value in new or (named and verdict.value == Novelty.COMPOSITION_KNOWN)


def novelty_word(verdict: Verdict) -> str:
    """Return the word for a verdict of novelty."""
    return NOVELTY[Novelty(int(verdict.value or 0))]


_BELOW = 0.15  # eV: a gap measured so far below the PBE gap is another crystal's, or no measurement


def _plausible(reported: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what is reported without measured gaps below the PBE gap, which hardly ever is too large."""
    measured, pbe = reported[MEASURED_GAP], reported[PBE_GAP]
    kept = np.where(measured < pbe - _BELOW, np.nan, measured).astype(measured.dtype)
    return reported | {MEASURED_GAP: kept}


@dataclass(frozen=True)
class KnownMaterials:
    """Compositions by hash, looked up by bisection, and their crystals.

    Attributes:
        compositions: hash of each composition's key, (n,) unsigned 64 bit, sorted.
        sources: :class:`Source` of each, (n,).
        counts: crystals of each, (n,) unsigned 16 bit.
        prototypes: hash of :func:`prototype_label`, distinct and sorted, (k,).
        genes: ``Gene.hash`` of each crystal as a number, (m,), in the order of their compositions.
        numbers: number of each crystal in its source, (m,) unsigned 32 bit; see ``MVC``.
        crystal_sources: :class:`Source` of each crystal, (m,).
        reported: by column of ``REPORTED_COLUMNS``: of each crystal, NaN where nothing is reported, (m,)
            float16; gaps in eV (PBE; measured), energy above hull in eV/atom.
        crystals: the crystals, m of them.
    """

    compositions: np.ndarray
    sources: np.ndarray
    counts: np.ndarray
    prototypes: np.ndarray
    genes: np.ndarray
    numbers: np.ndarray
    crystal_sources: np.ndarray
    reported: Mapping[str, np.ndarray]
    crystals: Crystals

    @classmethod
    def load(cls, folder: str | Path = "known-materials") -> KnownMaterials:
        """Load a released index by name, or a custom one by folder.

        Raises:
            InputError: the folder or its index is missing or cut short.
        """
        path = artifacts.find("validators", folder, needs=(INDEX,)) / INDEX
        return _read(path)

    def save(self, path: Path) -> None:
        """Write the index."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        columns = {name: getattr(self.crystals, name) for name in Crystals.names()}
        np.savez_compressed(path, **{**arrays, **columns, **self.reported})

    @cached_property
    def _first(self) -> np.ndarray:
        """Where each composition's crystals begin, and the end, (n + 1,)."""
        return starts(self.counts)

    def known_composition(self, composition: Composition | Mapping[str, float] | str) -> Source:
        """Where a composition is known from; false if nowhere.

        Raises:
            InputError: not a composition.
        """
        key = np.array([text_hash(composition_key(composition))], dtype=np.uint64)
        return Source(int(self.known_compositions(key)[0]))

    def known_compositions(self, keys: np.ndarray) -> np.ndarray:
        """:class:`Source` of many compositions, (n,), by their hashes (``CompositionBatch.keys``)."""
        place = np.minimum(np.searchsorted(self.compositions, keys), len(self.compositions) - 1)
        return np.where(self.compositions[place] == keys, self.sources[place], 0).astype(np.uint8)

    def of_composition(self, composition: Composition | Mapping[str, float] | str) -> range:
        """Return the rows of a composition's crystals."""
        key = np.uint64(text_hash(composition_key(composition)))
        place = int(np.searchsorted(self.compositions, key))
        if place == len(self.compositions) or self.compositions[place] != key:
            return range(0)
        return range(int(self._first[place]), int(self._first[place + 1]))

    def with_gene(self, gene: Gene) -> list[int]:
        """Return the rows of the crystals with a gene."""
        rows, key = self.of_composition(gene.amounts), int(gene.hash, 16)
        return [row for row in rows if int(self.genes[row]) == key]

    def same_as(self, structure: Structure) -> list[int]:
        """Return the rows of the crystal that a structure is (``StructureMatcher``), and of its gene.

        The Materials Project's crystals come first; none where the structure is new.
        """
        crystals = self.of_composition(structure.composition)
        rows = sorted(crystals, key=lambda row: not self.crystal_sources[row] & Source.MATERIALS_PROJECT)
        found = first_match(structure, map(self.crystals.structure, rows)) if rows else None
        if found is None:
            return []
        alike = [row for row in rows if self.genes[row] == self.genes[rows[found]]]
        return sorted(alike, key=lambda row: row != rows[found])

    def id_of(self, row: int) -> str:
        """Return a crystal's identifier: ``mp-149``, or the row of another source: ``wbm-7``."""
        source, number = Source(int(self.crystal_sources[row])), int(self.numbers[row])
        prefix = "wbm" if source & Source.HYPOTHETICAL else "aflow" if source & Source.AFLOW else "mp"
        return f"mvc-{number - MVC}" if number >= MVC else f"{prefix}-{number}"

    def prototype_known(self, gene: Gene) -> bool:
        """Whether a known crystal becomes this one by renaming its elements."""
        key = np.uint64(text_hash(prototype_label(gene)))
        place = int(np.searchsorted(self.prototypes, key))
        return bool(place < len(self.prototypes) and self.prototypes[place] == key)

    def is_reported(self, structure: Structure) -> bool:
        """Whether a crystal is one of the Materials Project."""
        return bool((self.crystal_sources[self.same_as(structure)] & Source.MATERIALS_PROJECT).any())

    def novelty(self, gene: Gene, structure: Structure | None = None) -> Verdict:
        """Say what is known of a crystal; always passes.

        Args:
            gene: of the crystal.
            structure: relaxed; without it a crystal is known where its gene is.

        Returns:
            Verdict whose value is a :class:`Novelty`; the reason names the known crystals.
        """
        rows = self.with_gene(gene) if structure is None else self.same_as(structure)
        if rows:
            ids = [self.id_of(row) for row in rows]
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            guess = "" if (self.crystal_sources[rows] & ~Source.HYPOTHETICAL).any() else " (hypothetical)"
            what = "gene of " if structure is None else ""
            return _verdict(Novelty.KNOWN, f"known{guess}: {what}{', '.join(ids[:_NAMED])}{more}")
        source = self.known_composition(gene.amounts)
        swapped = "; its prototype is known" if self.prototype_known(gene) else ""
        if not source:
            return _verdict(Novelty.NEW, f"{gene.formula} is not known, nor is this crystal{swapped}")
        guess = " as hypothetical (WBM)" if source == Source.HYPOTHETICAL else ""
        if n := len(self.of_composition(gene.amounts)):
            others = f"unlike its {n} known structure{'s' * (n > 1)}"
            return _verdict(Novelty.NEW_STRUCTURE, f"{gene.formula} is known{guess}, {others}{swapped}")
        return _verdict(
            Novelty.COMPOSITION_KNOWN,
            f"{gene.formula} is known{guess}, its structure is not at hand: it may be this{swapped}",
        )

    def of_elements(self, required: frozenset[str], allowed: frozenset[str]) -> np.ndarray:
        """Which crystals hold all required elements and none but the allowed, (m,) bool."""
        strange = np.array([symbol not in allowed for symbol in SYMBOLS])
        starts, elements = self.crystals.first_orbits[:-1], self.crystals.elements
        fits = ~np.logical_or.reduceat(strange[elements], starts)
        for symbol in required:
            fits &= np.logical_or.reduceat(elements == ATOMIC_NUMBER[symbol], starts)
        return np.asarray(fits)


_ARRAYS = ("compositions", "sources", "counts", "prototypes", "genes", "numbers", "crystal_sources")


def _verdict(novelty: Novelty, reason: str) -> Verdict:
    return Verdict(GATE, passed=True, reason=reason, value=float(novelty))


def prototype_label(gene: Gene) -> str:
    """Label a gene's prototype: which orbits hold the same element, in canonical letters.

    ``225:a|b`` for rock salt, whatever its elements.
    """
    from invdesign.crystal.wyckoff import space_group_table

    options = []
    for mapping, _ in space_group_table(gene.space_group).relabellings:
        groups: dict[str, list[str]] = {}
        for element, letter in gene.orbits:
            groups.setdefault(element, []).append(mapping[letter])
        options.append(sorted("".join(sorted(letters)) for letters in groups.values()))
    return f"{gene.space_group}:{'|'.join(min(options))}"


def _read(path: Path) -> KnownMaterials:
    from zipfile import BadZipFile
    from zlib import error as ZlibError  # noqa: N812

    try:
        with np.load(path, allow_pickle=False) as stored:
            return KnownMaterials(
                **{name: stored[name] for name in _ARRAYS},
                reported=_plausible({name: stored[name] for name in REPORTED_COLUMNS}),
                crystals=Crystals(**{name: stored[name] for name in Crystals.names()}),
            )
    except (BadZipFile, ZlibError, KeyError, ValueError, EOFError, OSError) as error:
        raise InputError(
            f"known-materials index: {path} is damaged ({error}); restore it or build it again."
        ) from error
