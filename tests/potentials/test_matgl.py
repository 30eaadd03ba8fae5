"""Potentials of matgl: our rewritten networks are matgl's own, whatever the batch, the folder or the hub."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential

pytest.importorskip("matgl", reason="matgl is the optional extra invdesign[matgl]")

from invdesign.potentials.matgl.potential import MatglPotential, load_matgl

_Model: TypeAlias = Any  # matgl's potential, untyped

POTENTIALS = Path(
    os.environ.get("INVDESIGN_POTENTIALS", Path(__file__).resolve().parents[3] / "shared" / "potentials")
)
M3GNET = "M3GNet-MP-2021.2.8-matgl4"
TENSORNET = "TensorNet-MatPES-PBE-v2025.1-matgl4"
SHARED = (M3GNET, TENSORNET, "TensorNet-MatPES-r2SCAN-v2025.1-matgl4")
needs_potentials = pytest.mark.skipif(not POTENTIALS.is_dir(), reason=f"no potentials in {POTENTIALS}")

# eV per primitive cell of MgO 4.25 Å, NaCl 5.69 Å, Si 5.47 Å, LiF 4.06 Å, GaAs 5.75 Å (its README.md)
PUBLISHED = {
    M3GNET: (-11.912, -6.735, -10.838, -9.668, -8.366),
    TENSORNET: (-11.736, -6.715, -10.488, -9.569, -8.226),
}


def binary(a: float, cation: str, anion: str, site: float) -> Structure:
    conventional = Structure.from_spacegroup(
        "Fm-3m" if site == 0.5 else "F-43m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [site] * 3]
    )
    return conventional.get_primitive_structure()


def coarse(structure: Structure, seed: int) -> Structure:
    """Distorted, with numbers that float32 holds exactly: matgl rounds what it is given to float32."""
    rng = np.random.default_rng(seed)
    strain = rng.normal(0, 0.02, (3, 3))
    cell = structure.lattice.matrix @ (np.eye(3) + strain + strain.T)
    places = structure.frac_coords + rng.normal(0, 0.02, structure.frac_coords.shape)
    return Structure(Lattice(np.round(cell * 1024) / 1024), structure.species, np.round(places * 1024) / 1024)


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


@pytest.fixture(scope="module")
def crystals() -> list[Structure]:
    caesium = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0.0] * 3, [0.5] * 3])
    xenon = Structure(Lattice.cubic(6.2), ["Xe"] * 2, [[0.0] * 3, [0.0, 0.5, 0.5]])  # no neighbour inside 4 Å
    return [coarse(s, k) for k, s in enumerate([binary(4.25, "Mg", "O", 0.5), rutile(), caesium, xenon])]


@pytest.fixture(scope="module")
def m3gnet() -> MatglPotential:
    return shared_potential(M3GNET)


def shared_potential(name: str) -> MatglPotential:
    potential = load_potential(str(POTENTIALS / name))  # once for all tests
    assert isinstance(potential, MatglPotential)
    return potential


def shared_model(name: str) -> _Model:
    from matgl.utils.io import load_model

    return load_model(POTENTIALS / name)


def random_model(kind: str, **options: object) -> _Model:
    """An untrained potential in float64, without hydrogen's gaps: every element of the tests."""
    import matgl.models
    import torch
    from matgl.apps.pes import Potential

    torch.manual_seed(0)
    elements = ("Cl", "Cs", "Mg", "O", "Ti", "Xe")
    network = getattr(matgl.models, kind)(element_types=elements, is_intensive=False, **options)
    references = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    return Potential(network, data_mean=0.25, data_std=25.0, element_refs=references).double()


