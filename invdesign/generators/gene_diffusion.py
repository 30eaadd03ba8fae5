"""The gene diffusion generator: a diffusers pipeline, and what the funnel calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DiffusionPipeline
from pymatgen.core import Composition

from invdesign.artifacts import find
from invdesign.candidate import Candidate
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.data.tokens import LETTERS
from invdesign.errors import InputError
from invdesign.generators.gene_sampling import GeneSampler, Prompt
from invdesign.generators.gene_transformer import N_GROUPS, GeneTransformer
from invdesign.targets import MAX_ATOMS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from invdesign.targets import Target


class GeneDiffusionPipeline(DiffusionPipeline):
    """Samples genes under conditions and a prompt.

    Args:
        transformer: the denoiser.
    """

    def __init__(self, transformer: GeneTransformer) -> None:
        super().__init__()
        self.register_modules(transformer=transformer)

    @torch.inference_mode()
    def __call__(
        self,
        conditions: list[dict[str, float]],
        *,
        seed: int | Sequence[int],
        prompt: Prompt | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
    ) -> list[Gene]:
        """One gene for each dictionary of conditions (any subset of the model's, in their units).

        Raises:
            InputError: a condition that the model was not trained on.
        """
        network: GeneTransformer = self.transformer
        names = list(network.config["conditions"])
        values, present = (
            torch.zeros(len(conditions), len(names)),
            torch.zeros(len(conditions), len(names)).bool(),
        )
        for i, asked in enumerate(conditions):
            for name, value in asked.items():
                if name not in names:
                    msg = f"condition: this generator does not know {name!r}; it knows {', '.join(names)}."
                    raise InputError(msg)
                values[i, names.index(name)] = value
                present[i, names.index(name)] = True
        entropy = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
        sampler = GeneSampler(
            network,
            values,
            present,
            guidance=guidance,
            prompt=prompt or Prompt.free(),
            temperature=temperature,
            generator=torch.Generator().manual_seed(entropy),
        )
        return [_gene(*row) for row in zip(*sampler.sample(), strict=True)]


def _gene(group: Tensor, elements: Tensor, letters: Tensor) -> Gene:
    orbits = tuple(
        (SYMBOLS[z], LETTERS[w]) for z, w in zip(elements.tolist(), letters.tolist(), strict=True) if z
    )
    return Gene(int(group), orbits).canonical()


class GeneDiffusion:
    """Generator ``gene-diffusion``: proposes genes for a target.

    Args:
        pipeline: the trained model.
        guidance: classifier-free guidance weight.
        temperature: of every draw.
    """

    name = "gene-diffusion"

    def __init__(
        self, pipeline: GeneDiffusionPipeline, *, guidance: float = 1.0, temperature: float = 1.0
    ) -> None:
        self.pipeline = pipeline
        self.guidance = guidance
        self.temperature = temperature

    @classmethod
    def load(
        cls, name: str | Path = "gene-diffusion", *, guidance: float = 1.0, temperature: float = 1.0
    ) -> GeneDiffusion:
        """The released model, or one in a folder that ``invdesign train`` wrote.

        Raises:
            InputError: no such folder, or a file of it is missing or cannot be read.
        """
        weights = "transformer/diffusion_pytorch_model.safetensors"
        folder = find("models", name, needs=("model_index.json", "transformer/config.json", weights))
        try:
            network = GeneTransformer.from_pretrained(
                folder / "transformer", dtype=torch.float32, low_cpu_mem_usage=False, use_safetensors=True
            )
        except Exception as error:
            why = _first_line(error)
            msg = f"models folder {str(folder)!r} cannot be read ({why}); restore it or retrain it."
            raise InputError(msg) from error
        pipeline = GeneDiffusionPipeline(transformer=network.eval())
        return cls(pipeline, guidance=guidance, temperature=temperature)

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates with a gene and no geometry; some may miss the target's formula."""
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        conditions = [self._conditions(target, rng) for _ in range(n)]
        genes = self.pipeline(
            conditions,
            seed=int(rng.integers(2**63)),
            prompt=prompt_of(target),
            guidance=self.guidance,
            temperature=self.temperature,
        )
        return [
            Candidate(id="", gene=gene, provenance={"generator": self.name, "conditions": asked})
            for gene, asked in zip(genes, conditions, strict=True)
        ]

    def _conditions(self, target: Target, rng: np.random.Generator) -> dict[str, float]:
        """A value from each window, drawn as the training data are spread; stability is always asked for."""
        config = self.pipeline.transformer.config
        asked = {"e_above_hull": 0.0}
        if sizes := _sizes(target):
            asked["n_atoms"] = float(rng.choice(sizes))
        for name, window in target.windows.items():
            if name not in config["conditions"]:
                continue
            spread = np.array(config["condition_quantiles"][list(config["conditions"]).index(name)])
            inside = spread[(spread >= window.low) & (spread <= window.high)]
            nearest = float(np.clip(max(window.low, spread[0]), window.low, window.high))
            asked[name] = float(rng.choice(inside)) if len(inside) else nearest
        return asked


def _sizes(target: Target) -> list[int]:
    """Numbers of atoms that the target is met with; empty where it leaves them open."""
    if target.formula is None and target.n_atoms == (1, MAX_ATOMS):
        return []
    unit = 1 if target.formula is None else round(Composition(target.formula).num_atoms)
    return [n for n in range(target.n_atoms[0], target.n_atoms[1] + 1) if n % unit == 0]


def prompt_of(target: Target) -> Prompt:
    """What a target fixes in every gene.

    Raises:
        InputError: more required elements than a gene can hold atoms.
    """
    groups = torch.ones(N_GROUPS, dtype=torch.bool)
    if target.space_groups is not None:
        groups = torch.zeros(N_GROUPS, dtype=torch.bool)
        groups[list(target.space_groups)] = True
    elements, required = (
        torch.zeros(len(SYMBOLS), dtype=torch.bool),
        torch.zeros(len(SYMBOLS), dtype=torch.bool),
    )
    elements[[ATOMIC_NUMBER[symbol] for symbol in target.elements]] = True
    required[[ATOMIC_NUMBER[symbol] for symbol in target.required]] = True
    return Prompt(groups, elements, required, target.n_atoms[1])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
