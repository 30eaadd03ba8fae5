"""Predicted against computed: errors, intervals that held, hits, and how sure any of it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from invdesign.candidate import Candidate, Estimate
from invdesign.crystal.gene import Gene
from invdesign.dft.results.confrontation import Confrontation, Judged, compare, compare_interval, judge, rate
from invdesign.dft.results.merging import merged
from invdesign.targets import parse_target

if TYPE_CHECKING:
    from pathlib import Path

GENE = Gene.parse("225 Mg@a O@b")
TARGET = parse_target("band_gap=4..5 e_above_hull<0.1")
SAID = {"band_gap": Estimate(4.4, 0.2), "e_above_hull": Estimate(0.02, 0.03)}


def candidate(name: str = "c1", **provenance: object) -> Candidate:
    return Candidate(name, GENE, dict(provenance), properties=dict(SAID))


def gaps(*computed: float) -> Confrontation:
    """Predictions of 4.4 ± 0.33 eV against results."""
    said = SAID["band_gap"]
    return Confrontation(
        [compare(f"c{i}", "MgO", "band_gap", said, value) for i, value in enumerate(computed)], []
    )


def test_errors_intervals_and_scores() -> None:
    first, second = gaps(4.4 - 0.2, 5.4).compared
    assert (first.error, first.inside, first.z) == (pytest.approx(0.2), True, pytest.approx(1.0))
    assert (second.error, second.inside, second.z) == (pytest.approx(-1.0), False, pytest.approx(-5.0))
    found = gaps(4.2, 5.4).summary()["properties"]["band_gap"]
    assert (found["mae"], found["bias"]) == (pytest.approx(0.6), pytest.approx(-0.4))
    assert (found["coverage"]["found"], found["coverage"]["n"]) == (1, 2)
    # of a table, whose intervals are rounded, the same
    of_table = compare_interval("c0", "MgO", "band_gap", (4.4, 4.4 - 0.329, 4.4 + 0.329), 4.2)
    assert (of_table.inside, of_table.z) == (True, pytest.approx(1.0, abs=1e-3))
    bare = compare_interval("c0", "MgO", "volume_per_atom", (9.9, None, None), 9.0)
    assert (bare.inside, bare.z, bare.error) == (None, None, pytest.approx(0.9))


def test_rates_have_exact_intervals() -> None:
    # R: binom.test(1, 3, conf.level = 0.9)
    assert (rate(1, 3)["low"], rate(1, 3)["high"]) == (
        pytest.approx(0.01695, abs=1e-5),
        pytest.approx(0.86465, abs=1e-5),
    )
    assert (rate(0, 5)["low"], rate(5, 5)["high"]) == (0, 1)


def test_over_confidence_is_said_only_where_chance_does_not_do() -> None:
    told = " ".join(gaps(4.4, 4.4, 5.4).sentences())
    assert "2 of 3 90 % intervals held (67%; 14% to 98% at 90 % confidence)" in told
    assert "Over-confident" not in told
    assert "3 results say little" in told
    told = " ".join(gaps(4.4, 5.4, 5.4).sentences())
    assert "Over-confident on the band gap: so few hold by chance in 2.8% of cases" in told
    assert "outside: MgO (5.40, z -5.0)" in told
    assert "say little" not in " ".join(gaps(*[4.4] * 10).sentences())


def test_hits_are_judged_by_all_that_was_asked() -> None:
    hit = judge(candidate(p_hit=0.9), {"band_gap": 4.5, "e_above_hull": 0.05}, TARGET)
    assert (hit.hit, hit.whole, hit.p_hit, hit.why) == (True, True, 0.9, "as asked")
    miss = judge(candidate(), {"band_gap": 4.5, "e_above_hull": 0.25}, TARGET)
    assert (miss.hit, miss.why) == (False, "energy above hull 0.250 eV/atom")
    assert miss.p_hit == pytest.approx(0.97, abs=0.02)  # not shortlisted: from its estimates
    unknown = judge(candidate(), {"band_gap": 4.5}, TARGET)
    assert (unknown.hit, unknown.whole, unknown.why) == (None, False, "energy above hull not computed")
    enough = judge(candidate(), {"band_gap": 3.5}, TARGET)
    assert (enough.hit, enough.whole) == (False, False)
    other = parse_target("band_gap=4..5 bulk_modulus_gpa>100")
    assert judge(candidate(), {"band_gap": 4.5, "e_above_hull": 0.0}, other).hit is None


def test_hit_rate_against_what_was_expected() -> None:
    missed = Judged("c1", "MgO", 0.95, hit=False, whole=True, why="band gap 3.0 eV")
    judged = [missed, replace(missed, candidate="c2"), replace(missed, candidate="c3", p_hit=0.5, hit=True)]
    open_ = Judged("c4", "SrTe", 0.9, hit=None, whole=False, why="energy above hull not computed")
    found = Confrontation([], [*judged, open_])
    hits = found.summary()["hits"]
    assert (hits["found"], hits["n"], hits["expected"]) == (1, 3, pytest.approx(2.4))
    # none, or one of the three, hits
    assert hits["chance"] == pytest.approx(0.05**2 + 0.5 * 2 * 0.05 * 0.95)
    told = " ".join(found.sentences())
    assert "Hits: 1 of 3 (33%; 2% to 86% at 90 % confidence); 2.4 were expected" in told
    assert "Open, whether a hit: SrTe" in told
    assert "Over-confident on hits" not in told
    told = " ".join(Confrontation([], [*judged, replace(missed, candidate="c5")]).sentences())
    assert "Over-confident on hits: so few come by chance in 0.4% of cases" in told


def test_the_picture(tmp_path: Path) -> None:
    compared = [
        *gaps(4.2, 5.4).compared,
        compare_interval("c0", "MgO", "volume_per_atom", (9.9, None, None), 9.0),
        compare_interval("c0", "MgO", "rmsd", (0.0, None, None), 0.0),
    ]
    Confrontation(compared, []).draw(tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "parity.png"]


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
    assert result is not None
    assert (result["code"], result["tasks"], result["folder"]) == ("gpaw", ["gap", "relax"], "d")
    assert (result["band_gap"], result["e_above_hull"], result["volume_per_atom"]) == (4.3, 0.01, 9.5)
    assert result["notes"] == [
        "relax twice: d counts, not a",
        "c: truncated",
        "also by vasp in e, gap 4.40 eV",
    ]
    assert merged(runs[::-1]) == result


def test_a_candidate_whose_runs_all_failed() -> None:
    failed = RUN | {"folder": "a", "task": "relax", "status": "failed", "reason": "no convergence"}
    waiting = RUN | {"folder": "b", "task": "gap", "status": "not run", "reason": "no output"}
    assert (merged([failed]) or {})["failed"] == "a: no convergence"
    assert merged([failed, waiting]) is None  # it may yet come to something
    assert merged([waiting]) is None
    assert "failed" not in (merged([failed, RELAX]) or {"failed": ""})