def assert_equal_to_its_calculator(model: _Model, crystals: list[Structure]) -> MatglPotential:
    """One batch against matgl's own calculator, crystal by crystal, in float64."""
    from matgl.ext.ase import PESCalculator

    calculator = PESCalculator(model, stress_unit="eV/A3")
    potential = MatglPotential("test", model)
    result = potential.evaluate(crystals)
    assert result.failures == {}
    for k, structure in enumerate(crystals):
        atoms = structure.to_ase_atoms()
        atoms.calc = calculator
        assert result.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(result.forces[k], atoms.get_forces(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(result.stress[k], atoms.get_stress(voigt=False), rtol=0, atol=1e-8)
    return potential


@needs_potentials
@pytest.mark.parametrize("name", SHARED)
def test_shared_potentials_equal_their_own_calculator(name: str, crystals: list[Structure]) -> None:
    # in float64: in float32 matgl's own forces are 5e-5 eV/Å off its float64 ones, ours 1e-5
    single = shared_potential(name).evaluate(crystals)
    potential = assert_equal_to_its_calculator(shared_model(name).double(), crystals)
    assert potential._network is not None
    exact = potential.evaluate(crystals)
    np.testing.assert_allclose(single.energy, exact.energy, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(single.forces), np.concatenate(exact.forces), rtol=0, atol=2e-5)
    np.testing.assert_allclose(single.stress, exact.stress, rtol=0, atol=1e-6)


@needs_potentials
@pytest.mark.parametrize("name", PUBLISHED)
def test_binaries_have_the_published_energies(name: str) -> None:
    potential = shared_potential(name)
    salts = [
        binary(a, *pair, 0.5) for a, pair in [(4.25, ("Mg", "O")), (5.69, ("Na", "Cl")), (4.06, ("Li", "F"))]
    ]
    silicon, arsenide = binary(5.47, "Si", "Si", 0.25), binary(5.75, "Ga", "As", 0.25)
    energies = potential.evaluate([*salts[:2], silicon, salts[2], arsenide]).energy
    np.testing.assert_allclose(energies, PUBLISHED[name], atol=2e-3)
    assert potential.name == name


@pytest.mark.parametrize(
    ("kind", "options", "rewritten"),
    [
        ("TensorNet", {"units": 16, "num_rbf": 8}, True),
        ("TensorNet", {"units": 8, "equivariance_invariance_group": "SO(3)", "nblocks": 1}, True),
        ("TensorNet", {"units": 8, "rbf_type": "SphericalBessel", "use_smooth": True}, True),
        ("M3GNet", {"units": 16, "dim_node_embedding": 16, "dim_edge_embedding": 24}, True),
        ("M3GNet", {"units": 8, "max_l": 2, "max_n": 4, "nblocks": 1}, True),
        ("M3GNet", {"units": 8, "max_l": 4, "nblocks": 1}, False),
        ("CHGNet", {"num_blocks": 2}, False),
    ],
)
def test_any_model_of_matgl_equals_its_own_calculator(
    kind: str, options: dict[str, object], rewritten: bool, crystals: list[Structure]
) -> None:
    potential = assert_equal_to_its_calculator(random_model(kind, **options), crystals)
    assert (potential._network is not None) == rewritten


@pytest.mark.parametrize("kind", ["TensorNet", "M3GNet"])
def test_forces_and_stress_are_the_energy_s_derivatives(kind: str, crystals: list[Structure]) -> None:
    potential = MatglPotential("test", random_model(kind, units=16))
    frame = frame_of(crystals[1])
    result = potential.evaluate([frame])
    h, rng = 1e-4, np.random.default_rng(1)
    move = rng.normal(size=frame.positions.shape)
    strain = rng.normal(size=(3, 3))
    strain = strain + strain.T
    moved = [Frame(frame.numbers, frame.positions + sign * h / 2 * move, frame.cell) for sign in (1, -1)]
    stretch = [np.eye(3) + sign * h / 2 * strain for sign in (1, -1)]
    strained = [Frame(frame.numbers, frame.positions @ f, frame.cell @ f) for f in stretch]
    energy = potential.evaluate(moved + strained).energy
    assert (energy[0] - energy[1]) / h == pytest.approx(-(result.forces[0] * move).sum(), rel=1e-5)
    slope = frame.volume * (result.stress[0] * strain).sum()
    assert (energy[2] - energy[3]) / h == pytest.approx(slope, rel=1e-5)


@needs_potentials
def test_company_and_passes_change_nothing(m3gnet: MatglPotential, crystals: list[Structure]) -> None:
    alone = [m3gnet.evaluate([crystal]) for crystal in crystals]
    together = m3gnet.evaluate(crystals * 20)  # more than one pass
    np.testing.assert_allclose(together.energy, [float(a.energy[0]) for a in alone] * 20, atol=1e-5)
    np.testing.assert_allclose(together.forces[-3], alone[1].forces[0], atol=1e-5)


@needs_potentials
def test_energies_alone_are_the_same(m3gnet: MatglPotential, crystals: list[Structure]) -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    output = m3gnet.evaluate_energies([*crystals, polonium])
    energies, failures = output.energy, output.failures
    np.testing.assert_allclose(energies[:-1], m3gnet.evaluate(crystals).energy, atol=1e-5)
    assert np.isnan(energies[-1])
    assert list(failures) == [len(crystals)]
    assert "does not know Po" in failures[len(crystals)]


def test_energies_alone_by_matgl_itself(crystals: list[Structure]) -> None:
    potential = MatglPotential("test", random_model("CHGNet", num_blocks=2))
    output = potential.evaluate_energies(crystals)
    assert output.failures == {}
    np.testing.assert_allclose(output.energy, potential.evaluate(crystals).energy, atol=1e-9)


@needs_potentials
def test_bad_geometries_end_alone(m3gnet: MatglPotential, crystals: list[Structure]) -> None:
    good = frame_of(crystals[0])
    bad = {
        "no neighbour": Frame(np.array([18]), np.zeros((1, 3)), np.eye(3) * 9.0),
        "Å apart": Frame(good.numbers, good.positions * 0.01, good.cell),
        "does not know Cm": Frame(np.array([96, 8]), good.positions, good.cell),
    }
    result = m3gnet.evaluate([good, *bad.values(), good])
    assert sorted(result.failures) == [1, 2, 3]
    for k, words in enumerate(bad, start=1):
        assert words in result.failures[k]
    np.testing.assert_allclose(result.energy[[0, -1]], m3gnet.evaluate([good]).energy[0], atol=1e-5)


def test_a_rewriting_that_disagrees_is_not_used(
    monkeypatch: pytest.MonkeyPatch, crystals: list[Structure]
) -> None:
    from invdesign.potentials.matgl.tensornet import FastTensorNet

    right = FastTensorNet.sites
    monkeypatch.setattr(FastTensorNet, "sites", lambda self, graph: 1.01 * right(self, graph))
    potential = assert_equal_to_its_calculator(random_model("TensorNet", units=8), crystals)
    assert potential._network is None


def test_running_out_of_memory_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, crystals: list[Structure]
) -> None:
    import torch

    from invdesign.potentials.matgl.tensornet import FastTensorNet

    potential = MatglPotential("test", random_model("TensorNet", units=8))
    expected = potential.evaluate(crystals).energy
    sites = FastTensorNet.sites

    def small_only(self: FastTensorNet, graph: Any) -> Any:
        if graph.n_crystals > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sites(self, graph)

    monkeypatch.setattr(FastTensorNet, "sites", small_only)
    result = potential.evaluate(crystals)
    assert result.failures == {}
    np.testing.assert_allclose(result.energy, expected, atol=1e-9)


def test_splines_follow_a_function_and_its_gradient() -> None:
    import torch

    from invdesign.potentials.radial_spline import RadialSpline

    spline = RadialSpline(lambda r: torch.stack([torch.sin(3 * r), torch.exp(-r)], dim=1), 0.4, 5.0)
    r = torch.tensor([0.4, 0.41, 1.7, 3.3333, 4.999, 5.0], dtype=torch.float64, requires_grad=True)
    rows, weights = spline.weights(r)
    values = (spline.coefficients[rows] * weights[:, :, None]).sum(1)
    (slope,) = torch.autograd.grad(values[:, 0].sum(), r)
    torch.testing.assert_close(values, torch.stack([torch.sin(3 * r), torch.exp(-r)], 1), rtol=0, atol=1e-8)
    torch.testing.assert_close(slope, 3 * torch.cos(3 * r), rtol=0, atol=1e-6)


@needs_potentials
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "old", "foreign"])
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "potential"
    shutil.copytree(POTENTIALS / M3GNET, folder)
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


