"""Results in a campaign's store: beside the predictions, once, and of its own candidates alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ase.db import connect
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.cli import app
from invdesign.core.candidate import Candidate, Estimate, Origin, Selection
from invdesign.core.dft_result import DftResult
from invdesign.crystal.structure_files import write_cif
from invdesign.crystal.symmetry import gene_of
from invdesign.dft.codes.gpaw.job import digests
from invdesign.dft.collect_results import collect
from invdesign.dft.phonons import PhononOutput
from invdesign.dft.write_inputs import write_inputs

DATA = Path(__file__).parents[2] / "data" / "dft"
IDENTITY = {"target": "band_gap=4..5 e_above_hull<0.1", "hull": "mp-hull"}


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    cell = Lattice.cubic(a)
    whole = Structure.from_spacegroup("Fm-3m", cell, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return whole.get_primitive_structure()


def campaign(tmp_path: Path, structure: Structure, name: str = "c000001", folder: str = "run") -> Path:
    """A campaign that ended with one candidate."""
    run = tmp_path / folder
    run.mkdir()
    gene, geometry = gene_of(structure)
    properties = {"band_gap": Estimate(4.3, 0.2), "e_above_hull": Estimate(0.05, 0.04)}
    candidate = Candidate(name, gene, Origin(), geometry, structure, {}, properties)
    candidate.selection = Selection(p_hit=0.8, rank=1)
    Store(run / DATABASE, IDENTITY).put([candidate], complete=True)
    write_cif(structure, run / "c.cif", symmetrised=True)
    row = {"rank": 1, "candidate": name, "cif_file": "c.cif", "band_gap": 4.3}
    row |= {"band_gap_low": 4.0, "band_gap_high": 4.6}
    with (run / "shortlist.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerow(row)
    return run


def computed(dft: Path, stored: str = "mgo_gpaw.json", **changes: Any) -> Path:
    """GPAW's stored results, in folders that were written for them."""
    names = {"001_MgO": stored, "001_Mg": "mg_gpaw.json", "002_O2": "o2_gpaw.json"}
    for folder in dft.glob("0*"):
        result = json.loads((DATA / names[folder.name]).read_text())
        (folder / "result.json").write_text(json.dumps(result | {"inputs": digests(folder)} | changes))
    return dft


def written(run: Path, name: str = "dft", task: str = "relax", **changes: Any) -> Path:
    write_inputs(run, "gpaw", run / name, task=task)
    return computed(run / name, **changes)


def dft_of(run: Path) -> DftResult:
    (candidate,) = Store(run / DATABASE).read()
    assert candidate.dft is not None
    return candidate.dft


MGO = rock_salt("Mg", "O", 4.3)


def test_results_lie_next_to_the_predictions(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run)
    write_inputs(run, "gpaw", run / "elements", references=True)
    found = collect([dft, computed(run / "elements")], run)
    (candidate,) = Store(run / DATABASE).read()
    assert candidate.properties["band_gap"] == Estimate(4.3, 0.2)  # as predicted
    result = dft_of(run)
    assert (result.code, result.tasks, result.folder) == ("gpaw", ("relax",), "dft/001_MgO")
    assert result.functional == "PBE"
    assert result.band_gap == pytest.approx(4.49, abs=0.01)
    assert result.direct
    assert result.e_above_hull == pytest.approx(0, abs=0.06)
    assert result.formation_energy_per_atom == pytest.approx(-3.05, abs=0.06)
    assert result.volume_per_atom == pytest.approx(4.25**3 / 8, abs=0.1)
    assert result.rmsd == pytest.approx(0, abs=1e-6)
    assert "same settings" in result.scale
    assert Store(run / DATABASE).complete
    figures = connect(run / DATABASE).get(candidate="c000001").key_value_pairs
    assert figures["dft_band_gap"] == result.band_gap
    assert figures["dft_code"] == "gpaw"
    assert found.stored == 1
    (judged,) = found.comparison.hits
    assert (judged.hit, judged.p_hit) == (True, 0.8)
    table = list(csv.DictReader((run / "comparison.csv").open(newline="")))
    assert [row["property"] for row in table] == [
        "band_gap",
        "e_above_hull",
        "volume_per_atom",
        "rmsd",
        "hit",
    ]
    assert (run / "parity.png").is_file()


