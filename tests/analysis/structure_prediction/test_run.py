import csv
import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis.structure_prediction import run as predicting
from invdesign.analysis.structure_prediction.run import predict_structure
from invdesign.analysis.structure_prediction.starting_structures import StructureSources, plan_starts
from invdesign.cli import app
from invdesign.core.candidate import Z90, Candidate, Origin
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError
from invdesign.filters.novelty import KnownMaterials
from invdesign.io.lock import locked_folder
from invdesign.relaxation.parallel import CHUNK
from invdesign.relaxation.relax import Relaxed

ROCK_SALT, CSCL, ZINC_BLENDE = "225 Cl@b Na@a", "221 Cl@b Na@a", "216 Cl@c Na@a"
CELLS = {225: 5.64, 221: 3.4, 216: 6.0}
ENERGY = {225: -3.40, 221: -3.35, 216: -3.30}  # eV/atom


class FakeTypes:
    name = "fake-types"

    def propose(self, target, n, seed):
        genes = [ROCK_SALT, CSCL, "225 Br@b Na@a", ZINC_BLENDE]
        return [
            Candidate("", gene.canonical(), Origin(parent=f"mp-{i}"), geometry=cubic(CELLS[gene.space_group]))
            for i, gene in enumerate(map(Gene.parse, genes))
        ]


class FakeGenes:
    name = "fake-genes"

    def propose(self, target, n, seed):
        rng = np.random.default_rng(seed)
        return [Candidate("", Gene.parse(str(rng.choice([ROCK_SALT, CSCL], p=[0.2, 0.8])))) for _ in range(n)]


class Refusing:
    name = "refusing"

    def propose(self, target, n, seed):
        raise InputError("generator: refusing knows nothing of it.")


class FakeGeometry:
    def propose_many(self, genes, counts, seeds):
        return [[(cubic(CELLS[gene.space_group] * 1.05), "drawn")] for gene in genes]


def cubic(a):
    return Geometry((a, a, a, 90.0, 90.0, 90.0), ((), ()))


def sources(*generators):
    return StructureSources(generators or (FakeTypes(), FakeGenes()), FakeGeometry())


def fake_relax(structures, potential, *, workers, fmax, max_steps, keep_symmetry):
    for place, structure in enumerate(structures):
        relaxed = structure.copy()
        group = relaxed.get_space_group_info()[1]
        relaxed.scale_lattice(CELLS[group] ** 3 / {225: 4, 221: 1, 216: 4}[group])
        energy = ENERGY[group] * len(relaxed) + 1e-4 * place
        yield place, Relaxed(relaxed, energy, 0.01, 7, converged=group != 216, reason="x", symmetry_kept=True)


@pytest.fixture
def faked(monkeypatch):
    monkeypatch.setattr(predicting, "_sources", lambda _names: sources())
    monkeypatch.setattr(predicting, "relax_structures", fake_relax)


def test_starting_structures_are_allowed_different_and_take_turns():
    plan = plan_starts(parse_target(formula="NaCl"), 10, 0, sources())
    assert {trial.gene.formula for trial in plan.starts} == {"NaCl"}
    assert len(plan.starts) == 5  # three types, and two genes at another volume
    assert [trial.origin for trial in plan.starts[:2]] == ["fake-types, after mp-0", "fake-genes, drawn"]
    assert [trial.gene.space_group for trial in plan.starts[::2]] == [225, 221, 216]  # as given
    assert plan.starts[1].gene.space_group == 221  # the gene that was drawn more often
    assert plan.offered == {"fake-types": "3 different genes", "fake-genes": "2 different genes"}
    assert len(plan_starts(parse_target(formula="NaCl"), 2, 0, sources()).starts) == 2


def test_one_generator_that_can_is_enough():
    plan = plan_starts(parse_target(formula="NaCl"), 4, 0, sources(Refusing(), FakeTypes()))
    assert len(plan.starts) == 3
    assert "knows nothing" in plan.offered["refusing"]
    with pytest.raises(InputError, match="knows nothing"):
        plan_starts(parse_target(formula="NaCl"), 4, 0, sources(Refusing()))


