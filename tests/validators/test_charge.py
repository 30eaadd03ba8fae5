from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Composition

from invdesign.data.oxidation import charge_options, oxidation_tables
from invdesign.errors import InputError
from invdesign.validators.charge import CHARGE_OPTIONS, charge_balance

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert verdict.figure is not None
    assert 0 < verdict.figure <= 1


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

    verdict = charge_balance(formula, intermetallics=False)
    assert not verdict.passed
    assert re.search(reason, verdict.reason)


def test_intermetallics_and_mixed_valence_are_options() -> None:
    assert "intermetallic" in charge_balance("Cu5Zn8").reason
    assert not charge_balance("Cu5Zn8", intermetallics=False).passed
    assert not charge_balance("Fe3O4", mixed_valence=False).passed
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

    config = ICSD24FilterConfig(
        include_zero=bool(CHARGE_OPTIONS["include_zero"]),
        consensus=int(CHARGE_OPTIONS["consensus"]),
        commonality=str(CHARGE_OPTIONS["commonality"]),
    )
    compared = 0
    for amounts in compositions():
        if products(amounts) > 1_000:
            continue  # smact needs seconds
        theirs = smact_validity(
            Composition(amounts),
            use_pauling_test=bool(CHARGE_OPTIONS["use_pauling_test"]),
            include_alloys=alloys,
            check_metallicity=bool(CHARGE_OPTIONS["check_metallicity"]),
            icsd_filter=config,
            mixed_valence=mixed,
        )
        assert charge_balance(amounts, intermetallics=alloys, mixed_valence=mixed).passed == theirs, amounts
        compared += 1
    assert compared > 200


def test_assignments_are_neutral_and_add_up() -> None:
    for element in ("Fe", "Mo", "Eu"):
        for sign in (1, -1):
            for charge, (_, states) in charge_options(element, 5, sign, mixed=True).items():
                assert sum(atoms for _, atoms in states) == 5
                assert sum(state * atoms for state, atoms in states) == sign * charge
