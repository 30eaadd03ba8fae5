"""Rounds of a campaign with a finishing potential: what is selected was placed by that potential."""

from __future__ import annotations

import shutil
from dataclasses import replace

import campaign_fakes
import pytest

from invdesign import next_round
from invdesign.campaign import design
from invdesign.campaign.active_learning.rescore import is_selectable
from invdesign.campaign.run import DATABASE
from invdesign.campaign.stages import dynamical_stability as checks
from invdesign.campaign.stages import finish, shortlist
from invdesign.campaign.store import Store
from invdesign.core.dft_result import DftResult
from invdesign.core.funnel import FINISHING
from invdesign.filters.site_states import CONTRADICTION
from invdesign.verdict import Verdict


class Finisher(campaign_fakes.FakePotential):
    """Puts crystals 0.01 eV/atom higher than the first potential; some it cannot evaluate."""

    def __init__(self) -> None:
        super().__init__(name="better")
        self.evaluated = 0
        self.fails = frozenset()

    def evaluate(self, crystals):
        self.evaluated += len(crystals)
        found = super().evaluate(crystals)
        found.energy += [0.01 * len(crystal) for crystal in crystals]
        for i, crystal in enumerate(campaign_fakes.as_frames(crystals)):
            if tuple(sorted(crystal.numbers.tolist())) in self.fails:
                found.energy[i], found.failures[i] = float("nan"), "it exploded"
        return found


class Calibration(campaign_fakes.FakeCalibration):
    potential = "better"


def components(finisher):
    fakes = campaign_fakes.fake_components()
    return replace(fakes, finisher=finisher, finisher_calibration=Calibration())


def campaign(out, **changes):
    """A campaign of fakes that finishes few, whose shortlist is computed."""
    design(campaign_fakes.fake_config(out, **changes), components=components(Finisher()), progress=False)
    store = Store(out / DATABASE)
    computed = [candidate for candidate in store.read() if candidate.shortlisted]
    for candidate in computed:
        energy = candidate.properties["e_above_hull"].mean + 0.02
        candidate.dft = DftResult(code="gpaw", functional="PBE", e_above_hull=energy)
    store.put(computed, complete=True)
    return out


def few(patch):
    patch.setattr(shortlist, "LEAST_FINISHED", 6)
    patch.setattr(shortlist, "PER_PLACE", 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        return campaign(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    few(monkeypatch)
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def stored(run):
    return {candidate.id: candidate for candidate in Store(run / DATABASE).read()}


@pytest.mark.parametrize("choose", ["hits", "information"])
def test_what_is_selected_is_finished_before(run, choose):
    before = stored(run)
    found = next_round(run, components=components(Finisher()), workers=1, n_shortlist=5, choose=choose)
    assert len(found.shortlist) == 5
    after = stored(run)
    new = [c for c in found.shortlist if before[c.id].first_placement is None]
    assert new
    for candidate in new:
        assert after[candidate.id].first_placement == before[candidate.id].placement
        assert after[candidate.id].round_checks[FINISHING].reason.endswith("by better")
        assert after[candidate.id].verdicts == before[candidate.id].verdicts  # the campaign's
    assert all(candidate.first_placement for candidate in found.shortlist)
    again = Finisher()
    repeated = next_round(run, components=components(again), workers=1, n_shortlist=5, choose=choose)
    assert [c.id for c in repeated.shortlist] == [c.id for c in found.shortlist]
    assert again.evaluated == 0


def test_oxidation_states_are_those_of_the_finished_structure(run, monkeypatch):
    before, told = stored(run), Verdict("site states", passed=True, reason="as finished")
    monkeypatch.setattr(finish, "states_verdict", lambda *_: told)
    for _ in range(2):  # once more from what is stored
        found = next_round(run, components=components(Finisher()), workers=1, n_shortlist=5)
        after = stored(run)
        new = [c for c in found.shortlist if FINISHING in after[c.id].round_checks]
        new = [c for c in new if after[c.id].round_checks[FINISHING].passed]
        assert new
        assert all(candidate.verdicts["site states"] == told for candidate in new)
    assert all(after[candidate.id].verdicts == before[candidate.id].verdicts for candidate in new)


def test_what_the_finishing_potential_cannot_relax_is_not_selected(run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    before = stored(run)
    likely = next_round(tmp_path / "other", components=components(Finisher()), workers=1, n_shortlist=5)
    broken = next(c for c in likely.shortlist if before[c.id].first_placement is None)
    finisher = Finisher()
    finisher.fails = frozenset([tuple(sorted(before[broken.id].structure.atomic_numbers))])
    found = next_round(run, components=components(finisher), workers=1, n_shortlist=5)
    assert len(found.shortlist) == 5
    assert broken.id not in {candidate.id for candidate in found.shortlist}
    assert "it exploded" in stored(run)[broken.id].round_checks[FINISHING].reason


def test_what_finishing_rejected_for_its_states_is_not_selected(run):
    likely = next_round(run, components=components(Finisher()), workers=1, n_shortlist=5)
    store, fallen = Store(run / DATABASE), likely.shortlist[0].id
    candidate = stored(run)[fallen]
    checks_ = candidate.round_checks if FINISHING in candidate.round_checks else candidate.verdicts
    checks_[FINISHING] = Verdict(FINISHING, passed=False, reason=f"{CONTRADICTION}: the nearest leave +1")
    store.put([candidate], complete=True)
    assert not is_selectable(stored(run)[fallen])
    checks_[FINISHING] = Verdict(FINISHING, passed=False, reason="above the limit of 0.1 eV/atom: 0.12")
    store.put([candidate], complete=True)
    assert is_selectable(stored(run)[fallen])  # an estimate, which results may correct


def test_who_moves_up_for_what_a_check_rejects_is_finished_too(tmp_path, monkeypatch):
    few(monkeypatch)
    holds = Verdict("md", passed=True, reason="holds", value=1.0)
    monkeypatch.setitem(checks.GATE_FUNCTIONS, "md", lambda *_: holds)
    run = campaign(tmp_path / "run", check="md")
    checked = []

    def strict(structure, _potential, _seed):
        checked.append(structure)
        return holds if len(checked) > 8 else Verdict("md", passed=False, reason="melts", value=0.0)

    monkeypatch.setitem(checks.GATE_FUNCTIONS, "md", strict)
    found = next_round(run, components=components(Finisher()), workers=1, n_shortlist=3)
    after = stored(run)
    assert len(found.shortlist) == 3
    for candidate in found.shortlist:
        assert candidate.first_placement is not None
        assert candidate.verdicts["md"].passed
        assert FINISHING in after[candidate.id].round_checks or after[candidate.id].verdicts[FINISHING].passed