def test_polymorphs_are_distinct_and_ranked(faked, tmp_path, monkeypatch):
    monkeypatch.setattr(
        KnownMaterials, "is_reported", lambda _self, crystal: crystal.get_space_group_info()[1] == 225
    )
    found = predict_structure(["NaCl", "Na2Cl2"], out=tmp_path).polymorphs
    assert [(p.rank, p.space_group, p.found) for p in found] == [(1, 225, 2), (2, 221, 2)]
    assert found[0].relative == 0
    assert found[1].relative == pytest.approx(0.05, abs=1e-3)
    assert "mp-22862" in found[0].known
    # only the unknown crystal gets the offset of hypothetical ones
    offset = found[1].e_above_hull - found[0].e_above_hull - found[1].relative
    assert offset == pytest.approx(0.028, abs=0.005)
    assert found[0].sigma > 0
    with (tmp_path / "polymorphs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["formula"] for row in rows] == ["NaCl", "NaCl"]
    best = Structure.from_file(tmp_path / rows[0]["cif_file"])
    assert best.get_space_group_info()[1] == 225
    told = json.loads((tmp_path / "run.json").read_text())
    counts = told["formulas"]["NaCl"]
    assert (counts["relaxed"], counts["converged"], counts["polymorphs"]) == (5, 4, 2)


def test_a_killed_prediction_goes_on(faked, tmp_path, monkeypatch):
    many = [Structure(Lattice.cubic(3 + i / 50), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]) for i in range(40)]
    plan = predicting.Plan(
        [predicting.Start(Gene.parse(CSCL), structure, "x") for structure in many], {"x": "40"}
    )
    monkeypatch.setattr(predicting, "plan_starts", lambda *_: plan)
    relaxed = []

    class Killed(Exception):  # noqa: N818
        pass

    def dying(structures, potential, **options):
        for entry in fake_relax(structures, potential, **options):
            if len(relaxed) == CHUNK + 3:
                raise Killed
            relaxed.append(entry)
            yield entry

    monkeypatch.setattr(predicting, "relax_structures", dying)
    with pytest.raises(Killed):
        predict_structure(["NaCl"], out=tmp_path)
    again = []

    def counting(structures, potential, **options):
        again.extend(structures)
        return fake_relax(structures, potential, **options)

    monkeypatch.setattr(predicting, "relax_structures", counting)
    (polymorph,) = predict_structure(["NaCl"], out=tmp_path).polymorphs
    assert len(again) == len(many) - CHUNK
    assert polymorph.found == len(many)
    with pytest.raises(InputError, match="another prediction"):
        predict_structure(["NaCl"], out=tmp_path, seed=1)


def test_another_number_shown_relaxes_nothing_again(faked, tmp_path, monkeypatch):
    predict_structure(["NaCl"], out=tmp_path, polymorphs=1)
    given = []
    monkeypatch.setattr(predicting, "relax_structures", lambda structures, *_, **__: given.extend(structures))
    for most in (10, 1):
        found = predict_structure(["NaCl"], out=tmp_path, polymorphs=most).polymorphs
        assert [p.rank for p in found] == [1, 2][:most]
        assert {f"cifs/{file.name}" for file in (tmp_path / "cifs").iterdir()} == {p.cif_file for p in found}
    assert given == []


def nothing_converges(structures, potential, **_options):
    for place, structure in enumerate(structures):
        yield place, Relaxed(structure, -3.0, 1.0, 7, converged=False, reason="too slow", symmetry_kept=None)


def collapsed(structures, potential, **_options):
    for place, structure in enumerate(structures):
        small = structure.copy()
        small.scale_lattice(1.0)
        yield place, Relaxed(small, -3.0, 0.01, 7, converged=True, reason="", symmetry_kept=True)


