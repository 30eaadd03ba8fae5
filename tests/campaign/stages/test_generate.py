"""Formulas chosen beforehand: each gets its genes and relaxations; what cannot be met is told first."""

from collections import Counter
from dataclasses import dataclass, replace

import campaign_fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import invdesign.api
from invdesign.campaign import design
from invdesign.campaign.stages.generate import GENES_PER_FORMULA, generate, generate_units, meetable, shares
from invdesign.composition.formula import reduced_amounts
from invdesign.core.candidate import Candidate
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError

BINARIES = ("LiI", "KBr", "RbCl", "MgO")


@dataclass
class OfFormula:
    """Makes binaries of equal amounts in some structures, and nothing else."""

    name: str = "binaries"

    def propose(self, target, n, seed):
        elements = list(reduced_amounts(target.formula))
        if len(elements) != 2:
            raise InputError("target: only binaries.")
        rng = np.random.default_rng(seed)
        kinds = [campaign_fakes.PROTOTYPES[i] for i in rng.integers(3, size=n)]
        return [
            Candidate("", Gene(group, tuple(zip(elements, letters, strict=True))).canonical())
            for group, letters in kinds
        ]


def components():
    return replace(campaign_fakes.fake_components(), generator=OfFormula())


def config(out, **changes):
    fields = {"formulas": BINARIES, "n_genes": 80, "n_relax": 8, "gene_batch": 32, "min_probability": 0}
    return campaign_fakes.fake_config(out, **{**fields, **changes})


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 64))
def test_formulas_share_the_genes_equally(formulas, genes, batch):
    names = [f"F{i}" for i in range(formulas)]
    given_ = Counter()
    for first in range(0, genes, batch):
        size = min(batch, genes - first)
        own = shares(names, first, size, genes)
        assert sum(n for _, n in own) == size
        given_.update(dict(own))
    counts = [given_[name] for name in names]
    assert sum(counts) == genes
    assert max(counts) - min(counts) <= 1


def test_batches_have_the_genes_of_their_formulas(tmp_path):
    planned = generate_units(config(tmp_path), components())
    assert [unit.formulas for unit in planned] == [
        (("LiI", 20), ("KBr", 12)),
        (("KBr", 8), ("RbCl", 20), ("MgO", 4)),
        (("MgO", 16),),
    ]
    candidates, _ = generate(planned[1])
    assert Counter(c.gene.formula for c in candidates) == {"KBr": 8, "RbCl": 20, "MgO": 4}
    assert [c.id for c in candidates[:2]] == ["c000032", "c000033"]
    again, _ = generate(planned[1])
    assert [c.gene for c in again] == [c.gene for c in candidates]


def test_relaxations_are_spread_over_the_formulas(tmp_path):
    result = design(config(tmp_path), components=components(), progress=False)
    relaxed = [c for c in result.candidates if c.place is not None]
    assert Counter(c.gene.formula for c in relaxed) == dict.fromkeys(BINARIES, 2)
    assert {c.gene.formula for c in result.shortlist} <= set(BINARIES)


def test_other_formulas_do_not_pass_the_target(tmp_path):
    anything = campaign_fakes.fake_components()
    result = design(config(tmp_path), components=anything, progress=False)
    for candidate in result.candidates:
        if candidate.gene.formula not in BINARIES:
            assert not candidate.verdicts["target"].passed
    assert any(
        c.verdicts["target"].reason == f"none of the formulas: {c.gene.formula}" for c in result.candidates
    )


def test_formulas_belong_to_the_identity(tmp_path):
    plain = campaign_fakes.fake_config(tmp_path)
    assert "formulas" not in plain.identity()  # folders of campaigns without them stay theirs
    chosen = config(tmp_path)
    assert chosen.identity()["formulas"] == list(BINARIES)
    assert chosen.describe().endswith(", of 4 screened formulas")
    design(chosen, components=components(), progress=False)
    with pytest.raises(InputError, match="another campaign"):
        design(config(tmp_path, formulas=BINARIES[:3]), components=components(), progress=False)


@pytest.mark.parametrize(
    ("formulas", "target", "told"),
    [
        (("Li2O",), "formula=LiI", "formula=LiI excludes a list"),
        (("LiI",), "anonymous=AB", "anonymous=AB excludes a list"),
        (("Cs2Pb2I6",), "", "write CsPbI3"),
        (("Xx",), "", "Xx"),
        (("LiI",), "exclude=I", "I is both asked for and excluded"),
        (("K3Sb5O14",), "", "22 atoms"),
    ],
)
def test_formulas_that_cannot_be_are_reported(tmp_path, formulas, target, told):
    with pytest.raises(ValueError, match=told):
        config(tmp_path, formulas=formulas, target=parse_target(target))


def test_a_formula_keeps_the_rest_of_the_target():
    target = parse_target("band_gap=1..2 exclude=Pb space_group=221 hhi<4000 e_above_hull<0.05")
    own = target.with_formula("BaTiO3")
    assert own.formula == "BaTiO3"
    assert own.windows == target.windows
    assert (own.space_groups, own.hhi_max, own.e_above_hull_max) == ({221}, 4000, 0.05)


def test_what_no_generator_can_make_is_counted():
    found, others = meetable(
        {"binaries": OfFormula()}, parse_target("exclude=Br"), ["LiI", "KBr", "BaTiO3", "Rb2Cl2"]
    )
    assert found == ["LiI", "RbCl"]
    assert others == {"the target allows none": 1, "binaries can make none": 1}


def test_from_a_file(tmp_path, capsys):
    table = tmp_path / "screened.csv"
    table.write_text(
        "formula,verdict,p_hit\nLiI,passed,0.2\nKBr,passed,0.9\nMgO2,charge balance,\nLiAlO2,passed,0.8\n"
        "RbCl,passed,0.3\n"
    )
    fields = {"n_genes": 3 * GENES_PER_FORMULA, "n_relax": 6, "gene_batch": 32, "workers": 1}
    fields |= {"novelty": "any", "min_probability": 0, "components": components(), "progress": True}
    result = invdesign.api.design("e_above_hull<0.2", from_=table, out=tmp_path / "run", **fields)
    # LiAlO2 took a place among the three: what a generator cannot make is seen after the choice
    assert result.config.formulas == ("KBr", "RbCl")
    told = capsys.readouterr().err
    assert "2 formulas of 5 rows; left out: did not pass: 1" in told
    assert "binaries can make none: 1" in told
    again = invdesign.api.design("e_above_hull<0.2", from_=table, out=tmp_path / "run", **fields)
    assert [c.id for c in again.shortlist] == [c.id for c in result.shortlist]
    table.write_text("formula\nLiAlO2\n")
    with pytest.raises(InputError, match="no usable formula among 1 rows"):
        invdesign.api.design("e_above_hull<0.2", from_=table, out=tmp_path / "other", **fields)
    assert not (tmp_path / "other").exists()
