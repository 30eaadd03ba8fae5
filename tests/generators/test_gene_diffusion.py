"""The gene diffusion network, its sampler and its training, at toy size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError
from invdesign.generators.corpus import CONDITIONS
from invdesign.generators.gene_diffusion import GeneDiffusion, GeneDiffusionPipeline, prompt_of
from invdesign.generators.gene_sampling import Prompt
from invdesign.generators.gene_transformer import GeneTransformer, position_tables
from invdesign.targets import parse_target


@pytest.fixture(scope="module")
def network() -> GeneTransformer:
    torch.manual_seed(0)
    spread = tuple(tuple(np.linspace(0.1, 6, 21).tolist()) for _ in CONDITIONS)
    return GeneTransformer(width=32, depth=1, heads=2, condition_quantiles=spread).eval()


@pytest.fixture(scope="module")
def pipeline(network: GeneTransformer) -> GeneDiffusionPipeline:
    return GeneDiffusionPipeline(transformer=network)


def test_order_of_orbits_does_not_matter(network: GeneTransformer) -> None:
    group = torch.tensor([62])
    elements, letters = torch.tensor([[11, 17, 8]]), torch.tensor([[3, 3, 0]])
    condition = network.embed_conditions(torch.zeros(1, 4), torch.zeros(1, 4).bool())
    order = torch.tensor([2, 0, 1])
    everything = torch.ones(1, 3, dtype=torch.bool)
    plain = network(group, elements, letters, everything, condition)
    shuffled = network(group, elements[:, order], letters[:, order], everything, condition)
    assert torch.allclose(plain[0], shuffled[0], atol=1e-5)
    assert torch.allclose(plain[1][:, order], shuffled[1], atol=1e-5)


def test_padding_does_not_matter(network: GeneTransformer) -> None:
    condition = network.embed_conditions(torch.zeros(1, 4), torch.zeros(1, 4).bool())
    group, elements, letters = torch.tensor([225]), torch.tensor([[11, 17]]), torch.tensor([[1, 0]])
    plain = network(group, elements, letters, torch.tensor([[True, True]]), condition)
    pad = torch.zeros(1, 2, dtype=torch.long)
    padded = network(
        group, torch.cat([elements, pad], 1), torch.cat([letters, pad], 1),
        torch.tensor([[True, True, False, False]]), condition,
    )  # fmt: skip
    assert torch.allclose(plain[1], padded[1][:, :2], atol=1e-5)
    assert torch.equal(plain[2].isinf(), padded[2][:, :2].isinf())


def test_sampled_genes_are_realisable_and_within_the_prompt(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["band_gap=1.5±0.25", "elements=O", "exclude=Pb,Cd", "n_atoms=2..12"])
    candidates = GeneDiffusion(pipeline).propose(target, 64, (5, 0))
    assert len(candidates) == 64
    for candidate in candidates:
        assert candidate.gene.realisable
        assert "O" in candidate.gene.elements
        assert set(candidate.gene.elements) <= target.elements
        assert candidate.gene == candidate.gene.canonical()
        assert 1.25 <= candidate.provenance["conditions"]["band_gap"] <= 1.75
    small = [candidate.gene.n_atoms <= 12 for candidate in candidates]
    assert np.mean(small) > 0.97


def test_space_groups_of_the_prompt(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["space_group=225,227"])
    assert {c.gene.space_group for c in GeneDiffusion(pipeline).propose(target, 32, 1)} <= {225, 227}


def test_same_seed_same_genes(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["band_gap>3"])
    first = [c.gene for c in GeneDiffusion(pipeline).propose(target, 16, (1, 2))]
    assert first == [c.gene for c in GeneDiffusion(pipeline).propose(target, 16, (1, 2))]
    assert first != [c.gene for c in GeneDiffusion(pipeline).propose(target, 16, (1, 3))]


def test_unknown_condition_is_one_sentence(pipeline: GeneDiffusionPipeline) -> None:
    with pytest.raises(InputError, match="colour"):
        pipeline([{"colour": 1.0}], seed=0, prompt=Prompt.free())


def test_pipeline_round_trip(pipeline: GeneDiffusionPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    loaded = GeneDiffusion.load(tmp_path / "model")
    target = parse_target(["band_gap=1.5±0.25"])
    ours, theirs = GeneDiffusion(pipeline).propose(target, 8, 0), loaded.propose(target, 8, 0)
    assert [c.gene for c in ours] == [c.gene for c in theirs]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_weights_are_one_sentence(
    pipeline: GeneDiffusionPipeline, tmp_path: Path, damage: str
) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model/transformer/diffusion_pytorch_model.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="models folder"):
        GeneDiffusion.load(tmp_path / "model")


def test_prompt_holds_what_the_target_fixes() -> None:
    prompt = prompt_of(parse_target(["elements=O", "exclude=Pb", "space_group=62"]))
    assert prompt.required[ATOMIC_NUMBER["O"]]
    assert not prompt.elements[ATOMIC_NUMBER["Pb"]]
    assert prompt.groups.sum() == 1


def test_position_tables_agree_with_rock_salt() -> None:
    _, multiplicity, fixed = position_tables()
    assert multiplicity[225, 1:4].tolist() == [1, 1, 2]
    assert fixed[225, 1]
    assert not fixed[225, 5]
