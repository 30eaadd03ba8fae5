"""The sentence that ends a campaign names the option that cost most."""

import campaign_fakes
import pytest

from invdesign.campaign.closing_message import closing_message
from invdesign.campaign.stages.shortlist import ALIKE
from invdesign.core.funnel import Funnel, kind_of_reason
from invdesign.core.target import parse_target
from invdesign.filters.site_states import CONTRADICTION


def message(tmp_path, gate, reason, *, found=1, ideas=1, target="band_gap=1..2 hhi<4000"):
    funnel = Funnel()
    stage = funnel.stages[gate]
    stage.entered, stage.passed = 100, 10
    stage.reasons[reason] = 90
    funnel.stages["shortlist"].entered = ideas
    config = campaign_fakes.fake_config(tmp_path, target=parse_target(target), n_shortlist=5, n_relax=50)
    return closing_message(config, funnel, found)


@pytest.mark.parametrize(
    ("gate", "reason", "target", "told"),
    [
        ("target", "supply risk too high", "hhi<4000", "loosen --max-hhi"),
        ("target", "element excluded", "exclude=Pb", "loosen --exclude or"),
        ("target", "element excluded", "only=Zn,O hhi<4000", "loosen --only or --max-hhi or"),
        ("target", "… atoms", "n_atoms=2..4", "loosen --n-atoms"),
        ("charge balance", "none", "only=Cu,S", "allow more elements (--only)"),
        ("properties", "unlikely in its windows", "band_gap=1..2", "widen band_gap"),
        ("finishing", "unlikely in its windows", "band_gap=1..2", "widen band_gap"),
        ("hull", "above the limit of … eV/atom", "e_above_hull<0.03", "give e_above_hull<0.06"),
        ("hull", "above the limit of … eV/atom", "e_above_hull<0", "give e_above_hull<0.05"),
        ("duplicates", "relaxed out of the target", "dimensionality=2", "loosen --dimensionality or"),
        ("duplicates", "relaxed into a known material", "", "give --novelty any"),
        ("novelty", "known", "", "give --novelty any"),
    ],
)
def test_the_option_that_cost_most(tmp_path, gate, reason, target, told):
    assert told in message(tmp_path, gate, reason, target=target)


@pytest.mark.parametrize(
    ("gate", "reason", "target"),
    [
        ("target", "element excluded", ""),  # radioactive ones, which nobody named
        ("target", "a pure element", ""),
        ("target", "… atoms", ""),
        ("charge balance", "none", ""),
        ("relaxation", "not converged", ""),
        ("duplicates", "same crystal as another", ""),
        ("finishing", CONTRADICTION, "band_gap=1..2"),
        ("finishing", "not converged", "band_gap=1..2"),
    ],
)
def test_options_that_would_not_help_are_not_named(tmp_path, gate, reason, target):
    told = message(tmp_path, gate, reason, target=target)
    assert told.endswith("(90 of 100); give --n 400 --n-relax 100.")


def test_what_was_not_finished_was_not_rejected_by_finishing(tmp_path):
    funnel = Funnel()
    funnel.stages["finishing"].entered = 100
    funnel.stages["finishing"].reasons["not among the … likeliest hits, which are finished"] = 90
    funnel.stages["hull"].entered = 100
    funnel.stages["hull"].reasons["above the limit of … eV/atom"] = 20
    config = campaign_fakes.fake_config(tmp_path, n_shortlist=5, n_relax=50)
    assert "was hull (20 of 100)" in closing_message(config, funnel, 1)


def test_what_is_one_idea_is_said(tmp_path):
    assert "4 more passed" in message(tmp_path, "hull", "above the hull", ideas=5)
    finished = message(tmp_path, "finishing", kind_of_reason(ALIKE))
    assert "90 more passed" in finished
    assert "--no-diversity" in finished
