import numpy as np
import pytest

from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import gene_of, realise
from invdesign.data.tokens import tokens_of
from invdesign.errors import InputError
from invdesign.generators.substitution.structure_types import StructureTypes


def crystal(name, text, a, free):
    return name, 0, Gene.parse(text), Geometry((a, a, a, 90.0, 90.0, 90.0), free)


LIBRARY = tokens_of(
    [
        crystal("NaCl", "225 Cl@b Na@a", 5.6, ((), ())),
        crystal("KBr", "225 Br@b K@a", 6.6, ((), ())),
        crystal("CsCl", "221 Cl@b Cs@a", 4.1, ((), ())),
        crystal("CaF2", "225 Ca@a F@c", 5.5, ((), ())),
        crystal("SrTiO3", "221 O@c Sr@a Ti@b", 3.9, ((), (), ())),
        crystal("Fe", "229 Fe@a", 2.9, ((),)),
    ]
)


def propose(n=50, **target):
    return StructureTypes(LIBRARY).propose(parse_target(**target), n, 0)


def test_the_most_similar_parent_comes_first():
    found = propose(formula="RbBr")
    assert found[0].origin.parent == "KBr"
    assert {c.gene.formula for c in found} == {"RbBr"}
    assert {c.gene.space_group for c in found} == {225, 221}


def test_every_assignment_is_tried():
    # three elements of which two have the same amount, on one known crystal
    found = propose(formula="BaZrO3")
    assert len(found) == 2
    assert len({c.gene.hash for c in found}) == 1 or len({str(c.gene) for c in found}) == 2
    for candidate in found:
        structure = realise(candidate.gene, candidate.geometry)
        assert structure.composition.reduced_formula == "BaZrO3"
        assert gene_of(structure)[0] == candidate.gene


def test_charges_do_not_matter_but_the_target_does():
    assert {c.gene.space_group for c in propose(formula="NiAl")} == {225, 221}
    assert {c.gene.space_group for c in propose(formula="NiAl", space_group="221")} == {221}
    assert [c.gene.formula for c in propose(formula="W")] == ["W"]


def test_volumes_are_those_of_the_new_elements():
    small, large = (
        realise(c.gene, c.geometry) for c in (*propose(1, formula="LiF"), *propose(1, formula="CsI"))
    )
    assert large.volume > 2 * small.volume
    assert np.isfinite(large.volume)


def test_what_no_known_crystal_leads_to():
    with pytest.raises(InputError, match="knows no crystal"):
        propose(formula="Al2O3")
    with pytest.raises(InputError, match="needs a formula"):
        propose(elements="O")
