"""The gene diffusion network, its sampler and what it proposes for a target, at toy size."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.core.target import parse_target
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError
from invdesign.filters.charge_balance import charge_balance
from invdesign.generators.gene_diffusion.constraints import Prompt
from invdesign.generators.gene_diffusion.model import GeneTransformer, position_tables
from invdesign.generators.gene_diffusion.pipeline import (
    GeneDiffusion,
    GeneDiffusionPipeline,
    mixture,
    prompt_of,
)
from invdesign.generators.gene_diffusion.sampler import GeneInference
from invdesign.training.generators.corpus import CONDITIONS

C = len(CONDITIONS)


@pytest.fixture(scope="module")
def network() -> GeneTransformer:
    torch.manual_seed(0)
    spread = tuple(tuple(np.linspace(0.1, 6, 21).tolist()) for _ in CONDITIONS)
    scale = {"condition_mean": (0.0,) * C, "condition_std": (1.0,) * C, "condition_quantiles": spread}
    return GeneTransformer(CONDITIONS, width=32, depth=1, heads=2, **scale).eval()


@pytest.fixture(scope="module")
def pipeline(network: GeneTransformer) -> GeneDiffusionPipeline:
    return GeneDiffusionPipeline(transformer=network)


def test_order_of_orbits_does_not_matter(network: GeneTransformer) -> None:
    group = torch.tensor([62])
    elements, letters = torch.tensor([[11, 17, 8]]), torch.tensor([[3, 3, 0]])
    condition = network.embed_conditions(torch.zeros(1, C), torch.zeros(1, C).bool())
    order = torch.tensor([2, 0, 1])
    everything = torch.ones(1, 3, dtype=torch.bool)
    plain = network(group, elements, letters, everything, condition)
    shuffled = network(group, elements[:, order], letters[:, order], everything, condition)
    assert torch.allclose(plain[0], shuffled[0], atol=1e-5)
    assert torch.allclose(plain[1][:, order], shuffled[1], atol=1e-5)


def test_padding_does_not_matter(network: GeneTransformer) -> None:
    condition = network.embed_conditions(torch.zeros(1, C), torch.zeros(1, C).bool())
    group, elements, letters = torch.tensor([225]), torch.tensor([[11, 17]]), torch.tensor([[1, 0]])
    plain = network(group, elements, letters, torch.tensor([[True, True]]), condition)
    pad = torch.zeros(1, 2, dtype=torch.long)
    padded = network(
        group, torch.cat([elements, pad], 1), torch.cat([letters, pad], 1),
        torch.tensor([[True, True, False, False]]), condition,
    )  # fmt: skip
    assert torch.allclose(plain[1], padded[1][:, :2], atol=1e-5)
    assert torch.equal(plain[2].isinf(), padded[2][:, :2].isinf())


def test_inference_is_the_network_on_genes_with_equal_orbits(network: GeneTransformer) -> None:
    group = torch.tensor([0, 225, 62, 62])
    elements = torch.tensor([[0, 0, 0, 0], [11, 0, 0, 17], [8, 8, 14, 8], [8, 8, 0, 8]])
    letters = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 2], [3, 3, 0, 0], [3, 3, 0, 4]])
    sizes = torch.tensor([4, 4, 4, 3])
    occupied = torch.arange(4)[None] < sizes[:, None]
    orbits = [
        list(zip(e[:n], w[:n], strict=True))
        for e, w, n in zip(elements.tolist(), letters.tolist(), sizes.tolist(), strict=True)
    ]
    kinds = [tuple(sorted(Counter(own).items())) for own in orbits]
    with torch.inference_mode():
        condition = network.embed_conditions(torch.ones(2, C), torch.tensor([[True], [False]]).expand(2, C))
        row = torch.tensor([0, 1, 1, 0])
        whole, by_element, by_letter = network(group, elements, letters, occupied, condition[row])
        inference = GeneInference(network, condition)
        queries = list(zip(row.tolist(), group.tolist(), kinds, strict=True))
        hidden, starts = inference.hidden(queries)
        ours = inference.group_logits(hidden[starts])
        assert torch.allclose(ours[:, 1:], whole[:, 1:], atol=1e-5)
        for i, own in enumerate(orbits):
            for slot, orbit in enumerate(own):
                token = 1 + [kind for kind, _ in kinds[i]].index(orbit)
                element, letter = inference.orbit_logits(hidden[starts[i] + token][None], group[i : i + 1])
                possible = ~by_letter[i, slot].isinf()
                assert torch.allclose(element[0, 1:], by_element[i, slot, 1:], atol=1e-5)
                assert torch.allclose(letter[0, possible], by_letter[i, slot, possible], atol=1e-5)


_CLAUSES = (
    st.sampled_from(
        [
            "",
            "formula=Li2FeSiO4",
            "formula=NaCl",
            "anonymous=ABC3",
            "anonymous=A2BC4",
            "elements=O",
            "elements=Na,halogens",
        ]
    ),
    st.sampled_from(["", "space_group=1..15", "space_group=225,221", "space_group=62,129,166"]),
    st.sampled_from(["", "n_atoms=5..16", "n_atoms=8", "n_atoms=20"]),
    st.sampled_from(["", "exclude=Pb,Cd", "band_gap=1.5±0.25"]),
)


@settings(max_examples=30)
@given(clauses=st.tuples(*_CLAUSES), seed=st.integers(0, 1000))
def test_no_prompt_is_violated(pipeline: GeneDiffusionPipeline, clauses: tuple[str, ...], seed: int) -> None:
    try:
        target = parse_target([clause for clause in clauses if clause])
        candidates = GeneDiffusion(pipeline, guidance={"band_gap": 2.0, "n_atoms": 0.0}).propose(
            target, 4, seed
        )
    except InputError:  # nothing could meet it
        return
    assert len(candidates) == 4
    for candidate in candidates:
        assert target.allows(candidate.gene).passed, f"{target}: {candidate.gene}"
        assert candidate.gene.realisable
        assert candidate.gene == candidate.gene.canonical()


def test_several_formula_units_are_reached(pipeline: GeneDiffusionPipeline) -> None:
    sampled = GeneDiffusion(pipeline).propose(parse_target("formula=NaCl"), 16, 0)
    assert len({candidate.gene.n_atoms for candidate in sampled}) > 2


def test_what_nothing_meets_is_one_sentence(pipeline: GeneDiffusionPipeline) -> None:
    with pytest.raises(InputError, match="no gene of 1 to 20 atoms, a multiple of 8"):
        GeneDiffusion(pipeline).propose(parse_target("formula=Li2FeSiO4 space_group=225"), 4, 0)


def test_windows_become_conditions(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["band_gap=1.5±0.25", "bulk_modulus_gpa=4..6", "formation_energy_per_atom<3"])
    for candidate in GeneDiffusion(pipeline).propose(target, 8, 0):
        asked = candidate.origin.conditions
        assert asked["e_above_hull"] == 0.0
        assert all(asked[name] in window for name, window in target.windows.items())


def _logits(
    network: GeneTransformer, asked: dict[str, float], guidance: float | dict[str, float]
) -> torch.Tensor:
    """Guided element logits of one masked orbit."""
    mix = mixture(CONDITIONS, [asked], guidance)
    embedded = network.embed_conditions(mix.values.repeat(len(mix.present), 1), mix.present[:, 0].bool())
    masked, here = torch.zeros(len(embedded), 1, dtype=torch.long), torch.ones(len(embedded), 1).bool()
    _, by_element, _ = network(masked[:, 0], masked, masked, here, embedded)
    return (mix.weights[:, None] * by_element[:, 0, 1:]).sum(0)


def test_guidance(network: GeneTransformer) -> None:
    asked = {"band_gap": 2.0, "e_above_hull": 0.5}
    with torch.inference_mode():
        free, joint = _logits(network, {}, 0.0), _logits(network, asked, 0.0)
        gap = _logits(network, {"band_gap": 2.0}, 0.0)
        for guidance, expected in (
            (-1.0, free),
            (1.0, joint + (joint - free)),
            ({"band_gap": 1.0, "e_above_hull": 1.0}, joint + (joint - free)),
            ({"band_gap": 3.0, "e_above_hull": 0.0}, joint + 3 * (gap - free)),
            ({"band_gap": 0.0, "e_above_hull": -1.0}, gap),
        ):
            assert torch.allclose(_logits(network, asked, guidance), expected, atol=1e-5)


def test_same_seed_same_genes(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["band_gap>3"])
    generator = GeneDiffusion(pipeline, redraws=1)
    first, again, other = (
        [c.gene for c in generator.propose(target, 8, seed)] for seed in ((1, 2), (1, 2), (1, 3))
    )
    assert first == again
    assert first != other


def test_unknown_condition_is_one_sentence(pipeline: GeneDiffusionPipeline) -> None:
    with pytest.raises(InputError, match="colour"):
        pipeline([{"colour": 1.0}], seed=0, prompt=Prompt())


def test_pipeline_round_trip(pipeline: GeneDiffusionPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    target = parse_target(["band_gap=1.5±0.25"])
    saved, loaded = (
        [candidate.gene for candidate in generator.propose(target, 4, 0)]
        for generator in (
            GeneDiffusion(pipeline, redraws=1),
            GeneDiffusion.load(tmp_path / "model", redraws=1),
        )
    )
    assert saved == loaded


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
    assert prompt.required == {ATOMIC_NUMBER["O"]}
    assert ATOMIC_NUMBER["Pb"] not in prompt.elements
    assert prompt.groups == {62}
    assert dict(prompt_of(parse_target("formula=SiO2")).formula) == {14: 1, 8: 2}


def test_position_tables_agree_with_rock_salt() -> None:
    _, multiplicity, fixed = position_tables()
    assert multiplicity[225, 1:4].tolist() == [1, 1, 2]
    assert fixed[225, 1]
    assert not fixed[225, 5]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"guidance": float("nan")}, "guidance"),
        ({"guidance": {"band_gap": float("inf")}}, "guidance"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_weights_that_are_none_are_refused(
    pipeline: GeneDiffusionPipeline, options: dict[str, float], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        GeneDiffusion(pipeline, **options)


def test_limits_of_supply_hold_for_what_is_drawn(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["elements=O", "hhi<2000", "n_atoms=2..6"])
    genes = [c.gene for c in GeneDiffusion(pipeline).propose(target, 32, 0)]
    assert all(target.allows(gene).passed for gene in genes)
    as_it_is = [c.gene for c in GeneDiffusion(pipeline, redraws=0).propose(target, 32, 0)]
    assert any(target.supply_objection(gene.amounts) for gene in as_it_is)
    assert not any(set(gene.elements) - target.elements for gene in as_it_is)


def test_repeated_and_unbalanced_genes_are_drawn_again(pipeline: GeneDiffusionPipeline) -> None:
    target = parse_target(["elements=Na", "only=Na,Cl", "n_atoms=2..4"])

    def kinds(redraws: int) -> tuple[int, int]:
        genes = [c.gene for c in GeneDiffusion(pipeline, redraws=redraws).propose(target, 48, 3)]
        return len({gene.hash for gene in genes}), sum(
            charge_balance(gene.composition).passed for gene in genes
        )

    assert kinds(0) < kinds(3)
    assert kinds(0)[1] < kinds(3)[1]


@pytest.mark.parametrize(("novelty", "reported"), [("new", 0.0), ("any", None), ("known", 1.0)])
def test_known_crystals_are_avoided_only_where_new_ones_are_asked_for(
    pipeline: GeneDiffusionPipeline, novelty: str, reported: float | None
) -> None:
    generator = GeneDiffusion(pipeline, novelty=novelty)
    (candidate,) = generator.propose(parse_target(["band_gap=1..2"]), 1, 0)
    assert candidate.origin.conditions.get("reported") == reported
    (salt,) = generator.propose(parse_target(["formula=NaCl"]), 1, 0)
    assert "reported" not in salt.origin.conditions


def test_guidance_of_what_is_not_asked_for_is_refused(pipeline: GeneDiffusionPipeline) -> None:
    generator = GeneDiffusion(pipeline, guidance={"band_gap": 3.0})
    assert generator.propose(parse_target("band_gap>3"), 1, 0)
    with pytest.raises(InputError, match="does not ask for band_gap"):
        generator.propose(parse_target("elements=O"), 1, 0)
