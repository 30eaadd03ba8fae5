from importlib import import_module

from invdesign.core.funnel import GATES

STAGES = ("filter", "prerank", "relax", "shortlist", "finish", "dynamical_stability")


def test_every_gate_is_applied_by_a_stage_in_order():
    stages = [import_module(f"invdesign.campaign.stages.{name}") for name in STAGES]
    applied = [gate for stage in stages for gate in stage.GATE_FUNCTIONS]
    assert applied == [gate.name for gate in GATES]
