"""Rounds after the first: which results count, what may be selected, and that the same comes out again."""

import csv
import json
import shutil

import campaign_fakes
import pytest
from typer.testing import CliRunner

from invdesign import next_round
from invdesign.campaign import design
from invdesign.campaign.run import DATABASE
from invdesign.campaign.stages import shortlist
from invdesign.campaign.store import Store
from invdesign.cli import app
from invdesign.core.dft_result import DftResult
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError


@pytest.fixture
def run(unbroken, tmp_path):
    """A finished campaign of fakes whose shortlist was computed: all gaps 0.4 eV above what was predicted."""
    shutil.copytree(unbroken[0], folder := tmp_path / "run")
    collect(folder, {candidate.id: 0.4 for candidate in unbroken[1].shortlist})
    return folder


def collect(folder, errors, failed=()):
    """Put results into a campaign's store as ``dft collect`` does."""
    store = Store(folder / DATABASE)
    candidates = {candidate.id: candidate for candidate in store.read()}
    for id_, error in errors.items():
        gap = candidates[id_].properties["band_gap"].value + error
        candidates[id_].dft = DftResult(code="gpaw", functional="PBE", band_gap=gap)
    for id_ in failed:
        candidates[id_].dft = DftResult(failed="did not converge")
    store.put([candidates[id_] for id_ in (*errors, *failed)], complete=True)


def chosen(folder, **options):
    return next_round(folder, components=campaign_fakes.fake_components(), workers=1, **options)


