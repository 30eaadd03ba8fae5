from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smact.screening import ICSD24FilterConfig, smact_validity

from invdesign.composition.assignment import assignment
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.oxidation_state_arrays import ChargeCode
from invdesign.composition.oxidation_states import SMACT_COMBINATIONS, STATE_SETS, ChargeRules
from invdesign.composition.plainly_usual import plainly_usual
from invdesign.crystal.elements import SYMBOLS
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.charge_balance_batch import (
    charge_verdicts,
    likeliest_states,
    searched_states,
    words_of,
)
from invdesign.filters.metallicity import metallic, metallicity

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = ChargeRules(mixed_valence=False)
SMACT = ChargeRules(mixed_valence_combinations=2_000)  # smact's million takes it seconds


def formulas(n: int, seed: int = 3) -> list[str]:
    """Random ones: half of common elements, some with large amounts."""
    rng = np.random.default_rng(seed)
    common = ["O", "S", "F", "Cl", "N", "H", "C", "Fe", "Cu", "Mn", "Na", "Ca", "Ti", "P", "Eu", "Pm", "Si"]
    found = []
    for _ in range(n):
        pool = SYMBOLS[1:] if rng.random() < 0.4 else common
        elements = rng.choice(pool, rng.integers(1, 6), replace=False)
        amounts = rng.integers(1, rng.choice([3, 7, 90]), len(elements), endpoint=True)
        found.append("".join(f"{e}{a}" for e, a in zip(elements, amounts, strict=True)))
    return found


def smact_says(formula: str, rules: ChargeRules) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smact_validity(
            formula,
            use_pauling_test=rules.use_pauling_test,
            include_alloys=rules.include_alloys,
            check_metallicity=rules.check_metallicity,
            metallicity_threshold=rules.metallicity_threshold,
            oxidation_states_set=rules.oxidation_states_set,
            icsd_filter=ICSD24FilterConfig(rules.include_zero, rules.consensus, rules.commonality),
            mixed_valence=rules.mixed_valence,
        )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_pauling_test": False},
        {"include_alloys": False},
        {"check_metallicity": True, "metallicity_threshold": 0.55},
        *({"oxidation_states_set": name} for name in STATE_SETS),
        {"include_zero": True},
        {"consensus": 1},
        {"commonality": "main"},
        {"commonality": 12.5},
    ],
)
def test_verdicts_equal_smact(changes: dict[str, object]) -> None:
    rules = replace(PLAIN, **changes)  # type: ignore[arg-type]
    texts = formulas(400)
    ours = charge_verdicts(CompositionBatch.of(texts)[0], rules) > 0
    assert 0.05 < ours.mean() < 0.98
    assert ours.tolist() == [smact_says(text, rules) for text in texts]


