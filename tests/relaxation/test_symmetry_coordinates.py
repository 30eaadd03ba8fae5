"""Relaxation in a crystal's symmetry: kept exactly, left where it is a saddle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from relaxation_crystals import magnesia, perovskite, rutile, space_group

from invdesign.potentials.chgnet.potential import CHGNetPotential
from invdesign.potentials.interface import Frame, Potential, PotentialOutput, as_frames, frame_of
from invdesign.relaxation.relax import relax
from invdesign.relaxation.symmetry_coordinates import (
    DegreesOfFreedom,
    _components,
    _matrix,
    displaced,
    symmetrised,
)


def test_strain_components_are_an_isometry() -> None:
    rng = np.random.default_rng(0)
    a, b = (m + m.T for m in rng.normal(size=(2, 3, 3)))
    assert _components(a) @ _components(b) == pytest.approx((a * b).sum())
    np.testing.assert_allclose(_matrix(_components(a)), a)


def test_symmetric_steps_keep_the_space_group() -> None:
    rng = np.random.default_rng(1)
    for structure, number, size in ((magnesia(), 225, 1), (rutile(), 136, 3), (perovskite(), 221, 1)):
        frame = frame_of(structure)
        freedom = DegreesOfFreedom.symmetric(frame, relax_cell=True)
        assert len(freedom) == size
        moves, strain = freedom.unpack(rng.normal(0, 0.1, size))
        moved = displaced(frame, moves, strain)
        after = Structure(Lattice(moved.cell), structure.species, moved.positions, coords_are_cartesian=True)
        assert space_group(after) == number
        assert not np.allclose(moved.cell, frame.cell)


def test_symmetric_forces_are_within_the_degrees_of_freedom(chgnet: Potential) -> None:
    frame = frame_of(rutile())
    evaluation = chgnet.evaluate([frame])
    virial = evaluation.stress[0] * frame.volume
    whole, symmetric = (
        make(frame, relax_cell=True) for make in (DegreesOfFreedom.unconstrained, DegreesOfFreedom.symmetric)
    )
    full = whole.gradient(evaluation.forces[0], virial)
    assert np.linalg.norm(full) > 0.5
    lost = full - symmetric.basis @ (symmetric.basis.T @ full)
    assert np.linalg.norm(lost) < 1e-3


def embedding(structure: Structure, chgnet: CHGNetPotential) -> np.ndarray:
    """As if it had not been relaxed just now."""
    return chgnet.evaluate_energies([structure]).embeddings[0]


def test_stable_symmetry_is_kept_and_cheap(chgnet: CHGNetPotential) -> None:
    start = rutile()
    free, kept = (
        relax([start], chgnet, fmax=0.02)[0],
        relax([start], chgnet, fmax=0.02, keep_symmetry=True)[0],
    )
    assert kept.converged
    assert kept.symmetry_kept
    assert "symmetry kept" in kept.reason
    assert space_group(kept.structure) == 136
    assert kept.energy == pytest.approx(free.energy, abs=0.006)
    np.testing.assert_allclose(kept.embedding, embedding(kept.structure, chgnet), atol=1e-5)
    np.testing.assert_allclose(free.embedding, embedding(free.structure, chgnet), atol=1e-5)


@pytest.mark.slow
def test_a_saddle_is_left_for_what_lies_below(chgnet: CHGNetPotential) -> None:
    # cubic CaTiO3 is a saddle: in a doubled cell its octahedra tilt
    cubic = perovskite(3.9) * (2, 2, 2)
    symmetric = relax([cubic], chgnet, fmax=0.05)[0]
    free = relax([cubic], chgnet, fmax=0.05, keep_symmetry=True)[0]
    assert free.converged, free.reason
    assert free.symmetry_kept is False
    assert free.energy < symmetric.energy - 40 * 0.005
    assert space_group(free.structure) != 221
    np.testing.assert_allclose(free.embedding, embedding(free.structure, chgnet), atol=1e-5)
    assert np.abs(free.embedding - symmetric.embedding).max() > 1e-3


def true_fmax(structure: Structure, chgnet: Potential) -> float:
    return float(np.linalg.norm(chgnet.evaluate([structure]).forces[0], axis=1).max())


def test_a_rounded_symmetry_is_restored_before_it_is_kept(chgnet: Potential) -> None:
    quartz = Structure.from_spacegroup(
        "P3_221", Lattice.hexagonal(4.91, 5.4), ["Si", "O"], [[0.47, 0, 2 / 3], [0.41, 0.27, 0.78]]
    )
    rounded = Structure(quartz.lattice, quartz.species, np.round(quartz.frac_coords, 3))
    result = relax([rounded], chgnet, fmax=0.02, keep_symmetry=True)[0]
    assert result.converged
    assert true_fmax(result.structure, chgnet) <= 0.021
    assert space_group(result.structure) == 154


@pytest.mark.parametrize(("structure", "number"), [(magnesia(), 225), (rutile(), 136)])
def test_symmetrising_undoes_small_noise_and_no_more(structure: Structure, number: int) -> None:
    frame = frame_of(structure)
    exact = symmetrised(frame)
    np.testing.assert_allclose(exact.positions, frame.positions, atol=1e-9)
    np.testing.assert_allclose(exact.cell, frame.cell, atol=1e-9)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.002, frame.positions.shape)
    noisy = Frame(frame.numbers, frame.positions + noise, frame.cell)
    after = symmetrised(noisy)
    assert np.abs(after.positions - noisy.positions).max() < 0.02
    cell = Structure(Lattice(after.cell), structure.species, after.positions, coords_are_cartesian=True)
    import moyopy

    assert (
        moyopy.MoyoDataset(
            moyopy.Cell(cell.lattice.matrix.tolist(), cell.frac_coords.tolist(), list(cell.atomic_numbers)),
            symprec=1e-6,
        ).number
        == number
    )


@dataclass
class Saddle:
    """Sits at 0 where the crystal is symmetric; once rattled, slides down, and fails from some depth on."""

    fail_below: float = -np.inf
    name: str = "saddle"
    elements: frozenset[str] = frozenset({"Mg", "O"})

    def evaluate(self, crystals: object) -> PotentialOutput:
        """Lower with each call that sees it rattled."""
        frames: list[Frame] = as_frames(crystals)  # type: ignore[arg-type]
        result = PotentialOutput.empty(frames)
        for k, frame in enumerate(frames):
            off = frame.positions @ np.linalg.inv(frame.cell) * 2
            distance = float(np.abs(off - np.round(off)).max())
            result.energy[k] = -50 * distance * len(frame)
            force = np.where(distance > 1e-6, 5.0, 0.0)
            result.forces[k] = force * np.sign(off - np.round(off))
            result.stress[k] = np.zeros((3, 3))
            if result.energy[k] / len(frame) < self.fail_below:
                result.failures[k] = "the toy broke"
        return result


def test_an_unconstrained_stage_that_fails_below_is_no_result() -> None:
    primitive = magnesia().get_primitive_structure()
    broken = relax([primitive], Saddle(fail_below=-8.0), keep_symmetry=True)[0]
    assert not broken.converged
    assert "the toy broke" in broken.reason
    early = relax([primitive], Saddle(fail_below=-0.1), keep_symmetry=True)[0]
    assert early.converged  # its symmetry could not be released at all: its symmetric form stands
    assert early.symmetry_kept


def test_what_never_converges_is_no_ceiling() -> None:
    # the saddle is released and runs out of steps; its sibling must not have been measured against it
    primitive = magnesia().get_primitive_structure()
    sliding = relax([primitive, primitive], Saddle(), keep_symmetry=True, groups=[0, 0], max_steps=3)
    assert [result.stopped_early for result in sliding] == [False, False]


def test_steps_are_counted_over_both_stages(chgnet: Potential) -> None:
    perfect = relax([magnesia()], chgnet, fmax=0.01)[0].structure
    result = relax([perfect], chgnet, fmax=0.05, max_steps=0, keep_symmetry=True)[0]
    assert result.converged
    assert result.n_steps == 0


def test_far_above_its_ceiling_symmetry_is_not_released(chgnet: Potential) -> None:
    start = rutile()
    level = relax([start], chgnet)[0].energy / 6
    near, far = relax([start, start], chgnet, keep_symmetry=True, ceilings=[level - 0.02, level - 0.5])
    assert near.symmetry_kept
    assert far.converged
    assert far.symmetry_kept is None
    assert far.n_steps < near.n_steps


def test_a_cell_can_leave_its_symmetry_too(chgnet: Potential) -> None:
    # body-centred copper in its conventional cell slides down the Bain path
    bcc = Structure(Lattice.cubic(2.87), ["Cu", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    result = relax([bcc], chgnet, fmax=0.02, keep_symmetry=True)[0]
    assert result.converged
    assert result.energy / 2 <= -4.054 + 0.003
