"""Geometry diffusion: its representation, its symmetries, what it draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice

from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import realise
from invdesign.crystal.wyckoff import wyckoff_table
from invdesign.data.tokens import tokens_of
from invdesign.errors import InputError
from invdesign.generators.geometry.lattice import cells, free_strains, parameters, strains
from invdesign.generators.geometry.model import GeometryNetwork
from invdesign.generators.geometry.pipeline import GeometryDiffusionPipeline
from invdesign.generators.geometry.sites import Sites, equivalent_coordinates
from invdesign.training.generators.geometry_diffusion import GeometryData, equivalents_of

GENES = [
    Gene.parse(text)
    for text in (
        "225 Na@a Cl@b",
        "136 Ti@a O@f",
        "62 Na@c Cl@c O@d O@c",
        "2 Li@i O@i P@i Fe@a",
        "166 Bi@c Te@a Te@c",
        "14 Al@e O@e O@e",
        "1 Na@a Cl@a",
        "186 Zn@b S@b",
    )
]


@pytest.fixture(scope="module")
def network() -> GeometryNetwork:
    torch.manual_seed(0)
    return GeometryNetwork(width=16, depth=2, channels=4, radial=5, directed=6).eval()


@pytest.fixture(scope="module")
def pipeline(network: GeometryNetwork) -> GeometryDiffusionPipeline:
    return GeometryDiffusionPipeline.of(network)


@pytest.fixture
def state() -> tuple[Sites, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sites = Sites.of_genes(GENES)
    free = torch.rand(sites.free.shape, generator=generator) * sites.free
    strain = 0.1 * torch.randn(len(GENES), 6, generator=generator) * free_strains(sites.group)
    return sites, free, strain, torch.rand(len(GENES), generator=generator)


def lattices_of(group: int) -> st.SearchStrategy[tuple[float, ...]]:
    """Parameters of a cell of the group's crystal system."""
    edge = st.floats(2.0, 30.0)
    if group >= 195:
        return edge.map(lambda a: (a, a, a, 90.0, 90.0, 90.0))
    if group >= 75:
        gamma = 120.0 if group >= 143 else 90.0
        return st.tuples(edge, edge).map(lambda e: (e[0], e[0], e[1], 90.0, 90.0, gamma))
    if group >= 16:
        return st.tuples(edge, edge, edge).map(lambda e: (*e, 90.0, 90.0, 90.0))
    angle = st.floats(75.0, 105.0)
    if group >= 3:
        return st.tuples(edge, edge, edge, angle).map(lambda e: (*e[:3], 90.0, e[3], 90.0))
    return st.tuples(edge, edge, edge, angle, angle, angle)


@settings(max_examples=60)
@given(st.integers(1, 230).flatmap(lambda g: st.tuples(st.just(g), lattices_of(g))), st.floats(10.0, 2000.0))
def test_a_cell_survives_its_representation(given_cell, volume) -> None:
    group, lattice = given_cell
    groups, volumes = torch.tensor([group]), torch.tensor([volume], dtype=torch.float64)
    strain = strains(torch.tensor([lattice], dtype=torch.float64), groups, volumes)
    back = parameters(cells(strain, groups, volumes))[0]
    assert back == pytest.approx(np.array(lattice), rel=1e-6)
    assert strain[0, 0] == pytest.approx(np.log(Lattice.from_parameters(*lattice).volume / volume) / 3)


def test_atoms_lie_where_realise_puts_them(state) -> None:
    sites, free, strain, _ = state
    cell = cells(strain.double(), sites.group, sites.volume.double())
    coordinates = sites.fractional(free)
    for i, (gene, lattice) in enumerate(zip(GENES, parameters(cell), strict=True)):
        mask = sites.free[i].numpy()
        own = tuple(tuple(free[i, j].numpy()[mask[j]].astype(float)) for j in range(len(gene.orbits)))
        structure = realise(gene, Geometry(tuple(lattice), own))
        ours = Lattice((sites.to_primitive[i].double() @ cell[i]).numpy())
        points = coordinates[i, : gene.n_atoms].double().numpy()
        assert np.sort(ours.get_all_distances(points, points).ravel()) == pytest.approx(
            np.sort(structure.distance_matrix.ravel()), abs=1e-4
        )


