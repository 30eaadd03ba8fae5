"""The finishing stage: who is finished, what it replaces, and how a campaign goes on after a kill."""

import csv
import json
import time
from dataclasses import replace

import campaign_fakes
import pytest

from invdesign.campaign import CampaignConfig, Components, design
from invdesign.campaign.active_learning.rescore import is_selectable
from invdesign.campaign.stages import dynamical_stability as checks
from invdesign.campaign.stages import finish as finishing
from invdesign.campaign.stages import shortlist
from invdesign.core.funnel import FINISHING
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.crystal.symmetry import realise
from invdesign.errors import InputError
from invdesign.verdict import Verdict


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


def run(out, finisher=None, **changes):
    config = campaign_fakes.fake_config(out, **changes)
    return design(config, components=components(finisher), progress=False)


def becoming(monkeypatch, wanted, gene, geometry):
    """Let the finishing relaxation of a candidate end in another crystal."""
    honest = finishing.best_outcome

    def best_outcome(candidate, outcomes):
        verdict = honest(candidate, outcomes)
        if candidate.id == wanted:
            candidate.gene, candidate.geometry, candidate.structure = gene, geometry, realise(gene, geometry)
            energy = -2.0 * len(candidate.structure)  # on the hull
            candidate.relaxation = replace(candidate.relaxation, energy=energy)
        return verdict

    monkeypatch.setattr(finishing, "best_outcome", best_outcome)


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
    broken = [
        c for c in result.candidates if FINISHING in c.verdicts and "exploded" in c.verdicts[FINISHING].reason
    ]
    assert not any(map(is_selectable, broken))  # nor does a round select it
    unlikely = [c for c in result.candidates if FINISHING in c.verdicts and c not in broken]
    assert all(map(is_selectable, unlikely))


def test_a_crystal_that_finishing_turns_into_a_known_one_is_rejected(few, tmp_path, monkeypatch):
    found = run(tmp_path / "before", Finisher()).shortlist
    first = next(candidate for candidate in found if len(candidate.gene.elements) == 2)
    group, letters = (216, "ac") if first.gene.space_group == 225 else (225, "ab")
    gene = Gene(group, tuple(zip(first.gene.elements, letters, strict=True))).canonical()
    (((geometry, _),),) = campaign_fakes.FakeGeometry().propose_many([gene], [1], [0])
    becoming(monkeypatch, first.id, gene, geometry)
    novelty = campaign_fakes.FakeKnown.novelty
    known = Verdict("novelty", passed=True, reason="known material: mp-7", value=0)
    monkeypatch.setattr(
        campaign_fakes.FakeKnown,
        "novelty",
        lambda self, asked, structure=None: known if asked == gene else novelty(self, asked, structure),
    )
    result = run(tmp_path / "after", Finisher())
    (now,) = (candidate for candidate in result.candidates if candidate.id == first.id)
    assert now.verdicts["duplicates"].reason.startswith("relaxed into a known material")
    assert not now.shortlisted


def test_states_that_finishing_contradicts_reject_there(few, tmp_path, monkeypatch):
    """The verdict of before stays: a resumed run counts the same funnel, and finishes the same units."""
    contradiction = Verdict("site states", passed=False, reason="its bonds contradict usual states: by 2")
    monkeypatch.setattr(finishing, "states_verdict", lambda _candidate, _config: contradiction)
    result = run(tmp_path, Finisher())
    assert not result.shortlist
    verdicts = [c.verdicts for c in result.candidates if FINISHING in c.verdicts]
    tried = [v for v in verdicts if "contradict usual states" in v[FINISHING].reason]
    assert tried
    assert not any(v[FINISHING].passed for v in verdicts)
    assert all("site states" not in v or v["site states"].passed for v in tried)


