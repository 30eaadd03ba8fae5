"""Gates on genes: pure elements are candidates where they are asked for by name."""

import campaign_fakes
import pytest

from invdesign.campaign.stages.filter import in_target
from invdesign.campaign.stages.gates import Context
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import kind_of_reason
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene


def verdict(target, tmp_path):
    config = campaign_fakes.fake_config(tmp_path, target=parse_target(target))
    context = Context(config, campaign_fakes.fake_components())
    (found,) = in_target([Candidate("c0", Gene.parse("225 Al@a"))], context)
    return found


@pytest.mark.parametrize("target", ["", "elements=Al", "only=Al,Mg"])
def test_a_pure_element_is_no_candidate(target, tmp_path):
    found = verdict(target, tmp_path)
    assert not found.passed
    assert kind_of_reason(found.reason) == "a pure element"


@pytest.mark.parametrize("target", ["formula=Al", "only=Al", "anonymous=A"])
def test_unless_it_is_asked_for(target, tmp_path):
    assert verdict(target, tmp_path).passed
