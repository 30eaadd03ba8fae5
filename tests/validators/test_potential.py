"""Potentials: equal to the packages' own calculators, self-consistent, unharmed by bad crystals."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.validators.potential import Frame, Potential, frame_of, load_potential, neighbour_pairs
from invdesign.validators.potential_table import potential_table

POTENTIALS = Path(
    os.environ.get("INVDESIGN_POTENTIALS", Path(__file__).resolve().parents[3] / "shared" / "potentials")
)
M3GNET = POTENTIALS / "M3GNet-MP-2021.2.8-matgl4"
TENSORNET = POTENTIALS / "TensorNet-MatPES-PBE-v2025.1-matgl4"
needs_potentials = pytest.mark.skipif(not M3GNET.is_dir(), reason=f"no potentials in {POTENTIALS}")


def rock_salt(a: float, cation: str, anion: str) -> Structure:
    conventional = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    return conventional.get_primitive_structure()


def distorted(structure: Structure, seed: int = 0) -> Structure:
    rng = np.random.default_rng(seed)
    strain = rng.normal(0, 0.02, (3, 3))
    cell = structure.lattice.matrix @ (np.eye(3) + strain + strain.T)
    fractional = structure.frac_coords + rng.normal(0, 0.02, structure.frac_coords.shape)
    return Structure(Lattice(cell), structure.species, fractional)


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


@pytest.fixture(scope="module")
def chgnet() -> Potential:
    return load_potential("chgnet")


@pytest.fixture(scope="module")
def crystals() -> list[Structure]:
    caesium = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [distorted(s) for s in (rock_salt(4.25, "Mg", "O"), rutile(), caesium)]


def test_chgnet_equals_its_own_calculator(chgnet: Potential, crystals: list[Structure]) -> None:
    from chgnet.model import CHGNetCalculator

    calculator = CHGNetCalculator(use_device="cpu")
    result = chgnet.evaluate(crystals)
    for k, structure in enumerate(crystals):
        atoms = structure.to_ase_atoms()
        atoms.calc = calculator
        assert result.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(result.forces[k], atoms.get_forces(), atol=1e-4)
        np.testing.assert_allclose(result.stress[k], atoms.get_stress(voigt=False), atol=1e-5)


def test_chgnet_embedding_is_its_crystal_feature_per_atom(
    chgnet: Potential, crystals: list[Structure]
) -> None:
    from chgnet.model import CHGNet

    energies, features, failures = chgnet.embed(crystals)  # type: ignore[attr-defined]
    assert failures == {}
    assert features.shape == (3, 64)
    np.testing.assert_allclose(energies, chgnet.evaluate(crystals).energy, atol=1e-4)
    theirs = CHGNet.load(use_device="cpu", verbose=False).predict_structure(
        crystals, task="e", return_crystal_feas=True
    )
    for feature, structure, other in zip(features, crystals, theirs, strict=True):
        np.testing.assert_allclose(feature, other["crystal_fea"] / len(structure), atol=1e-4)


@pytest.mark.parametrize(
    "name", ["chgnet", pytest.param(str(M3GNET), marks=needs_potentials)], ids=["chgnet", "m3gnet"]
)
def test_forces_and_stress_are_the_energy_s_derivatives(name: str, crystals: list[Structure]) -> None:
    potential = load_potential(name)
    frame = frame_of(crystals[1])
    result = potential.evaluate([frame])
    h, rng = 0.01, np.random.default_rng(1)
    move = rng.normal(size=frame.positions.shape)
    move /= np.linalg.norm(move)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
    stretch = [np.eye(3) + sign * h / 2 * strain for sign in (1, -1)]
    moved = [Frame(frame.numbers, frame.positions + sign * h * move, frame.cell) for sign in (1, -1)]
    strained = [Frame(frame.numbers, frame.positions @ f, frame.cell @ f) for f in stretch]
    energy = potential.evaluate(moved + strained).energy
    assert (energy[0] - energy[1]) / (2 * h) == pytest.approx(-(result.forces[0] * move).sum(), abs=5e-3)
    slope = frame.volume * (result.stress[0] * strain).sum()
    assert (energy[2] - energy[3]) / h == pytest.approx(slope, rel=5e-3, abs=2e-2)


def test_energy_ignores_origin_order_rotation_and_company(
    chgnet: Potential, crystals: list[Structure]
) -> None:
    structure = crystals[1]
    frame = frame_of(structure)
    order = np.array([3, 1, 5, 0, 4, 2])
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    variants = [
        Frame(frame.numbers, frame.positions + np.array([0.3, -1.7, 2.2]), frame.cell),
        Frame(frame.numbers[order], frame.positions[order], frame.cell),
        Frame(frame.numbers, frame.positions @ turn, frame.cell @ turn),
        frame_of(structure * (2, 1, 1)),
    ]
    alone = chgnet.evaluate([frame])
    together = chgnet.evaluate(variants + crystals)
    np.testing.assert_allclose(together.energy[:3], alone.energy[0], atol=1e-4)
    assert together.energy[3] == pytest.approx(2 * alone.energy[0], abs=2e-4)
    np.testing.assert_allclose(together.forces[1], alone.forces[0][order], atol=1e-4)
    np.testing.assert_allclose(together.forces[2], alone.forces[0] @ turn, atol=1e-4)
    np.testing.assert_allclose(together.stress[2], turn.T @ alone.stress[0] @ turn, atol=1e-5)


def test_bad_geometries_end_alone(chgnet: Potential, crystals: list[Structure]) -> None:
    good = frame_of(crystals[0])
    not_finite = good.positions.copy()
    not_finite[0, 0] = np.nan
    bad = {
        "not finite": Frame(good.numbers, not_finite, good.cell),
        "no neighbour": Frame(np.array([18]), np.zeros((1, 3)), np.eye(3) * 9.0),
        "per atom": Frame(good.numbers, good.positions * 0.1, good.cell * 0.1),
        "Å apart": Frame(good.numbers, good.positions * 0.01, good.cell),
        "flat": Frame(good.numbers, good.positions, np.diag([0.5, 8.0, 8.0])),
        "no atoms": Frame(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.eye(3) * 4),
        "does not know Cm": Frame(np.array([96, 8]), good.positions, good.cell),
    }
    result = chgnet.evaluate([good, *bad.values(), good])
    alone = chgnet.evaluate([good, good])
    assert sorted(result.failures) == list(range(1, len(bad) + 1))
    for k, words in enumerate(bad, start=1):
        assert words in result.failures[k]
        assert np.isnan(result.energy[k])
    np.testing.assert_allclose(result.energy[[0, -1]], alone.energy, atol=1e-5)
    np.testing.assert_allclose(result.forces[-1], alone.forces[0], atol=1e-5)


def test_a_crystal_without_angles_is_evaluated(chgnet: Potential) -> None:
    xenon = Structure(
        Lattice.cubic(6.2), ["Xe"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    )
    assert np.isfinite(
        chgnet.evaluate([xenon]).energy
    ).all()  # nearest neighbours at 4.4 Å: no bond under 3 Å


def test_pairs_count_each_neighbour_once() -> None:
    frame = Frame(np.array([29]), np.zeros((1, 3)), np.eye(3) * 3.0)  # simple cubic: 6 at 3 Å, 12 at 4.24 Å
    pairs = neighbour_pairs(frame, 4.5)
    assert len(pairs.distances) == (6 + 12) / 2
    np.testing.assert_allclose(pairs.shifts @ frame.cell, pairs.vectors)


def test_disordered_crystal_is_a_user_error(chgnet: Potential) -> None:
    alloy = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    with pytest.raises(InputError, match="disordered"):
        chgnet.evaluate([alloy])


@needs_potentials
@pytest.mark.parametrize(
    ("folder", "energies"),
    [(M3GNET, (-11.912, -6.735, -9.668)), (TENSORNET, (-11.736, -6.715, -9.569))],
    ids=["m3gnet", "tensornet"],
)
def test_matgl_binaries_have_the_published_energies(folder: Path, energies: tuple[float, ...]) -> None:
    potential = load_potential(str(folder))
    binaries = [rock_salt(4.25, "Mg", "O"), rock_salt(5.69, "Na", "Cl"), rock_salt(4.06, "Li", "F")]
    np.testing.assert_allclose(potential.evaluate(binaries).energy, energies, atol=2e-3)
    assert potential.name == folder.name
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    assert "does not know Po" in potential.evaluate([polonium]).failures[0]


@needs_potentials
def test_matgl_equals_its_own_calculator(crystals: list[Structure]) -> None:
    from matgl.ext.ase import PESCalculator
    from matgl.utils.io import load_model

    calculator = PESCalculator(load_model(M3GNET), stress_unit="eV/A3")
    result = load_potential(str(M3GNET)).evaluate(crystals)
    for k, structure in enumerate(crystals):
        atoms = structure.to_ase_atoms()
        atoms.calc = calculator
        assert result.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(result.forces[k], atoms.get_forces(), atol=1e-4)
        np.testing.assert_allclose(result.stress[k], atoms.get_stress(voigt=False), atol=1e-5)


@needs_potentials
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "old", "foreign"])
def test_damaged_matgl_folders_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "potential"
    shutil.copytree(M3GNET, folder)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    description, state = folder / "model.json", folder / "state.pt"
    if damage == "missing":
        state.unlink()
    elif damage == "empty":
        state.write_bytes(b"")
    elif damage == "truncated":
        state.write_bytes(state.read_bytes()[:1000])
    elif damage == "old":
        description.write_text(description.read_text().replace('"@model_version": 3', '"@model_version": 2'))
    else:
        description.write_text(description.read_text().replace("matgl.apps.pes", "subprocess"))
    words = {
        "missing": "lacks state.pt",
        "empty": "lacks state.pt",
        "truncated": "cannot be loaded",
        "old": "older matgl",
        "foreign": "outside matgl",
    }
    with pytest.raises(InputError, match=words[damage]):
        load_potential(str(folder))


def test_hub_name_is_refused_at_once_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matgl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="neither a folder nor in the cache"):
        load_potential("no-such-potential-anywhere")
    with pytest.raises(InputError, match="is no folder"):
        load_potential("no/such/folder")


def test_table_is_kept_and_continues_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from invdesign.validators import potential_table as module

    structures = [rock_salt(a, "Na", "Cl") for a in (5.5, 5.6, 5.7)]
    path = tmp_path / "salt.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "cif"])
        writer.writerows((f"m-{k}", s.to(fmt="cif")) for k, s in enumerate(structures))
        writer.writerow(["m-3", "not a cif"])
    monkeypatch.setattr(module, "ROWS_PER_CHUNK", 2)

    def killed(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        potential_table(path, cache_dir=tmp_path / "cache", progress=killed)
    calls: list[int] = []
    evaluate = module._evaluate
    monkeypatch.setattr(module, "_evaluate", lambda rows, p: calls.append(len(rows)) or evaluate(rows, p))
    table = potential_table(path, cache_dir=tmp_path / "cache")
    assert calls == [2]  # the first chunk was not computed again
    assert list(table.ids) == ["m-0", "m-1", "m-2", "m-3"]
    assert list(table.n_atoms) == [2, 2, 2, 0]
    assert np.isnan(table.energy[3])
    assert table.failure[3]
    np.testing.assert_allclose(
        table.energy[:3], load_potential("chgnet").evaluate(structures).energy, atol=1e-4
    )
    again = potential_table(path, cache_dir=tmp_path / "cache")
    assert calls == [2]
    np.testing.assert_array_equal(again.embedding, table.embedding)
    bad = tmp_path / "bad.csv"
    bad.write_text("formula\nNaN\n")
    with pytest.raises(InputError, match="no cif column"):
        potential_table(bad, cache_dir=tmp_path / "cache")
