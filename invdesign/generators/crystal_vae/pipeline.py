"""The crystal VAE: a diffusers pipeline, and what maps, interpolation, search and the funnel call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import MAX_ATOMS, Target
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import SymmetryError, gene_of, realise
from invdesign.data.tokens import TokenSet, tokens_of
from invdesign.errors import InputError
from invdesign.generators.crystal_vae.constraints import possible_groups
from invdesign.generators.crystal_vae.decoder import CLOSEST, Choice, decode_genes, decode_geometries
from invdesign.generators.crystal_vae.latent_search import aims, climb, miss, starts
from invdesign.generators.crystal_vae.model import CrystalVAENetwork, crystals_of
from invdesign.generators.gene_diffusion.constraints import Prompt
from invdesign.generators.gene_diffusion.pipeline import prompt_of, safe_prompt
from invdesign.generators.networks import load_network

if TYPE_CHECKING:
    from pymatgen.core import Structure

Latents = NDArray[np.float32]

_BATCH = 256
_TRIED = 2  # latents climbed for each that is kept
_SPARE = 1.5  # crystals decoded for each that is kept
_ROOM = "closest_contact"  # share of the sum of covalent radii


class CrystalVAEPipeline(DiffusionPipeline):
    """Holds the network, so that it is saved, loaded and shared like any diffusers pipeline.

    Args:
        network: encoder, decoders, property heads.
    """

    def __init__(self, network: CrystalVAENetwork) -> None:
        super().__init__()
        self.register_modules(network=network)

    @torch.inference_mode()
    def __call__(
        self, latents: Tensor, condition: Tensor, prompt: Prompt, choice: Choice
    ) -> list[tuple[Gene, Geometry, float]]:
        """Canonical gene, geometry and closest contact of each latent (B, d), as the prompt asks."""
        found: list[tuple[Gene, Geometry, float]] = []
        for begin in range(0, len(latents), _BATCH):
            part = latents[begin : begin + _BATCH]
            tokens = decode_genes(self.network, part, condition[begin : begin + _BATCH], prompt, choice)
            found += decode_geometries(self.network, part, tokens, choice)
        return found


def crystal_of(structure: Structure) -> tuple[Gene, Geometry]:
    """Return the gene and the geometry that can be encoded.

    Raises:
        InputError: the crystal is disordered, too large, or no symmetry is found.
    """
    formula = formula_of(structure.composition)
    try:
        gene, geometry = gene_of(structure)
    except SymmetryError as error:
        raise InputError(f"structure: {formula} has no gene ({error}); give an ordered crystal.") from error
    if gene.n_atoms > MAX_ATOMS:
        raise InputError(
            f"structure: {formula} has {gene.n_atoms} atoms in the primitive cell; give at most {MAX_ATOMS}."
        )
    return gene, geometry


class CrystalVAE:
    """Generator ``crystal-vae``: crystals as points of a continuous space, and back.

    Args:
        pipeline: the trained model.
        temperature: of the draws of ``propose``; ``decode`` takes the likeliest.
    """

    name = artifact = "crystal-vae"
    pipeline_class = "CrystalVAEPipeline"

    def __init__(self, pipeline: CrystalVAEPipeline, *, temperature: float = 0.5) -> None:
        self.network: CrystalVAENetwork = pipeline.network
        self.pipeline = pipeline
        self.temperature = temperature

    @classmethod
    def load(cls, name: str | Path = artifact, *, temperature: float = 0.5) -> CrystalVAE:
        """Load the released model, or one in a folder that ``invdesign train`` wrote.

        Raises:
            InputError: no such folder, or a file of it is missing or cannot be read.
        """
        pipeline = CrystalVAEPipeline(network=load_network(CrystalVAENetwork, name, "network"))
        return cls(pipeline, temperature=temperature)

    def encode(self, structures: Sequence[Structure]) -> Latents:
        """Latents (n, d) of crystals in any cell.

        Raises:
            InputError: as ``crystal_of``.
        """
        return self.encode_tokens(
            tokens_of([(str(i), i, *crystal_of(structure)) for i, structure in enumerate(structures)])
        )

    @torch.inference_mode()
    def encode_tokens(self, tokens: TokenSet) -> Latents:
        """Latents (n, d) of genes and geometries."""
        if not len(tokens):
            return np.zeros((0, self.network.config["latent_size"]), dtype=np.float32)
        crystals = crystals_of(tokens)
        rows = torch.arange(len(crystals))
        parts = [rows[begin : begin + _BATCH] for begin in range(0, len(rows), _BATCH)]
        means = [self.network.encode(crystals.select(part))[0] for part in parts]
        latents: Latents = torch.cat(means).numpy()
        return latents

    def decode(
        self,
        latents: Latents | Tensor,
        *,
        conditions: Sequence[Mapping[str, float]] | None = None,
        prompt: Prompt | None = None,
        temperature: float = 0.0,
        seed: int | Sequence[int] = 0,
    ) -> list[Candidate]:
        """Return the crystals of latents (n, d): gene, geometry and structure of each.

        Args:
            latents: what ``encode``, ``interpolate`` or ``search`` gave.
            conditions: properties to go by in addition to the latent, in their units, for each.
            prompt: what every gene satisfies.
            temperature: of the draws of the gene; 0: the likeliest choices.
            seed: of these draws.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        points = torch.as_tensor(latents, dtype=torch.float32)
        condition = self._condition(conditions or [{}] * len(points))
        found = self.pipeline(points, condition, prompt or Prompt(), Choice.seeded(temperature, rng))
        return [
            Candidate(
                "",
                gene,
                Origin(generator=self.name, details={_ROOM: room}),
                geometry,
                realise(gene, geometry),
            )
            for gene, geometry, room in found
        ]

    def interpolate(self, a: Structure, b: Structure, n: int) -> list[Candidate]:
        """``n`` crystals on the straight line from ``a`` to ``b`` in the latent space, ends included.

        Raises:
            InputError: as ``encode``; or fewer than two.
        """
        if n < 2:
            raise InputError(f"n: {n} is too few to interpolate; give 2 or more.")
        first, last = self.encode([a, b])
        share = np.linspace(0.0, 1.0, n, dtype=np.float32)[:, None]
        return self.decode((1 - share) * first + share * last)

    @torch.inference_mode()
    def properties(self, latents: Latents | Tensor) -> dict[str, NDArray[np.float32]]:
        """Predict the properties of latents (n, d): (n,) by property, in the units of the conditions."""
        expected = self.network.properties(torch.as_tensor(latents, dtype=torch.float32)).numpy()
        return dict(zip(self.network.config["conditions"], expected.T, strict=True))

    def search(self, target: Target, n: int, seed: int | Sequence[int]) -> Latents:
        """Latents (n, d) that the property heads expect to be within the target's windows.

        Gradient ascent from latents of known crystals, kept near them (``vae_search``).
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        aim = aims(self.network, target)
        begin = starts(self.network, prompt_of(target), aim, _TRIED * n, rng)
        found = climb(self.network, begin, *aim)
        best = miss(self.network, found, *aim).argsort(stable=True)[:n]
        return found[best[torch.from_numpy(rng.permutation(n))]].numpy()

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates with a geometry, all of them as the target asks as far as a gene can tell.

        Raises:
            InputError: no space group has places for such a crystal.
        """
        prompt = prompt_of(target)
        if not possible_groups(prompt).any():
            raise InputError(
                f"target: no space group has places for a crystal such as {target.describe()}; ask for less."
            )
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        latents = self.search(target, math.ceil(_SPARE * n), int(rng.integers(2**62)))
        asked = self._asked(target, latents)
        found = self.decode(
            latents,
            conditions=asked,
            prompt=prompt,
            temperature=self.temperature,
            seed=int(rng.integers(2**62)),
        )
        over = [i for i, candidate in enumerate(found) if target.supply_objection(candidate.gene.amounts)]
        again = self.decode(
            latents[over],
            conditions=[asked[i] for i in over],
            prompt=safe_prompt(prompt, target),
            temperature=self.temperature,
            seed=int(rng.integers(2**62)),
        )
        for i, candidate in zip(over, again, strict=True):
            found[i] = candidate
        for candidate, conditions in zip(found, asked, strict=True):
            candidate.origin = replace(candidate.origin, conditions=conditions)
        # those whose atoms are too close come last, and are mostly left out
        return sorted(found, key=lambda candidate: float(candidate.origin.details[_ROOM]) < CLOSEST)[:n]

    def _asked(self, target: Target, latents: Latents) -> list[dict[str, float]]:
        """Conditions for the decoder: stability, and what the heads expect, drawn into the windows."""
        expected = self.properties(latents)
        asked: list[dict[str, float]] = [{"e_above_hull": 0.0} for _ in latents]
        for name, window in target.guiding_windows.items():
            if name in expected:
                inside = np.clip(expected[name], window.low, window.high)
                for conditions, value in zip(asked, inside, strict=True):
                    conditions[name] = float(value)
        return asked

    def _condition(self, conditions: Sequence[Mapping[str, float]]) -> Tensor:
        names = list(self.network.config["conditions"])
        values, present = torch.zeros(2, len(conditions), len(names))
        for i, asked in enumerate(conditions):
            for name, value in asked.items():
                if name not in names:
                    raise InputError(
                        f"condition: this generator does not know {name!r}; it knows {', '.join(names)}."
                    )
                values[i, names.index(name)] = value
                present[i, names.index(name)] = 1.0
        with torch.inference_mode():
            return self.network.condition(values, present.bool())
