"""What is known: compositions, genes and prototypes of reported and hypothetical crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.composition.formula import composition_key, text_hash
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io import artifacts
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

GATE = "novelty"
INDEX = "known.npz"
SUBSTITUTED = "wbm-"
"""Begins the ids of crystals made by element substitution (WBM)."""
_NAMED = 3  # ids that a reason names


class Source(IntFlag):
    """Where a composition is known from, as a sum."""

    MATERIALS_PROJECT = 1
    REPORTED = 2  # an experimentally known crystal of mp20 or mpts52
    HYPOTHETICAL = 4  # made by element substitution (WBM)


@dataclass(frozen=True, slots=True)
class KnownMaterials:
    """Sorted hashes of what is known, looked up by bisection.

    Attributes:
        compositions: hash of each composition's key, (n,) unsigned 64 bit, sorted.
        sources: :class:`Source` of each, (n,).
        genes: ``Gene.hash`` of each crystal as a number, (m,), sorted; equal ones side by side.
        ids: identifier of each crystal, in the order of ``genes``.
        prototypes: hash of :func:`prototype_label`, distinct and sorted, (k,).
    """

    compositions: np.ndarray
    sources: np.ndarray
    genes: np.ndarray
    ids: tuple[str, ...]
    prototypes: np.ndarray

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
        text = np.frombuffer("\n".join(self.ids).encode(), dtype=np.uint8)
        arrays = {name: getattr(self, name) for name in ("compositions", "sources", "genes")}
        np.savez_compressed(path, ids=text, frameworks=self.prototypes, **arrays)

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

    def known_gene(self, gene_hash: str) -> tuple[str, ...]:
        """Return identifiers of the crystals with a gene (``Gene.hash``); none if it is not known."""
        key = np.uint64(int(gene_hash, 16))
        first, last = (int(np.searchsorted(self.genes, key, side=side)) for side in ("left", "right"))
        return self.ids[first:last]

    def prototype_known(self, gene: Gene) -> bool:
        """Whether a known crystal becomes this one by renaming its elements."""
        key = np.uint64(text_hash(prototype_label(gene)))
        place = int(np.searchsorted(self.prototypes, key))
        return bool(place < len(self.prototypes) and self.prototypes[place] == key)

    def novelty(self, gene: Gene) -> Verdict:
        """Say what is known of a gene; always passes.

        Returns:
            Verdict whose value is 0 for a known gene (its reason names the crystals), 1 for a known
            composition with an unknown gene, 2 where neither is known. Of two thirds of the known
            compositions no crystal is in the index; the reason says so.
        """
        ids = self.known_gene(gene.hash)
        if ids:
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            guess = " (hypothetical)" if not _is_reported(ids) else ""
            return _verdict(0, f"known{guess}: gene of {', '.join(ids[:_NAMED])}{more}")
        source = self.known_composition(gene.amounts)
        swapped = "" if not self.prototype_known(gene) else "; its prototype is known"
        if source == Source.HYPOTHETICAL:
            return _verdict(1, f"{gene.formula} is known as hypothetical (WBM), not with this gene{swapped}")
        if source:
            how = (
                "not with this gene"
                if Source.REPORTED in source
                else "its structures are not: one may be this"
            )
            return _verdict(1, f"{gene.formula} is known (Materials Project), {how}{swapped}")
        return _verdict(2, f"neither {gene.formula} nor its gene is known{swapped}")


def is_reported(structure: Structure, known: KnownMaterials) -> bool:
    """Whether a crystal is a known one that was not made by element substitution.

    It is where its gene is, within the strict or the loose symmetry tolerance.
    """
    from invdesign.crystal.symmetry import SymmetryError, gene_of, loose_gene

    try:
        if _is_reported(known.known_gene(gene_of(structure)[0].hash)):
            return True
    except SymmetryError:
        return False
    gene = loose_gene(structure)
    return gene is not None and _is_reported(known.known_gene(gene.hash))


def _is_reported(ids: Sequence[str]) -> bool:
    return any(not name.startswith(SUBSTITUTED) for name in ids)


def _verdict(value: int, reason: str) -> Verdict:
    return Verdict(GATE, passed=True, reason=reason, value=float(value))


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
                compositions=stored["compositions"],
                sources=stored["sources"],
                genes=stored["genes"],
                ids=tuple(stored["ids"].tobytes().decode().split("\n")),
                prototypes=stored["frameworks"],
            )
    except (BadZipFile, ZlibError, KeyError, ValueError, EOFError, OSError) as error:
        raise InputError(
            f"known-materials index: {path} is damaged ({error}); restore it or build it again."
        ) from error
