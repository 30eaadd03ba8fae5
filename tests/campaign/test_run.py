import csv
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import campaign_fakes
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from invdesign.campaign import CampaignConfig, Components, design
from invdesign.campaign.progress import LiveFunnel
from invdesign.composition.supply import supply_of
from invdesign.core.candidate import Candidate
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.config import build, read_yaml
from invdesign.io.parallel import WORKER_ENVIRONMENT, default_workers, run_tasks
from invdesign.predictors.registry import models_of
from invdesign.verdict import Verdict


def die(_task):
    os._exit(1)


def test_workers_get_their_environment_and_ours_stays(monkeypatch):
    for name in WORKER_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    assert list(run_tasks(campaign_fakes.worker_variables, [0], workers=2)) == [WORKER_ENVIRONMENT]
    assert dict(os.environ) == before


def test_a_dead_worker_is_reported_in_one_sentence():
    with pytest.raises(InputError, match="a worker process died"):
        list(run_tasks(die, [0], workers=2))


def test_one_worker_runs_lazily_in_this_process():
    done = []
    results = run_tasks(done.append, range(3), workers=1)
    next(results)
    assert done == [0]


def test_processes_do_not_share_a_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_workers() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_workers() == 1


def test_any_executor_will_do(unbroken, tmp_path):
    config = campaign_fakes.fake_config(tmp_path)
    with ThreadPoolExecutor(2) as executor:
        result = design(
            config, components=campaign_fakes.fake_components(), executor=executor, progress=False
        )
    assert [c.id for c in result.shortlist] == [c.id for c in unbroken[1].shortlist]


def candidates() -> list[Candidate]:
    gene = Gene.parse("225 Na@a Cl@b")
    kept, dropped = (Candidate(f"c{i:06d}", gene) for i in range(2))
    kept.record(Verdict("target", passed=True, reason="as asked"))
    dropped.record(Verdict("target", passed=False, reason="3 atoms: too few"))
    return [kept, dropped]


