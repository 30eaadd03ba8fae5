"""The cards of released artifacts are their templates, filled from their metrics."""

import json

import pytest

from invdesign.io.artifacts import root
from invdesign.training.cards.render import METRICS, render_card

PROPERTY_MODELS = (
    *("band-gap", "band-gap-composition", "bulk-modulus-composition", "elasticity"),
    *("formation-energy", "formation-energy-composition"),
)
CARDS = dict.fromkeys(PROPERTY_MODELS, "property") | {"stability-composition": "stability"}

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
