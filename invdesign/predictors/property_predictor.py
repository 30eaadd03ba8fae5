"""Property models: from structures, genes or formulas to estimates with 90 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import log as ln
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from invdesign.composition.formula import reduced_amounts
from invdesign.core.candidate import Estimate, Estimates
from invdesign.core.properties import PBE_GAP
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.predictors.features.composition_and_gene import (
    composition_and_space_group_rows,
    composition_rows,
    half_filled,
)
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.transfer import Transferred, is_transferred

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.predictors.features.structure import Described

    Seen: TypeAlias = Structure | Gene | Composition | str

KIND = "property"
LN10 = ln(10.0)
CHUNK = 4096
ANY_ENERGY = (-0.94, 0.95)
"""Mean and deviation, eV/atom, of the formation energies of mp20 and wbm that `formation-energy` learned."""
HALF_FILLED = 0.92
"""Probability that a crystal with a half-filled band has no gap, at least (``half_filled``)."""
BLIND = 2.2
"""How much larger deviations are without an embedding: what 90 % intervals need on test crystals whose
embedding is taken away, at most (bulk modulus; 1.2 for band gaps, 1.4 for the rest of `elasticity`)."""


class LearnedProperty(BaseModel):
    """One property of a recipe.

    ``columns`` are its names in the files, its own name if empty; a column ``log10_…`` holds logarithms.
    ``log10``: the model works on the logarithm. ``zero``: a share is exactly zero, everything under
    ``least`` (metals have no gap). ``beyond: chgnet``: what is learned is the difference from the energy
    of formation by calibrated CHGNet. ``hypothetical``: the data file (its name up to the first dot) of
    hypothetical crystals, where errors differ from those of the others: each get separate intervals.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str = ""
    columns: tuple[str, ...] = ()
    log10: bool = False
    zero: bool = False
    least: float = 0.0
    beyond: Literal["", "chgnet"] = ""
    hypothetical: str = ""