@pytest.mark.parametrize("terminal", [True, False])
def test_live_funnel_counts(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with LiveFunnel("a gap", console=console) as live:
        live.phase("generator", 4)
        live.count(candidates(), ("generator", "target"))
        live.line(("target",))
    shown = console.file.getvalue()
    assert "a gap" in shown
    assert "target" in shown
    assert "left" in shown
    stage = live.funnel.stages["target"]
    assert (stage.entered, stage.passed, stage.rejected) == (2, 1, 1)
    assert stage.reasons == {"… atoms": 1}


def test_known_material_is_kept_out_or_marked(tmp_path):
    class OnlySalt(campaign_fakes.FakeGenerator):
        def propose(self, target, n, seed):
            return [Candidate("", Gene.parse("225 Na@a Cl@b")) for _ in range(n)]

    def run(novelty: str):
        components = Components(**{**vars(campaign_fakes.fake_components()), "generator": OnlySalt()})
        config = campaign_fakes.fake_config(
            tmp_path / novelty, n_genes=4, min_probability=0.0, novelty=novelty
        )
        return design(config, components=components, progress=False)

    without = run("new")
    assert without.shortlist == []
    assert "novelty" in without.message
    assert (tmp_path / "new" / "shortlist.csv").exists()
    for novelty in ("any", "known"):
        assert [c.gene.formula for c in run(novelty).shortlist] == ["NaCl"]
        assert "known,known: mp-22862" in (tmp_path / novelty / "shortlist.csv").read_text()


def test_parts_that_do_not_fit_are_reported_before_any_work(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, target=parse_target(["band_gap>3"], elements=["Cd"]))
    with pytest.raises(InputError, match="does not know Cd"):
        design(config, components=campaign_fakes.fake_components(), progress=False)
    components = Components(**{**vars(campaign_fakes.fake_components()), "hull": "no-such-hull"})
    with pytest.raises(InputError, match="no-such-hull"):
        design(campaign_fakes.fake_config(tmp_path / "b"), components=components, progress=False)
    components = Components(**{**vars(campaign_fakes.fake_components()), "predictors": {}})
    with pytest.raises(InputError, match="no-such-table"):
        design(
            campaign_fakes.fake_config(tmp_path / "d"),
            components=replace(campaign_fakes.fake_components(), neighbors="no-such-table"),
        )
    with pytest.raises(InputError, match="nothing predicts band_gap"):
        design(campaign_fakes.fake_config(tmp_path / "c"), components=components, progress=False)


def test_a_model_is_asked_once_of_one_description(monkeypatch):
    from invdesign.predictors.features import structure as crystal_features
    from invdesign.predictors.property_predictor import PropertyPredictor

    components = Components(predictors=models_of(("band_gap", "bulk_modulus_gpa", "shear_modulus_gpa")))
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    one_by_one = {name: components.predictor(name).predict([salt])[0] for name in components.predictors}
    described, asked = [], []
    describe, features = crystal_features.describe, PropertyPredictor.of_features
    monkeypatch.setattr(crystal_features, "describe", lambda seen: described.append(1) or describe(seen))
    monkeypatch.setattr(PropertyPredictor, "of_features", lambda *a: asked.append(1) or features(*a))
    assert components.estimates([salt]) == [one_by_one]
    assert (len(described), len(asked)) == (1, 2)
    assert components.estimates([]) == []


def test_survivors_carry_their_front_and_score(unbroken, tmp_path):
    out, result = unbroken
    survivors = [c for c in result.candidates if c.selection is not None]
    assert min(c.selection.pareto_rank for c in survivors) == 1
    for c in survivors:
        assert c.selection.synthesizability == campaign_fakes.number(c.gene, "score")
    assert result.shortlist[0].selection.pareto_rank == 1
    with (out / "shortlist.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"pareto_rank", "synthesizability", "hhi_production", "hhi_reserves", "abundance", "toxic"} <= set(
        rows[0]
    )


def test_one_goal_has_no_fronts(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, target=parse_target("e_above_hull<0.1"), n_relax=8)
    result = design(config, components=campaign_fakes.fake_components(), progress=False)
    assert result.shortlist
    assert all(c.selection.pareto_rank is None for c in result.shortlist)


def test_limits_of_supply_reject_genes(tmp_path):
    target = parse_target("band_gap=1.5±0.25 hhi<2500 abundance>1", exclude="toxic")
    config = campaign_fakes.fake_config(tmp_path, target=target, n_relax=8)
    result = design(config, components=campaign_fakes.fake_components(), progress=False)
    for c in result.candidates:
        figures = supply_of(c.gene.amounts)
        risky = max(figures.hhi_production, figures.hhi_reserves) > 2500
        allowed = not (risky or figures.toxic or figures.abundance < 1)
        assert c.verdicts["target"].passed <= allowed
        assert allowed or "geometry" not in c.verdicts  # nothing is relaxed that a limit forbids
    reasons = {reason.split(":")[0] for reason in result.funnel.stages["target"].reasons}
    assert {"supply risk too high", "element too scarce"} <= reasons


def test_out_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"out: .* give a folder"):
        design(
            campaign_fakes.fake_config(tmp_path / "file"),
            components=campaign_fakes.fake_components(),
            progress=False,
        )


def test_a_campaign_is_read_from_yaml(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_text("target: band_gap=1.5±0.25\nn_relax: 12\n")
    config = build(CampaignConfig, read_yaml(path) | {"seed": 3}, "campaign")
    assert (config.n_relax, config.seed) == (12, 3)
    path.write_text("target: band_gap>3\nn_relaxations: 12\n")
    with pytest.raises(InputError, match="n_relaxations"):
        build(CampaignConfig, read_yaml(path), "campaign")


def test_identity_is_the_same_in_every_process(tmp_path):
    target = parse_target(["band_gap>3"], exclude=["Pb", "Cd", "Hg", "As"])
    config = campaign_fakes.fake_config(tmp_path, target=target)
    assert (
        config.identity()
        == campaign_fakes.fake_config(tmp_path / "elsewhere", target=target, workers=2).identity()
    )
    assert "exclude=As,Cd,Hg,Pb" in config.identity()["target"]


def test_an_evaluator_of_generators_selects_nothing(tmp_path):
    config = campaign_fakes.fake_config(tmp_path / "run")
    evaluator = type("Evaluator", (), {"for_evaluation": True, "predict": lambda self, structures: []})()
    components = Components(
        **{**vars(campaign_fakes.fake_components()), "predictors": {"band_gap": evaluator}}
    )
    with pytest.raises(InputError, match="evaluation of generators alone"):
        design(config, components=components, progress=False)


def test_a_short_list_names_a_small_number_of_relaxations(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, n_genes=32, n_relax=2, n_shortlist=6)
    found = design(config, components=campaign_fakes.fake_components(), progress=False)
    assert "at most 2 are relaxed; give --n-relax 60" in found.message
