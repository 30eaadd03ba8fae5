"""The gates beyond the hull: who is checked, what is kept, and how a campaign goes on after a kill."""

import csv
import json
import sys
from dataclasses import replace

import campaign_fakes
import pytest
from pydantic import ValidationError

from invdesign import next_round
from invdesign.campaign import CampaignConfig, design
from invdesign.campaign.stages import dynamical_stability as checks
from invdesign.campaign.store import Store
from invdesign.cli import main
from invdesign.core.dft_result import DftResult
from invdesign.core.funnel import CHECKS
from invdesign.errors import InputError
from invdesign.stability import phonons
from invdesign.verdict import Verdict


class Judge:
    """Lets crystals through by formula, remembers whom it saw, and can be stopped."""

    def __init__(self, gate, share, *, stop_after=None):
        self.gate, self.share, self.stop_after = gate, share, stop_after
        self.seen = []

    def __call__(self, structure, _components, seed):
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(seed)
        figure = campaign_fakes.number(structure.composition.reduced_formula, self.gate)
        passed = figure < self.share
        return Verdict(
            self.gate, passed, "holds" if passed else "imaginary mode: -2.10 THz", figure, self.share
        )


def judged(monkeypatch, *, phonons_share=0.6, md_share=0.8, stop_after=None):
    judges = {"phonons": Judge("phonons", phonons_share, stop_after=stop_after), "md": Judge("md", md_share)}
    for name, judge in judges.items():
        monkeypatch.setitem(checks.GATE_FUNCTIONS, name, judge)
    return judges