def test_a_duplicate_of_what_a_check_rejected_stays_one_after_a_kill(few, tmp_path, monkeypatch):
    first, second, *_ = run(tmp_path / "before", Finisher()).shortlist
    becoming(monkeypatch, second.id, first.gene, first.geometry)
    calls, stop_after = 0, 2

    def check(structure, _potential, _seed):
        nonlocal calls
        if calls == stop_after:
            raise KeyboardInterrupt
        calls += 1
        passed = structure.composition != first.structure.composition
        return Verdict("md", passed=passed, reason="holds" if passed else "melts", value=1.0)

    monkeypatch.setitem(checks.GATE_FUNCTIONS, "md", check)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", Finisher(), check="md")
    stop_after = None
    resumed = run(tmp_path / "broken", Finisher(), check="md")
    whole = run(tmp_path / "whole", Finisher(), check="md")
    assert {first.id, second.id}.isdisjoint(candidate.id for candidate in whole.shortlist)
    table = (tmp_path / "broken" / "shortlist.csv").read_bytes()
    assert table == (tmp_path / "whole" / "shortlist.csv").read_bytes()
    assert resumed.funnel.stages["md"].entered == whole.funnel.stages["md"].entered


def test_a_finishing_potential_without_calibration_is_refused_by_its_option(tmp_path):
    made = replace(components(Finisher()), finisher_calibration=None)
    with pytest.raises(InputError, match=r"^finish: better has no released calibration; give 7net-0"):
        design(campaign_fakes.fake_config(tmp_path), components=made, progress=False)
    made = replace(components(), finisher="ase:nowhere:Nothing")
    with pytest.raises(InputError, match=r"^finish: "):
        design(campaign_fakes.fake_config(tmp_path), components=made, progress=False)


def test_campaigns_that_finish_nothing_are_those_from_before_there_was_a_choice():
    target = parse_target("band_gap>1")
    assert "finish" not in CampaignConfig(target=target, finish="none").identity()
    assert CampaignConfig(target=target).identity()["finish"] == "7net-0"


def test_the_record_names_the_finishing_potential(few, tmp_path):
    run(tmp_path, Finisher())
    assert json.loads((tmp_path / "run.json").read_text())["finish"]["name"] == "better"


def test_the_shortlist_names_both_potentials(few, tmp_path):
    run(tmp_path, Finisher())
    told = json.loads((tmp_path / "shortlist.json").read_text())
    campaign = told["meta"]["_invdesign_campaign"]
    assert (campaign["potential"], campaign["finish"]) == ("fake-potential", "better")
    for entry in told["data"]:
        origin = entry["attributes"]["_invdesign_provenance"]
        assert (origin["potential"], origin["placed_by"]) == ("fake-potential", "better")


def test_one_potential_by_two_names_is_not_asked_twice():
    target = parse_target("band_gap>1")
    config = CampaignConfig(target=target, finish="chgnet-0.3.0", potential="chgnet")
    assert Components.from_config(config).finisher is None
    assert Components.from_config(CampaignConfig(target=target)).finisher == "7net-0"


def test_finished_structures_have_the_gap_model_that_sees_sevennet():
    """Before there is a finished structure the model stays that of CHGNet alone; a custom one always does."""
    made = Components.from_config(CampaignConfig(target=parse_target("band_gap=1..2")))
    assert made.predictors["band_gap"] == "band-gap"
    assert made.best().predictors == made.predictors | {"band_gap": "band-gap-finished"}
    for other in (
        replace(made, finisher=None),
        replace(made, finisher="ase:nowhere:Nothing"),
        replace(made, predictors={"band_gap": "mine"}),
    ):
        assert other.best().predictors == other.predictors
    hardness = {"hardness": "mine"}  # a property that is not registered
    assert replace(made, predictors=hardness).best().predictors == hardness


def test_generators_steer_to_what_the_config_asks_for():
    config = CampaignConfig(target=parse_target("band_gap>1"), novelty="known")
    assert Components.of(config, None).novelty == "known"
    assert Components.of(config, Components(potential="7net-0")) == Components(
        potential="7net-0", novelty="known"
    )


def test_what_follows_the_finish_is_charged(few, tmp_path, monkeypatch):
    plain = finishing.score

    def slow(alive, config, made):
        time.sleep(0.2)
        plain(alive, config, made)

    monkeypatch.setattr(finishing, "score", slow)
    assert run(tmp_path, Finisher()).funnel.stages["shortlist"].wall >= 0.2


def test_a_finishing_potential_with_other_weights_than_its_calibrations_is_refused(tmp_path):
    finisher = Finisher()
    finisher.digest = "other"
    with pytest.raises(InputError, match=r"^finish: calibration: it was made for other weights of better "):
        run(tmp_path, finisher)