class PropertyPredictor:
    """Predicts the properties of one model.

    Attributes:
        properties: what it predicts, by name.
        property: the one that :meth:`predict` gives.
        hypothetical: whether what is asked about is hypothetical; set it False for known crystals, whose
            formation energies have narrower intervals.
        sees: ``structure``, ``composition`` or ``composition and space group``.
        embeddings: the potentials whose embeddings of a structure it sees, CHGNet's first.
        inputs: further numbers that it sees, by name, as they are set for every crystal.

    Example:
        >>> PropertyPredictor.load("band-gap").predict([structure])[0].value  # doctest: +SKIP
        4.9
    """

    def __init__(self, ensemble: Ensemble | Transferred, prop: str | None = None) -> None:
        self.ensemble = ensemble
        self.sees: str = ensemble.about["sees"]
        self.embeddings = tuple(ensemble.about.get("embeddings", ("chgnet",)))
        self.inputs: dict[str, float] = ensemble.about.get("inputs", {})
        self.properties = {
            name: LearnedProperty.model_validate(fields)
            for name, fields in ensemble.about["properties"].items()
        }
        self.property = prop or next(iter(self.properties))
        self.hypothetical = True

    @classmethod
    def load(cls, name: str | Path, prop: str | None = None) -> PropertyPredictor:
        """Return a released model by name, or from a user's folder.

        Args:
            name: of the model.
            prop: which of its properties ``predict`` gives; the first if None.

        Raises:
            InputError: the folder or a file of it is missing or damaged, or it lacks the property.
        """
        ensemble = Transferred.load(name) if is_transferred(name) else Ensemble.load(name, kind=KIND)
        found = cls(ensemble, prop)
        if found.property not in found.properties:
            raise InputError(
                f"property: model {str(name)!r} predicts {', '.join(found.properties)}, not {prop}."
            )
        return found

    def predict(self, given: Sequence[Seen], potential: CHGNetPotential | None = None) -> list[Estimate]:
        """Estimates of :attr:`property`, in the order given.

        Args:
            given: ordered, relaxed crystals for a model of structures; else crystals, genes,
                compositions or formulas.
            potential: where a CHGNet is loaded already.

        Raises:
            InputError: a formula that is none, or a model of structures is given something else.
        """
        return [row[self.property] for row in self.predict_all(given, potential)]

    def predict_all(
        self, given: Sequence[Seen], potential: CHGNetPotential | None = None
    ) -> list[dict[str, Estimate]]:
        """Estimates of every property of the model, in the order given.

        A crystal that CHGNet cannot evaluate is estimated without its embedding, with ``BLIND`` times the
        deviation, and is marked as outside the training domain; what goes beyond CHGNet's energy gets the
        distribution of all crystals.
        """
        if not given:
            return []
        if self.sees == "structure":
            return self._of_structures(given, potential)
        # arrays of many thousand rows: one chunk a thread, each thread alone on its core
        chunks = [given[start : start + CHUNK] for start in range(0, len(given), CHUNK)]
        threads = torch.get_num_threads()
        if threads == 1 or len(chunks) == 1:
            return [row for chunk in chunks for row in self._of_formulas(chunk)]
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return [row for rows in pool.map(self._of_formulas, chunks) for row in rows]

    def _of_formulas(self, given: Sequence[Seen]) -> list[dict[str, Estimate]]:
        formulas = [_formula(one) for one in given]
        if self.sees == "composition":
            return self.of_features(composition_rows(formulas))
        return self.of_features(
            composition_and_space_group_rows(formulas, [_space_group(one) for one in given])
        )

    def _of_structures(
        self, given: Sequence[Any], potential: CHGNetPotential | None
    ) -> list[dict[str, Estimate]]:
        from pymatgen.core import Structure

        from invdesign.predictors.features.structure import describe, embedded

        if not all(isinstance(one, Structure) for one in given):
            raise InputError(
                f"predict: {', '.join(self.properties)} needs structures; a formula or gene has none yet."
            )
        return self.of_described(embedded(describe(given, potential), given, self.embeddings))

    def of_described(self, described: Described) -> list[dict[str, Estimate]]:
        """Estimates of every property, as :meth:`predict_all`, of crystals that are described already.

        Args:
            described: with the further embeddings that the model sees.
        """
        rows = self.of_features(self.features(described), described.energy)
        for index in np.flatnonzero(np.isnan(described.energy) | np.isnan(described.features).all(1)):
            rows[index] = {name: replace(e, in_domain=False) for name, e in rows[index].items()}
        return rows

    def features(self, described: Described) -> np.ndarray:
        """Features (n, d) of described crystals as this model sees them."""
        return described.seen_with(self.embeddings, tuple(self.inputs.values()))

    def of_features(
        self, features: np.ndarray, energy: np.ndarray | None = None
    ) -> list[dict[str, Estimate]]:
        """As :meth:`estimates`, a dictionary for each row."""
        columns = {name: found.rows() for name, found in self.estimates(features, energy).items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def estimates(self, features: np.ndarray, energy: np.ndarray | None = None) -> dict[str, Estimates]:
        """Estimates of every property for feature rows (n, d), as arrays.

        Without CHGNet's embedding (nan) the deviation is ``BLIND`` times as large.

        Args:
            features: as the model was trained on.
            energy: formation energies by calibrated CHGNet (n,), where a property goes beyond them; where one
                is nan the property gets the distribution of all crystals, outside the domain.
        """
        standardised = self.ensemble.standardise(features)
        inside = self.ensemble.inside(standardised)
        energies = np.full(len(features), np.nan) if energy is None else energy
        unknown = np.isnan(energies)
        # embeddings are the last of a structure's features but for the numbers set for all
        last = features[:, -1 - len(self.inputs)]
        blind = np.isnan(last) if self.sees == "structure" else np.zeros(len(features), bool)
        columns = {}
        distributions = self.ensemble.distributions(standardised, hypothetical=self.hypothetical)
        for name, found in distributions.items():
            mean, measured = found.mean, self.properties[name]
            sigma = np.where(blind, BLIND, 1.0) * found.sigma
            known = inside
            if measured.beyond and self.sees == "structure":
                mean = np.where(unknown, ANY_ENERGY[0], mean + energies)
                sigma = np.where(unknown, ANY_ENERGY[1], sigma)
                known = inside & ~unknown
            if measured.log10:
                mean = 10.0**mean
                sigma = sigma * LN10 * mean
            p_zero = found.p_zero
            if name == PBE_GAP and self.sees == "structure":
                p_zero = np.where(half_filled(features), np.maximum(p_zero, HALF_FILLED), p_zero)
            columns[name] = Estimates(mean, sigma, p_zero, known, measured.log10)
        return columns


def _formula(one: Seen) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, Gene):
        return one.formula
    from pymatgen.core import Structure

    composition = one.composition if isinstance(one, Structure) else one
    return "".join(f"{element}{n}" for element, n in reduced_amounts(composition).items())


def _space_group(one: Seen) -> int | None:
    if isinstance(one, str):
        return None
    if isinstance(one, Gene):
        return one.space_group
    from pymatgen.core import Structure

    from invdesign.predictors.features.structure import gene_or_general

    return gene_or_general(one).space_group if isinstance(one, Structure) else None
