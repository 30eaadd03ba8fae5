"""The rules of a prompt: whatever is drawn by them can be completed, and nothing possible is left out."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.core.target import Target, parse_target
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.data.tokens import LETTERS
from invdesign.errors import InputError
from invdesign.generators.gene_diffusion.constraints import Prompt, fits, rules_of, totals
from invdesign.generators.gene_diffusion.pipeline import prompt_of

_SUPPLIES = st.dictionaries(st.integers(1, 8), st.integers(1, 3), max_size=4).map(
    lambda room: tuple(sorted(room.items()))
)


@given(supply=_SUPPLIES, count=st.integers(0, 4))
def test_totals_are_those_of_all_choices(supply: tuple[tuple[int, int], ...], count: int) -> None:
    positions = [m for m, room in supply for _ in range(room)]
    chosen = {
        sum(m for m, _ in choice)
        for choice in combinations_with_replacement([(m, room) for m, room in supply], count)
        if all(choice.count(kind) <= kind[1] for kind in choice)
    }
    assert {n for n in range(21) if totals(supply, count) >> n & 1} == {n for n in chosen if n <= 20}
    assert max(chosen, default=0) <= sum(positions)


def test_fits_shares_positions_between_elements() -> None:
    one_each = ((1, 2), (4, 1))
    assert fits(((1, 0), (4, 0)), (), 2, one_each)
    assert not fits(((4, 0), (4, 0)), (), 2, one_each)  # the second 4 would need two orbits of 1 and more
    assert fits(((4, 0), (4, 0)), (4,), 1, one_each)
    assert not fits(((4, 1), (4, 1)), (), 0, one_each)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """Targets with any combination of what a prompt can fix."""
    kind = draw(st.sampled_from(["free", "formula", "anonymous"]))
    fields: dict[str, object] = {}
    if kind == "formula":
        fields["formula"] = draw(st.sampled_from(["NaCl", "Li2FeSiO4", "SrTiO3", "Si", "O2", "Mg2SiO4"]))
    elif kind == "anonymous":
        fields["anonymous_formula"] = draw(st.sampled_from(["A", "AB", "AB2", "ABC3", "A2BC4", "AB2C2D6"]))
    if kind != "formula":
        universe = ["O", "S", "Fe", "Li", "Si", "Cl", "Ba"]
        fields["required"] = draw(st.lists(st.sampled_from(universe), max_size=2, unique=True))
        if draw(st.booleans()):
            fields["allowed"] = universe
        else:
            fields["excluded"] = ["Pb", "Cd"]
    if draw(st.booleans()):
        fields["space_groups"] = draw(st.lists(st.integers(1, 230), min_size=1, max_size=6))
    if draw(st.booleans()):
        fewest = draw(st.integers(1, 20))
        fields["n_atoms"] = [fewest, draw(st.integers(fewest, 20))]
    return Target.model_validate(fields)


def drawn_by_the_rules(target: Target, rng: np.random.Generator) -> Gene:
    """A gene whose every part is any of those that the rules allow, elements before letters or not."""
    rules = rules_of(prompt_of(target))
    size = int(rng.choice(np.flatnonzero(rules.plans.any(axis=1))))
    draft = rules.start(0, size)
    order = rng.permutation(2 * size)
    group_after = size if rng.random() < 0.5 else 0  # so many elements
    if group_after:
        order.sort()
    for n_drawn, part in enumerate(order):
        if n_drawn == group_after:
            draft.group = int(rng.choice(np.flatnonzero(rules.groups(draft))))
        slot = int(part) % size
        if part < size:
            element = int(rng.choice(np.flatnonzero(rules.elements(draft, slot))))
            if claims := rules.claims(draft, slot, element):
                draft.amounts[element] = int(rng.choice(claims))
            draft.elements[slot] = element
        else:
            draft.letters[slot] = int(rng.choice(np.flatnonzero(rules.letters(draft, slot))))
    parts = zip(draft.elements, draft.letters, strict=True)
    return Gene(draft.group, tuple((SYMBOLS[z], LETTERS[w]) for z, w in parts))


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_no_path_of_choices_ends_without_a_gene(data: st.DataObject, seed: int) -> None:
    try:
        target = data.draw(targets())
    except ValueError:  # a target that contradicts itself
        return
    if not rules_of(prompt_of(target)).plans.any():
        return
    gene = drawn_by_the_rules(target, np.random.default_rng(seed))
    assert target.allows(gene).passed, f"{target}: {gene}: {target.allows(gene).reason}"
    assert gene.realisable


@pytest.mark.parametrize(
    ("text", "gene"),
    [
        ("formula=NaCl space_group=225", "225 Na@a Cl@b"),
        ("formula=SrTiO3", "221 Sr@b Ti@a O@c"),
        ("anonymous=ABC3 elements=O", "221 Sr@b Ti@a O@c"),
        ("n_atoms=5 elements=Sr,Ti,O", "221 Sr@b Ti@a O@c"),
        ("formula=SiO2", "154 Si@a O@c"),
    ],
)
def test_known_crystals_are_within_the_rules(text: str, gene: str) -> None:
    known = Gene.parse(gene)
    rules = rules_of(prompt_of(parse_target(text)))
    assert rules.plans[len(known.orbits), known.space_group]
    draft = rules.start(known.space_group, len(known.orbits))
    for slot, (symbol, letter) in enumerate(known.orbits):
        element, token = SYMBOLS.index(symbol), LETTERS.index(letter)
        assert rules.letters(draft, slot)[token]
        draft.letters[slot] = token
        assert rules.elements(draft, slot)[element]
        if claims := rules.claims(draft, slot, element):
            draft.amounts[element] = known.amounts[symbol]
            assert draft.amounts[element] in claims
        draft.elements[slot] = element


def test_what_no_gene_meets_has_no_plan() -> None:
    assert not rules_of(prompt_of(parse_target("formula=Li2FeSiO4 space_group=225"))).plans.any()
    assert not rules_of(prompt_of(parse_target("n_atoms=1 space_group=62"))).plans.any()
    assert rules_of(Prompt()).plans[1:, 1:].any(axis=1).all()


def test_a_target_that_contradicts_itself_is_no_prompt() -> None:
    with pytest.raises(InputError):
        parse_target("formula=Li2FeSiO4 n_atoms=9..15")
