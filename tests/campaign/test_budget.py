"""Generators share a campaign's relaxations by what they yield."""

import json
from dataclasses import replace

import campaign_fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.campaign import CampaignConfig, design
from invdesign.campaign.budget import FLOOR, GeneratorYield, allot, rounds
from invdesign.campaign.components import Components
from invdesign.campaign.stages.generate import generate_units
from invdesign.errors import InputError

records = st.builds(
    lambda relaxed, share, waiting: GeneratorYield(relaxed, round(relaxed * share), waiting),
    st.integers(0, 200),
    st.floats(0, 1),
    st.integers(0, 300),
)


@given(st.integers(0, 400), st.lists(records, min_size=1, max_size=6))
def test_everything_is_allotted_and_to_those_that_have_candidates(n, shown):
    shares = allot(n, shown)
    assert sum(shares) == min(n, sum(record.waiting for record in shown))
    assert all(0 <= share <= record.waiting for share, record in zip(shares, shown, strict=True))


@given(st.integers(1, 6), st.integers(0, 100))
def test_the_first_round_is_shared_equally(generators, n):
    shares = allot(n, [GeneratorYield(0, 0, 1000)] * generators)
    assert max(shares) - min(shares) <= 1


def test_the_more_one_yields_the_more_one_gets_and_none_starves():
    shares = allot(100, [GeneratorYield(30, 28, 500), GeneratorYield(30, 7, 500), GeneratorYield(30, 0, 500)])
    assert shares[0] > shares[1] > shares[2] >= FLOOR * 100 / 3 - 1


def test_what_one_cannot_use_goes_to_the_others():
    assert allot(40, [GeneratorYield(10, 10, 5), GeneratorYield(10, 0, 100)]) == [5, 35]


@given(st.integers(1, 500), st.integers(1, 5))
def test_rounds_spend_the_budget(n, generators):
    sizes = rounds(n, generators)
    assert sum(sizes) == n
    assert len(sizes) == 1 or generators > 1


def test_batches_give_everyone_as_many_genes(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, n_genes=201, gene_batch=32)
    planned = generate_units(config, campaign_fakes.several_components())
    genes = {name: sum(b.n for b in planned if b.generator == name) for name in ("any", "iodides")}
    assert genes == {"any": 101, "iodides": 100}
    assert [batch.first for batch in planned] == [sum(b.n for b in planned[:i]) for i in range(len(planned))]
    assert [batch.generator for batch in planned[:4]] == ["any", "iodides"] * 2


def test_one_generator_keeps_its_batches(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, n_genes=100, gene_batch=32)
    planned = generate_units(config, campaign_fakes.fake_components())
    assert [(batch.number, batch.first, batch.n) for batch in planned] == [
        (0, 0, 32),
        (1, 32, 32),
        (2, 64, 32),
        (3, 96, 4),
    ]


def test_relaxations_go_where_they_yield(unbroken_several):
    out, result = unbroken_several
    rich, poor = result.yields
    assert (rich.generator, poor.generator) == ("any", "iodides")
    assert (rich.genes, poor.genes) == (100, 100)
    assert rich.relaxed >= 2 * poor.relaxed > 0
    assert rich.relaxed + poor.relaxed <= 48
    assert rich.survivors > poor.survivors == 0
    assert rich.shortlisted == len(result.shortlist)
    assert rich.core > 0
    written = json.loads((out / "run.json").read_text())["generators"]
    assert [entry["relaxed"] for entry in written] == [rich.relaxed, poor.relaxed]
    ranked = result.funnel.stages["pre-ranking"]
    assert ranked.passed == result.funnel.stages["geometry"].entered == rich.relaxed + poor.relaxed


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(unbroken_several, tmp_path):
    config = campaign_fakes.fake_config(tmp_path, workers=2)
    result = design(config, components=campaign_fakes.several_components(), progress=False)
    assert [c.id for c in result.shortlist] == [c.id for c in unbroken_several[1].shortlist]
    assert [own.relaxed for own in result.yields] == [own.relaxed for own in unbroken_several[1].yields]


def test_generators_are_named_once():
    target = "band_gap>1"
    assert CampaignConfig(target=target, generator=["ion-exchange"]).generator == "ion-exchange"
    assert CampaignConfig(target=target, generator=["a", "b"]).generator == ("a", "b")
    with pytest.raises(ValueError, match="each once"):
        CampaignConfig(target=target, generator=["a", "a"])
    twice = Components(generator=(campaign_fakes.FakeGenerator(), campaign_fakes.FakeGenerator()))
    with pytest.raises(InputError, match="have the same name"):
        _ = twice.generators


def test_a_generator_that_cannot_meet_the_target_is_reported_before_any_work(tmp_path):
    class Unable(campaign_fakes.FakeGenerator):
        def propose(self, target, n, seed):
            raise InputError("generator: unable finds nothing.")

    components = replace(
        campaign_fakes.fake_components(), generator=(campaign_fakes.FakeGenerator(), Unable("unable"))
    )
    with pytest.raises(InputError, match="unable finds nothing"):
        design(campaign_fakes.fake_config(tmp_path), components=components, progress=False)
    assert not (tmp_path / "candidates.db").exists()
