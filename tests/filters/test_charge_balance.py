from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Composition

from invdesign.composition.oxidation_states import ChargeRules, charge_options, oxidation_tables
from invdesign.errors import InputError
from invdesign.filters.charge_balance import assignments, charge_balance, rarest_share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    verdict = charge_balance(formula)
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
    assert "intermetallic" in charge_balance("Cu5Zn8").reason
    assert not charge_balance("Cu5Zn8", ChargeRules(include_alloys=False)).passed
    assert not charge_balance("Fe3O4", ChargeRules(mixed_valence=False)).passed
    assert charge_balance("Fe").passed


def test_order_of_electronegativity_matters() -> None:
    # hydrogen is the more electronegative one: sodium hydride, never proton and sodide
    assert charge_balance("NaH").reason == "Na1+ H1-"
    rejected = charge_balance("ClO3F3")
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


def test_every_assignment_is_neutral_and_the_most_probable_comes_first() -> None:
    for formula in ("Fe3O4", "CsPbI3", "Mn2CoS4", "NaCl", "CO2"):
        found = assignments(formula)
        amounts = Composition(formula).as_dict()
        for balance in found:
            assert sum(state * atoms for _, ions in balance.states for state, atoms in ions) == 0
            assert {e: sum(n for _, n in ions) for e, ions in balance.states} == amounts
        assert len({frozenset(balance.states) for balance in found}) == len(found)
        verdict = charge_balance(formula)
        assert verdict.reason.removesuffix(", mixed valence") == str(found[0])
        assert verdict.value == rarest_share(oxidation_tables(), found[0])
        several = [any(len(ions) > 1 for _, ions in balance.states) for balance in found]
        assert several == sorted(several)
        for kind in (True, False):
            scores = [b.score for b, mixed in zip(found, several, strict=True) if mixed is kind]
            assert scores == sorted(scores, reverse=True)


def test_assignments_follow_the_rules() -> None:
    assert [str(own) for own in assignments("NaCl")] == ["Na1+ Cl1-"]
    assert not assignments("NaCl2")
    assert not assignments("Fe3O4", ChargeRules(mixed_valence=False))
    assert not assignments("HeO")
    assert len(assignments("Fe3O4", most=2)) == 2
    free = assignments("ClF3", ChargeRules(use_pauling_test=False))
    assert "Cl3+ F1-" in {str(own) for own in free}


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
    assert charge_balance("Fe19O27").passed  # 5^19 products
    assert not charge_balance("Fe19O27", many).passed
    assert charge_balance("Li0.5FeO2", ChargeRules(mixed_valence=False)).passed is False
    assert charge_balance("Li0.5FeO2", ChargeRules(truncate_fractions=True)).reason == "Li1+ Fe4+ O2-"
