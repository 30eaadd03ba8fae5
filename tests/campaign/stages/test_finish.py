"""The finishing stage: who is finished, what it replaces, and how a campaign goes on after a kill."""

import csv
import json
from dataclasses import replace

import campaign_fakes
import pytest

from invdesign.campaign import design
from invdesign.campaign.stages import finish as finishing
from invdesign.campaign.stages import shortlist
from invdesign.core.funnel import FINISHING


class Finisher(campaign_fakes.FakePotential):
    """Puts every crystal 0.05 eV/atom higher than the first potential does."""

    stop_after: int | None = None

    def __init__(self):
        super().__init__(name="better")
        self.calls = 0

    def evaluate(self, crystals):
        self.calls += 1
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        found = super().evaluate(crystals)
        found.energy += [0.05 * len(crystal) for crystal in crystals]
        return found


class Calibration(campaign_fakes.FakeCalibration):
    potential = "better"

    def sigma(self, composition, e_above_hull=0.0):
        return 0.02


class Hull(campaign_fakes.FakeHull):
    """Its energy above hull follows the formation energy."""

    def e_above_hull(self, composition, energy):
        above = 0.07 * campaign_fakes.number(composition, "above") + energy + 1.5
        return campaign_fakes.FakePlace(max(0.0, above), {"NaCl": 1.0})


def components(finisher=None):
    made = replace(campaign_fakes.fake_components(), hull=Hull())
    return made if finisher is None else replace(made, finisher=finisher, finisher_calibration=Calibration())


def run(out, finisher=None):
    return design(campaign_fakes.fake_config(out), components=components(finisher), progress=False)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(shortlist, "LEAST_FINISHED", 6)
    monkeypatch.setattr(shortlist, "PER_PLACE", 2)


def test_the_likeliest_are_finished_and_ranked_by_what_that_finds(few, tmp_path):
    plain, finished = run(tmp_path / "plain"), run(tmp_path / "finished", Finisher())
    stage = finished.funnel.stages[FINISHING]
    first = plain.funnel.stages["shortlist"].entered
    assert (stage.entered, stage.rejected >= first - 12) == (first, True)
    everyone = {candidate.id: candidate for candidate in finished.candidates}
    before = {candidate.id: candidate for candidate in plain.candidates}
    assert finished.shortlist
    for candidate in finished.shortlist:
        assert candidate.verdicts[FINISHING].reason.endswith("by better")
        assert candidate.first_placement == before[candidate.id].placement
        assert candidate.placement.sigma == 0.02
        atoms = len(candidate.structure)
        gain = candidate.relaxation.energy - before[candidate.id].relaxation.energy
        assert gain == pytest.approx(0.05 * atoms)
        assert candidate.relaxation.proposed_gene == before[candidate.id].relaxation.proposed_gene
    # nobody is shortlisted unfinished
    assert all(c.first_placement for c in everyone.values() if c.selection and c.alive)


def test_the_table_has_both_energies_above_hull_and_whether_they_agree(few, tmp_path):
    run(tmp_path, Finisher())
    with (tmp_path / "shortlist.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        apart = abs(float(row["e_above_hull"]) - float(row["e_above_hull_first"]))
        assert row["potentials_agree"] == ("yes" if apart <= 1.645 * (0.02**2 + 0.03**2) ** 0.5 else "no")
    told = json.loads((tmp_path / "run.json").read_text())
    assert [stage["stage"] for stage in told["funnel"]][-3:] == ["duplicates", FINISHING, "shortlist"]


def test_without_a_finishing_potential_there_is_no_such_stage(tmp_path):
    run(tmp_path)
    told = json.loads((tmp_path / "run.json").read_text())
    assert FINISHING not in [stage["stage"] for stage in told["funnel"]]
    assert "e_above_hull_first" not in (tmp_path / "shortlist.csv").read_text()


def test_a_broken_off_finish_goes_on_where_it_was(few, tmp_path):
    whole = run(tmp_path / "whole", Finisher())
    stopped = Finisher()
    stopped.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stopped)
    again = Finisher()
    resumed = run(tmp_path / "broken", again)
    assert [c.id for c in resumed.shortlist] == [c.id for c in whole.shortlist]
    table = (tmp_path / "broken" / "shortlist.csv").read_bytes()
    assert table == (tmp_path / "whole" / "shortlist.csv").read_bytes()


def test_a_crystal_that_the_finishing_potential_cannot_relax_is_rejected_with_the_reason(few, tmp_path):
    class Failing(Finisher):
        def evaluate(self, crystals):
            found = super().evaluate(crystals)
            found.energy[:] = float("nan")
            found.failures = dict.fromkeys(range(len(crystals)), "it exploded")
            return found

    result = run(tmp_path, Failing())
    assert result.shortlist == []
    reasons = {c.verdicts[FINISHING].reason for c in result.candidates if FINISHING in c.verdicts}
    assert any("it exploded" in reason for reason in reasons)
    assert finishing.FMAX < 0.1
