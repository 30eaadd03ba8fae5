"""The crystal VAE at toy size: arrays, prompts, latents and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.core.target import parse_target
from invdesign.crystal.elements import ATOMIC_NUMBER, volume_estimate
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import gene_of, realise
from invdesign.data.tokens import tokens_of
from invdesign.errors import InputError
from invdesign.generators.crystal_vae.constraints import possible_groups, start
from invdesign.generators.crystal_vae.decoder import Choice, decode_geometries
from invdesign.generators.crystal_vae.latent_search import aims, climb, miss, radius
from invdesign.generators.crystal_vae.model import CrystalVAENetwork, crystals_of
from invdesign.generators.crystal_vae.pipeline import CrystalVAE, CrystalVAEPipeline
from invdesign.generators.gene_diffusion.pipeline import prompt_of
from invdesign.generators.registry import load_generator
from invdesign.training.generators.crystal_vae import gene_loss, geometry_loss

CONDITIONS = ("band_gap", "e_above_hull", "formation_energy_per_atom", "n_atoms")


@pytest.fixture(scope="module")
def network() -> CrystalVAENetwork:
    torch.manual_seed(0)
    network = CrystalVAENetwork(
        CONDITIONS, width=32, heads=2, encoder_depth=1, decoder_depth=1, geometry_depth=1,
        latent_tokens=2, latent_size=16, n_landmarks=64,
    ).eval()  # fmt: skip
    network.landmarks.normal_()
    network.landmark_elements[:, 8] = True
    return network


@pytest.fixture(scope="module")
def vae(network: CrystalVAENetwork) -> CrystalVAE:
    return CrystalVAE(CrystalVAEPipeline(network=network))


@pytest.fixture(scope="module")
def salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


@pytest.fixture(scope="module")
def many() -> list[tuple[Gene, Geometry]]:
    texts = ["62 O@c O@c Ti@c", "1 O@a O@a Si@a", "15 Cu@a O@e", "167 Al@c O@e", "227 Si@a", "2 K@i Cl@i"]
    rng = np.random.default_rng(0)
    lattices = {
        62: (5, 6, 7, 90, 90, 90), 1: (4, 5, 6, 80, 95, 105), 15: (4.7, 3.4, 5.1, 90, 99, 90),
        167: (4.76, 4.76, 12.99, 90, 90, 120), 227: (5.43, 5.43, 5.43, 90, 90, 90), 2: (5, 6, 7, 85, 95, 100),
    }  # fmt: skip
    from invdesign.crystal.wyckoff import wyckoff_table

    crystals = []
    for gene in map(Gene.parse, texts):
        table = wyckoff_table(gene.space_group)
        free = tuple(tuple(rng.random(len(table[letter].free))) for _, letter in gene.orbits)
        geometry = Geometry(lattices[gene.space_group], free)
        crystals.append(
            (gene, geometry.scaled(volume_estimate(gene.composition) / realise(gene, geometry).volume))
        )
    return crystals


def test_arrays_hold_the_whole_crystal(many: list[tuple[Gene, Geometry]], network: CrystalVAENetwork) -> None:
    crystals = crystals_of(tokens_of([(str(i), i, *crystal) for i, crystal in enumerate(many)]))

    class Exact:
        """Says that every geometry is what it is."""

        def geometry_of(self, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            angle = 2 * torch.pi * crystals.free
            return crystals.cell, crystals.cell, torch.stack([angle.cos(), angle.sin()], -1), angle + 1

    tokens = (crystals.group, crystals.elements, crystals.letters)
    found = decode_geometries(
        Exact(), torch.zeros(6, 16), tokens, Choice.seeded(0.0, np.random.default_rng(0))
    )
    for (gene, geometry), (gene_back, geometry_back, _) in zip(many, found, strict=True):
        assert gene_back == gene.canonical()
        there, back = realise(gene, geometry), realise(gene_back, geometry_back)
        assert back.volume == pytest.approx(there.volume, rel=1e-5)
        ours = np.sort(there.distance_matrix.ravel())
        assert np.allclose(np.sort(back.distance_matrix.ravel()), ours, atol=2e-3)


def test_a_whole_turn_of_a_coordinate_is_none(
    many: list[tuple[Gene, Geometry]], network: CrystalVAENetwork
) -> None:
    turned = [
        (gene, Geometry(g.lattice, tuple(tuple(x + 1 for x in free) for free in g.free))) for gene, g in many
    ]
    there, round_ = (
        crystals_of(tokens_of([(str(i), i, *c) for i, c in enumerate(x)])) for x in (many, turned)
    )
    latents, same = network.encode(there)[0], network.encode(round_)[0]
    assert torch.allclose(latents, same, atol=1e-4)
    losses = [geometry_loss(network, latents, crystals)[1] for crystals in (there, round_)]
    assert torch.allclose(*losses, atol=1e-3)


def test_padding_does_not_matter(many: list[tuple[Gene, Geometry]], network: CrystalVAENetwork) -> None:
    together = crystals_of(tokens_of([(str(i), i, *crystal) for i, crystal in enumerate(many)]))
    latents = network.encode(together)[0]
    nothing = network.condition(torch.zeros(len(many), 4), torch.zeros(len(many), 4).bool())
    losses = gene_loss(network, latents, nothing, together)
    assert torch.isfinite(losses).all()
    for i in range(len(many)):
        alone = together.select(torch.tensor([i]))
        assert torch.allclose(network.encode(alone)[0], latents[i], atol=1e-4)
        assert torch.allclose(gene_loss(network, latents[[i]], nothing[[i]], alone), losses[i], atol=1e-3)


TARGETS = (
    "elements=O exclude=Pb,Cd n_atoms=2..12",
    "formula=Li2FeSiO4",
    "anonymous=ABC3 space_group=221,62 elements=O",
    "space_group=221,227 n_atoms=5..5",
    "only=Li,O",
    "elements=O hhi<2000",
    "elements=lanthanides,chalcogens n_atoms=2..8",
    "elements=O,alkali anonymous=ABC3",
    "elements=Li,Fe,Si,O n_atoms=16..20 space_group=14,62",
)


@pytest.mark.parametrize("text", TARGETS)
def test_prompts_are_held_with_a_geometry(vae: CrystalVAE, text: str) -> None:
    target = parse_target(text)
    candidates = vae.propose(target, 24, (5, 0))
    assert len(candidates) == 24
    for candidate in candidates:
        assert target.allows(candidate.gene).passed, (str(candidate.gene), target.allows(candidate.gene))
        assert candidate.gene == candidate.gene.canonical()
        assert candidate.gene.realisable
        assert len(candidate.geometry.free) == len(candidate.gene.orbits)
        assert candidate.structure.is_ordered
        assert len(candidate.structure) == candidate.gene.n_atoms


@settings(max_examples=60)
@given(st.data())
def test_no_path_of_allowed_choices_is_a_dead_end(data: st.DataObject) -> None:
    target = parse_target(data.draw(st.sampled_from(TARGETS)))
    prompt = prompt_of(target)
    rng = np.random.default_rng(0)
    draft = start(prompt, data.draw(st.sampled_from(np.flatnonzero(possible_groups(prompt)).tolist())), rng)
    while True:
        letters = np.flatnonzero(draft.letters()).tolist()
        assert letters
        letter = data.draw(st.sampled_from(letters))
        if letter == 0:
            break
        elements = np.flatnonzero(draft.elements(letter)).tolist()
        assert elements
        draft.take(letter, data.draw(st.sampled_from(elements)), rng)


def test_what_no_group_has_places_for_is_one_sentence(vae: CrystalVAE) -> None:
    with pytest.raises(InputError, match="no space group has places"):
        vae.propose(parse_target("n_atoms=5..5 space_group=225"), 4, 0)


def test_same_seed_same_crystals(vae: CrystalVAE) -> None:
    target = parse_target("band_gap>3")
    first = [(c.gene, c.geometry) for c in vae.propose(target, 8, (1, 2))]
    assert first == [(c.gene, c.geometry) for c in vae.propose(target, 8, (1, 2))]
    assert [gene for gene, _ in first] != [c.gene for c in vae.propose(target, 8, (1, 3))]


def test_encoding_sees_the_crystal_not_its_cell(vae: CrystalVAE, rutile: Structure) -> None:
    moved = rutile.copy().make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    moved.translate_sites(range(len(moved)), [0.5, 0, 0])
    assert np.allclose(*vae.encode([rutile, moved]), atol=1e-3)


def test_ends_of_an_interpolation_are_the_reconstructions(
    vae: CrystalVAE, salt: Structure, rutile: Structure
) -> None:
    path = vae.interpolate(salt, rutile, 5)
    ends = vae.decode(vae.encode([salt, rutile]))
    assert len(path) == 5
    assert [c.gene for c in (path[0], path[-1])] == [c.gene for c in ends]
    for there, here in zip(ends, (path[0], path[-1]), strict=True):
        assert np.allclose(there.geometry.lattice, here.geometry.lattice)
    with pytest.raises(InputError, match="2 or more"):
        vae.interpolate(salt, rutile, 1)


def test_search_comes_closer_and_stays_within_the_bound(network: CrystalVAENetwork) -> None:
    aim = aims(network, parse_target("band_gap=1.5±0.25"))
    begin = network.landmarks[:16]
    found = climb(network, begin, *aim)
    assert (miss(network, found, *aim) <= miss(network, begin, *aim) + 1e-4).all()
    assert found.norm(dim=1).max() <= radius(network) * 1.001


def test_what_cannot_be_encoded_is_one_sentence(vae: CrystalVAE, salt: Structure) -> None:
    alloy = salt.copy()
    alloy[0] = {"Na": 0.5, "K": 0.5}
    with pytest.raises(InputError, match="has no gene"):
        vae.encode([salt, alloy])
    rng = np.random.default_rng(0)
    large = Structure(Lattice.cubic(12), ["Si"] * 24, rng.random((24, 3)))
    with pytest.raises(InputError, match="24 atoms"):
        vae.encode([large])


def test_nothing_to_encode_gives_nothing(vae: CrystalVAE) -> None:
    assert vae.encode([]).shape == (0, 16)
    assert vae.decode(np.zeros((0, 16))) == []


def test_unknown_condition_is_one_sentence(vae: CrystalVAE) -> None:
    with pytest.raises(InputError, match="colour"):
        vae.decode(np.zeros((1, 16)), conditions=[{"colour": 1.0}])


def test_saved_and_loaded_it_is_the_same(vae: CrystalVAE, tmp_path: Path) -> None:
    vae.pipeline.save_pretrained(tmp_path / "model")
    loaded = load_generator(tmp_path / "model")
    target = parse_target("elements=O")
    ours, theirs = vae.propose(target, 8, 0), loaded.propose(target, 8, 0)
    assert [c.gene for c in ours] == [c.gene for c in theirs]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_weights_are_one_sentence(vae: CrystalVAE, tmp_path: Path, damage: str) -> None:
    vae.pipeline.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model/network/diffusion_pytorch_model.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="models folder"):
        CrystalVAE.load(tmp_path / "model")


def test_landmarks_of_wanted_elements_are_started_from(network: CrystalVAENetwork) -> None:
    from invdesign.generators.crystal_vae.latent_search import starts

    network = CrystalVAENetwork.from_config(network.config)
    network.landmarks[0] = 5.0
    network.landmark_elements[:, ATOMIC_NUMBER["Pb"]] = True
    network.landmark_elements[0] = False
    network.landmark_elements[0, ATOMIC_NUMBER["O"]] = True
    target = parse_target("elements=O exclude=Pb")
    aim = aims(network, target)
    begin = starts(network, prompt_of(target), aim, 40, np.random.default_rng(0))
    assert (begin.mean(1) > 3).float().mean() > 0.5


def test_genes_survive_encoding_arrays(salt: Structure) -> None:
    gene, geometry = gene_of(salt)
    crystals = crystals_of(tokens_of([("salt", 0, gene, geometry)]))
    assert crystals.letters.tolist() == [[1, 2]]
    assert sorted(crystals.elements.tolist()[0]) == [11, 17]
    assert crystals.cell[0, 1:].abs().max() < 1e-6
