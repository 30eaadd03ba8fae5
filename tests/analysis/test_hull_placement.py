"""``invdesign hull``: formulas, structures, bad ones among them, own hulls, pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pymatgen.core import Composition, Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis import hull_placement as hulls
from invdesign.analysis.hull_placement import hull
from invdesign.cli import app
from invdesign.errors import InputError
from invdesign.report.plots.phase_diagram import Mark, diagram_of, draw_html, draw_png
from invdesign.stability.hull.hull import Hull

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def run(*arguments: str):
    return CliRunner().invoke(app, ["hull", *arguments], catch_exceptions=False)


def results(*arguments: str) -> list[dict]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["results"]


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    SALT.to(filename=str(tmp_path / "salt.cif"))
    mixed = SALT.copy()
    mixed.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    mixed.to(filename=str(tmp_path / "disordered.cif"))
    Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.02, 0, 0]]).to(
        filename=str(tmp_path / "overlap.cif")
    )
    strange = SALT.copy()
    strange.replace_species({"Na": "Es"})
    strange.to(filename=str(tmp_path / "strange.cif"))
    Structure(Lattice.cubic(20), ["Na"], [[0, 0, 0]]).to(filename=str(tmp_path / "lonely.cif"))
    return tmp_path


def test_formula_on_the_hull():
    (salt,) = results("NaCl")
    assert salt["composition_known"]
    assert salt["decomposition"] == {"NaCl": pytest.approx(1.0)}
    assert salt["hull_energy_per_atom"] == pytest.approx(-2.1, abs=0.05)
    assert salt["below_competitors"] > 0.3
    assert "NaCl" not in salt["competitors"]
    assert salt["e_above_hull"] is None
    assert {row["formula"] for row in salt["competing"]} >= {"Na", "Cl", "NaCl"}
    assert len(salt["competing"]) <= salt["n_phases"]
    assert salt["competing"][0]["distance"] == 0


def test_formula_with_an_energy_and_sodium_nitride():
    nitride, unknown = results("NaN", "Na7Cl3", "--energy", "0.1", "--energy", "-1")
    assert nitride["formula"] == "NaN"
    assert nitride["e_above_hull"] == pytest.approx(0.1 - nitride["hull_energy_per_atom"])
    assert "Poorly explored" in nitride["notes"][0]
    assert unknown["notes"] == []  # three compounds are known
    place = Hull.load().e_above_hull(Composition("Na7Cl3"), -1.0)
    assert unknown["e_above_hull"] == pytest.approx(place.e_above_hull, abs=1e-6)
    assert not unknown["composition_known"]
    assert unknown["below_competitors"] is None


def test_an_element_needs_no_competitor():
    (silicon,) = results("Si")
    assert silicon["reason"] == "an element, zero by definition"
    assert silicon["notes"] == []


def test_text_for_people():
    shown = run("CuInS2", "NaN", "EsO2")
    assert shown.exit_code == 0
    for words in (
        "on the hull",
        "without this phase",
        "nearest phases",
        "Poorly explored",
        "no phase with Es",
    ):
        assert words in shown.stdout
    assert "MP2020" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Xq"], "'Xq'"),
        (["salt.cif"], "no such file"),
        (["some/folder"], "no such file"),
        (["POSCAR"], "no such file"),
        (["NaCl", "missing.cif.gz"], "no such file"),
        (["NaCl", "--energy", "-1", "--energy", "-2"], "one --energy each"),
        (["NaCl", "--hull", "no-such"], "no-such"),
        (["NaCl", "--hull", "no-such.csv"], "no-such.csv"),
        (["NaCl", "--hull", "known-materials"], "hull: 'known-materials' is no hull: it has no hull.npz"),
        (["NaCl", "--calibration", "mp-hull"], "calibration: 'mp-hull' is no calibration"),
        (["NaCl", "--workers", "0"], "workers: 0 cannot be"),
        (["NaCl", "KCl", "--plot", "one.png"], "2 chemical systems"),
    ],
)
def test_nothing_can_be_done(arguments, told):
    assert told in refused(*arguments)


def test_nothing_known_ends_with_two():
    done = run("EsO2")
    assert done.exit_code == 2
    assert "no phase with Es" in done.stdout


def test_half_atoms_are_a_formula_not_a_file():
    (oxide,) = results("Li0.5CoO2")
    assert oxide["formula"] == "LiCo2O4"


def test_structures_good_and_bad(files: Path):
    bad = ("disordered", "overlap", "strange", "lonely")
    names = [str(files / f"{name}.cif") for name in ("salt", *bad)]
    out = files / "hull.csv"
    salt, *others = results(*names, "Xq", "--workers", "1", "--out", str(out))
    assert salt["placed"]
    assert salt["crystal_known"]
    assert abs(salt["e_above_hull"]) < 0.1
    assert 0.01 < salt["sigma"] < 0.2
    assert 0.5 < salt["p_stable"] <= 1
    assert salt["decomposition"] == {"NaCl": pytest.approx(1.0)}
    assert not any(other["placed"] for other in others)
    for other, told in zip(
        others, ("is disordered", "0.080 Å apart", "does not know Es", "per atom", "'Xq'"), strict=True
    ):
        assert told in other["reason"]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["placed"] for row in rows] == ["True"] + ["False"] * 5
    assert rows[0]["decomposition"] == "1.00 NaCl"


def test_structures_as_they_are(files: Path):
    swollen = SALT.copy()
    swollen.scale_lattice(1.1 * SALT.volume)
    swollen.to(filename=str(files / "swollen.cif"))
    arguments = (str(files / "swollen.cif"), "--workers", "1")
    (relaxed,), (given,) = results(*arguments), results(*arguments, "--no-relax")
    assert given["e_above_hull"] > relaxed["e_above_hull"] + 0.005
    everything = run(str(files / "swollen.cif"), "--no-relax", "--workers", "1", "--threshold", "0.05")
    assert "P(< 0.05)" in everything.stdout


def test_hull_of_another_scale_meets_no_potential(files: Path):
    mine = files / "mine.csv"
    mine.write_text("# scale: r2SCAN\nformula,formation_energy_per_atom\nNaCl,-2.2\n")
    (formula,) = results("NaCl", "--energy", "-2.1", "--hull", str(mine))
    assert formula["e_above_hull"] == pytest.approx(0.1)
    told = refused(str(files / "salt.cif"), "--hull", str(mine))
    assert "r2SCAN" in told
    assert "MP2020" in told


def test_hull_can_be_saved(tmp_path: Path):
    mine = tmp_path / "mine.csv"
    mine.write_text("formula,energy_per_atom\nNa,-1.3\nCl,-1.8\nNaCl,-3.6\n")
    run("NaCl", "--hull", str(mine), "--save-hull", str(tmp_path / "frozen.csv"))
    frozen = Hull.load(tmp_path / "frozen.csv")
    assert frozen.scale == "not stated"
    assert frozen.energies == pytest.approx([-2.05])


def test_plots_of_two_to_four_elements(tmp_path: Path):
    report = hull(["NaCl", "Na2Cl", "Li7FeO6", "Si", "KSrBiSe3Te"], plot=tmp_path / "plots")
    names = {path.name for path in report.plots}
    assert names == {"Cl-Na.png", "Cl-Na.html", "Fe-Li-O.png", "Fe-Li-O.html"}
    assert report.notes == [
        "plot: Si has 1 element; diagrams are drawn for 2 to 4.",
        "plot: Bi-K-Se-Sr-Te has 5 elements; diagrams are drawn for 2 to 4.",
    ]
    page = (tmp_path / "plots" / "Cl-Na.html").read_text()
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page  # offline
    assert "Na2Cl" in page


@pytest.mark.parametrize("formula", ["NaCl", "LiFeO2", "LiFePO4"])
def test_pictures_hold_candidates_on_both_sides(formula: str, tmp_path: Path):
    hull, composition = Hull.load(), Composition(formula)
    symbols = [element.symbol for element in composition.elements]
    diagram = diagram_of(symbols, hull.phases(symbols))
    at = -hull.e_above_hull(composition, 0.0).e_above_hull
    marks = [Mark(f"{i}", composition, at + 0.02 * i, 0.02 * i) for i in range(-3, 9)]
    assert {mark.colour for mark in marks} == {"#d9622b", "#2a8f4d"}
    draw_png(diagram, marks, tmp_path / "a.png", title=formula)
    draw_html(diagram, marks, tmp_path / "a.html", title=formula)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert "-0.060 eV" in (tmp_path / "a.html").read_text()


def test_from_python_an_empty_call_is_refused():
    with pytest.raises(InputError, match="nothing was given"):
        hull([])


def test_a_relaxation_that_does_not_end_is_a_verdict(files: Path, monkeypatch: pytest.MonkeyPatch):
    squeezed = SALT.copy()
    squeezed.scale_lattice(0.7 * SALT.volume)
    squeezed.to(filename=str(files / "squeezed.cif"))
    monkeypatch.setattr(hulls, "MAX_STEPS", 1)
    (place,) = hull([str(files / "squeezed.cif")], workers=1).places
    assert not place.placed
    assert "not converged" in place.reason
