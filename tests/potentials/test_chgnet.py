"""Potentials: equal to the packages' own calculators, self-consistent, unharmed by bad crystals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.io.provenance import sha256
from invdesign.potentials.batching import CrystalBatch, MicroBatcher, neighbour_pairs
from invdesign.potentials.chgnet.potential import CHGNetPotential, weights_file
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential
from invdesign.stability.calibration import EnergyCalibration
from invdesign.training.stability.potential_table import potential_table


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
def chgnet() -> CHGNetPotential:
    return load_potential("chgnet")


@pytest.fixture(scope="module")
def crystals() -> list[Structure]:
    caesium = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [distorted(s) for s in (rock_salt(4.25, "Mg", "O"), rutile(), caesium)]


@pytest.fixture
def exact_calculator(monkeypatch: pytest.MonkeyPatch):
    """CHGNet's own calculator, in float64: in float32 its forces are up to 1e-4 eV/Å off."""
    import torch
    from chgnet.graph import converter, crystalgraph
    from chgnet.model import CHGNet, CHGNetCalculator, composition_model, model

    def shares(_, graphs):
        counts = [torch.bincount(graph.atomic_number - 1, minlength=94).double() for graph in graphs]
        return torch.stack([count / count.sum() for count in counts])

    for module in (converter, crystalgraph, model):
        monkeypatch.setattr(module, "TORCH_DTYPE", torch.float64)
    monkeypatch.setattr(composition_model.AtomRef, "_assemble_graphs", shares)
    return CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False).double(), use_device="cpu")


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_chgnet_equals_its_own_calculator(
    double: bool, crystals: list[Structure], exact_calculator: Calculator
) -> None:
    energy, force, stress = (1e-9, 1e-9, 1e-11) if double else (1e-5, 1e-5, 1e-6)
    result = CHGNetPotential("cpu", double=double).evaluate(crystals)
    for k, structure in enumerate(crystals):
        atoms = structure.to_ase_atoms()
        atoms.calc = exact_calculator
        assert result.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=energy)
        np.testing.assert_allclose(result.forces[k], atoms.get_forces(), atol=force, rtol=0)
        np.testing.assert_allclose(result.stress[k], atoms.get_stress(voigt=False), atol=stress, rtol=0)


def test_chgnet_knows_magnesium_oxide(chgnet: CHGNetPotential) -> None:
    energy = chgnet.evaluate([rock_salt(4.25, "Mg", "O")]).energy[0]
    assert energy == pytest.approx(
        -12.63, abs=0.02
    )  # eV per formula: PBE's -11.94, MP2020's -0.69 for oxides


def test_chgnet_embedding_is_its_crystal_feature_per_atom(
    chgnet: CHGNetPotential, crystals: list[Structure]
) -> None:
    from chgnet.model import CHGNet

    output = chgnet.evaluate_energies(crystals)
    features = output.embeddings
    assert output.failures == {}
    assert features.shape == (3, 64)
    np.testing.assert_allclose(output.energy, chgnet.evaluate(crystals).energy, atol=1e-4)
    theirs = CHGNet.load(use_device="cpu", verbose=False).predict_structure(
        crystals, task="e", return_crystal_feas=True
    )
    for feature, structure, other in zip(features, crystals, theirs, strict=True):
        np.testing.assert_allclose(feature, other["crystal_fea"] / len(structure), atol=1e-4)
    np.testing.assert_allclose(features, chgnet.evaluate(crystals).embeddings, atol=1e-6)


def test_the_calibration_is_of_the_installed_weights(chgnet: CHGNetPotential) -> None:
    assert len(chgnet.digest) == 16
    assert EnergyCalibration.load(chgnet.name).digest == chgnet.digest
    assert sha256(weights_file()).startswith(chgnet.digest)


def test_forces_and_stress_are_the_energy_s_derivatives(crystals: list[Structure]) -> None:
    chgnet = CHGNetPotential("cpu", double=True)
    frame = frame_of(crystals[1])
    result = chgnet.evaluate([frame])
    h, rng = 1e-4, np.random.default_rng(1)
    move = rng.normal(size=frame.positions.shape)
    move /= np.linalg.norm(move)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
    stretch = [np.eye(3) + sign * h * strain for sign in (1, -1)]
    moved = [Frame(frame.numbers, frame.positions + sign * h * move, frame.cell) for sign in (1, -1)]
    strained = [Frame(frame.numbers, frame.positions @ f, frame.cell @ f) for f in stretch]
    energy = chgnet.evaluate(moved + strained).energy
    assert (energy[0] - energy[1]) / (2 * h) == pytest.approx(-(result.forces[0] * move).sum(), abs=1e-6)
    slope = (energy[2] - energy[3]) / (2 * h * frame.volume)
    assert slope == pytest.approx((result.stress[0] * strain).sum(), abs=1e-7)