def run(out, **changes):
    config = campaign_fakes.fake_config(out, check="phonons,md", **changes)
    return design(config, components=campaign_fakes.fake_components(), progress=False)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Folder, result and judges of a campaign whose checks nothing disturbed."""
    folder = tmp_path_factory.mktemp("checked")
    with pytest.MonkeyPatch.context() as patch:
        judges = judged(patch)
        return folder, run(folder), judges


def test_the_shortlist_holds_those_that_pass_and_the_next_best_take_the_places(checked, unbroken):
    _, result, judges = checked
    assert len(result.shortlist) == 6
    for candidate in result.shortlist:
        assert candidate.verdicts["phonons"].passed
        assert candidate.verdicts["md"].passed
    everyone = result.candidates
    failed = [c for c in everyone if any(g in c.verdicts and not c.verdicts[g].passed for g in CHECKS)]
    assert failed
    first = {c.id for c in unbroken[1].shortlist}
    assert {c.id for c in result.shortlist} & first == first - {c.id for c in failed}
    # nobody else was checked, nobody twice, and md only what passed phonons
    survivors = [c for c in everyone if c.selection is not None]
    assert len(judges["phonons"].seen) == len(set(judges["phonons"].seen)) == 6 + len(failed) < len(survivors)
    assert len(judges["md"].seen) == result.funnel.stages["phonons"].passed
    assert (
        f"{result.funnel.stages['md'].passed} of {len(judges['md'].seen)} checked passed md" in result.message
    )


def test_the_funnel_and_the_table_record_the_checks(checked, unbroken):
    folder, result, _ = checked
    stage = result.funnel.stages["phonons"]
    assert stage.rejected > 0
    assert stage.reasons == {"imaginary mode": stage.rejected}
    told = json.loads((folder / "run.json").read_text())
    assert [s["stage"] for s in told["funnel"]][-4:] == ["duplicates", "phonons", "md", "shortlist"]
    assert told["campaign"]["check"] == ["phonons", "md"]
    with (folder / "shortlist.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["lowest_mode_thz"]) < 0.6 for row in rows)
    plain = json.loads((unbroken[0] / "run.json").read_text())
    assert "check" not in plain["campaign"]
    assert [s["stage"] for s in plain["funnel"]][-2:] == ["duplicates", "shortlist"]
    assert "lowest_mode_thz" not in (unbroken[0] / "shortlist.csv").read_text()


def test_a_short_list_says_that_none_is_left(monkeypatch, tmp_path):
    judged(monkeypatch, phonons_share=0.05)
    result = run(tmp_path)
    assert len(result.shortlist) < 6
    assert "came through" in result.message
    survivors = [c for c in result.candidates if c.selection is not None]
    assert all("phonons" in c.verdicts for c in survivors)


def test_a_broken_off_check_goes_on_where_it_was(monkeypatch, tmp_path, checked):
    folder, whole, judges = checked
    first = judges["phonons"].seen
    judged(monkeypatch, stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    judges = judged(monkeypatch)
    again = run(tmp_path)
    assert judges["phonons"].seen == first[4:]
    for name in ("shortlist.csv", "shortlist.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert [c.verdicts for c in again.candidates] == [c.verdicts for c in whole.candidates]
    assert again.funnel.stages["phonons"].entered == whole.funnel.stages["phonons"].entered


@pytest.mark.slow
def test_a_round_checks_whom_it_chooses(monkeypatch, tmp_path):
    judges = judged(monkeypatch, phonons_share=0.7)
    first = run(tmp_path, n_shortlist=4)
    store = Store(tmp_path / "candidates.db")
    computed = first.shortlist
    for candidate in computed:
        gap = candidate.properties["band_gap"].value + 0.1
        candidate.dft = DftResult(functional="PBE", band_gap=gap)
    store.put(computed, complete=True)
    before = len(judges["phonons"].seen)

    def again():
        components = campaign_fakes.fake_components()
        return next_round(tmp_path, n_shortlist=5, n_genes=40, n_relax=8, components=components, workers=1)

    second = again()
    seen = judges["phonons"].seen
    assert len(second.shortlist) == 5
    assert all(c.verdicts[gate].passed for c in second.shortlist for gate in judges)
    assert before + 5 < len(seen) == len(set(seen))  # some failed, and their next best were checked
    assert "checked passed phonons" in second.message
    assert list(second.shortlist[0].verdicts)[-3:] == ["duplicates", "phonons", "md"]
    # the shortlist of the genes that were added is thrown away, so nobody there was checked
    added = Store(tmp_path / "round-2" / "more" / "candidates.db").read()
    assert not any(gate in candidate.verdicts for candidate in added for gate in judges)
    # the same again checks nobody, chooses the same, and leaves the campaign's funnel alone
    third = again()
    assert (len(seen), third.message) == (len(judges["phonons"].seen), second.message)
    assert [c.id for c in third.shortlist] == [c.id for c in second.shortlist]
    assert run(tmp_path, n_shortlist=4).funnel.as_json() == first.funnel.as_json()


def test_the_real_check_on_fake_crystals(tmp_path):
    """They lie in a flat landscape: no mode is imaginary."""
    config = campaign_fakes.fake_config(tmp_path, check=["phonons"], n_shortlist=2, n_genes=64, workers=1)
    result = design(config, components=campaign_fakes.fake_components(), progress=False)
    assert len(result.shortlist) == 2
    assert all("no imaginary mode" in c.verdicts["phonons"].reason for c in result.shortlist)
    assert Store(tmp_path / "candidates.db").seconds["phonons"][1] > 0


@pytest.mark.parametrize(
    ("lowest", "passed", "asked"),
    [
        ({"first": 1, "best": 2}, True, ["best", "first"]),
        ({"first": -3, "best": -2}, False, ["best", "first"]),
        ({"first": -3, "best": 2, "third": 1}, True, ["best", "first", "third"]),
        ({"first": 3, "best": -2, "third": -1}, False, ["best", "first", "third"]),
        ({"first": 3}, True, ["first"]),
        ({"first": -3}, False, ["first"]),
        ({"first": -0.7, "best": -0.7}, False, ["best", "first"]),  # of 5 THz
        ({"first": -0.7}, True, ["first"]),
    ],
)
def test_two_of_three_potentials_decide_on_modes(monkeypatch, lowest, passed, asked):
    seen = []

    def modes(_structure, potential):
        seen.append(potential.name)
        return phonons.Phonons(lowest[potential.name], 5.0, (0.0, 0.0, 0.0), 64, 3)

    monkeypatch.setattr(checks.phonons, "phonons", modes)
    monkeypatch.setattr(checks, "load_potential", lambda _name: campaign_fakes.FakePotential(name="third"))
    components = replace(
        campaign_fakes.fake_components(), potential=campaign_fakes.FakePotential(name="first")
    )
    if "best" in lowest:
        components = replace(components, finisher=campaign_fakes.FakePotential(name="best"))
    verdict = checks.no_imaginary_mode(None, components, (0, 0))
    assert (verdict.passed, seen) == (passed, asked)
    by = "best" if len(asked) == 2 else asked[-1]
    assert (verdict.value, verdict.reason[-len(by) :]) == (lowest[by], by)


def test_the_third_potential_is_neither_of_the_first_two(monkeypatch):
    seen = []

    def modes(_structure, potential):
        seen.append(potential.name)
        return phonons.Phonons(-2.0 if potential.name == "7net-l3i5" else 1.0, 5.0, (0.0, 0.0, 0.0), 64, 3)

    monkeypatch.setattr(checks.phonons, "phonons", modes)
    monkeypatch.setattr(checks, "load_potential", lambda name: campaign_fakes.FakePotential(name=name))
    first, best = (campaign_fakes.FakePotential(name=name) for name in ("first", "7net-l3i5"))
    components = replace(campaign_fakes.fake_components(), potential=first, finisher=best)
    assert checks.no_imaginary_mode(None, components, (0, 0)).passed
    assert seen == ["7net-l3i5", "first", "7net-0"]


def test_the_finishing_potential_moves_the_atoms(monkeypatch):
    monkeypatch.setattr(
        checks.molecular_dynamics,
        "run_dynamics",
        lambda _structure, potential, _seed: f"hot by {potential.name}",
    )
    best = campaign_fakes.FakePotential(name="best")
    components = replace(campaign_fakes.fake_components(), finisher=best)
    assert checks.keeps_bonds(None, components, (0, 0)).reason == "hot by best"


def test_without_phonopy_nothing_begins(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(phonons, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'invdesign\[phonons\]'"):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "candidates.db").exists()
    monkeypatch.setattr(
        sys,
        "argv",
        ["invdesign", "design", "band_gap>1", "--check", "phonons", "--out", str(tmp_path / "cli")],
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "phonopy" in capsys.readouterr().err


def test_what_there_is_no_check_of_is_reported(tmp_path):
    with pytest.raises((InputError, ValidationError), match="check: there is no 'elastic'; give phonons,md"):
        campaign_fakes.fake_config(tmp_path, check="phonons,elastic")


def test_the_order_of_the_names_is_ours():
    assert CampaignConfig(target={}, check="md, phonons").check == ("phonons", "md")
    assert CampaignConfig(target={}, check="md,md").check == ("md",)