def test_whole_numbers_change_nothing(network, state) -> None:
    sites, free, strain, noise = state
    shifted = free + torch.randint(-2, 3, free.shape) * sites.free
    for ours, theirs in zip(
        network(sites, free, strain, noise), network(sites, shifted, strain, noise), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_order_of_orbits_is_theirs(network) -> None:
    gene = Gene.parse("62 Na@c Cl@c O@d O@c")
    sites = Sites.of_genes([gene])
    order = torch.tensor([2, 0, 3, 1])
    mixed = Sites.of_tokens(sites.group, sites.elements[:, order], sites.letters[:, order])
    free = torch.rand(sites.free.shape, generator=torch.Generator().manual_seed(0)) * sites.free
    strain, noise = torch.tensor([[0.1, 0.2, -0.1, 0, 0, 0]]), torch.tensor([0.4])
    along, rate = network(sites, free, strain, noise)
    along_mixed, rate_mixed = network(mixed, free[:, order], strain, noise)
    torch.testing.assert_close(along[:, order], along_mixed, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rate, rate_mixed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("text", ["14 Al@e O@e O@e", "62 Na@c Cl@c O@d", "166 Bi@c Te@a Te@c"])
def test_any_atom_of_an_orbit_may_be_its_first(network, text: str) -> None:
    gene = Gene.parse(text)
    sites = Sites.of_genes([gene])
    free = torch.rand(sites.free.shape, generator=torch.Generator().manual_seed(3)) * sites.free
    strain, noise = torch.full((1, 6), 0.05) * free_strains(sites.group), torch.tensor([0.3])
    along, rate = network(sites, free, strain, noise)
    for j, (_, letter) in enumerate(gene.orbits):
        image = torch.tensor(equivalent_coordinates(wyckoff_table(gene.space_group)[letter])[-1]).float()
        moved = free.clone()
        moved[0, j] = (image @ torch.cat([free[0, j], torch.ones(1)])) * sites.free[0, j]
        along_moved, rate_moved = network(sites, moved, strain, noise)
        turned = (image[:, :3] @ along[0, j]) * sites.free[0, j]
        torch.testing.assert_close(along_moved[0, j], turned, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(rate_moved, rate, atol=1e-4, rtol=1e-3)


def test_the_nearest_description_is_the_same_crystal() -> None:
    rng = np.random.default_rng(0)
    crystals = []
    for i, gene in enumerate(GENES):
        own = tuple(tuple(rng.random(len(wyckoff_table(gene.space_group)[w].free))) for _, w in gene.orbits)
        c = 5.0 if gene.space_group >= 195 else 7.0
        gamma = 120.0 if 143 <= gene.space_group < 195 else 90.0
        crystals.append((str(i), i, gene, Geometry((5.0, 5.0, c, 90.0, 90.0, gamma), own)))
    tokens, sites = tokens_of(crystals), Sites.of_genes(GENES)
    for i, (_, _, gene, geometry) in enumerate(crystals):
        size = len(gene.orbits)
        start = rng.random((size, 3)) * sites.free[i, :size].numpy()
        end = start + equivalents_of(tokens, i, sites.push[i].numpy()).nearest(start)
        mask = sites.free[i].numpy()
        own = tuple(tuple(end[j][mask[j]]) for j in range(size))
        assert np.sort(realise(gene, Geometry(geometry.lattice, own)).distance_matrix.ravel()) == (
            pytest.approx(np.sort(realise(gene, geometry).distance_matrix.ravel()), abs=1e-4)
        )


def test_every_geometry_is_of_its_gene(pipeline) -> None:
    geometries = pipeline(GENES, list(range(len(GENES))), steps=3)
    for gene, geometry in zip(GENES, geometries, strict=True):
        structure = realise(gene, geometry)
        assert structure.composition == gene.composition


def test_a_seed_decides_the_geometry(pipeline) -> None:
    gene = Gene.parse("62 Na@c Cl@c O@d")
    first, second = pipeline([gene, gene], [(1, 2), (1, 3)], steps=3)
    assert pipeline([gene], [(1, 2)], steps=3)[0].lattice == pytest.approx(first.lattice, abs=1e-4)
    assert first.lattice != pytest.approx(second.lattice, abs=1e-3)


def test_training_loss_is_finite_and_falls(network) -> None:
    geometry = Geometry((4.59, 4.59, 2.96, 90.0, 90.0, 90.0), ((), (0.305,)))
    data = GeometryData(tokens_of([("rutile", 0, Gene.parse("136 Ti@a O@f"), geometry)]))
    torch.manual_seed(0)
    own = GeometryNetwork(width=16, depth=2, channels=4, radial=5, directed=6)
    own.cell_mean[:], own.cell_std[:] = data.spread(torch.tensor([0]))
    optimizer = torch.optim.Adam(own.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        loss = data.loss(own, torch.zeros(32, dtype=torch.long), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_saved_and_loaded_it_draws_the_same(pipeline, tmp_path) -> None:
    pipeline.save_pretrained(tmp_path)
    ours = pipeline(GENES, range(len(GENES)), steps=2)
    assert GeometryDiffusionPipeline.load(tmp_path)(GENES, range(len(GENES)), steps=2) == ours


def test_a_bad_folder_is_an_input_error(tmp_path) -> None:
    with pytest.raises(InputError, match="not there"):
        GeometryDiffusionPipeline.load(tmp_path / "nothing")
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="lacks"):
        GeometryDiffusionPipeline.load(tmp_path)