@pytest.mark.parametrize("changes", [{}, {"include_zero": True}, {"use_pauling_test": False}])
def test_mixed_valence_equals_smact(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smact.screening._MAX_MIXED_VALENCE_COMBOS", SMACT.mixed_valence_combinations)
    rules = replace(SMACT, commonality="medium", **changes)  # type: ignore[arg-type]
    texts = [text for text in formulas(600, seed=4) if any(e in text for e in ("Fe", "Cu", "Mn", "Ti", "Eu"))]
    codes = charge_verdicts(CompositionBatch.of(texts)[0], rules)
    assert (codes == ChargeCode.MIXED_VALENCE).any()
    assert (codes > 0).tolist() == [smact_says(text, rules) for text in texts]


def test_a_file_of_states_is_read_as_smact_reads_it(tmp_path: Path) -> None:
    table = tmp_path / "states.txt"
    table.write_text("# mine\nNa 1\nCl -1 7\nFe 0 2 3\nO -2\nXe\nTi 4 3\nN -3 5\nS -2 6 -20\nCa 2\n")
    rules = replace(PLAIN, oxidation_states_set=str(table))
    texts = formulas(300, seed=5)
    ours = charge_verdicts(CompositionBatch.of(texts)[0], rules) > 0
    assert ours.tolist() == [smact_says(text, rules) for text in texts]


def test_codes_say_what_it_was() -> None:
    expected = {
        "NaCl": ChargeCode.NEUTRAL,
        "Fe3O4": ChargeCode.MIXED_VALENCE,
        "Cu5Zn8": ChargeCode.INTERMETALLIC,
        "Fe": ChargeCode.SINGLE_ELEMENT,
        "NaCl2": ChargeCode.NOT_NEUTRAL,
        "SeC2": ChargeCode.AGAINST_ELECTRONEGATIVITY,  # Se4+ C2-, both 2.55
        "HeO": ChargeCode.UNKNOWN_STATES,
        "PmCl3": ChargeCode.NO_ELECTRONEGATIVITY,
    }
    codes = charge_verdicts(CompositionBatch.of(list(expected))[0])
    assert dict(zip(expected, map(ChargeCode, codes.tolist()), strict=True)) == expected


@pytest.mark.parametrize(
    "rules",
    [
        ChargeRules(),
        ChargeRules(use_pauling_test=False),
        ChargeRules(include_zero=True, include_alloys=False),
        ChargeRules(check_metallicity=True, metallicity_threshold=0.5),
        ChargeRules(oxidation_states_set="wiki"),
        ChargeRules(mixed_valence_combinations=SMACT_COMBINATIONS, commonality=5),
    ],
)
def test_the_same_as_one_by_one(rules: ChargeRules) -> None:
    batch, _ = CompositionBatch.of(formulas(250, seed=6))
    codes = charge_verdicts(batch, rules)
    texts, shares = likeliest_states(batch, codes, rules)
    for formula, code, text, share in zip(
        batch.formulas(), codes.tolist(), texts, shares.tolist(), strict=True
    ):
        verdict = charge_balance(formula, rules)
        assert verdict.passed == (code > 0), formula
        assert ("against the order" in verdict.reason) == (code == ChargeCode.AGAINST_ELECTRONEGATIVITY)
        if code in (ChargeCode.NEUTRAL, ChargeCode.MIXED_VALENCE):
            assert text == verdict.reason
            assert share == verdict.value
        else:
            assert text == ""
            assert np.isnan(share)


def test_truncated_fractions_equal_smact() -> None:
    rng = np.random.default_rng(8)
    rules = replace(PLAIN, truncate_fractions=True)
    texts = [
        "".join(
            f"{e}{n / 2:g}" for e, n in zip(rng.choice(SYMBOLS[1:90], 3, replace=False), own, strict=True)
        )
        for own in rng.integers(1, 12, (200, 3))
    ]
    batch, wrong = CompositionBatch.of(texts, truncate_fractions=True)
    kept = [text for row, text in enumerate(texts) if row not in wrong]
    assert (charge_verdicts(batch, rules) > 0).tolist() == [smact_says(text, rules) for text in kept]
    assert [charge_balance(text, rules).passed for text in kept] == (
        charge_verdicts(batch, rules) > 0
    ).tolist()


def test_metallicity_equals_smact() -> None:
    from pymatgen.core import Composition
    from smact.metallicity import metallicity_score

    batch, _ = CompositionBatch.of(formulas(300, seed=9))
    theirs = [metallicity_score(Composition(formula)) for formula in batch.formulas()]
    ours = metallicity(batch.numbers, batch.amounts.astype(np.int64))
    assert np.allclose(ours, theirs, atol=1e-12)
    exact = theirs[5]  # at the threshold the last bit decides
    assert metallic(batch.numbers[5:6], batch.amounts[5:6].astype(np.int64), exact)[0]


def test_smact_alone_equals_smact_validity() -> None:
    rules = replace(SMACT, mixed_valence=False, truncate_fractions=True)
    texts = formulas(400, seed=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = [smact_validity(text) for text in texts]
    assert (charge_verdicts(CompositionBatch.of(texts)[0], rules) > 0).tolist() == theirs


def test_words_equal_those_of_single_compositions() -> None:
    batch, _ = CompositionBatch.of(formulas(300, seed=13))
    words = words_of(searched_states(batch)).tolist()
    assert set(words) == {"usual", "unusual", "none"}
    assert words == [assignment(formula).word for formula in batch.formulas()]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(SYMBOLS[1:96]), st.integers(1, 9), min_size=1, max_size=6))
def test_what_is_plainly_usual_is_what_the_search_finds(amounts: dict[str, int]) -> None:
    formula = "".join(f"{symbol}{n}" for symbol, n in amounts.items())
    batch, _ = CompositionBatch.of([formula])
    assert words_of(searched_states(batch)).tolist() == [assignment(formula).word]


def test_most_usual_compositions_are_plainly_so() -> None:
    batch, _ = CompositionBatch.of([text for text in formulas(600, seed=14) if len(text) < 12])
    usual, plain = words_of(searched_states(batch)) == "usual", plainly_usual(batch)
    assert not (plain & ~usual).any()
    assert plain.sum() > 0.8 * usual.sum()


def test_nothing_gives_nothing() -> None:
    batch, _ = CompositionBatch.of([])
    codes = charge_verdicts(batch)
    assert codes.shape == (0,)
    assert likeliest_states(batch, codes)[0] == []
