"""Relaxation: known crystals come back, bad ones end alone, the same list gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.validators.potential import Evaluation, Frame, Potential, as_frames, load_potential
from invdesign.validators.relaxation import Relaxed, _components, _matrix, relax


def magnesia(a: float = 4.25) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


def distorted(structure: Structure, seed: int, strain: float = 0.03, move: float = 0.1) -> Structure:
    rng = np.random.default_rng(seed)
    deformation = rng.normal(0, strain, (3, 3))
    cell = structure.lattice.matrix @ (np.eye(3) + (deformation + deformation.T) / 2)
    result = Structure(Lattice(cell), structure.species, structure.frac_coords)
    shifts = rng.normal(0, move, structure.frac_coords.shape)
    return Structure(result.lattice, result.species, result.cart_coords + shifts, coords_are_cartesian=True)


@pytest.fixture(scope="module")
def chgnet() -> Potential:
    return load_potential("chgnet")


def test_magnesia_comes_back(chgnet: Potential) -> None:
    perfect = relax([magnesia().get_primitive_structure()], chgnet, fmax=0.01)[0]
    starts = [distorted(magnesia(), 1), distorted(magnesia(4.7), 3)]
    for result in relax(starts, chgnet, fmax=0.03):
        assert result.converged, result.reason
        assert result.fmax <= 0.03
        np.testing.assert_allclose(result.structure.lattice.abc, 4.25, atol=0.05)
        np.testing.assert_allclose(result.structure.lattice.angles, 90, atol=0.7)
        assert result.energy / 8 == pytest.approx(perfect.energy / 2, abs=0.003)
        assert result.energy == pytest.approx(chgnet.evaluate([result.structure]).energy[0], abs=1e-3)


def test_energy_goes_down_and_the_ends_agree_with_ase(chgnet: Potential) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from chgnet.model import CHGNetCalculator

    start = distorted(magnesia().get_primitive_structure(), 5, strain=0.04, move=0.05)
    ours = relax([start], chgnet, fmax=0.02)[0]
    atoms = start.to_ase_atoms()
    atoms.calc = CHGNetCalculator(use_device="cpu")
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=30)
    assert ours.converged
    assert ours.energy < chgnet.evaluate([start]).energy[0]
    assert ours.energy / 2 <= atoms.get_potential_energy() / 2 + 0.002


def test_same_list_same_bits(chgnet: Potential) -> None:
    starts = [distorted(magnesia(), 1), distorted(rutile(), 2)]
    one, two = relax(starts, chgnet), relax(starts, chgnet)
    for a, b in zip(one, two, strict=True):
        assert (a.energy, a.fmax, a.n_steps, a.reason) == (b.energy, b.fmax, b.n_steps, b.reason)
        np.testing.assert_array_equal(a.structure.cart_coords, b.structure.cart_coords)
        np.testing.assert_array_equal(a.structure.lattice.matrix, b.structure.lattice.matrix)


def test_origin_and_order_do_not_matter(chgnet: Potential) -> None:
    start = distorted(rutile(), 4)
    moved = start.copy()
    moved.translate_sites(range(len(moved)), [0.13, 0.4, 0.77])
    shuffled = Structure.from_sites([start[k] for k in (5, 2, 0, 4, 1, 3)])
    energies = [r.energy for r in relax([start, moved, shuffled], chgnet, fmax=0.03)]
    np.testing.assert_allclose(energies, energies[0], atol=6e-3)  # 1 meV/atom


def test_bad_structures_end_alone(chgnet: Potential) -> None:
    good = distorted(magnesia(), 1)
    overlapping = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    lonely = Structure(Lattice.cubic(9.5), ["Ar"], [[0, 0, 0]])
    alloy = Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    curium = Structure(Lattice.cubic(5), ["Cm", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    results = relax([overlapping, good, lonely, alloy, curium], chgnet)
    assert [r.converged for r in results] == [False, True, False, False, False]
    for result, words in zip(
        results, ("apart", "converged after", "neighbour", "disordered", "know Cm"), strict=True
    ):
        assert words in result.reason
    alone = relax([good], chgnet)[0]
    assert results[1].energy == pytest.approx(alone.energy, abs=5e-3)


def test_running_out_of_steps_is_said(chgnet: Potential) -> None:
    result = relax([distorted(rutile(), 2)], chgnet, fmax=1e-6, max_steps=3)[0]
    assert not result.converged
    assert result.n_steps == 3
    assert result.fmax > 1e-6
    assert result.reason.startswith("not converged after 3 steps")
    assert np.isfinite(result.energy)


def test_fixed_cell_stays(chgnet: Potential) -> None:
    start = distorted(magnesia(4.4), 6)
    result = relax([start], chgnet, fmax=0.03, relax_cell=False)[0]
    assert result.converged
    np.testing.assert_allclose(result.structure.lattice.matrix, start.lattice.matrix)


def test_nothing_in_nothing_out_and_bad_limits(chgnet: Potential) -> None:
    assert relax([], chgnet) == []
    with pytest.raises(InputError, match="fmax"):
        relax([magnesia()], chgnet, fmax=0)


@dataclass
class Toy:
    """A potential with a given energy curve in the volume ratio; counts what it is asked."""

    pull: float = 0.0
    floor: float = 0.0
    fail_at: int = -1
    name: str = "toy"
    elements: frozenset[str] = frozenset({"Mg", "O"})
    sizes: list[int] = field(default_factory=list)

    def evaluate(self, crystals: object) -> Evaluation:
        """No forces; a stress that pulls."""
        frames: list[Frame] = as_frames(crystals)  # type: ignore[arg-type]
        self.sizes.append(len(frames))
        result = Evaluation.empty(frames)
        for k, frame in enumerate(frames):
            if len(self.sizes) > self.fail_at >= 0:
                result.failures[k] = "the toy broke"
                continue
            result.energy[k] = self.floor * len(frame) - self.pull * np.log(frame.volume / 76.8)
            result.forces[k] = np.zeros((len(frame), 3))
            result.stress[k] = -self.pull * np.eye(3) / frame.volume
        return result


@pytest.mark.parametrize(
    ("toy", "words"),
    [
        (Toy(pull=200.0), "volume went to"),
        (Toy(pull=-200.0), "volume went to"),
        (Toy(floor=-80.0), "eV/atom"),
        (Toy(pull=5.0, fail_at=2), "the toy broke"),
    ],
    ids=["explodes", "collapses", "falls", "breaks"],
)
def test_runaways_end_with_a_reason(toy: Toy, words: str) -> None:
    result: Relaxed = relax([magnesia()], toy)[0]
    assert not result.converged
    assert words in result.reason
    assert 0.2 < result.structure.volume / magnesia().volume < 4.1


def test_finished_crystals_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    from invdesign.validators import relaxation

    monkeypatch.setattr(relaxation, "IN_FLIGHT", 2)
    toy = Toy()
    results = relax([magnesia()] * 5, toy)
    assert toy.sizes == [2, 2, 1]
    assert all(r.converged and r.n_steps == 0 for r in results)


def test_strain_components_are_an_isometry() -> None:
    rng = np.random.default_rng(0)
    a, b = (m + m.T for m in rng.normal(size=(2, 3, 3)))
    assert _components(a) @ _components(b) == pytest.approx((a * b).sum())
    np.testing.assert_allclose(_matrix(_components(a)), a)
