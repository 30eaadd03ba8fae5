from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from invdesign.composition.assignment import assignment, assignments, surroundings
from invdesign.composition.formula import reduced_amounts
from invdesign.composition.state_likelihood import ORDER, POSSIBLE, ion_options

TEXTBOOK = Path(__file__).with_name("textbook_states.txt")


def states_of(formula: str) -> dict[str, list[Fraction]]:
    """State of each atom by element; one where all atoms share it."""
    found = {}
    for element, states in assignment(formula).states:
        scale = 2 if any(n != int(n) for _, n in states) else 1
        every = sorted(Fraction(state) for state, n in states for _ in range(int(n * scale)))
        found[element] = every[:1] if len(set(every)) == 1 else every
    return found


def test_textbook_compounds_have_their_states() -> None:
    lines = [line for line in TEXTBOOK.read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    wrong = []
    for formula, ions in (line.split(": ") for line in lines):
        pairs = re.findall(r"([A-Z][a-z]?)(\S+)", ions)
        if states_of(formula) != {e: sorted(map(Fraction, own.split(","))) for e, own in pairs}:
            wrong.append(formula)
    assert len(lines) >= 150
    assert len(wrong) <= 0.05 * len(lines), wrong


@pytest.mark.parametrize(
    ("formula", "ions", "word"),
    [
        ("Pb2O3", "1 Pb2+ 1 Pb4+ O2-", "usual"),
        ("RbO2", "Rb1+ O2(1-)", "usual"),
        ("BaO2", "Ba2+ O2(2-)", "usual"),
        ("KN3", "K1+ N3(1-)", "usual"),
        ("SrB6", "Sr2+ B6(2-)", "usual"),
        ("K2S3", "K1+ S3(2-)", "usual"),
        ("CsI3", "Cs1+ I3(1-)", "usual"),
        ("SrC2", "Sr2+ C2(2-)", "usual"),
        ("Tb4O7", "2 Tb3+ 2 Tb4+ O2-", None),
        ("GdBa2Cu3O7", "Ba2+ Gd3+ 2 Cu2+ 1 Cu3+ O2-", None),
        ("Nd0.6Sr0.4MnO3", "Sr2+ Nd3+ 3 Mn3+ 2 Mn4+ O2-", None),
        ("Co3O4", "1 Co2+ 2 Co3+ O2-", "usual"),
        ("BaFeO4", "Ba2+ Fe6+ O2-", "usual"),
        ("NH4NO2", None, None),
        ("Zn3O", None, "none"),
        ("GeO3", None, "none"),
        ("InN4", None, "none"),
        ("CaTiO5", None, "none"),
        ("Ag2F", "Ag2(1+) F1-", "unusual"),
        ("NaIrO4", "Na1+ Ir7+ O2-", "unusual"),
    ],
)
def test_groups_mixed_valence_and_what_cannot_be(formula: str, ions: str | None, word: str | None) -> None:
    found = assignment(formula)
    assert ions is None or str(found) == ions
    assert word is None or found.word == word


@pytest.mark.parametrize("formula", ["RbSnS2", "K2CrBr6", "NdBr4", "Rb2TbGeS4", "PrSe2", "CsGeSe2"])
def test_states_that_chemists_do_not_know_are_not_usual(formula: str) -> None:
    assert assignment(formula).word != "usual"


@pytest.mark.parametrize(
    ("formula", "ions"),
    [
        ("Na2S2O8", "Na1+ S6+ 6 O2- 1 O2(2-)"),
        ("BaS2O8", "Ba2+ S6+ 6 O2- 1 O2(2-)"),
        ("KHSO5", "K1+ H1+ S6+ 3 O2- 1 O2(2-)"),
        ("Rb3NbO8", "Rb1+ Nb5+ O2(2-)"),
        ("NaMnO4", "Na1+ Mn7+ O2-"),
        ("KRuO4", "K1+ Ru7+ O2-"),
        ("Na2SeO3", "Na1+ Se4+ O2-"),
        ("KNO2", "K1+ N3+ O2-"),
        ("LiAsO2", "Li1+ As3+ O2-"),
        ("Na2S2O6", "Na1+ S5+ O2-"),
        ("CoS2", "Co2+ S2(2-)"),
        ("NiSe2", "Ni2+ Se2(2-)"),
        ("RuS2", "Ru2+ S2(2-)"),
        ("CoAsS", "Co3+ As1- S2-"),
        ("WSe2", "W4+ Se2-"),
        ("MoTe2", "Mo4+ Te2-"),
        ("Hg2Br2", "Hg1+ Br1-"),
        ("V2O3", "V3+ O2-"),
        ("Ti3O5", "2 Ti3+ 1 Ti4+ O2-"),
        ("SnS", "Sn2+ S2-"),
        ("GeSe", "Ge2+ Se2-"),
        ("InSe", "In2+ Se2-"),
        ("GaTe", "Ga2+ Te2-"),
        ("InCl2", "1 In1+ 1 In3+ Cl1-"),
        ("GaCl2", "1 Ga1+ 1 Ga3+ Cl1-"),
        ("HfS3", "Hf4+ 1 S2- 1 S2(2-)"),
        ("ZrSe3", "Zr4+ 1 Se2- 1 Se2(2-)"),
        ("Ca14AlSb11", None),
        ("Sr5In2Sb6", None),
        ("Cs3P7", "Cs1+ P7(3-)"),
        ("P4S10", "P5+ S2-"),
        ("P4Se3", "P2(3+) Se2-"),
        ("As4S4", "As2+ S2-"),
        ("P2I4", "P2+ I1-"),
        ("Se2Cl2", "Se1+ Cl1-"),
        ("Li2O2", "Li1+ O2(2-)"),
        ("K2S4", "K1+ S4(2-)"),
    ],
)
def test_kinds_of_known_compounds_are_usual(formula: str, ions: str | None) -> None:
    found = assignment(formula)
    assert ions is None or str(found) == ions
    assert found.word == "usual"


@pytest.mark.parametrize("formula", ["CaNaO", "KSrO", "LiMgO", "NaBaS"])
def test_a_metal_does_not_keep_an_electron_beside_another(formula: str) -> None:
    assert assignment(formula).word == "none"


@pytest.mark.parametrize("formula", ["CsOF3", "SrMgO4", "AlScSe6", "BaTiOH2", "TmSO4"])
def test_what_two_elements_together_do_not_do_is_not_usual(formula: str) -> None:
    assert assignment(formula).word != "usual"


def test_every_assignment_is_neutral_and_the_likeliest_comes_first() -> None:
    for formula, amounts in (("Fe3O4", {"Fe": 3, "O": 4}), ("KMn8O16", {"K": 1, "Mn": 8, "O": 16})):
        found = assignments(formula)
        assert found[0] == assignment(formula)
        chances = [one.likelihood for one in found]
        assert chances == sorted(chances, reverse=True)
        assert len({one.states for one in found}) == len(found)
        assert any(len(ions) == 3 for one in found for _, ions in one.states)
        for one in found:
            assert sum(state * n for _, ions in one.states for state, n in ions) == 0
            assert {element: sum(n for _, n in ions) for element, ions in one.states} == amounts


@pytest.mark.parametrize(
    "formula", ["Fe3O4", "K2S3", "NaCuO2", "LiFePO4", "P4S3", "CuFeS2", "TlI3", "Zn3O", "BiSI"]
)
def test_the_likeliest_of_every_choice_is_found(formula: str) -> None:
    """Against every combination of the elements' options, those of cations before those of anions."""
    amounts = reduced_amounts(formula)
    symbols = sorted(amounts, key=ORDER.__getitem__)
    around = surroundings(symbols, amounts)
    best = 0.0
    for chosen in product(*(ion_options(e, amounts[e], around.of(e, amounts[e])).ions for e in symbols)):
        charges = [ions.charge for ions in chosen]
        signs = [charge < 0 for charge in charges]
        if sum(charges) == 0 and signs[-1] and signs == sorted(signs):
            best = max(best, math.prod(ions.share for ions in chosen))
    found = assignment(formula)
    if found.kind == "ions":
        assert found.likelihood == pytest.approx(best)
    else:
        assert best < POSSIBLE


def test_metals_and_elements_need_no_charges() -> None:
    assert assignment("Cu5Zn8").kind == "metals"
    assert assignment("Si").kind == "element"
    assert assignment("Mg2Sn").kind in ("ions", "metals")
    assert {assignment(f).word for f in ("Cu5Zn8", "Si", "Mg2Sn")} == {"usual"}


def test_a_multiple_has_the_formulas_assignment() -> None:
    assert assignment("Na4Cl4") == assignment({"Na": 2, "Cl": 2})


def test_long_chains_need_a_soft_cation() -> None:
    """Germanium and tin make no polyselenides, sodium and barium do."""
    for formula in ("GeSe6", "Ge2Se9", "Ge3Se16"):
        assert assignment(formula).word != "usual"
    for formula in ("Na2Se4", "BaSe3", "K2S5"):
        assert assignment(formula).word == "usual"