def test_energy_ignores_origin_order_rotation_and_company(
    chgnet: CHGNetPotential, crystals: list[Structure]
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


def test_bad_geometries_end_alone(chgnet: CHGNetPotential, crystals: list[Structure]) -> None:
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


def test_a_crystal_without_angles_is_evaluated(chgnet: CHGNetPotential) -> None:
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


def test_disordered_and_charged_crystals_end_alone(
    chgnet: CHGNetPotential, crystals: list[Structure]
) -> None:
    alloy = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    ion = crystals[0].copy()
    ion.set_charge(1)
    decorated = crystals[0].copy()
    decorated.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    result = chgnet.evaluate([alloy, crystals[0], ion, decorated])
    assert sorted(result.failures) == [0, 2]
    assert "disordered" in result.failures[0]
    assert "charge of +1" in result.failures[2]
    assert result.energy[3] == pytest.approx(result.energy[1], abs=1e-5)
    assert sorted(chgnet.evaluate_energies([alloy, crystals[0]]).failures) == [0]
    with pytest.raises(InputError, match="disordered"):
        frame_of(alloy)


def test_one_atom_and_two_hundred(chgnet: CHGNetPotential) -> None:
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    primitive = copper.get_primitive_structure()
    result = chgnet.evaluate([primitive, copper * (4, 4, 3)])
    assert [len(forces) for forces in result.forces] == [1, 192]
    assert result.failures == {}
    assert result.energy[1] == pytest.approx(192 * result.energy[0], abs=0.004)


class Memory:
    """Stands for a model that a pass of more than ``n_atoms`` does not fit."""

    def __init__(self, frames: list[Frame], n_atoms: int, error: Exception) -> None:
        self.frames, self.n_atoms, self.error = frames, n_atoms, error
        self.done: list[int] = []
        self.tried: list[int] = []

    def __call__(self, members: list[int], batch: CrystalBatch) -> None:
        assert len(members) == len(batch)
        self.tried.append(len(members))
        if sum(len(self.frames[k]) for k in members) > self.n_atoms:
            raise self.error
        self.done += members


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
    ids=["python", "cuda", "cpu"],
)
def test_running_out_of_memory_halves_the_pass_and_loses_nothing(error: Exception) -> None:
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    small, large = frame_of(copper.get_primitive_structure()), frame_of(copper * (2, 2, 2))
    frames = [small] * 5 + [large] + [small] * 5
    memory = Memory(frames, 6, error)
    batcher = MicroBatcher("fake", frozenset({"Cu"}), 4.0, 10_000)
    failures: dict[int, str] = {}
    batcher.run(frames, memory, failures)
    assert memory.done == [k for k in range(11) if k != 5]  # each once, in order
    assert list(failures) == [5]
    assert "32 atoms" in failures[5]
    assert "do not fit into memory" in failures[5]
    assert batcher.max_edges < 10_000


def test_the_limit_that_memory_set_is_remembered() -> None:
    copper = Structure(Lattice.cubic(2.9), ["Cu"], [[0, 0, 0]])
    memory = Memory([frame_of(copper)] * 20, 6, MemoryError())
    batcher = MicroBatcher("fake", frozenset({"Cu"}), 4.0, 10_000)
    for expected in ([20, 10, 5, 5, 5, 5], [5, 5, 5, 5]):
        memory.tried.clear()
        batcher.run(memory.frames, memory, {})
        assert memory.tried == expected


def test_torch_s_own_allocator_is_understood(crystals: list[Structure]) -> None:
    import torch

    def compute(members: list[int], _: CrystalBatch) -> None:
        torch.empty(10**16 if len(members) > 1 else 1)

    failures: dict[int, str] = {}
    MicroBatcher("fake", frozenset({"Mg", "O"}), 4.0, 10_000).run(
        [frame_of(crystals[0])] * 3, compute, failures
    )
    assert failures == {}


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("a bug"), KeyError("x")])
def test_other_errors_of_a_pass_are_raised(crystals: list[Structure], error: Exception) -> None:
    frame = frame_of(crystals[0])
    with pytest.raises(type(error)):
        MicroBatcher("fake", frozenset({"Mg", "O"}), 4.0, 10_000).run(
            [frame] * 3, Memory([frame] * 3, 1, error), {}
        )


def test_table_is_kept_and_continues_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from invdesign.training.stability import potential_table as module

    structures = [rock_salt(a, "Na", "Cl") for a in (5.5, 5.6, 5.7)]
    path = tmp_path / "salt.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "cif"])
        writer.writerows((f"m-{k}", s.to(fmt="cif")) for k, s in enumerate(structures))
        writer.writerow(["m-3", "not a cif"])
    monkeypatch.setattr(module, "ROWS_PER_CHUNK", 2)

    evaluate = module._evaluate

    def killed(rows: list[tuple[str, str]], potential: CHGNetPotential) -> dict[str, np.ndarray]:
        if rows[0][0] == "m-2":
            raise KeyboardInterrupt
        return evaluate(rows, potential)

    monkeypatch.setattr(module, "_evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        potential_table(path, cache_dir=tmp_path / "cache")
    calls: list[int] = []
    monkeypatch.setattr(module, "_evaluate", lambda rows, p: calls.append(len(rows)) or evaluate(rows, p))
    table = potential_table(path, cache_dir=tmp_path / "cache")
    assert calls == [2]  # the first chunk was not computed again
    assert list(table.ids) == ["m-0", "m-1", "m-2", "m-3"]
    assert list(table.n_atoms) == [2, 2, 2, 0]
    assert np.isnan(table.energy[3])
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