@needs_potentials
@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("someone/model", "someone/model", None),
        ("someone/model@v1.0", "someone/model", "v1.0"),
        ("someone/model@0123abc", "someone/model", "0123abc"),
    ],
)
def test_hub_names_can_pin_a_revision(
    monkeypatch: pytest.MonkeyPatch, name: str, repository: str, revision: str | None
) -> None:
    import huggingface_hub

    asked = []

    def download(repo: str, file: str, *, revision: str | None, **_: object) -> str:
        asked.append((repo, revision))
        return str(POTENTIALS / M3GNET / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_matgl(name).name == name
    assert set(asked) == {(repository, revision)}


@pytest.mark.parametrize("name", ["nobody/no-such-potential", "nobody/no-such-potential@0123abc"])
def test_hub_name_is_refused_at_once_when_offline(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="neither a folder nor in the cache"):
        load_potential(name)


@pytest.mark.parametrize("name", ["no/such/folder", "a/model@", "a/model@a b", "/@main"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no folder"):
        load_potential(name)


@pytest.mark.parametrize("name", ["mace-mp-0", "M3GNet-PES@v1", "chgnat", "@main"])
def test_what_has_no_owner_is_no_name_on_the_hub(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import urllib.request

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(urllib.request, "urlopen", never)
    with pytest.raises(InputError, match=rf"there is no '{name}'; .*known: chgnet, .*7net-l3i5"):
        load_potential(name)


def test_the_pinned_revision_is_what_the_hub_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error
    import urllib.request
    from email.message import Message

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = []

    def missing(request: urllib.request.Request, **_: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.HTTPError(request.full_url, 404, "", Message(), None)

    monkeypatch.setattr(urllib.request, "urlopen", missing)
    with pytest.raises(InputError, match="answers 404 for nobody/nothing@0123abc"):
        load_potential("nobody/nothing@0123abc")
    assert asked == ["https://huggingface.co/nobody/nothing/resolve/0123abc/model.json"]
