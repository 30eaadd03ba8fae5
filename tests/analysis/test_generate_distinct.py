"""Genes that repeat give way to others: how many, in what order, after a kill, and where there are few."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from invdesign.analysis import generate as generating
from invdesign.analysis.generate import JOURNAL, generate, row_of
from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import parse_target
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError
from invdesign.io.provenance import folder_digest

ANYTHING = parse_target(())
CELL = (5.0, 5.0, 5.0, 90.0, 90.0, 90.0)


class Pool:
    """A generator of so many rock salts, drawn uniformly; it can be told to die."""

    name = "pool"

    def __init__(self, size):
        self.genes = [
            Gene(225, ((SYMBOLS[3 + i // 60], "a"), (SYMBOLS[30 + i % 60], "b"))).canonical()
            for i in range(size)
        ]
        self.drawn = []
        self.dies_at = None

    def propose(self, target, n, seed):
        del target
        if self.dies_at == len(self.drawn):
            raise KeyboardInterrupt
        self.drawn.append(n)
        genes = [self.genes[i] for i in np.random.default_rng(seed).integers(len(self.genes), size=n)]
        return [Candidate("", gene, Origin(generator=self.name), Geometry(CELL, ((), ()))) for gene in genes]


@pytest.fixture
def pool(monkeypatch):
    """Makes ``generate`` draw from a pool of the size given, 16 at a time."""

    def of(size):
        generator = Pool(size)
        monkeypatch.setattr(generating, "_generator", lambda *_: generator)
        monkeypatch.setattr(generating, "_weights", lambda *_, **__: {"generator": ""})
        monkeypatch.setattr(generating, "BATCH", 16)
        return generator

    return of


def hashes(candidates):
    return [candidate.gene.hash for candidate in candidates]


def files(out):
    tables = ("proposals.csv", "proposals.extxyz")
    return {
        **{name: (out / name).read_bytes() for name in tables},
        **{path.name: path.read_bytes() for path in (out / "cifs").iterdir()},
    }


def test_repeats_give_way_and_the_others_stay_where_they_are(pool):
    pool(1000)
    plain = {"generator": "pool", "novelty": "any", "workers": 1, "structures": False}
    raw = generate(ANYTHING, 100, distinct=False, **plain)
    candidates = generate(ANYTHING, 100, **plain)
    assert len(set(hashes(raw))) < 100
    assert len(set(hashes(candidates))) == len(candidates) == 100
    assert [candidate.id for candidate in candidates] == [f"g{i:06d}" for i in range(100)]
    first = {gene: i for i, gene in reversed(list(enumerate(hashes(raw))))}
    assert all(hashes(candidates)[i] == gene for gene, i in first.items())


def test_what_is_not_as_new_as_asked_for_gives_way_while_there_is_other(pool):
    pool(300)
    plain = {"generator": "pool", "workers": 1, "structures": False}
    novelties = [row_of(c)["novelty"] for c in generate(ANYTHING, 40, novelty="any", **plain)]
    assert {"new"} < set(novelties)
    assert {row_of(c)["novelty"] for c in generate(ANYTHING, 40, **plain)} == {"new", "new structure"}
    known = [row_of(c)["novelty"] for c in generate(ANYTHING, 10, novelty="known", **plain)]
    assert known.count("known") > 10 * novelties.count("known") / 40
    pool(1)  # LiZn is known
    (salt,) = generate(parse_target((), formula="LiZn"), 1, **plain)
    assert row_of(salt)["novelty"] != "new"


def test_where_there_are_few_genes_all_come_and_few_more_are_tried(pool):
    few = pool(3)
    candidates = generate(ANYTHING, 50, generator="pool", workers=1)
    assert len(candidates) == 50
    assert set(hashes(candidates)) == {gene.hash for gene in few.genes}
    assert all(candidate.structure is not None for candidate in candidates)
    assert sum(few.drawn) <= 1 + 50 + 3 * 3


@pytest.mark.parametrize("batches", [3, 9])  # of the genes asked for: 7; then further ones
def test_a_kill_in_any_round_changes_nothing(pool, tmp_path, batches):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = pool(300)
    candidates = generate(ANYTHING, 100, generator="pool", out=whole, workers=1)
    assert len(set(hashes(candidates))) == 100
    pool(300).dies_at = batches
    with pytest.raises(KeyboardInterrupt):
        generate(ANYTHING, 100, generator="pool", out=broken, workers=1)
    assert not (broken / "proposals.csv").exists()
    again = pool(300)
    generate(ANYTHING, 100, generator="pool", out=broken, workers=1)
    assert files(broken) == files(whole)
    assert len(files(whole)) == 102  # a CIF of each, none of what gave way
    assert again.drawn == [1, *undisturbed.drawn[batches:]]


def test_a_kill_among_the_structures_changes_nothing(pool, tmp_path):
    pool(300)
    whole = tmp_path / "whole"
    generate(ANYTHING, 100, generator="pool", out=whole, workers=1)
    lines = (whole / JOURNAL).read_text().splitlines(keepends=True)
    assert '"structures"' in lines[-2]
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / JOURNAL).write_text("".join(lines[:-2]) + lines[-2][:100])
    resumed = pool(300)
    generate(ANYTHING, 100, generator="pool", out=broken, workers=1)
    assert resumed.drawn == [1]  # what tells whether the target can be met
    assert (broken / "proposals.csv").read_bytes() == (whole / "proposals.csv").read_bytes()
    assert (broken / "proposals.extxyz").read_bytes() == (whole / "proposals.extxyz").read_bytes()
    assert (broken / JOURNAL).read_bytes() == (whole / JOURNAL).read_bytes()


def test_several_workers_give_the_same(pool, monkeypatch):
    pool(300)
    alone = generate(ANYTHING, 100, generator="pool", workers=1)
    monkeypatch.setattr(generating, "process_pool", ThreadPoolExecutor)
    together = generate(ANYTHING, 100, generator="pool", workers=3)
    assert [(c.id, c.gene) for c in together] == [(c.id, c.gene) for c in alone]


def test_a_model_trained_again_is_loaded_again(monkeypatch, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old")
    generators = iter([Pool(1), Pool(2)])
    monkeypatch.setattr(generating, "load_generator", lambda _name, **_: next(generators))
    monkeypatch.setattr(generating, "generator_digest", lambda _name: folder_digest(tmp_path))
    old = [generate(ANYTHING, 9, generator="mine", structures=False, workers=1) for _ in range(2)]
    weights.write_bytes(b"new")
    new = generate(ANYTHING, 9, generator="mine", structures=False, workers=1)
    assert [len(set(hashes(candidates))) for candidates in (*old, new)] == [1, 1, 2]
    generating._generator.cache_clear()


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 3, "seed": -1}, {"n": 3, "workers": 0}])
def test_what_cannot_be_is_named(wrong):
    name = list(wrong)[-1]
    with pytest.raises(InputError, match=f"{name}: {wrong[name]} cannot be; give"):
        generate(ANYTHING, generator="ion-exchange", **wrong)
