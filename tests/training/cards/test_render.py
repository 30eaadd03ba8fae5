"""The cards of released artifacts are their templates, filled from their metrics."""

import json

import numpy as np
import pytest

from invdesign.io.artifacts import root
from invdesign.predictors.explain.neighbors import Neighbors
from invdesign.training.cards.render import METRICS, finite, render_card
from invdesign.training.predictors import gene_rank, neighbors, synthesizability
from invdesign.training.predictors.ensemble import fit
from invdesign.training.predictors.table import PARTS, Settings, Table

PROPERTY_MODELS = (
    *("band-gap", "band-gap-finished", "band-gap-composition", "bulk-modulus-composition", "elasticity"),
    *("formation-energy", "formation-energy-composition"),
)
CARDS = dict.fromkeys(PROPERTY_MODELS, "property") | {
    "stability-composition": "stability",
    "gene-rank": "gene_rank",
    "band-gap-evaluator": "graph_band_gap",
    "synthesizability": "synthesizability",
    "neighbors": "neighbors",
}

VALIDATOR_CARDS = {"elements": "elements", "known-materials": "known_materials"}


@pytest.mark.parametrize("name", VALIDATOR_CARDS)
def test_a_validators_card_is_its_template_with_the_metrics(name):
    folder = root("validators") / name
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    assert render_card(VALIDATOR_CARDS[name], metrics) == (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_its_template_with_the_metrics(name):
    folder = root("models") / name
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    assert render_card(CARDS[name], metrics) == (folder / "README.md").read_text(encoding="utf-8")


SMALL = Settings(members=2, width=8, depth=1, epochs=1, batch=64)


def progress(_share, _message):
    pass


@pytest.fixture(scope="module")
def chance():
    return np.random.default_rng(0)


def released(name):
    return json.loads((root("models") / name / METRICS).read_text(encoding="utf-8"))


def test_the_metrics_of_a_gene_ranker_fill_its_card(chance):
    n = 800
    table = Table(
        chance.normal(size=(n, 30)).astype(np.float32),
        chance.uniform(-0.2, 0.5, (n, 3)).astype(np.float32),
        chance.choice(list(PARTS), n),
        chance.choice(["mp20", "wbm", gene_rank.UNSELECTED], n),
        np.zeros(n, dtype=bool),
        20,
    )
    ensemble = fit(table, gene_rank.HEADS, SMALL, 0, progress)
    columns = {
        name: gene_rank.held_out_metrics(ensemble, table, name) for name in ("e_above_hull", "band_gap")
    }
    assert "wbm, trivial" in columns["band_gap"]
    assert "mp20, trivial" not in columns["band_gap"]
    card = render_card("gene_rank", finite(released("gene-rank") | columns))
    assert "| mp20 | " in card


def test_the_metrics_of_the_synthesizability_score_fill_its_card(chance, tmp_path):
    n = 600
    source = chance.choice(synthesizability.SOURCES, n)
    table = synthesizability.CrystalTable(
        chance.normal(size=(n, 12)).astype(np.float32),
        np.isin(source, synthesizability.REPORTED),
        source,
        chance.choice(["train", "test"], n),
        chance.uniform(0, 0.3, n),
        chance.integers(2, 5, (n, 2)),
        8,
    )
    config = synthesizability.SynthesizabilityConfig(
        kind="synthesizability", data=tmp_path, out=tmp_path, network=SMALL
    )
    model = synthesizability.fit(table.features, table.maker, SMALL, 0, progress)
    metrics = synthesizability.held_out_metrics(model, table, config, progress)
    assert metrics.keys() == released("synthesizability").keys()
    assert len(metrics["comparisons"]) == 16
    assert "**wbm, both at most 0.1" in render_card("synthesizability", metrics)


def test_the_metrics_of_known_materials_fill_their_card(chance):
    embeddings = chance.normal(size=(40, 8)).astype(np.float32)
    formulas = np.array([f"Na{k}Cl" for k in range(1, 41)])
    table = Neighbors.of(
        formulas,
        formulas,
        np.ones(40, int),
        values={"gap": chance.uniform(0, 3, 40)},
        embeddings=embeddings,
        n_components=3,
    )
    properties = neighbors.nearest_metrics(table, embeddings)
    assert properties["gap"]["n"] == 40
    assert "| gap | 40 | " in render_card("neighbors", {"n": 40, "n_components": 3, "properties": properties})
