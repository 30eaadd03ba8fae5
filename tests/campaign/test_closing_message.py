"""The sentence that ends a campaign names the option that cost most."""

import campaign_fakes
import pytest

from invdesign.campaign.closing_message import closing_message
from invdesign.campaign.stages.shortlist import ALIKE
from invdesign.core.funnel import Funnel, kind_of_reason
from invdesign.core.target import parse_target


def message(tmp_path, gate, reason, *, found=1, ideas=1, target="band_gap=1..2 hhi<4000"):
    funnel = Funnel()
    stage = funnel.stages[gate]
    stage.entered, stage.passed = 100, 10
    stage.reasons[reason] = 90
    funnel.stages["shortlist"].entered = ideas
    config = campaign_fakes.fake_config(tmp_path, target=parse_target(target), n_shortlist=5, n_relax=50)
    return closing_message(config, funnel, found)


@pytest.mark.parametrize(
    ("gate", "reason", "told"),
    [
        ("target", "supply risk too high", "loosen --max-hhi"),
        ("target", "… atoms", "loosen --n-atoms"),
        ("properties", "unlikely in its windows", "widen band_gap"),
        ("hull", "above the hull", "raise e_above_hull<0.1"),
        ("duplicates", "relaxed out of the target", "loosen --dimensionality"),
        ("duplicates", "relaxed into a known material", "loosen --novelty"),
    ],
)
def test_the_option_that_cost_most(tmp_path, gate, reason, told):
    assert told in message(tmp_path, gate, reason)


def test_what_is_one_idea_is_said(tmp_path):
    assert "4 more passed" in message(tmp_path, "hull", "above the hull", ideas=5)
    finished = message(tmp_path, "finishing", kind_of_reason(ALIKE))
    assert "90 more passed" in finished
    assert "--no-diversity" in finished
