"""Known materials that already do what is asked."""

from dataclasses import replace

import campaign_fakes
import pytest

from invdesign.campaign import Components, design
from invdesign.campaign.known import known_rows
from invdesign.core.candidate import Candidate
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.filters.novelty import Novelty, Source, novelty_wanted
from invdesign.training.novelty import Crystal, index
from invdesign.verdict import Verdict

ROCK_SALT = "225 {}@a {}@b"
SALTS = {  # PBE gap, measured gap, E above hull
    "Na Cl": (1.5, 1.6, 0.0),
    "K Cl": (1.4, None, 0.0),
    "Li Cl": (1.4, None, 0.08),
    "Rb Br": (1.5, 3.0, 0.3),
    "K Br": (4.0, 1.5, 0.0),
    "K I": (None, None, None),
}


@pytest.fixture(scope="module")
def components():
    generator = campaign_fakes.FakeGenerator()
    crystals = []
    for number, (elements, values) in enumerate(SALTS.items(), start=1):
        gene = Gene.parse(ROCK_SALT.format(*elements.split())).canonical()
        ((geometry, _),) = campaign_fakes.FakeGeometry._propose(gene, 1)
        names = ("band_gap", "band_gap_experimental", "e_above_hull")
        reported = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        crystals.append(Crystal(number, Source.MATERIALS_PROJECT, gene, geometry, reported))
    return replace(campaign_fakes.fake_components(), known=index(crystals), generator=generator)


def listed(components, tmp_path, clauses, candidates=(), **options):
    config = campaign_fakes.fake_config(tmp_path, target=parse_target(clauses), **options)
    return known_rows(config, components, candidates)


def formulas(*args, **options):
    return [row["formula"] for row in listed(*args, **options)]


def test_what_reported_gaps_say_comes_best_first(components, tmp_path):
    assert formulas(components, tmp_path, "band_gap=1.5±0.2") == ["NaCl", "KCl", "LiCl"]
    assert formulas(components, tmp_path, "band_gap=1.5±0.2 elements=K") == ["KCl"]
    assert formulas(components, tmp_path, "band_gap=1.5±0.2 e_above_hull<0.05") == ["NaCl", "KCl"]
    assert formulas(components, tmp_path, "band_gap_experimental=1.5±0.2") == ["NaCl", "KBr"]
    assert formulas(components, tmp_path, "band_gap=1.5±0.2 space_group=221") == []
    assert formulas(components, tmp_path, "band_gap=1.5±0.2", formulas=("KCl",)) == ["KCl"]
    assert formulas(components, tmp_path, "bulk_modulus_gpa>10") == []  # nothing is reported of it


def test_a_row_has_what_is_reported_and_what_is_predicted(components, tmp_path):
    (row,) = listed(components, tmp_path, "band_gap=1.5±0.2 formula=NaCl")
    assert (row["ids"], row["source"], row["space_group"]) == ("mp-1", "Materials Project", 225)
    assert (row["band_gap_reported"], row["band_gap_measured"]) == (1.5, 1.6)
    known = components.get("known")
    (predicted,) = components.estimates([known.crystals.structure(known.of_composition("NaCl")[0])])
    assert row["band_gap"] == pytest.approx(predicted["band_gap"].value, abs=1e-3)
    assert row["band_gap_low"] < row["band_gap"] < row["band_gap_high"]
    assert listed(components, tmp_path, "band_gap=1.5±0.2 formula=KCl")[0]["band_gap_measured"] == ""


def test_what_a_campaign_comes_upon_is_listed_where_it_is_predicted_to_fit(components, tmp_path):
    gene = Gene.parse("225 K@a I@b")
    candidate = Candidate("c1", gene)
    candidate.record(Verdict("novelty", passed=False, reason="", value=Novelty.KNOWN))
    gap = components.gene_estimates([gene.canonical()], parse_target("band_gap>0"))[0]["band_gap"].mean
    around, beyond = f"band_gap={gap:.3f}±1", f"band_gap={gap + 3:.3f}±1"
    assert "KI" in formulas(components, tmp_path, around, [candidate])
    assert "KI" not in formulas(components, tmp_path, around)
    assert "KI" not in formulas(components, tmp_path, beyond, [candidate])


@pytest.mark.parametrize(
    ("novelty", "wanted"),
    [("new", {Novelty.NEW, Novelty.NEW_STRUCTURE}), ("any", set(Novelty)), ("known", {Novelty.KNOWN})],
)
def test_novelty_decides_who_is_wanted(novelty, wanted):
    verdicts = {level: Verdict("novelty", passed=True, reason="", value=level) for level in Novelty}
    assert {
        level for level, verdict in verdicts.items() if novelty_wanted(verdict, novelty, named=False)
    } == wanted


def test_of_a_formula_that_is_asked_for_the_composition_may_be_known(tmp_path):
    config = campaign_fakes.fake_config(tmp_path, target=parse_target("formula=NaCl"))
    verdict = Verdict("novelty", passed=True, reason="", value=Novelty.COMPOSITION_KNOWN)
    assert config.names_formulas
    assert novelty_wanted(verdict, "new", named=True)


@pytest.mark.parametrize("novelty", ["new", "any", "known"])
def test_generators_steer_to_what_a_campaign_wants(novelty, tmp_path):
    config = campaign_fakes.fake_config(tmp_path, novelty=novelty)
    assert Components.from_config(config).generator_called("gene-diffusion").novelty == novelty


def test_a_campaign_writes_them_and_relaxes_none(components, tmp_path):
    result = design(
        campaign_fakes.fake_config(tmp_path, target=parse_target("band_gap=1.5±0.5")),
        components=components,
        progress=False,
    )
    assert result.known
    assert {row["formula"] for row in result.known} >= {"NaCl", "KCl"}
    assert "NaCl,225" in (tmp_path / "known.csv").read_text()
    assert all(
        candidate.relaxation is None
        for candidate in result.candidates
        if candidate.gene.space_group == 225 and candidate.gene.formula in {"NaCl", "KCl", "KI"}
    )
