from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Composition

from invdesign.composition.oxidation_states import ChargeRules, charge_options, oxidation_tables
from invdesign.core.target import parse_target
from invdesign.errors import InputError
from invdesign.filters.charge_balance import LIKELY_BESIDE_SEVERAL, charge_balance, suits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SMACT = ChargeRules()


@pytest.mark.parametrize(
    ("formula", "ions"),
    [
        ("NaCl", "Na1+ Cl1-"),
        ("NaN", "Na1+ N1-"),
        ("CuInS2", "In3+ Cu1+ S2-"),
        ("CsPbI3", "Cs1+ Pb2+ I1-"),
        ("FeS2", "Fe2+ S1-"),
        ("Ca10P6O26H2", "Ca2+ P5+ H1+ O2-"),
        ("Fe3O4", "1 Fe2+ 2 Fe3+ O2-, mixed valence"),
        ("Eu3S4", "1 Eu2+ 2 Eu3+ S2-, mixed valence"),
    ],
)
def test_balanced_compounds_name_their_states(formula: str, ions: str) -> None:
    verdict = charge_balance(formula, SMACT)
    assert verdict.passed
    # cations of equal electronegativity may come in either order
    assert sorted(verdict.reason.split()) == sorted(ions.split())
    assert verdict.value is not None
    assert 0 < verdict.value <= 1


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("NaCl2", "no states are neutral: the nearest, Na1.*leave -1"),
        ("PmCl3", "Pm has no Pauling electronegativity"),
        ("HeO", "no oxidation state of He"),
        ("CsBa", "known states|leave"),
    ],
)
def test_rejections_say_why(formula: str, reason: str) -> None:
    import re

    verdict = charge_balance(formula, ChargeRules(include_alloys=False))
    assert not verdict.passed
    assert re.search(reason, verdict.reason)


def test_intermetallics_and_mixed_valence_are_options() -> None:
    assert "intermetallic" in charge_balance("Cu5Zn8", SMACT).reason
    assert not charge_balance("Cu5Zn8", ChargeRules(include_alloys=False)).passed
    assert not charge_balance("Fe3O4", ChargeRules(mixed_valence=False)).passed
    assert charge_balance("Fe", SMACT).passed


def test_order_of_electronegativity_matters() -> None:
    # hydrogen is the more electronegative one: sodium hydride, never proton and sodide
    assert charge_balance("NaH", SMACT).reason == "Na1+ H1-"
    rejected = charge_balance("ClO3F3", SMACT)
    assert rejected.passed or "electronegativities" in rejected.reason or "leave" in rejected.reason


def test_multiples_and_kinds_of_input_agree() -> None:
    assert (
        charge_balance("Na4Cl4") == charge_balance(Composition("NaCl")) == charge_balance({"Cl": 2, "Na": 2})
    )
    with pytest.raises(InputError):
        charge_balance("Xy3")


def compositions() -> Iterator[dict[str, int]]:
    rng = np.random.default_rng(7)
    elements = list(oxidation_tables().states)
    common = ["O", "S", "F", "Cl", "N", "Se", "Fe", "Cu", "Mn", "Na", "Ca", "Ti", "P", "Eu"]
    for _ in range(500):
        pool = elements if rng.random() < 0.5 else common
        chosen = rng.choice(pool, size=rng.integers(1, 5), replace=False)
        yield {
            str(element): int(n)
            for element, n in zip(chosen, rng.integers(1, 7, size=len(chosen)), strict=True)
        }


