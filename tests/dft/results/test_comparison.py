"""Predicted against computed: errors, intervals that held, hits, and how sure any of it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from invdesign.core.candidate import Candidate, Estimate, RoundSelection, Selection
from invdesign.core.dft_result import DftResult, DftRun
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.dft.results.comparison import (
    Comparison,
    HitComparison,
    Interval,
    compare,
    compare_hit,
    rate,
)
from invdesign.dft.results.store import merge_runs

if TYPE_CHECKING:
    from pathlib import Path

GENE = Gene.parse("225 Mg@a O@b")
TARGET = parse_target("band_gap=4..5 e_above_hull<0.1")
SAID = {"band_gap": Estimate(4.4, 0.2), "e_above_hull": Estimate(0.02, 0.03)}


def candidate(name: str = "c1", **later: Any) -> Candidate:
    return Candidate(name, GENE, properties=dict(SAID), **later)


def gaps(*computed: float) -> Comparison:
    """Predictions of 4.4 ± 0.33 eV against results."""
    said = SAID["band_gap"]
    return Comparison(
        [compare(f"c{i}", "MgO", "band_gap", said, value) for i, value in enumerate(computed)], []
    )


def test_errors_intervals_and_scores() -> None:
    first, second = gaps(4.4 - 0.2, 5.4).properties
    assert (first.error, first.inside, first.z) == (pytest.approx(0.2), True, pytest.approx(1.0))
    assert (second.error, second.inside, second.z) == (pytest.approx(-1.0), False, pytest.approx(-5.0))
    found = gaps(4.2, 5.4).summary()["properties"]["band_gap"]
    assert (found["mae"], found["bias"]) == (pytest.approx(0.6), pytest.approx(-0.4))
    assert (found["coverage"]["found"], found["coverage"]["n"]) == (1, 2)
    # of a table, whose intervals are rounded, the same
    of_table = compare("c0", "MgO", "band_gap", Interval(4.4, 4.4 - 0.329, 4.4 + 0.329), 4.2)
    assert (of_table.inside, of_table.z) == (True, pytest.approx(1.0, abs=1e-3))
    bare = compare("c0", "MgO", "volume_per_atom", Interval(9.9), 9.0)
    assert (bare.inside, bare.z, bare.error) == (None, None, pytest.approx(0.9))


def test_rates_have_exact_intervals() -> None:
    # R: binom.test(1, 3, conf.level = 0.9)
    assert (rate(1, 3)["low"], rate(1, 3)["high"]) == (
        pytest.approx(0.01695, abs=1e-5),
        pytest.approx(0.86465, abs=1e-5),
    )
    assert (rate(0, 5)["low"], rate(5, 5)["high"]) == (0, 1)


def test_over_confidence_is_stated_only_where_chance_does_not_do() -> None:
    told = " ".join(gaps(4.4, 4.4, 5.4).sentences())
    assert "2 of 3 90 % intervals contain it (67%; 14% to 98% at 90 % confidence)" in told
    assert "Over-confident" not in told
    assert "3 results are too few to assess a model" in told
    told = " ".join(gaps(4.4, 5.4, 5.4).sentences())
    assert "Over-confident on the PBE gap: so few do by chance in 2.8% of cases" in told
    assert "outside: MgO (5.40, z -5.0)" in told
    assert "too few" not in " ".join(gaps(*[4.4] * 10).sentences())


def test_hits_are_decided_by_all_that_was_asked() -> None:
    hit = compare_hit(
        candidate(selection=Selection(p_hit=0.9)), DftResult(band_gap=4.5, e_above_hull=0.05), TARGET
    )
    assert (hit.hit, hit.complete, hit.p_hit, hit.reason) == (True, True, 0.9, "as asked")
    later = candidate(rounds={n: RoundSelection(p_hit=p, estimates={}) for n, p in ((2, 0.5), (10, 0.4))})
    assert compare_hit(later, DftResult(), TARGET).p_hit == 0.4  # the last round's that chose it
    miss = compare_hit(candidate(), DftResult(band_gap=4.5, e_above_hull=0.25), TARGET)
    assert (miss.hit, miss.reason) == (False, "energy above hull 0.250 eV/atom")
    assert miss.p_hit == pytest.approx(0.97, abs=0.02)  # not shortlisted: from its estimates
    unknown = compare_hit(candidate(), DftResult(band_gap=4.5), TARGET)
    assert (unknown.hit, unknown.complete, unknown.reason) == (None, False, "energy above hull not computed")
    enough = compare_hit(candidate(), DftResult(band_gap=3.5), TARGET)
    assert (enough.hit, enough.complete) == (False, False)
    other = parse_target("band_gap=4..5 bulk_modulus_gpa>100")
    assert compare_hit(candidate(), DftResult(band_gap=4.5, e_above_hull=0.0), other).hit is None


def test_hit_rate_against_what_was_expected() -> None:
    missed = HitComparison("c1", "MgO", 0.95, hit=False, complete=True, reason="band gap 3.0 eV")
    shown = [missed, replace(missed, candidate="c2"), replace(missed, candidate="c3", p_hit=0.5, hit=True)]
    open_ = HitComparison(
        "c4", "SrTe", 0.9, hit=None, complete=False, reason="energy above hull not computed"
    )
    found = Comparison([], [*shown, open_])
    hits = found.summary()["hits"]
    assert (hits["found"], hits["n"], hits["expected"]) == (1, 3, pytest.approx(2.4))
    # none, or one of the three, hits
    assert hits["chance"] == pytest.approx(0.05**2 + 0.5 * 2 * 0.05 * 0.95)
    told = " ".join(found.sentences())
    assert "Hits: 1 of 3 (33%; 2% to 86% at 90 % confidence); 2.4 were expected" in told
    assert "Unknown whether a hit: SrTe" in told
    assert "Over-confident on hits" not in told
    told = " ".join(Comparison([], [*shown, replace(missed, candidate="c5")]).sentences())
    assert "Over-confident on hits: so few come by chance in 0.4% of cases" in told


def test_the_picture(tmp_path: Path) -> None:
    compared = [
        *gaps(4.2, 5.4).properties,
        compare("c0", "MgO", "volume_per_atom", Interval(9.9), 9.0),
        compare("c0", "MgO", "rmsd", Interval(0.0), 0.0),
    ]
    Comparison(compared, []).draw(tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "parity.png"]


def test_a_picture_of_many_is_quick_and_names_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = []
    monkeypatch.setattr(
        "invdesign.report.plots.parity._name", lambda axes, point, middle: named.append(point)
    )
    gaps(*[4.4 + 0.01 * n for n in range(400)]).draw(tmp_path / "parity.png")
    assert len(named) == 12
    assert named[0]["error"] == pytest.approx(-3.99)


def merged(runs: list[dict[str, Any]]) -> DftResult:
    result = merge_runs([DftRun(**run) for run in runs])
    assert result is not None
    return result


RUN = {"code": "gpaw", "functional": "PBE", "status": "done", "reason": None}
RELAX = RUN | {
    "folder": "a",
    "task": "relax",
    "band_gap": 4.5,
    "energy_per_atom": -5.0,
    "e_above_hull": 0.01,
    "volume_per_atom": 9.6,
}


def test_runs_of_a_candidate_are_one_result() -> None:
    path = RUN | {
        "folder": "b",
        "task": "gap",
        "band_gap": 4.3,
        "energy_per_atom": -4.9,
        "e_above_hull": 0.11,
    }
    broken = RUN | {"folder": "c", "task": "relax", "status": "truncated", "reason": "copy it again"}
    better = RELAX | {"folder": "d", "energy_per_atom": -5.1, "volume_per_atom": 9.5}
    other = RELAX | {"folder": "e", "code": "vasp", "band_gap": 4.4}
    del other["e_above_hull"]
    runs = [RELAX, path, broken, better, other]
    result = merged(runs)
    assert (result.code, result.tasks, result.folder) == ("gpaw", ("gap", "relax"), "d")
    assert (result.band_gap, result.e_above_hull, result.volume_per_atom) == (4.3, 0.01, 9.5)
    assert list(result.notes) == [
        "relax twice: d counts, not a",
        "c: truncated",
        "also by vasp in e, gap 4.40 eV",
    ]
    assert merged(runs[::-1]) == result


def test_only_energies_that_compare_meet() -> None:
    mp = RUN | {"code": "vasp", "folder": "mp", "task": "static", "settings": "mp", "band_gap": 2.0}
    mp |= {"energy_per_atom": -6.0, "e_above_hull": 0.02, "formation_energy_per_atom": -1.0, "scale": "MP"}
    matpes = mp | {"folder": "matpes", "settings": "matpes", "band_gap": 0.0, "energy_per_atom": -6.7}
    matpes |= {"scale": "matpes, no hull"}
    for name in ("e_above_hull", "formation_energy_per_atom"):
        del matpes[name]
    for runs in ([mp, matpes], [matpes, mp]):
        result = merged(runs)
        assert (result.folder, result.band_gap, result.energy_per_atom) == ("mp", 2.0, -6.0)
        assert result.notes == ("also by vasp at other settings in matpes, gap 0.00 eV",)
    hybrid = mp | {"folder": "hse", "functional": "HSE06", "band_gap": 3.0, "energy_per_atom": -9.0}
    del hybrid["e_above_hull"], mp["e_above_hull"]
    result = merged([hybrid, mp])
    assert (result.functional, result.band_gap) == ("PBE", 2.0)  # as what was predicted
    assert result.notes == ("also by vasp with HSE06 in hse, gap 3.00 eV",)


def test_energies_and_scale_are_of_one_run() -> None:
    without = RELAX | {"scale": "no energy of Mg"}
    del without["e_above_hull"]
    path = RUN | {
        "folder": "b",
        "task": "gap",
        "energy_per_atom": -4.9,
        "e_above_hull": 0.11,
        "scale": "GPAW",
    }
    path |= {"formation_energy_per_atom": -3.0, "band_gap": 4.3}
    result = merged([without, path])
    assert (result.e_above_hull, result.scale, result.folder) == (0.11, "GPAW", "b")
    assert (result.energy_per_atom, result.formation_energy_per_atom) == (-4.9, -3.0)
    assert result.volume_per_atom == 9.6  # of the relaxation all the same


def test_elk_is_a_second_opinion() -> None:
    gpaw = RELAX | {"scale": "no energy of Mg"}
    del gpaw["e_above_hull"]
    elk = RUN | {"code": "elk", "folder": "e", "task": "static", "band_gap": 1.85, "energy_per_atom": -9000.0}
    gap = elk | {"folder": "f", "task": "gap"}
    result = merged([elk, gap, gpaw])
    assert (result.code, result.volume_per_atom, result.band_gap) == ("gpaw", 9.6, 4.5)
    assert merged([elk]).code == "elk"
    static = RUN | {"folder": "s", "task": "static", "band_gap": 1.8, "energy_per_atom": -5.0}
    assert merged([elk, gap, static]).code == "gpaw"


def test_a_phonon_check_compares_with_no_energy() -> None:
    check = RUN | {"folder": "p", "task": "phonon-check", "settings": None, "lowest_frequency": 2.0}
    result = merged([RELAX | {"settings": "PW(800)"}, check])
    assert (result.folder, result.lowest_frequency) == ("a", 2.0)
    assert (result.tasks, result.notes) == (("phonon-check", "relax"), ())
    assert merged([check]).lowest_frequency == 2.0


def test_a_metal_is_no_hit_of_a_gap_above_nothing() -> None:
    target = parse_target("band_gap>0 e_above_hull<0.1")
    window = target.windows["band_gap"]
    assert 0.0 not in window
    assert 0.01 in window
    assert 0.0 in parse_target("band_gap<1").windows["band_gap"]
    assert compare_hit(candidate(), DftResult(band_gap=0.0, e_above_hull=0.0), target).hit is False
    metal = Estimate(1.5, 0.3, 0.99)
    assert metal.probability(window) == pytest.approx(0.01)


def test_a_metal_that_was_foreseen_has_no_score() -> None:
    foreseen = compare("c", "Fe", "band_gap", Estimate(1.5, 0.3, 0.99), 0.0)
    assert (foreseen.predicted, foreseen.inside, foreseen.z) == (0.0, True, None)
    hardly = [compare(f"c{i}", "Fe", "band_gap", Estimate(1.5, 0.3, 0.01), 0.0) for i in range(3)]
    assert "outside: Fe (0.00), Fe (0.00)" in " ".join(Comparison(hardly, []).sentences())


def test_a_candidate_whose_runs_all_failed() -> None:
    failed = RUN | {"folder": "a", "task": "relax", "status": "failed", "reason": "no convergence"}
    waiting = RUN | {"folder": "b", "task": "gap", "status": "not run", "reason": "no output"}
    assert merged([failed]).failed == "a: no convergence"
    assert merge_runs([DftRun(**failed), DftRun(**waiting)]) is None  # it may yet come to something
    assert merge_runs([DftRun(**waiting)]) is None
    assert merged([failed, RELAX]).failed is None
