"""Campaigns condensed to what can be learned from: every outcome has its row, twins are kept once."""

import json

import pytest
from campaign_fakes import fake_components, fake_config

from invdesign.campaign import design
from invdesign.core.target import parse_target
from invdesign.data.relaxed_genes import read_relaxed
from invdesign.errors import InputError
from invdesign.io.artifacts import root
from invdesign.io.config import build
from invdesign.training.cards.render import METRICS, render_card
from invdesign.training.generators.relaxed_genes import (
    PlannedCampaign,
    RelaxedGenesConfig,
    build_relaxed_genes,
)

TARGET = parse_target(["e_above_hull<0.1"])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two finished campaigns that propose the same crystals."""
    cache = tmp_path_factory.mktemp("cache")
    harvests = tuple(PlannedCampaign(target=TARGET, seed=seed, n_genes=64, n_relax=24) for seed in (1, 2))
    for harvest in harvests:
        out = cache / "relaxed-genes" / str(harvest.seed)
        design(fake_config(out, **dict(harvest)), components=fake_components(), progress=False)
    return RelaxedGenesConfig(
        kind="relaxed-genes",
        potential="somewhere/chgnet",
        calibration="chgnet-0.3.0",
        second_potential="chgnet",
        second_calibration="chgnet-0.3.0",
        campaigns=harvests,
        cache=cache,
        out=cache / "artifact",
    )


def test_every_outcome_has_its_row(config):
    found = read_relaxed(build_relaxed_genes(config, progress=lambda *_: None))
    assert 0 < found.kept.sum() < len(found.tokens) < 48  # some fail, some lie too high
    assert found.e_above_hull[found.kept].max() <= 0.1
    assert (found.band_gap >= 0).all()
    kept = found.stable()
    hashes = [kept.tokens.gene(i).hash for i in range(len(kept.tokens))]
    assert len(set(hashes)) == len(hashes)
    card = (config.out / "README.md").read_text()
    assert "| chosen to be relaxed | 24 | 24 | 48 |" in card


def test_the_judge_labels_nothing_that_is_learned_from(config):
    assert config.gaps == "band-gap"
    assert config.campaign(config.campaigns[0]).finish == "none"
    with pytest.raises(InputError, match="gaps: 'band-gap-finished' sees the embedding of a potential that"):
        build(RelaxedGenesConfig, dict(config) | {"gaps": "band-gap-finished"}, "recipe")


def test_another_campaign_in_the_cache_is_reported(config):
    other = config.model_copy(
        update={"campaigns": (PlannedCampaign(target=TARGET, seed=1, n_genes=64, n_relax=9),)}
    )
    with pytest.raises(InputError, match="another campaign"):
        build_relaxed_genes(other, progress=lambda *_: None)


def test_the_released_card_is_that_of_the_released_metrics():
    folder = root("models") / "relaxed-genes"
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    assert render_card("relaxed_genes", metrics) == (folder / "README.md").read_text(encoding="utf-8")