def products(amounts: dict[str, int]) -> int:
    divisor = math.gcd(*amounts.values())
    tables = oxidation_tables()
    return math.prod(
        len(tables.states[e]) ** (n // divisor if e in tables.mixed else 1) for e, n in amounts.items()
    )


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("alloys", [True, False])
def test_verdicts_equal_smact(mixed: bool, alloys: bool) -> None:
    from smact.screening import ICSD24FilterConfig, smact_validity

    rules = ChargeRules(include_alloys=alloys, mixed_valence=mixed)
    config = ICSD24FilterConfig(rules.include_zero, rules.consensus, rules.commonality)
    compared = 0
    for amounts in compositions():
        if products(amounts) > 1_000:
            continue  # smact needs seconds
        theirs = smact_validity(
            Composition(amounts),
            use_pauling_test=rules.use_pauling_test,
            include_alloys=alloys,
            check_metallicity=rules.check_metallicity,
            icsd_filter=config,
            mixed_valence=mixed,
        )
        assert charge_balance(amounts, rules).passed == theirs, amounts
        compared += 1
    assert compared > 200


def test_assignments_are_neutral_and_add_up() -> None:
    for element in ("Fe", "Mo", "Eu"):
        for sign in (1, -1):
            for charge, (_, states) in charge_options(
                oxidation_tables(), element, 5, sign, mixed=True
            ).items():
                assert sum(atoms for _, atoms in states) == 5
                assert sum(state * atoms for state, atoms in states) == sign * charge


def test_the_word_decides_and_is_said_first() -> None:
    assert charge_balance("ZnO").reason == "usual: Zn2+ O2-"
    assert charge_balance("Fe3O4").reason == "usual: 1 Fe2+ 2 Fe3+ O2-, mixed valence"
    assert charge_balance("Cu5Zn8").reason.startswith("usual: metals alone")
    assert charge_balance("K2MnF7").passed is False
    assert charge_balance("K2MnF7").reason.startswith("none: ")
    odd = charge_balance("NdI4")
    assert odd.reason.startswith("unusual: ") or not odd.passed


@pytest.mark.parametrize(
    ("formula", "target", "passed"),
    [
        ("ZnO", "band_gap=3..4", True),
        ("Cu5Zn8", "band_gap=1..2", False),
        ("Cu5Zn8", "band_gap<1", True),
        ("Na2CrI6", "band_gap=1..2", False),
        ("K2MnF7", "band_gap<1", False),
        ("K2MnF7", "formula=K2MnF7", True),
    ],
)
def test_a_gap_wants_usual_ions_and_a_formula_none(formula: str, target: str, passed: bool) -> None:
    assert suits(formula, parse_target(target)).passed is passed


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"commonality": "rare"}, "commonality"),
        ({"truncate_fractions": True, "check_metallicity": True}, "truncate_fractions"),
        ({"oxidation_states_set": "icsd99"}, "oxidation_states_set: 'icsd99'"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        charge_balance("NaCl", ChargeRules(**rules))  # type: ignore[arg-type]


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "states.txt").write_text("Fe two 3\n")
    with pytest.raises(InputError, match="is no table"):
        charge_balance("NaCl", ChargeRules(oxidation_states_set=str(tmp_path / "states.txt")))


def test_where_smact_differs_its_answer_is_an_option() -> None:
    many = ChargeRules(mixed_valence_combinations=1_000_000)
    assert charge_balance("Fe19O27", SMACT).passed  # 5^19 products
    assert not charge_balance("Fe19O27", many).passed
    assert charge_balance("Li0.5FeO2", ChargeRules(mixed_valence=False)).passed is False
    assert charge_balance("Li0.5FeO2", ChargeRules(truncate_fractions=True)).reason == "Li1+ Fe4+ O2-"


@pytest.mark.parametrize("formula", ["LaCuOTe", "Sr3Sc2Cu2S2O5", "BiCuOSe", "Nd2O2S"])
def test_beside_several_anions_a_state_may_be_rarer(formula):
    verdict = suits(formula, parse_target("band_gap=1..2"))
    assert verdict.passed
    assert verdict.threshold == LIKELY_BESIDE_SEVERAL


@pytest.mark.parametrize("formula", ["CuI2", "RbCuI3", "FeI3", "Cs2PbI6", "Cs3CuBr6", "PbI4"])
def test_ions_that_oxidise_their_anion_suit_no_gap(formula):
    assert not suits(formula, parse_target("band_gap=1..2")).passed
