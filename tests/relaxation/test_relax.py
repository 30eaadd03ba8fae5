"""Relaxation: known crystals come back, bad ones end alone, the same list gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from relaxation_crystals import distorted, magnesia, rutile

from invdesign.errors import InputError
from invdesign.potentials.interface import Frame, Potential, PotentialOutput, as_frames
from invdesign.relaxation.early_stopping import EarlyStoppingRule, Progress
from invdesign.relaxation.relax import Relaxed, relax


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
    curium, polonium = (
        Structure(Lattice.cubic(5), [element, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for element in ("Cm", "Po")
    )
    results = relax([overlapping, good, lonely, alloy, curium, polonium], chgnet)
    assert [r.converged for r in results] == [False, True, False, False, False, False]
    for result, words in zip(
        results,
        ("apart", "converged after", "neighbour", "disordered", "know Cm", "know Po"),
        strict=True,
    ):
        assert words in result.reason
    alone = relax([good], chgnet)[0]
    assert results[1].energy == pytest.approx(alone.energy, abs=5e-3)


def test_running_out_of_steps_is_stated(chgnet: Potential) -> None:
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

    def evaluate(self, crystals: object) -> PotentialOutput:
        """No forces; a stress that pulls."""
        frames: list[Frame] = as_frames(crystals)  # type: ignore[arg-type]
        self.sizes.append(len(frames))
        result = PotentialOutput.empty(frames)
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
    from invdesign.relaxation import relax as relaxation

    monkeypatch.setattr(relaxation, "IN_FLIGHT", 2)
    toy = Toy()
    results = relax([magnesia()] * 5, toy)
    assert toy.sizes == [2, 2, 1]
    assert all(r.converged and r.n_steps == 0 for r in results)


def test_pressure_makes_smaller_crystals(chgnet: Potential) -> None:
    none, some = (
        relax([magnesia().get_primitive_structure()], chgnet, fmax=0.005, pressure_gpa=p)[0]
        for p in (0.0, 10.0)
    )
    assert some.converged
    stress = chgnet.evaluate([some.structure]).stress[0] * 160.2177
    np.testing.assert_allclose(np.diag(stress), -10, atol=0.3)  # the crystal pushes back
    assert 0.9 < some.structure.volume / none.structure.volume < 0.97


STRICT = EarlyStoppingRule("toy", 1, 0.02, 0.05, 1.0)


def test_a_crystal_above_its_ceiling_is_stopped_early(chgnet: Potential) -> None:
    start = distorted(rutile(), 2)
    plain = relax([start], chgnet)[0]
    level = plain.energy / 6
    high, wanted = relax([start, start], chgnet, ceilings=[level - 2, level + 0.05], rule=STRICT)
    assert high.stopped_early
    assert not high.converged
    assert high.n_steps < plain.n_steps
    assert high.reason.startswith("stopped early: after")
    assert wanted.converged
    assert wanted.energy == pytest.approx(plain.energy, abs=1e-4)
    assert not relax([start], chgnet, rule=STRICT)[0].stopped_early  # no ceiling, no hurry


def test_siblings_race(chgnet: Potential) -> None:
    good = magnesia().get_primitive_structure()
    # the zinc blende form of MgO lies some 0.3 eV/atom higher
    bad = Structure.from_spacegroup("F-43m", Lattice.cubic(4.9), ["Mg", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    bad = distorted(bad.get_primitive_structure(), 3)
    one, two = relax([good, bad], chgnet, groups=[0, 0], rule=STRICT)
    assert one.converged
    assert two.stopped_early
    apart = relax([good, bad], chgnet, groups=[0, 1], rule=STRICT)
    assert [r.stopped_early for r in apart] == [False, False]


def test_a_rule_grows_with_distance_and_survives_the_disk(tmp_path) -> None:
    near, far = Progress(5, -3.0, 0.2, 0.002), Progress(5, -3.0, 2.0, 0.2)
    rule = EarlyStoppingRule("toy", 2, 0.01, 0.02, 1.0)
    assert rule.remaining(near) < rule.remaining(far)
    assert rule.reason(near, -3.2)
    assert rule.reason(near, -3.0) is None
    assert rule.reason(near._replace(n_steps=1), -9.0) is None
    rule.save(tmp_path)
    assert EarlyStoppingRule.load(tmp_path) == rule
    (tmp_path / "rule.json").write_text("{}")
    with pytest.raises(InputError, match="early stopping"):
        EarlyStoppingRule.load(tmp_path)


def test_pressure_must_be_a_number(chgnet: Potential) -> None:
    with pytest.raises(InputError, match="pressure"):
        relax([magnesia()], chgnet, pressure_gpa=float("nan"))
