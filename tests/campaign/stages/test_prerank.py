"""Of the genes drawn the likeliest hits are proposed; repeats, known and unbalanced ones come last."""

import campaign_fakes
import pytest
from typer.testing import CliRunner

from invdesign.api import generate
from invdesign.campaign.stages import prerank
from invdesign.campaign.stages.prerank import select_likeliest
from invdesign.cli import app
from invdesign.core.candidate import Candidate
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene

KNOWN = "225 Cl@b Na@a"
UNBALANCED = "221 Na@a F@b F@c"
NEW = ("216 Cu@c I@a Ag@d Br@b", "216 Rb@a Br@d")


def drawn(*texts):
    return [Candidate(text, Gene.parse(text).canonical()) for text in texts]


def test_new_balanced_genes_come_first_and_order_is_kept():
    candidates = drawn(KNOWN, NEW[1], UNBALANCED, NEW[1])
    (best,) = select_likeliest(candidates, parse_target([]), 1)
    assert best is candidates[1]
    assert select_likeliest(candidates, parse_target([]), 3) == candidates[:3]  # the repeat is last
    assert select_likeliest(candidates, parse_target([]), 9) == candidates


def test_a_known_composition_without_a_structure_is_proposed_where_its_formula_is_named(monkeypatch):
    monkeypatch.setattr(prerank, "Components", campaign_fakes.fake_components)
    salt, known, other = drawn(KNOWN, "225 Na@a Br@b", "221 Na@a Cl@b")
    for anything in ([known, other], [other, known]):
        assert select_likeliest(anything, parse_target([]), 1) == [other]
    assert select_likeliest([salt, known], parse_target([], formula="NaBr"), 1) == [known]


def test_a_window_has_the_likeliest_of_several_proposed():
    target = parse_target(["band_gap=4..6"])
    plain, ranked = ([c.gene.hash for c in generate(target, 8, structures=False, draws=d)] for d in (1, None))
    assert plain != ranked
    assert len(set(ranked)) == 8


def test_draws_below_one_are_refused():
    result = CliRunner().invoke(app, ["generate", "-n", "2", "--draws", "0"])
    assert result.exit_code == 2
    assert "draws" in result.stderr


@pytest.mark.parametrize("draws", [1, 4])
def test_the_same_seed_gives_the_same(draws):
    first, second = (generate("band_gap>2", 5, structures=False, seed=3, draws=draws) for _ in range(2))
    assert [c.gene for c in first] == [c.gene for c in second]
