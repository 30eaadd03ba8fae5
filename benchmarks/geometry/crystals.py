"""The genes that the benchmark gives geometries to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.novelty import KnownMaterials
from invdesign.generators.registry import load_generator
from invdesign.training.generators.corpus import read_corpus

if TYPE_CHECKING:
    from invdesign.training.generators.corpus import Corpus

CACHE = Path(".cache/invdesign")
NOVEL = Path(__file__).resolve().with_name("novel.txt")


def corpus(data: Path) -> Corpus:
    """Return the known crystals; those that no model was trained on are marked."""
    return read_corpus(data, CACHE)


def held_out(known: Corpus, n: int, seed: int) -> list[int]:
    """Rows of n crystals of mp20 whose compositions no model was trained on."""
    rows = np.flatnonzero(known.held_out & (known.source == "mp20"))
    return [int(row) for row in np.random.default_rng(seed).permutation(rows)[:n]]


def novel(n: int, seed: int) -> list[Gene]:
    """Return the first n different genes of gene diffusion that balance and whose composition is new.

    Kept in a file once drawn: every source is given the same, whatever becomes of the generator.
    """
    if not NOVEL.is_file():
        generator, known = load_generator("gene-diffusion"), KnownMaterials.load()
        found: dict[str, Gene] = {}
        for candidate in generator.propose(parse_target(["e_above_hull<0.1"]), 12 * n, seed):
            gene = candidate.gene
            if gene.realisable and charge_balance(gene.composition).passed and known.novelty(gene).value == 2:
                found.setdefault(gene.hash, gene)
        NOVEL.write_text("".join(f"{gene}\n" for gene in list(found.values())[:n]))
    return [Gene.parse(line) for line in NOVEL.read_text().splitlines()[:n]]
