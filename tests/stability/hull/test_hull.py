"""The hull against pymatgen, against scipy, and with a user's bad files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Species
from scipy.optimize import linprog

from invdesign.errors import InputError
from invdesign.stability.hull.hull import Hull, lowest_mixture
from invdesign.training.stability import hull as hull_build
from invdesign.training.stability.hull import HullConfig, detection, load_shift

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def hull() -> Hull:
    return Hull.load()


def _in_system(hull: Hull, numbers: set[int]) -> list[int]:
    return np.flatnonzero(np.isin(hull.numbers, [0, *numbers]).all(axis=1)).tolist()


def test_the_released_hull_covers_the_table() -> None:
    hull = Hull.load("mp-hull")
    assert len(hull) > 80_000
    assert {"Na", "Cl", "Xe", "U"} <= hull.elements


def assert_same_mixture(ours: dict[str, float], theirs: dict) -> None:
    expected = {entry.composition.reduced_formula: share for entry, share in theirs.items()}
    found = {Composition(name).reduced_formula: share for name, share in ours.items()}
    for name in expected.keys() | found.keys():
        assert found.get(name, 0.0) == pytest.approx(expected.get(name, 0.0), abs=1e-6)


def uncorrected(hull: Hull) -> Hull:
    """The same energies on a scale of their own: nothing is added to them."""
    amounts = hull.fractions
    return Hull(hull.formulas, hull.numbers, amounts, hull.energies, hull.competing, scale="as they are")


def test_equals_pymatgen_on_random_systems(hull: Hull) -> None:
    hull = uncorrected(hull)
    random = np.random.default_rng(0)
    up_to_four = np.flatnonzero((hull.numbers > 0).sum(axis=1) <= 4)  # qhull takes minutes in 8 dimensions
    for index in random.choice(up_to_four, 200, replace=False):
        numbers = set(hull.numbers[index].tolist()) - {0}
        system = _in_system(hull, numbers)
        compositions = [Composition(hull.formulas[i]) for i in system if hull.competing[i]]
        energies = [hull.energies[i] for i in system if hull.competing[i]]
        entries = [PDEntry(c, e * c.num_atoms) for c, e in zip(compositions, energies, strict=True)]
        elements = Composition(hull.formulas[index]).elements
        entries += [PDEntry(Composition({element: 1}), 0.0) for element in elements]
        diagram = PhaseDiagram(entries)
        amounts = random.dirichlet(np.ones(len(numbers)))
        composition = Composition(dict(zip(elements, amounts, strict=True)))
        expected = diagram.get_hull_energy_per_atom(composition)
        result = hull.e_above_hull(composition, 0.0)
        assert result.e_above_hull == pytest.approx(-expected, abs=1e-6)
        assert_same_mixture(result.decomposition, diagram.get_decomposition(composition))
        assert result.n_phases == len(system) + len(elements)
        assert sum(result.decomposition.values()) == pytest.approx(1.0)


@settings(max_examples=150)
@given(st.integers(2, 7), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_simplex_equals_a_general_solver(k: int, m: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    # small integers make ties and degenerate vertices, where a simplex could cycle
    amounts = random.integers(0, 4, (k, m)) + 0.0
    amounts[0, amounts.sum(axis=0) == 0] = 1.0
    matrix = amounts / amounts.sum(axis=0) if m else amounts
    energies = random.integers(-4, 2, m) / 4
    goal = random.integers(0, 3, k) + 0.0
    goal[0] += 1.0
    goal /= goal.sum()
    height, basis, shares = lowest_mixture(matrix, energies, goal)
    columns = np.hstack([np.eye(k), matrix])
    exact = linprog(np.concatenate([np.zeros(k), energies]), A_eq=columns, b_eq=goal, method="highs")
    assert height == pytest.approx(exact.fun, abs=1e-9)
    assert columns[:, basis] @ shares == pytest.approx(goal, abs=1e-9)


def test_known_compounds(hull: Hull) -> None:
    salt = hull.e_above_hull(Composition("Na4Cl4"), -2.1)
    assert salt.composition_known
    assert salt.decomposition == {"NaCl": pytest.approx(1.0)}
    assert abs(salt.e_above_hull) < 0.1  # MP2020 formation energy of halite: -2.1 eV/atom
    without = hull.e_above_hull(Composition("NaCl"), -2.1, known=False)
    assert without.e_above_hull < salt.e_above_hull - 0.3
    assert "NaCl" not in without.decomposition
    mixture = hull.e_above_hull(Composition("Na7Cl3"), 0.0)
    assert mixture.decomposition == {"NaCl": pytest.approx(0.6), "Na": pytest.approx(0.4)}
    assert not mixture.composition_known


def test_energy_is_signed_and_linear(hull: Hull) -> None:
    composition = Composition("Fe2O3")
    zero = hull.e_above_hull(composition, 0.0).e_above_hull
    assert hull.e_above_hull(composition, zero * -1 - 0.25).e_above_hull == pytest.approx(-0.25)


def test_an_element_lies_at_its_energy(hull: Hull) -> None:
    result = hull.e_above_hull(Composition("Si"), 0.3)
    assert result.e_above_hull == pytest.approx(0.3)
    assert result.decomposition == {"Si": 1.0}
    assert result.composition_known


def test_oxidation_states_are_dropped(hull: Hull) -> None:
    mixed = hull.e_above_hull(
        Composition({Species("Fe", 2): 1, Species("Fe", 3): 2, Species("O", -2): 4}), 0.0
    )
    assert mixed.e_above_hull == pytest.approx(hull.e_above_hull(Composition("Fe3O4"), 0.0).e_above_hull)


@pytest.mark.parametrize("formula", ["EsO2", "Lr", "Ne"])
def test_unknown_element(hull: Hull, formula: str) -> None:
    with pytest.raises(InputError, match="no phase with"):
        hull.e_above_hull(Composition(formula), 0.0)


def test_user_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "formula,note,formation_energy_per_atom\nNaN,sodium nitride,0.1\nNa3N,,-0.2\nNa,fcc,0.01\n"
    )
    hull = Hull.load(path)
    assert len(hull) == 2
    result = hull.e_above_hull(Composition("NaN"), 0.1)
    assert result.composition_known
    assert result.decomposition == {"Na3N": pytest.approx(2 / 3), "N": pytest.approx(1 / 3)}
    zipped = tmp_path / "mine.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert len(Hull.load(str(zipped))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("formula,gap\nNaCl,-2\n", "lacks the column 'formation_energy_per_atom'"),
        ("formula,formation_energy_per_atom\nNaCl,low\n", "line 2: 'low' is not an energy"),
        ("formula,formation_energy_per_atom\nNaCl,nan\n", "line 2: 'nan' is not an energy"),
        ("formula,formation_energy_per_atom\nNaCl\n", "line 2: '' is not an energy"),
        ("formula,formation_energy_per_atom\nNaCl,-2\nxyz,-1\n", "line 3: 'xyz' is not a formula"),
        ("formula,formation_energy_per_atom\n,-1\n", "line 2: '' is not a formula"),
        ("formula,formation_energy_per_atom\nNaCl,-2\nNa,-1.3\n", "line 3: element Na has formation energy"),
        ("formula,formation_energy_per_atom\nNa,0\n", "lists no compound"),
        ("", "lacks the column 'formula'"),
    ],
)
def test_bad_user_csv(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Hull.load(path)


def test_files_that_are_no_hull(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        Hull.load(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="is not there"):
        Hull.load("no-such-hull")
    with pytest.raises(InputError, match=r"lacks hull\.npz"):
        Hull.load(tmp_path)
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"not gzip")
    with pytest.raises(InputError, match="not a readable CSV"):
        Hull.load(broken)
    whole = (ROOT / "validators" / "mp-hull" / "hull.npz").read_bytes()
    (tmp_path / "hull.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a hull"):
        Hull.load(tmp_path)


def test_recipe_is_the_config() -> None:
    config, recipe = (
        HullConfig.model_validate(yaml.safe_load(path.read_text()))
        for path in (ROOT / "configs/validators/mp-hull.yaml", ROOT / "validators/mp-hull/recipe.yaml")
    )
    assert config == recipe


def test_detection() -> None:
    found = detection(np.array([0.0, 0.2, 0.0, 0.3]), np.array([0.0, 0.0, 0.2, 0.3]), 0.1)
    assert found == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "specificity": 0.5}


def test_shift_moves_anions_not_intermetallics() -> None:
    shift = load_shift()
    assert shift.energy(Composition("KBr")) == pytest.approx(-0.27, abs=0.05)
    assert abs(shift.energy(Composition("NiAl"))) < 0.02


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the training data beside the checkout")
def test_labels_cover_the_structure_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hull_build.read_set
    monkeypatch.setattr(hull_build, "read_set", lambda data, name: whole(data, name).head(300))
    labels = hull_build.labelled_e_above_hull(DATA)
    assert {name: values.shape for name, values in labels.items()} == dict.fromkeys(
        ("mp20", "mpts52", "wbm"), (300,)
    )
    assert all(np.isfinite(values).all() for values in labels.values())
    assert (labels["mp20"] >= 0).all()
    assert (labels["mpts52"] >= 0).all()
    assert 0.02 < np.median(labels["wbm"]) < 0.15
