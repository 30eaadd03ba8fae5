"""The gene diffusion generator: a diffusers pipeline, and what the funnel calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from diffusers import DiffusionPipeline

from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import MAX_ATOMS, Target
from invdesign.core.target_parser import amounts_of
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.data.tokens import LETTERS
from invdesign.errors import InputError
from invdesign.filters.charge_balance import suits
from invdesign.generators.gene_diffusion.constraints import PartialGene, Prompt, rules_of
from invdesign.generators.gene_diffusion.model import GeneTransformer
from invdesign.generators.gene_diffusion.sampler import GeneSampler, Mixture
from invdesign.generators.networks import load_network

# stable and above all new is asked for firmly, a window lightly: docs/decisions/ has what else was tried
_REPORTED = {"new": 0.0, "known": 1.0}  # the condition for each word of novelty that steers
_WEIGHTS = {"e_above_hull": 2.0, "reported": 4.0}
_LIGHT = 0.5  # any other
_AT_WILL = 4  # redraws before elements above the limit of supply are left out
_DEFAULT: Mapping[str, float] = MappingProxyType({})


class GeneDiffusionPipeline(DiffusionPipeline):
    """Samples genes under conditions and a prompt.

    Args:
        transformer: the denoiser.
    """

    def __init__(self, transformer: GeneTransformer) -> None:
        super().__init__()
        self.register_modules(transformer=transformer)

    def __call__(
        self,
        conditions: list[dict[str, float]],
        *,
        seed: int | Sequence[int],
        prompt: Prompt | None = None,
        guidance: float | Mapping[str, float] = _DEFAULT,
        temperature: float = 1.0,
    ) -> list[Gene]:
        """One gene for each dictionary of conditions (any subset of the model's, in their units).

        Args:
            conditions: of each gene.
            seed: the same one gives the same genes.
            prompt: what every gene must satisfy.
            guidance: weight of all conditions, or of each by name (those not named: 2 for E above hull, 4
                for ``reported``, 0.5 for others); see ``mixture``.
            temperature: of every draw.

        Raises:
            InputError: a condition that the model was not trained on, or a prompt that no gene satisfies.
        """
        names = tuple(self.transformer.config["conditions"])
        for name in {name for asked in conditions for name in asked} | _named(guidance):
            if name not in names:
                raise InputError(
                    f"condition: this generator does not know {name!r}; it knows {', '.join(names)}."
                )
        rules = rules_of(prompt or Prompt())
        if not rules.plans.any():
            raise InputError(_nothing_fits(rules.prompt))
        sampler = GeneSampler(
            self.transformer,
            mixture(names, conditions, guidance),
            rules=rules,
            temperature=temperature,
            rng=np.random.default_rng(np.random.SeedSequence(seed)),
        )
        return [_gene(draft) for draft in sampler.sample()]


def mixture(
    names: tuple[str, ...], conditions: list[dict[str, float]], guidance: float | Mapping[str, float]
) -> Mixture:
    """Return the passes of classifier-free guidance, a weight ``g`` for each condition.

    With the same ``g`` for all: joint + g (joint - free), where ``joint`` has every condition and ``free``
    none (Ho and Salimans 2022). With several, the conditions of a weight form a group with a pass of its
    own: joint + sum of g (group - free) over the groups, which is the same where they are independent given
    the gene (Liu et al. 2022, composable diffusion). So 0 is the conditional model itself, one pass; -1
    leaves a condition out, and for all of them gives the unconditional model.
    """
    if isinstance(guidance, Mapping):
        weight_of = {name: guidance.get(name, _WEIGHTS.get(name, _LIGHT)) for name in names}
    else:
        weight_of = dict.fromkeys(names, guidance)
    values, present = torch.zeros(2, len(conditions), len(names))
    for i, asked in enumerate(conditions):
        for name, value in asked.items():
            values[i, names.index(name)] = value
            present[i, names.index(name)] = weight_of[name] != -1
    used = [name for c, name in enumerate(names) if present[:, c].any()]
    passes, weights = [present], [1.0]
    for weight in sorted({weight_of[name] for name in used} - {0.0}):
        group = torch.tensor([weight_of[name] == weight for name in names])
        passes += [present * group, torch.zeros_like(present)]
        weights += [weight, -weight]
    return Mixture(torch.tensor(weights), values, torch.stack(passes))


def _nothing_fits(prompt: Prompt) -> str:
    """One sentence on a prompt whose formula, elements, atoms and space groups exclude one another."""
    fewest, most = prompt.n_atoms
    units = f", a multiple of {prompt.unit}," if prompt.unit > 1 else ""
    return (
        f"target: no gene of {fewest} to {most} atoms{units} with the asked elements exists in the allowed "
        "space groups; allow more of them, or more atoms."
    )


def _named(guidance: float | Mapping[str, float]) -> set[str]:
    return set(guidance) if isinstance(guidance, Mapping) else set()


def _gene(draft: PartialGene) -> Gene:
    orbits = tuple((SYMBOLS[z], LETTERS[w]) for z, w in zip(draft.elements, draft.letters, strict=True))
    return Gene(draft.group, orbits).canonical()


class GeneDiffusion:
    """Generator ``gene-diffusion``: proposes genes for a target.

    Args:
        pipeline: the trained model.
        guidance: classifier-free guidance weight, of all conditions or by name; see the pipeline.
        temperature: of every draw.
        redraws: how often genes that repeat one or do not balance are drawn again; 0: the model as it is.
        novelty: ``new`` steers away from reported crystals, ``known`` to them, ``any`` to neither.

    Raises:
        InputError: guidance or temperature is no weight.
    """

    name = artifact = "gene-diffusion"
    pipeline_class = "GeneDiffusionPipeline"

    def __init__(
        self,
        pipeline: GeneDiffusionPipeline,
        *,
        guidance: float | Mapping[str, float] = _DEFAULT,
        temperature: float = 1.0,
        redraws: int = 8,
        novelty: str = "new",
    ) -> None:
        weights = guidance.values() if isinstance(guidance, Mapping) else (guidance,)
        if not all(-1 <= weight <= 100 for weight in weights):
            raise InputError(
                f"guidance: {guidance} is no weight; give -1 (a condition left out) to 100, such as 2."
            )
        if not 0 < temperature < inf:
            raise InputError(
                f"temperature: {temperature:g} cannot be drawn at; give a number above 0, such as 0.9."
            )
        self.pipeline = pipeline
        self.guidance = guidance
        self.temperature = temperature
        self.redraws = redraws
        self.novelty = novelty

    @classmethod
    def load(
        cls,
        name: str | Path = artifact,
        *,
        guidance: float | Mapping[str, float] = _DEFAULT,
        temperature: float = 1.0,
        redraws: int = 8,
        novelty: str = "new",
    ) -> GeneDiffusion:
        """Load the released model, or one in a folder that ``invdesign train`` wrote.

        Raises:
            InputError: no such folder, a file of it is missing or cannot be read, or an option is wrong.
        """
        pipeline = GeneDiffusionPipeline(transformer=load_network(GeneTransformer, name, "transformer"))
        return cls(pipeline, guidance=guidance, temperature=temperature, redraws=redraws, novelty=novelty)

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates with a gene that the target allows, and no geometry.

        Genes whose charges do not balance (one in seven), that break a limit of supply, or that are there
        already, are drawn again, up to ``redraws`` times; where the limit is of the composition, the last of
        these have no element that is above it by itself.

        Raises:
            InputError: no gene satisfies the target.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        prompt = prompt_of(target)
        conditions = [self._conditions(target, prompt, rng) for _ in range(n)]
        if idle := sorted(_named(self.guidance) - conditions[0].keys()):
            raise InputError(
                f"guidance: the target does not ask for {idle[0]}; ask for a window on it, or leave it out."
            )
        genes = self._draw(conditions, prompt, rng)
        for attempt in range(self.redraws):
            again = _unwanted(genes, target)
            if not again:
                break
            within = safe_prompt(prompt, target) if attempt >= _AT_WILL else prompt
            for i, gene in zip(again, self._draw([conditions[i] for i in again], within, rng), strict=True):
                genes[i] = gene
        return [
            Candidate("", gene, Origin(generator=self.name, conditions=asked))
            for gene, asked in zip(genes, conditions, strict=True)
        ]

    def _draw(
        self, conditions: list[dict[str, float]], prompt: Prompt, rng: np.random.Generator
    ) -> list[Gene]:
        return self.pipeline(
            conditions,
            seed=int(rng.integers(2**63)),
            prompt=prompt,
            guidance=self.guidance,
            temperature=self.temperature,
        )

    def _conditions(self, target: Target, prompt: Prompt, rng: np.random.Generator) -> dict[str, float]:
        """Draw a value from each window, distributed as the training data; stable; as new as asked for."""
        config = self.pipeline.transformer.config
        always = {"e_above_hull": 0.0}
        if self.novelty in _REPORTED and not target.formula:
            always["reported"] = _REPORTED[self.novelty]
        asked = {name: value for name, value in always.items() if name in config["conditions"]}
        if prompt.unit > 1 or prompt.n_atoms != (1, MAX_ATOMS):
            asked["n_atoms"] = float(rng.choice(prompt.sizes))
        for name, window in target.guiding_windows.items():
            if name not in config["conditions"]:
                continue
            # without the outermost percent: mistakes in the data and single crystals
            spread = np.array(config["condition_quantiles"][list(config["conditions"]).index(name)][2:-2])
            inside = spread[(spread >= window.low) & (spread <= window.high)]
            nearest = float(np.clip(max(window.low, spread[0]), window.low, window.high))
            asked[name] = float(rng.choice(inside)) if len(inside) else nearest
        return asked


def _unwanted(genes: list[Gene], target: Target) -> list[int]:
    """Places of genes that occurred before, or whose charges or supply do not do for the target."""
    seen: set[str] = set()
    found = []
    for i, gene in enumerate(genes):
        fits = suits(gene.composition, target).passed and not target.supply_objection(gene.amounts)
        if gene.hash in seen or not fits:
            found.append(i)
        seen.add(gene.hash)
    return found


def prompt_of(target: Target) -> Prompt:
    """Return what a target fixes in every gene."""
    formula = amounts_of(target.formula, "formula") if target.formula else None
    kinds = amounts_of(target.anonymous_formula, "anonymous") if target.anonymous_formula else None
    return Prompt(
        groups=Prompt.groups if target.space_groups is None else target.space_groups,
        elements=_numbers(target.elements),
        required=_numbers(target.required),
        one_of=tuple(map(_numbers, target.unmet)),
        n_atoms=target.n_atoms,
        formula=tuple((ATOMIC_NUMBER[symbol], n) for symbol, n in formula.items()) if formula else None,
        amounts=tuple(kinds.values()) if kinds else None,
    )


def safe_prompt(prompt: Prompt, target: Target) -> Prompt:
    """Return a prompt without the elements that are above the target's limit of supply by themselves.

    Where they are required, or nothing would be left, the prompt stays.
    """
    safe = _numbers(target.safe_elements)
    one_of = tuple(elements & safe for elements in prompt.one_of)
    if not all(one_of) or len(safe) < len(prompt.amounts or (1,)):
        return prompt
    return replace(prompt, elements=safe, one_of=one_of)


def _numbers(symbols: frozenset[str]) -> frozenset[int]:
    return frozenset(ATOMIC_NUMBER[symbol] for symbol in symbols)
