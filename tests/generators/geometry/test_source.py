"""Inherited and sampled geometries."""

import numpy as np
import pytest
import torch

from invdesign.crystal.elements import volume_estimate
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import gene_of, realise
from invdesign.data.tokens import TokenSet, tokens_of
from invdesign.generators.geometry.model import GeometryNetwork
from invdesign.generators.geometry.pipeline import GeometryDiffusionPipeline
from invdesign.generators.geometry.sites import Sites
from invdesign.generators.geometry.source import GeometrySource, useful_starting_structures

RUTILE = Gene.parse("136 Ti@a O@f")
LIBRARY = [
    ("rutile", RUTILE, Geometry((4.59, 4.59, 2.96, 90, 90, 90), ((), (0.305,)))),
    ("MgF2", Gene.parse("136 Mg@a F@f"), Geometry((4.62, 4.62, 3.05, 90, 90, 90), ((), (0.303,)))),
    ("spinel", Gene.parse("227 Mg@a Al@d O@e"), Geometry((8.08, 8.08, 8.08, 90, 90, 90), ((), (), (0.264,)))),
]


@pytest.fixture(scope="module")
def source() -> GeometrySource:
    return GeometrySource(
        tokens_of([(name, i, gene, geometry) for i, (name, gene, geometry) in enumerate(LIBRARY)])
    )


def test_the_chemically_nearest_parent_comes_first(source: GeometrySource) -> None:
    proposals = source.inherited(Gene.parse("136 Sn@a O@f"), 2)
    assert [origin for _, origin in proposals] == ["inherited from rutile", "inherited from MgF2"]
    fluoride = source.inherited(Gene.parse("136 Zn@a F@f"), 1)
    assert fluoride[0][1] == "inherited from MgF2"


def test_inherited_cell_has_the_estimated_volume_ratio(source: GeometrySource) -> None:
    gene = Gene.parse("136 Sn@a O@f")
    geometry, _ = source.propose(gene, 1, 0)[0]
    child, parent = realise(gene, geometry), realise(RUTILE, LIBRARY[0][2])
    expected = volume_estimate(gene.composition) / volume_estimate(RUTILE.composition)
    assert child.volume / parent.volume == pytest.approx(expected)
    assert gene_of(child, 0.01)[0] == gene.canonical()


def test_unknown_prototype_is_sampled_with_atoms_apart(source: GeometrySource) -> None:
    gene = Gene.parse("62 Na@c Cl@c O@d")
    proposals = source.propose(gene, 3, 7)
    assert [origin for _, origin in proposals] == ["sampled"] * 3
    for geometry, _ in proposals:
        structure = realise(gene, geometry)
        distances = structure.distance_matrix[~np.eye(len(structure), dtype=bool)]
        assert distances.min() > 1.0
        assert structure.composition == gene.composition


def test_same_seed_same_geometries(source: GeometrySource) -> None:
    gene = Gene.parse("62 Na@c Cl@c O@d")
    assert source.propose(gene, 2, (3, 4)) == source.propose(gene, 2, (3, 4))
    assert source.propose(gene, 2, (3, 4)) != source.propose(gene, 2, (3, 5))


@pytest.mark.parametrize(
    ("gene", "worthwhile"),
    [("225 Na@a Cl@b", 1), ("136 Sn@a O@f", 2), ("62 Na@c Cl@c O@d", 4)],  # 0, 1, 7 free coordinates
)
def test_more_degrees_of_freedom_deserves_more_geometries(gene: str, worthwhile: int) -> None:
    assert useful_starting_structures(Gene.parse(gene), 4) == worthwhile


def test_nothing_is_inherited_that_leaves_atoms_no_room(source: GeometrySource) -> None:
    cramped = Geometry((4.59, 4.59, 2.96, 90, 90, 90), ((), (0.1,)))
    library = tokens_of([("cramped", 0, RUTILE, cramped)])
    ((_, origin),) = GeometrySource(library).propose(RUTILE, 1, 0)
    assert origin == "sampled"


def test_many_genes_at_once_are_each_its_own(source: GeometrySource) -> None:
    genes = [Gene.parse("62 Na@c Cl@c O@d"), Gene.parse("136 Sn@a O@f"), Gene.parse("225 Na@a Cl@b")]
    proposals = source.propose_many(genes, [3, 3, 1], [1, 2, 3])
    assert [len(own) for own in proposals] == [3, 3, 1]
    for gene, own, seed in zip(genes, proposals, (1, 2, 3), strict=True):
        assert own == source.propose(gene, len(own), seed)


def test_diffusion_gives_what_is_not_inherited(source: GeometrySource) -> None:
    torch.manual_seed(0)
    network = GeometryNetwork(width=16, depth=1, channels=4, radial=5, directed=4).eval()
    drawing = GeometrySource(source.library, GeometryDiffusionPipeline.of(network))
    genes = [Gene.parse("62 Na@c Cl@c O@d"), Gene.parse("136 Sn@a O@f")]
    proposals = drawing.propose_many(genes, [3, 3], [1, 2])
    assert [[origin.split()[0] for _, origin in own] for own in proposals] == [
        ["diffusion", "diffusion", "diffusion"],
        ["inherited", "inherited", "diffusion"],
    ]
    for gene, own in zip(genes, proposals, strict=True):
        assert all(realise(gene, geometry).composition == gene.composition for geometry, _ in own)
    assert proposals == drawing.propose_many(genes, [3, 3], [1, 2])


def test_without_a_formula_its_crystals_are_no_parents(source: GeometrySource) -> None:
    left = source.without(["TiO2", "NaN"])
    assert left.library.ids.tolist() == ["MgF2", "spinel"]
    assert left.inherited(Gene.parse("136 Ti@a O@f"), 3)[0][1] == "inherited from MgF2"


def test_coincident_atoms_are_not_apart() -> None:
    sites = Sites.of_genes([Gene.parse("1 Na@a Cl@a")])
    free, cell = torch.full((1, 2, 3), 0.3), 4.0 * torch.eye(3)[None]
    assert sites.contacts(free, cell).item() == pytest.approx(0.0, abs=1e-6)
    free[0, 1] = 0.8
    na, cl = 1.66, 1.02  # Å, Cordero
    assert sites.contacts(free, cell).item() == pytest.approx(
        min(12**0.5 / (na + cl), 4 / (2 * na)), abs=1e-3
    )


def test_library_round_trip(source: GeometrySource, tmp_path) -> None:
    source.library.save(tmp_path / "geometries.npz")
    loaded = GeometrySource(TokenSet.load(tmp_path / "geometries.npz"))
    assert loaded.library.gene(2) == LIBRARY[2][1]
    assert loaded.library.geometry(2) == LIBRARY[2][2]
