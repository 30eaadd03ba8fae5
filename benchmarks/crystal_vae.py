"""What crystal-vae reconstructs, samples and finds, before any relaxation; writes crystal_vae.json.

python benchmarks/crystal_vae.py ../shared/data
Predictors of gaps that the VAE never sees: the predictor band-gap on the decoded, unrelaxed structures, and
gene-rank on the genes alone.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invdesign.analysis.latent import same_structure
from invdesign.core.target import parse_target
from invdesign.crystal.symmetry import realise
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.geometry import geometry_check
from invdesign.filters.novelty import KnownMaterials
from invdesign.generators.crystal_vae.latent_search import aims, climb, starts
from invdesign.generators.crystal_vae.pipeline import CrystalVAE
from invdesign.generators.gene_diffusion.pipeline import prompt_of
from invdesign.predictors.gene_ranker import GeneRanker
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.training.generators.corpus import read_corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from invdesign.core.candidate import Candidate
    from invdesign.core.target import Window
    from invdesign.training.generators.corpus import Corpus

    Predictors = tuple[PropertyPredictor, GeneRanker]

N, SEED = 500, 11
N_SEARCH = 200
CACHE = Path(".cache/invdesign")
TARGETS = ("band_gap=1.5±0.25", "band_gap=3±0.25", "band_gap=5±0.5")


def reconstruction(vae: CrystalVAE, corpus: Corpus) -> dict[str, Any]:
    """Held-out MP-20 crystals there and back."""
    rows = np.flatnonzero(corpus.held_out & (corpus.source == "mp20"))
    tokens = corpus.tokens.select(rows)
    start = time.process_time()
    latents = vae.encode_tokens(tokens)
    encoded = time.process_time()
    decoded = vae.decode(latents)
    seconds = time.process_time() - encoded
    genes = [tokens.gene(i) for i in range(len(tokens))]
    same = np.array([c.gene == gene for c, gene in zip(decoded, genes, strict=True)])
    matched = np.array(
        [
            c.structure is not None and same_structure(realise(gene, tokens.geometry(i)), c.structure)
            for i, (c, gene) in enumerate(zip(decoded, genes, strict=True))
        ]
    )
    sizes = np.array([len(gene.orbits) for gene in genes])
    return {
        "n": len(rows),
        "gene equal": float(same.mean()),
        "structure matches": float(matched.mean()),
        "structure matches where the gene is equal": float(matched[same].mean()) if same.any() else None,
        "formula equal": float(
            np.mean([c.gene.formula == g.formula for c, g in zip(decoded, genes, strict=True)])
        ),
        "space group equal": float(
            np.mean([c.gene.space_group == g.space_group for c, g in zip(decoded, genes, strict=True)])
        ),
        "gene equal, by orbits": {
            name: [int(part.sum()), float(same[part].mean())]
            for name, part in {"1-2": sizes <= 2, "3-4": (sizes > 2) & (sizes < 5), "5+": sizes > 4}.items()
        },
        "encoded per CPU second": len(rows) / (encoded - start),
        "decoded per CPU second": len(rows) / seconds,
    }


def describe(candidates: list[Candidate], known: KnownMaterials) -> dict[str, float]:
    """Shares of a sample of crystals."""
    novelty = np.array([known.novelty(c.gene).value for c in candidates])
    balanced = np.array([charge_balance(c.gene.composition).passed for c in candidates])
    plausible = np.array([geometry_check(c.structure).passed for c in candidates if c.structure])
    return {
        "charge balanced": float(balanced.mean()),
        "plausible geometry": float(plausible.mean()),
        "valid": float((balanced & plausible).mean()),
        "unique": len({c.gene.hash for c in candidates}) / len(candidates),
        "gene not known": float((novelty > 0).mean()),
        "composition not known": float((novelty == 2).mean()),
    }


def samples(vae: CrystalVAE, known: KnownMaterials) -> dict[str, Any]:
    """Crystals of the prior, of the prior with the likeliest choices, and what ``propose`` gives unasked."""
    prior = np.random.default_rng(SEED).standard_normal((N, vae.network.config["latent_size"]))
    start = time.process_time()
    proposed = vae.propose(parse_target(()), N, SEED)
    seconds = time.process_time() - start
    return {
        "prior, temperature 0": describe(vae.decode(prior), known),
        "prior, temperature 0.5": describe(vae.decode(prior, temperature=0.5, seed=SEED), known),
        "propose, no target": describe(proposed, known) | {"per CPU second": N / seconds},
    }


def predicted_gaps(candidates: list[Candidate], predictor: PropertyPredictor) -> NDArray[np.float64]:
    """(n,) gaps by the predictor, eV; NaN where the geometry is implausible."""
    gaps = np.full(len(candidates), np.nan)
    good = [i for i, c in enumerate(candidates) if c.structure and geometry_check(c.structure).passed]
    structures = [candidates[i].structure for i in good]
    gaps[good] = [estimate.value for estimate in predictor.predict([s for s in structures if s is not None])]
    return gaps


def search(vae: CrystalVAE, predictors: Predictors, known: KnownMaterials) -> dict[str, Any]:
    """How far latent search moves the gap that the heads expect, and the gaps that the predictors see."""
    rng = np.random.default_rng(SEED)
    anything = parse_target(())
    untargeted = vae.propose(anything, N_SEARCH, SEED)
    begin = starts(vae.network, prompt_of(anything), aims(vae.network, anything), N_SEARCH, rng)
    metrics: dict[str, Any] = {}
    for text in TARGETS:
        target = parse_target(text)
        window = target.windows["band_gap"]
        # from anywhere, to see what the ascent alone does
        moved = climb(vae.network, begin, *aims(vae.network, target))
        rows = {
            "propose, no target": (untargeted, None),
            "latents from anywhere": (vae.decode(begin, temperature=0.5), begin),
            "the same after the ascent": (vae.decode(moved, temperature=0.5), moved),
            "propose": (vae.propose(target, N_SEARCH, SEED), None),
        }
        metrics[text] = {
            name: moments(vae, candidates, latents, predictors, window)
            for name, (candidates, latents) in rows.items()
        }
        metrics[text]["propose"] |= describe(rows["propose"][0], known)
    return metrics


def moments(
    vae: CrystalVAE,
    candidates: list[Candidate],
    latents: torch.Tensor | None,
    predictors: Predictors,
    window: Window,
) -> dict[str, float]:
    """Median gaps, and shares of all candidates inside the window."""
    predictor, ranker = predictors
    by_structure = predicted_gaps(candidates, predictor)
    by_gene = np.array([e["band_gap"].value for e in ranker.predict([c.gene for c in candidates])])
    expected = {}
    if latents is not None:
        expected["expected by the heads, median"] = float(np.median(vae.properties(latents)["band_gap"]))
    return expected | {
        "band-gap on structures, median": float(np.nanmedian(by_structure)),
        "band-gap on structures, in window": share(by_structure, window.low, window.high),
        "gene-rank on genes, median": float(np.median(by_gene)),
        "gene-rank on genes, in window": share(by_gene, window.low, window.high),
    }


def share(values: NDArray[np.float64], low: float, high: float) -> float:
    """Of all values, NaN too, those inside."""
    return float(((values >= low) & (values <= high)).mean())


def main(data: Path) -> None:
    """Measure and write the metrics."""
    torch.set_num_threads(1)
    vae, known = CrystalVAE.load(), KnownMaterials.load()
    predictors = (PropertyPredictor.load("band-gap", "band_gap"), GeneRanker.load("gene-rank"))
    corpus = read_corpus(data, CACHE)
    results = {
        "reconstruction of held-out mp20": reconstruction(vae, corpus),
        "samples": samples(vae, known),
        "latent search": search(vae, predictors, known),
    }
    report = {
        "n": N,
        "seed": SEED,
        "results": results,
        "hardware": f"{platform.machine()}, one thread",
        "versions": {name: version(name) for name in ("torch", "diffusers", "smact", "pymatgen")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