def rows(folder):
    with (folder / "shortlist.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("choose", ["hits", "information"])
def test_a_round_has_new_candidates_with_corrected_estimates(run, choose):
    found = chosen(run, choose=choose, n_shortlist=4)
    store = {candidate.id: candidate for candidate in Store(run / DATABASE).read()}
    assert found.out == run / "round-2"
    assert [row["candidate"] for row in rows(found.out)] == [c.id for c in found.shortlist]
    assert len(found.shortlist) == 4
    for rank, candidate in enumerate(found.shortlist, start=1):
        before = store[candidate.id]
        assert candidate.selection.rank == rank
        assert before.dft is None
        if "band_gap" in before.properties:  # spared where it was rejected above the hull
            assert before.properties["band_gap"].mean < candidate.properties["band_gap"].mean
        assert (found.out / rows(found.out)[rank - 1]["cif_file"]).is_file()
    learned = record(found.out)["learned_from"]
    assert len(learned["computed"]) == 6
    assert learned["choose"] == choose
    assert "predictions shifted by +0." in record(found.out)["learned"][0]


def test_the_same_again_is_the_same_round_and_other_options_are_refused(run):
    first = chosen(run, n_shortlist=4)
    files = {path: path.read_bytes() for path in first.out.rglob("*") if path.is_file()}
    assert chosen(run, n_shortlist=4).number == 2
    assert {path: path.read_bytes() for path in first.out.rglob("*") if path.is_file()} == files
    with pytest.raises(InputError, match="round-2 was selected from these results already"):
        chosen(run, n_shortlist=4, choose="information")


def test_results_of_a_round_count_in_the_next(run):
    second = chosen(run, n_shortlist=3)
    collect(run, {candidate.id: 0.4 for candidate in second.shortlist[1:]}, [second.shortlist[0].id])
    third = chosen(run, n_shortlist=3)
    assert third.number == 3
    assert third.corrections.by_property["band_gap"].n == 8
    assert third.corrections.n_failed == 1
    assert not {c.id for c in third.shortlist} & {c.id for c in second.shortlist}
    assert record(third.out)["learned_from"]["failed"] == [second.shortlist[0].id]


def test_what_was_rejected_by_its_estimate_comes_back_when_that_is_corrected(run):
    store = {candidate.id: candidate for candidate in Store(run / DATABASE).read()}
    found = chosen(run, n_shortlist=20)
    revived = [c for c in found.shortlist if not store[c.id].alive]
    assert revived
    gates = {v.gate for c in revived for v in store[c.id].verdicts.values() if not v.passed}
    assert gates <= {"hull", "properties"}


def test_revived_candidates_correct_the_property_that_the_campaign_spared_them(run):
    before = {candidate.id: candidate for candidate in Store(run / DATABASE).read()}
    second = chosen(run, n_shortlist=30)
    bare = [c.id for c in second.shortlist if "band_gap" not in before[c.id].properties]
    assert bare
    stored = {candidate.id: candidate for candidate in Store(run / DATABASE).read()}
    for candidate in second.shortlist:  # what the models say, not what the round makes of it
        assert stored[candidate.id].properties["band_gap"].mean < candidate.properties["band_gap"].mean
    collect(run, dict.fromkeys(bare, 0.4))
    digest = record(chosen(run, n_shortlist=2).out)["learned_from"]["results"]
    assert record(run / "round-3")["learned_from"]["computed"]
    shutil.rmtree(run / "round-3")
    # as also where they were computed without a round
    store = Store(run / DATABASE)
    spared = [candidate for candidate in store.read() if candidate.id in bare]
    for candidate in spared:
        candidate.properties.pop("band_gap")
    store.put(spared, complete=True)
    third = chosen(run, n_shortlist=2)
    assert third.corrections.by_property["band_gap"].n == 6 + len(bare)
    assert record(third.out)["learned_from"]["results"] == digest


def test_gates_are_applied_to_corrected_estimates(run):
    found = chosen(run, n_shortlist=30)
    target, fillers = found.config.target, 0
    for candidate in found.shortlist:
        hull, properties = (candidate.verdicts[gate] for gate in ("hull", "properties"))
        gates = [gate for gate in candidate.verdicts if gate != "site states"]  # not applied above the limit
        assert gates[-3:] == ["hull", "properties", "duplicates"]
        assert hull.value == candidate.properties["e_above_hull"].mean
        assert hull.passed == (hull.value <= target.e_above_hull_max)
        gap = candidate.properties["band_gap"]
        assert properties.value == pytest.approx(gap.probability(target.windows["band_gap"]))
        fillers += not (hull.passed and properties.passed)
    assert 0 < fillers < 30
    assert f"; {fillers} outside the campaign's limits" in found.message
    written = json.loads((found.out / "shortlist.json").read_text(encoding="utf-8"))["data"]
    gates = [verdict["gate"] for verdict in written[0]["attributes"]["_invdesign_verdicts"]]
    assert [gate for gate in gates if gate != "site states"][-3:] == ["hull", "properties", "duplicates"]


def test_a_round_leaves_on_record_what_it_predicted(run):
    found = chosen(run, n_shortlist=4)
    stored = {candidate.id: candidate for candidate in Store(run / DATABASE).read()}
    for candidate in found.shortlist:
        predicted, gap = stored[candidate.id].rounds[2], candidate.properties["band_gap"]
        assert predicted.p_hit == pytest.approx(candidate.selection.p_hit, rel=1e-4)
        assert predicted.estimates["band_gap"] == pytest.approx([gap.value, gap.low, gap.high], rel=1e-4)
    shutil.rmtree(found.out)
    again = chosen(run, n_shortlist=2)
    selected = [c.id for c in Store(run / DATABASE).read() if 2 in c.rounds]
    assert selected == sorted(candidate.id for candidate in again.shortlist)


def test_dft_inputs_of_a_round_carry_the_campaigns_ids(run, tmp_path):
    found = chosen(run, n_shortlist=3)
    manifest = json.loads(write_inputs(found.out, "vasp", tmp_path / "dft").read_text(encoding="utf-8"))
    jobs = manifest["candidates"]
    assert [job["candidate"] for job in jobs] == [candidate.id for candidate in found.shortlist]
    assert jobs[0]["predicted"]["band_gap"] == pytest.approx(
        found.shortlist[0].properties["band_gap"].value, abs=1e-3
    )


@pytest.mark.slow
def test_more_genes_join_the_store_and_the_pool(run, unbroken):
    before = Store(run / DATABASE).read()
    options = {"n_shortlist": 8, "n_genes": 60, "n_relax": 16}
    found = chosen(run, **options)
    after = Store(run / DATABASE).read()
    new = [candidate for candidate in after if candidate.origin.round == 2]
    assert len(new) == 60
    assert [c.id for c in after] == [f"c{i:06d}" for i in range(len(before) + 60)]
    assert any(candidate.id in {c.id for c in new} for candidate in found.shortlist)
    genes = {c.gene.hash for c in before if c.verdicts["target"].passed}
    assert not any(c.gene.hash in genes for c in new if "relaxation" in c.verdicts)
    again = chosen(run, **options)
    assert [c.id for c in again.shortlist] == [c.id for c in found.shortlist]
    assert len(Store(run / DATABASE)) == len(after)
    # and the campaign's own command gives the campaign's own result
    result = design(
        campaign_fakes.fake_config(run), components=campaign_fakes.fake_components(), progress=False
    )
    assert [c.id for c in result.shortlist] == [c.id for c in unbroken[1].shortlist]
    assert result.funnel.as_json() == unbroken[1].funnel.as_json()


def proposed(candidate):
    return candidate.relaxation.proposed_gene if candidate.relaxation else str(candidate.gene)


def test_genes_of_the_campaign_are_not_relaxed_again_where_known_ones_are_wanted(tmp_path):
    components, config = (
        campaign_fakes.fake_components(),
        campaign_fakes.fake_config(tmp_path, novelty="any"),
    )
    result = design(config, components=components, progress=False)
    collect(tmp_path, {candidate.id: 0.4 for candidate in result.shortlist})
    had = {proposed(c): c.id for c in reversed(result.candidates)}
    chosen(tmp_path, n_genes=60, n_relax=16)
    new = [c for c in Store(tmp_path / DATABASE).read() if c.origin.round == 2]
    relaxed = [c for c in new if "geometry" in c.verdicts]
    assert len(relaxed) == 16
    assert not any(proposed(c) in had for c in relaxed)
    twins = [c for c in new if "unique" in c.verdicts and str(c.gene) in had]
    assert twins
    for candidate in twins:
        assert (
            candidate.verdicts["unique"].reason == f"same gene as an earlier one: {had[str(candidate.gene)]}"
        )


def test_an_interrupted_round_resumes_with_the_same_results_alone(run, monkeypatch):
    more, options = (
        "invdesign.campaign.active_learning.extend",
        {"n_shortlist": 3, "n_genes": 32, "n_relax": 4},
    )

    def killed(*_):
        raise KeyboardInterrupt

    n = len(Store(run / DATABASE))
    with monkeypatch.context() as patch:
        patch.setattr(f"{more}._joined", killed)
        with pytest.raises(KeyboardInterrupt):
            chosen(run, **options)
    assert len(Store(run / DATABASE)) == n  # all of them join in one transaction, or none
    shutil.copytree(run, other := run.with_name("other"))
    assert chosen(run, **options).number == 2
    assert len(Store(run / DATABASE)) == n + 32
    collect(other, {Store(other / DATABASE).read("status=relaxed")[0].id: 0.1})
    with pytest.raises(InputError, match="was begun from other results; remove it"):
        chosen(other, **options)


def test_without_results_it_says_how_to_get_some(unbroken, tmp_path):
    shutil.copytree(unbroken[0], folder := tmp_path / "run")
    with pytest.raises(InputError, match="no results to learn from; run `invdesign dft collect"):
        chosen(folder)
    assert not (folder / "round-2").exists()


def test_a_round_that_has_nobody_left_says_so(run, monkeypatch):
    """As where a campaign of an earlier version listed known compositions, which are not wanted now."""
    monkeypatch.setattr(shortlist, "novelty_wanted", lambda *_, **__: False)
    with pytest.raises(InputError, match="no candidate is left to select"):
        chosen(run)
    assert not (run / "round-2").exists()


def test_goals_without_a_result_are_named(run):
    assert chosen(run).lines()[-1] == "No result yet of energy above hull: estimated as before."


def test_failures_alone_correct_nothing_and_are_not_chosen(unbroken, tmp_path):
    shutil.copytree(unbroken[0], folder := tmp_path / "run")
    failed = [candidate.id for candidate in unbroken[1].shortlist]
    collect(folder, {}, failed)
    for choose, number in (("hits", 2), ("information", 2)):
        found = chosen(folder, choose=choose, n_shortlist=3)
        assert found.number == number
        assert not {candidate.id for candidate in found.shortlist} & set(failed)
        shutil.rmtree(found.out)


def test_an_unfinished_campaign_is_finished_first(run):
    store = Store(run / DATABASE)
    store.put([])
    with pytest.raises(InputError, match="has not finished"):
        chosen(run)


def test_a_pool_can_be_empty(run):
    store = Store(run / DATABASE)
    left = [c.id for c in store.read() if c.structure is not None and c.dft is None]
    collect(run, {}, left)
    with pytest.raises(InputError, match="give --n and --n-relax"):
        chosen(run)


def test_objects_must_be_given_again(run):
    with pytest.raises(InputError, match="made with other objects"):
        next_round(run)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--continue", "{run}", "--elements", "O", "--seed", "3"], "leave out elements, seed"),
        (["band_gap>3", "--continue", "{run}"], "leave out target"),
        (["--choose", "hits"], "needs --continue FOLDER"),
        (["--continue", "{run}", "--choose", "luck"], "give hits or information"),
        (["--continue", "nowhere"], "holds no campaign"),
    ],
)
def test_the_command_refuses_in_a_sentence(run, arguments, expected):
    found = CliRunner().invoke(app, ["design", *(a.format(run=run) for a in arguments)])
    assert found.exit_code == 2
    assert expected in " ".join(found.output.replace("│", " ").split())
    assert "Traceback" not in found.output