@pytest.mark.parametrize(
    ("relax", "told"),
    [(nothing_converges, "NaCl: none of 5 relaxations converged"), (collapsed, "is plausible")],
)
def test_no_polymorph_is_reported_and_ends_with_1(relax, told, faked, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "relax_structures", relax)
    result = CliRunner().invoke(
        app, ["predict-structure", "NaCl", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 1
    assert told in result.stderr
    counts = json.loads((tmp_path / "run.json").read_text())["formulas"]["NaCl"]
    assert counts["without"] in result.stderr


def test_one_formula_with_a_polymorph_is_a_result(faked, tmp_path, monkeypatch):
    plans = {"NaCl": plan_starts(parse_target(formula="NaCl"), 5, 0, sources()), "KCl": predicting.Plan()}
    monkeypatch.setattr(predicting, "plan_starts", lambda target, *_: plans[str(target.formula)])
    result = CliRunner().invoke(
        app, ["predict-structure", "NaCl", "KCl", "--out", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "KCl: no start" in result.stderr


def test_a_formula_is_shown_as_it_was_written(faked, tmp_path):
    command = ["predict-structure", "Cl2Na2", "--n-atoms", "2..8", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    told = "Cl2Na2 is reduced to ClNa: starting structures have 1 to 4 formula units in the primitive cell"
    assert result.stderr.startswith(told)
    assert "ClNa" in result.stdout
    assert {file.name for file in (tmp_path / "cifs").iterdir()} == {"ClNa_01_225.cif", "ClNa_02_221.cif"}
    again = CliRunner().invoke(app, ["predict-structure", "NaCl", "--out", str(tmp_path / "b")])
    assert "is reduced to" not in again.stderr


@pytest.mark.parametrize(
    ("n_atoms", "told"),
    [
        ("2", "1 formula unit in the primitive cell."),
        ("4", "2 formula units in the primitive cell."),
        ("3..8", "2 to 4 formula units in the primitive cell; --n-atoms narrows the range."),
    ],
)
def test_the_size_of_the_starts_is_reported(n_atoms, told, faked, tmp_path):
    sentences = []
    predict_structure(["Cl2Na2", "NaCl"], out=tmp_path, n_atoms=n_atoms, notice=sentences.append)
    assert sentences == [f"Cl2Na2 is reduced to ClNa: starting structures have {told}"]


def test_the_table_in_a_pipe_is_whole(faked, tmp_path):
    result = CliRunner().invoke(app, ["predict-structure", "NaCl", "--out", str(tmp_path)])
    polymorphs = predict_structure(["NaCl"], out=tmp_path).polymorphs
    for polymorph in polymorphs:
        figures = f"{polymorph.e_above_hull:.3f} ± {Z90 * polymorph.sigma:.3f}"
        assert any(figures in line and polymorph.origin in line for line in result.stdout.splitlines())


def test_wrong_input_is_reported_before_anything_is_loaded(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr("invdesign.campaign.components._load", lambda kind, _name: loaded.append(kind))
    (tmp_path / "file").write_text("")
    for formulas, options, told in (
        (["hello"], {}, "is not a formula"),
        (["Og2O"], {}, "Og is no element"),
        (
            ["NaCl"],
            {"generators": ["foo"]},
            "no 'foo'; known: structure-types, gene-diffusion, .*or give a folder",
        ),
        (
            ["NaCl"],
            {"generators": [str(tmp_path)]},
            "^generator: .*no model_index.json; give structure-types",
        ),
        (["NaCl"], {"n_candidates": 0}, "^n_candidates: 0 cannot be; give 1 or more"),
        (["NaCl"], {"workers": 0}, "^workers: 0"),
        (["NaCl"], {"hull": str(tmp_path)}, "^hull: .*no hull.npz"),
        (["NaCl"], {"calibration": str(tmp_path)}, "^calibration: .*no calibration.json"),
        (["NaCl"], {"hull": "foo"}, "hull: there is no 'foo'; give mp-hull"),
        (["NaCl"], {"calibration": "foo"}, "calibration: there is no 'foo'"),
        (["NaCl"], {"space_group": "231"}, "none of the 230"),
    ):
        with pytest.raises(InputError, match=told):
            predict_structure(formulas, out=tmp_path / "out", **options)
    assert loaded == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_reported_before_the_potential_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(predicting.Components, "check_scale", lambda _self: pytest.fail("loaded"))
    with pytest.raises(InputError, match="cannot be written to"):
        predict_structure(["NaCl"], out=tmp_path / "file")


def test_a_folder_in_use_is_refused(faked, tmp_path):
    with (
        locked_folder(tmp_path, "proposals.jsonl"),
        pytest.raises(InputError, match="another run is at work"),
    ):
        predict_structure(["NaCl"], out=tmp_path)


@pytest.mark.parametrize(
    ("formulas", "told"),
    [
        (["hello"], "formula: 'hello'"),
        (["Na0.5Cl"], "whole amounts"),
        (["Ca10P6O26"], "no multiple of the 21 atoms"),
        (["LrO"], r"formula: LrO: the hull mp-hull does not support Lr; give a formula without\.$"),
        ([], "none was given"),
    ],
)
def test_formulas_that_cannot_be_predicted(formulas, told, tmp_path):
    with pytest.raises(InputError, match=told):
        predict_structure(formulas, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