def test_collecting_twice_changes_nothing(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run)
    collect([dft], run)
    first, files = dft_of(run), {path: path.read_bytes() for path in run.glob("*.csv")}
    collect([dft], run)
    assert dft_of(run) == first
    assert {path: path.read_bytes() for path in run.glob("*.csv")} == files


def test_runs_of_several_collections_are_merged(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    collect([written(run)], run)
    collect([written(run, "gap", "gap", band_gap=4.3)], run)
    result = dft_of(run)
    assert (result.tasks, result.band_gap) == (("gap", "relax"), 4.3)
    assert result.volume_per_atom == pytest.approx(4.25**3 / 8, abs=0.1)
    both = campaign(tmp_path, MGO, folder="both")
    collect([written(both, "gap", "gap", band_gap=4.3), written(both)], both)
    assert dft_of(both) == result
    collect([written(run, "again", energy_ev=-12.9)], run)  # the better minimum counts, and it is said
    assert dft_of(run).folder == "again/001_MgO"
    assert "relax twice: again/001_MgO counts, not dft/001_MgO" in dft_of(run).notes


def test_candidates_of_another_campaign_are_named_not_stored(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run)
    same_id = campaign(tmp_path, rock_salt("Ca", "S", 5.7), folder="same_id")
    other_id = campaign(tmp_path, MGO, name="c000099", folder="other_id")
    for other, why in ((same_id, "is another CaS, not stored"), (other_id, "no candidate of this campaign")):
        found = collect([dft], other)
        assert why in " ".join(found.lines())
        assert found.stored == 0
        assert Store(other / DATABASE).read()[0].dft is None
    assert found.rows[0]["status"] == "done"


def test_campaigns_that_are_collected_together_are_kept_apart(tmp_path: Path) -> None:
    """Both call their first candidate c000001: the second's crystal is not the first's."""
    run = campaign(tmp_path, MGO)
    strontia = campaign(tmp_path, rock_salt("Sr", "O", 5.2), folder="strontia")
    write_inputs(strontia, "gpaw", strontia / "dft")
    (folder,) = (strontia / "dft").glob("0*")
    result = json.loads((DATA / "mgo_gpaw.json").read_text()) | {"inputs": digests(folder)}
    result["symbols"] = [symbol.replace("Mg", "Sr") for symbol in result["symbols"]]
    result |= {"energy_ev": -30.0, "band_gap": 3.3}
    for name in ("cell", "positions"):
        result[name] = [[x * 5.2 / 4.25 for x in row] for row in result[name]]
    (folder / "result.json").write_text(json.dumps(result))
    written(run)
    for folders in ([run / "dft", strontia / "dft"], [strontia / "dft", run / "dft"]):
        found = collect(folders, run)
        assert dft_of(run).band_gap == pytest.approx(4.49, abs=0.01)
        assert len(dft_of(run).runs) == 1
        assert found.notes == ["c000001 (SrO): in this campaign c000001 is another MgO, not stored"]
    (tmp_path / "both").mkdir()
    alone = collect([run / "dft", strontia / "dft"], tmp_path / "both").comparison.of("band_gap")
    assert [(one.formula, round(one.computed, 1)) for one in alone] == [("MgO", 4.5), ("SrO", 3.3)]


def test_energies_above_hull_outlast_the_collection_that_had_the_elements(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run)
    write_inputs(run, "gpaw", run / "elements", references=True)
    collect([dft, computed(run / "elements")], run)
    before = dft_of(run)
    collect([dft], run)
    assert dft_of(run) == before
    assert before.e_above_hull == pytest.approx(0, abs=0.06)
    shutil.rmtree(run / "elements")
    collect([written(run, "round-2", "gap")], run)  # a later round, with other settings none
    assert all(one.e_above_hull is not None for one in dft_of(run).runs)
    kept = json.loads((run / "elements-dft.json").read_text())
    assert [one["symbol"] for one in kept] == ["Mg", "O"]
    (run / "elements-dft.json").write_text("[")
    assert CliRunner().invoke(app, ["dft", "collect", str(dft), "--out", str(run)]).exit_code == 2


def test_failed_unfinished_and_changed_runs(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run, failed="the self-consistent cycle did not converge", converged=False)
    found = collect([dft], run)
    assert dft_of(run).failed == "dft/001_MgO: the self-consistent cycle did not converge"
    assert found.comparison.properties == []
    (dft / "001_MgO" / "result.json").unlink()
    collect([dft], run)
    assert dft_of(run).failed  # nothing new
    collect([computed(dft)], run)
    assert dft_of(run).failed is None
    assert dft_of(run).band_gap == pytest.approx(4.49, abs=0.01)
    waiting = campaign(tmp_path, MGO, folder="waiting")
    write_inputs(waiting, "gpaw", waiting / "dft")
    collect([waiting / "dft"], waiting)
    assert Store(waiting / DATABASE).read()[0].dft is None
    write_cif(rock_salt("Mg", "O", 4.4), waiting / "c.cif", symmetrised=True)
    assert collect([computed(waiting / "dft")], waiting).rows[0]["status"] == "changed"
    assert Store(waiting / DATABASE).read()[0].dft is None


def test_results_from_another_machine(tmp_path: Path) -> None:
    home = campaign(tmp_path, MGO)
    dft = written(home)
    away = tmp_path / "away"
    shutil.copytree(dft, away)
    shutil.rmtree(dft)
    (home / "c.cif").unlink()
    assert collect([away], home).stored == 1
    assert dft_of(home).folder == str(away / "001_MgO")


def test_a_phonon_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("phonopy", reason="phonopy is the optional extra invdesign[phonons]")
    run = campaign(tmp_path, MGO)
    write_inputs(run, "gpaw", run / "phonons", task="phonon-check")
    found = collect([run / "phonons"], run)
    assert (found.rows[0]["status"], found.stored) == ("not run", 0)
    done = PhononOutput("done", lowest=-1.2, at=(0.5, 0.0, 0.0), notes=("one mode",))
    monkeypatch.setattr("invdesign.dft.collect_results.read_phonons", lambda _: done)
    found = collect([written(run), run / "phonons"], run)
    assert "lowest frequency -1.20 THz, one mode" in " ".join(found.lines())
    result = dft_of(run)
    assert (result.tasks, result.lowest_frequency) == (("phonon-check", "relax"), -1.2)
    assert result.band_gap == pytest.approx(4.49, abs=0.01)


def test_the_command(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    dft = written(run)
    (dft / "001_MgO" / "result.json").write_text("{")
    told = CliRunner().invoke(app, ["dft", "collect", str(dft), "--out", str(run)])
    assert told.exit_code == 0, told.output
    assert "truncated" in told.output
    assert "1 run: 1 truncated; 0 candidates of the campaign with results." in told.output
    computed(dft)
    told = CliRunner().invoke(app, ["dft", "collect", str(dft), "--out", str(run)])
    assert "1 run: 1 done; 1 candidate of the campaign with results." in told.output
    assert "PBE gap: off by" in told.output
    assert "1 result is too few" in told.output
    told = CliRunner().invoke(app, ["dft", "collect", str(dft), "--out", str(run), "--json"])
    answer = json.loads(told.output)
    assert answer["summary"]["properties"]["band_gap"]["n"] == 1
    assert answer == json.loads((run / "dft.json").read_text())


def test_the_predicted_distribution_goes_with_the_inputs(tmp_path: Path) -> None:
    run = campaign(tmp_path, MGO)
    store = Store(run / DATABASE)
    (candidate,) = store.read()
    skewed = Estimate(4.3, 0.2, p_zero=0.03)  # no symmetric interval says so
    candidate.properties["band_gap"] = skewed
    store.put([candidate], complete=True)
    dft = written(run)
    (entry,) = json.loads((dft / "manifest.json").read_text())["candidates"]
    assert Estimate(**entry["distributions"]["band_gap"]) == skewed
    assert entry["predicted"]["band_gap_low"] == skewed.low
    alone = collect([dft], tmp_path / "away").comparison.of("band_gap")
    assert alone == collect([dft], run).comparison.of("band_gap")
    assert alone[0].z == pytest.approx((4.3 - alone[0].computed) / 0.2)
