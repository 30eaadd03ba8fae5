from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from rich.console import Console

import invdesign.analysis.evaluate.run as evaluate_module
from invdesign.analysis.evaluate.report import read_evaluations, show
from invdesign.analysis.evaluate.run import evaluate
from invdesign.core.candidate import Estimate
from invdesign.core.target import parse_target
from invdesign.crystal.symmetry import gene_of
from invdesign.errors import InputError
from invdesign.filters.novelty import prototype_label
from invdesign.io.lock import locked_folder
from invdesign.potentials.interface import PotentialOutput, as_frames
from invdesign.stability.hull.hull import HullResult

if TYPE_CHECKING:
    from pathlib import Path


def rock_salt(a: float, cation: str, anion: str) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


MGO, NACL, CAO, LIF = (
    rock_salt(4.21, "Mg", "O"),
    rock_salt(5.64, "Na", "Cl"),
    rock_salt(4.81, "Ca", "O"),
    rock_salt(4.03, "Li", "F"),
)
SODIUM_NITRIDE = rock_salt(5.0, "Na", "N")  # its formula is "NaN"
MGF = rock_salt(4.4, "Mg", "F")  # no charge balance
OVERLAP = Structure(Lattice.cubic(5), ["Mg", "O"], [[0, 0, 0], [0.05, 0, 0]])


class Flat:
    """A potential without forces; crystals with atoms on top of one another it cannot evaluate."""

    name = "flat"
    digest = ""
    elements = frozenset(["Mg", "O", "Na", "Cl", "Ca", "Li", "F", "N"])

    def __init__(self) -> None:
        self.evaluated = 0

    def evaluate(self, crystals: list[Structure]) -> PotentialOutput:
        frames = as_frames(crystals)
        result = PotentialOutput.empty(frames)
        for i, frame in enumerate(frames):
            self.evaluated += 1
            if np.linalg.norm(frame.positions[0] - frame.positions[1]) < 0.5:
                result.failures[i] = "two atoms are 0.25 Å apart"
                continue
            result.energy[i] = -1.0 * len(frame)
            result.forces[i][:] = 0.0
            result.stress[i] = 0.0
        return result


class Identity:
    """Calibration by nothing."""

    name = "duplicates"
    potential = "flat"
    digest = ""

    def formation_energy(self, composition: object, energy: float, *, hypothetical: bool) -> float:
        del composition, hypothetical
        return energy

    def sigma(self, composition: object, e_above_hull=0.0) -> float:
        del composition
        return 0.05


class Heights:
    """A hull that knows how high each formula lies."""

    name = "heights"
    heights = {"MgO": -0.01, "NaCl": 0.03, "CaO": 0.08, "NaN": 0.4}  # noqa: RUF012

    def __len__(self) -> int:
        return 4

    def check_scale(self) -> None:
        pass

    def e_above_hull(self, composition: object, energy: float) -> HullResult:
        del energy
        formula = composition.reduced_formula  # type: ignore[attr-defined]
        if formula not in self.heights:
            raise InputError(f"composition: {formula}: the hull has no phase with Li.")
        return HullResult(self.heights[formula], {}, 7, composition_known=False, hull_energy=0.0)


class Known:
    """A reference of rock salt NaCl alone."""

    name = "known"
    compositions = np.zeros(1)
    genes = np.zeros(1)

    def known_composition(self, composition: object) -> int:
        return int(composition.reduced_formula == "NaCl")  # type: ignore[attr-defined]

    def same_as(self, structure: Structure) -> list[int]:
        return [0] if structure.composition.reduced_formula == "NaCl" else []

    def is_reported(self, structure: Structure) -> bool:
        return bool(self.same_as(structure))

    def prototype_known(self, gene: object) -> bool:
        return prototype_label(gene) == prototype_label(gene_of(NACL)[0])  # type: ignore[arg-type]


class Gaps:
    """Predicts by anion."""

    name = "gaps"

    def predict(self, structures: list[Structure]) -> list[Estimate]:
        return [Estimate(5.0 if "O" in s.symbol_set else 1.0, 0.1) for s in structures]


def judge(source: object, **options: object) -> object:
    parts = {"potential": Flat(), "hull": Heights(), "reference": Known(), "calibration": Identity()}
    return evaluate(source, **{**parts, "workers": 1, **options})  # type: ignore[arg-type]


def counts(evaluation: object) -> dict[str, int]:
    return {name: rate.count for name, rate in evaluation.rates.items()}  # type: ignore[attr-defined]


def table_of(path: Path, texts: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "cif"])
        writer.writerows([f"s{i}", text] for i, text in enumerate(texts))
    return path


def cif(structure: Structure) -> str:
    return str(CifWriter(structure))


def test_failures_and_duplicates_count_against(tmp_path: Path) -> None:
    texts = [cif(s) for s in (MGO, MGO * (2, 1, 1), NACL, CAO, SODIUM_NITRIDE, OVERLAP, LIF, MGF)]
    evaluation = judge(table_of(tmp_path / "samples.csv", [*texts, "no structure", ""]))
    assert {rate.of for rate in evaluation.rates.values()} == {10}
    found = counts(evaluation)
    assert found["readable"] == 8
    assert found["charge balanced"] == 7
    assert found["plausible geometry"] == 7
    assert found["valid"] == 6
    assert found["unique"] == 7
    assert found["novel composition"] == 7
    assert found["novel prototype"] == 1  # the overlapping one's
    assert found["converged"] == 7
    assert found["stable at 0"] == 2
    assert found["stable at 0.05"] == 3
    assert found["stable at 0.1"] == 4
    assert found["S.U.N. at 0 (novel composition)"] == 1  # MgO, sampled twice
    assert found["S.U.N. at 0.05 (novel composition)"] == 1  # NaCl is known
    assert found["S.U.N. at 0.1 (novel composition)"] == 2
    assert found["S.U.N. at 0.1 (novel prototype)"] == 0
    by_label = {outcome.label: outcome for outcome in evaluation.records}
    assert "0.25 Å" in by_label["s5"].relaxation
    assert not by_label["s5"].converged
    assert "no energy above hull" in by_label["s6"].relaxation  # LiF: an element that the hull lacks
    assert by_label["s6"].e_above_hull is None
    assert by_label["s9"].fault
    assert by_label["s0"].rmsd == pytest.approx(0.0, abs=1e-6)


def test_target_rates() -> None:
    target = parse_target(["band_gap>3", "e_above_hull<0.05"])
    evaluation = judge([MGO, CAO, NACL, SODIUM_NITRIDE], target=target, predictors={"band_gap": Gaps()})
    found = counts(evaluation)
    assert found["band_gap in >3"] == 2
    assert found["on target"] == 2
    assert found["hit"] == 1  # CaO lies too high
    assert any("rates are predictions" in caveat for caveat in evaluation.caveats)


def test_a_window_that_nothing_predicts() -> None:
    target = parse_target("formation_energy_per_atom<-0.5")
    assert counts(judge([MGO], target=target))["formation_energy_per_atom in <-0.5"] == 1


def test_caveat_and_files(tmp_path: Path) -> None:
    evaluation = judge([MGO, NACL, SODIUM_NITRIDE], out=tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert stored["sampled"] == 3
    assert stored["protocol"]["reference"] == "known"
    assert stored["protocol"]["potential"] == "flat"
    assert stored["rates"]["unique"]["rate"] == 1.0
    assert set(stored["cost_s"]) >= {"relaxation", "hull", "novelty", "validity", "duplicates"}
    assert stored["hardware"]["cores"] >= 1
    assert any("overcount" in caveat for caveat in stored["caveats"])
    with (tmp_path / "out" / "structures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["formula"] for row in rows] == ["MgO", "NaCl", "NaN"]
    assert float(rows[2]["e_above_hull"]) == 0.4
    shown = io.StringIO()
    show(evaluation, Console(file=shown, width=100))
    assert "S.U.N. at 0.1 (novel composition)" in shown.getvalue()
    assert "overcount" in shown.getvalue()


def without_cost(evaluation: object) -> dict[str, object]:
    figures = evaluation.as_json()  # type: ignore[attr-defined]
    return {key: figures[key] for key in ("sampled", "protocol", "rates", "medians")}


def test_killed_evaluation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_module, "CHUNK", 2)
    structures = [MGO, NACL, CAO, SODIUM_NITRIDE, OVERLAP, LIF]
    whole = judge(structures, out=tmp_path / "whole")

    class Killed(Exception):  # noqa: N818
        pass

    class Dying(Flat):
        def evaluate(self, crystals: list[Structure]) -> PotentialOutput:
            if self.evaluated >= 4:
                raise Killed
            return super().evaluate(crystals)

    out = tmp_path / "broken"
    with pytest.raises(Killed):
        judge(structures, out=out, potential=Dying())
    with (out / "chunks.jsonl").open("a") as file:
        file.write('{"chunk": 2, "outco')  # the line that a kill cut
    potential = Flat()
    resumed = judge(structures, out=out, potential=potential)
    assert potential.evaluated == 2
    assert without_cost(resumed) == without_cost(whole)
    assert (out / "structures.csv").read_text() == (tmp_path / "whole" / "structures.csv").read_text()
    with pytest.raises(InputError, match="another evaluation"):
        judge(structures[:5], out=out)
    with locked_folder(out, "chunks.jsonl"), pytest.raises(InputError, match="another run is at work"):
        judge(structures, out=out)


def test_without_relaxation_energies_are_those_of_the_given_structures() -> None:
    class Sloped(Flat):
        def evaluate(self, crystals: list[Structure]) -> PotentialOutput:
            result = super().evaluate(crystals)
            for forces in result.forces:
                forces[:] = [[1.0, 0, 0], [-1.0, 0, 0]]
            return result

    evaluation = judge([MGO], potential=Sloped(), relax=False)
    (outcome,) = evaluation.records
    assert not outcome.converged
    assert outcome.e_above_hull == -0.01
    assert counts(evaluation)["S.U.N. at 0 (novel composition)"] == 1
    assert judge([MGO], potential=Sloped(), max_steps=3).records[0].e_above_hull is None


def test_limit_draws_by_seed() -> None:
    structures = [MGO, NACL, CAO, SODIUM_NITRIDE, LIF] * 4
    first = [o.label for o in judge(structures, limit=5, seed=1).records]
    assert len(first) == 5
    assert first == [o.label for o in judge(structures, limit=5, seed=1).records]
    assert first != [o.label for o in judge(structures, limit=5, seed=2).records]
    with pytest.raises(InputError, match="limit"):
        judge(structures, limit=0)


def test_disordered_structures_are_failures() -> None:
    alloy = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
    evaluation = judge([MGO, alloy])
    assert counts(evaluation)["readable"] == 1
    assert "disordered" in evaluation.records[1].fault


def test_what_one_structure_makes_a_stage_raise_ends_nothing_else() -> None:
    class Touchy(Known):
        def known_composition(self, composition: object) -> int:
            if composition.reduced_formula == "CaO":  # type: ignore[attr-defined]
                raise RuntimeError("no such thing")
            return super().known_composition(composition)

    evaluation = judge([MGO, CAO, NACL], reference=Touchy())
    assert [bool(outcome.fault) for outcome in evaluation.records] == [False, True, False]
    assert "novelty could not be evaluated (RuntimeError: no such thing)" in evaluation.records[1].fault
    found = counts(evaluation)
    assert found["readable"] == 2
    assert found["stable at 0.1"] == 2


@pytest.mark.slow
def test_orderings_of_alloys_are_flagged() -> None:
    class Ends(Known):
        def same_as(self, structure: Structure) -> list[int]:
            return [0] if structure.composition.reduced_formula in {"MgO", "ZnO"} else []

        def id_of(self, row: int) -> str:
            return f"mp-{row}"

    ordered = Structure(
        Lattice.tetragonal(3.0, 4.3),
        ["Mg", "Zn", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]],
    )

    class Wide(Flat):
        elements = Flat.elements | {"Zn"}

    evaluation = judge([ordered, MGO], reference=Ends(), potential=Wide())
    assert [bool(outcome.alloy) for outcome in evaluation.records] == [True, False]
    assert counts(evaluation)["ordering of a known alloy"] == 1


def test_yields_and_compared_sets(tmp_path: Path) -> None:
    target = parse_target(["band_gap>3", "e_above_hull<0.1"])
    given = {"target": target, "predictors": {"band_gap": Gaps()}}
    evaluation = judge([MGO, CAO, NACL, SODIUM_NITRIDE], out=tmp_path / "theirs", **given)
    assert counts(evaluation)["on target, valid and stable at 0.1"] == 2
    assert evaluation.yields["hit"]["per_relaxation"] == 0.5
    assert evaluation.yields["metastable S.U.N."]["per_relaxation"] == 0.5
    stored = json.loads((tmp_path / "theirs" / "evaluation.json").read_text())
    assert stored["versions"]["invdesign"]
    others = read_evaluations([tmp_path / "theirs" / "evaluation.json"])
    shown = io.StringIO()
    show(judge([MGO], max_steps=3), Console(file=shown, width=150), others)
    assert "theirs" in shown.getvalue()
    assert "measured with another max_steps" in shown.getvalue()
    for text in ("[]", '{"rates": {}, "protocol": []}', "[" * 100_000, "{"):
        (tmp_path / "none.json").write_text(text)
        with pytest.raises(InputError, match=r"no evaluation|cannot be read as JSON"):
            read_evaluations([tmp_path / "none.json"])


class Second(Flat):
    """Puts every crystal 0.06 eV higher than the first; calcium oxide explodes where it is told so."""

    name = "second"

    def __init__(self, *, explodes: bool = False) -> None:
        super().__init__()
        self.explodes = explodes

    def evaluate(self, crystals: list[Structure]) -> PotentialOutput:
        found = super().evaluate(crystals)
        found.energy += 0.06
        for i, frame in enumerate(as_frames(crystals)):
            if self.explodes and 20 in frame.numbers:
                found.energy[i], found.failures[i] = np.nan, "it exploded"
        return found


class OfSecond(Identity):
    potential = "second"


class Sloped(Heights):
    """Follows the energy too."""

    def e_above_hull(self, composition: object, energy: float) -> HullResult:
        found = super().e_above_hull(composition, energy)
        return HullResult(found.e_above_hull + energy + 2, {}, 7, composition_known=False, hull_energy=0.0)


def asked_twice(source: object, second: object, **options: object) -> object:
    parts = {"hull": Sloped(), "second_opinion": second, "second_calibration": OfSecond()}
    return judge(source, **{**parts, **options})


def test_a_second_opinion_stands_next_to_the_first(tmp_path: Path) -> None:
    evaluation = asked_twice([MGO, CAO, NACL, MGF], Second(), out=tmp_path)
    stable, sun = "stable at 0.1", "S.U.N. at 0.1 (novel composition)"
    assert list(evaluation.second_rates) == ["second", "both"]
    by = [evaluation.rates, *evaluation.second_rates.values()]
    assert [rates[stable].count for rates in by] == [3, 2, 2]
    assert [rates[sun].count for rates in by] == [2, 1, 1]
    assert "valid" not in by[1]  # no potential decides that
    stored = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert stored["second_opinion"]["second"][stable]["count"] == 2
    assert stored["protocol"]["second_opinion"]["potential"] == "second"
    rows = list(csv.DictReader((tmp_path / "structures.csv").open(encoding="utf-8")))
    apart = [float(row["second_e_above_hull"]) - float(row["e_above_hull"]) for row in rows[:3]]
    assert apart == pytest.approx([0.06] * 3)
    show(evaluation, console := Console(file=io.StringIO(), width=140, record=True))
    text = console.export_text()
    assert "by second" in text
    assert "by both" in text
    plain = judge([MGO], out=tmp_path / "plain")
    assert plain.second_rates == {}
    assert "second_sigma" not in (tmp_path / "plain" / "structures.csv").read_text(encoding="utf-8")


def test_what_the_second_potential_cannot_handle_is_said_and_the_rest_goes_on() -> None:
    evaluation = asked_twice([CAO, MGO, OVERLAP], Second(explodes=True))
    oxide, other, overlap = evaluation.records
    assert (oxide.e_above_hull, oxide.second_e_above_hull) == (pytest.approx(0.08), None)
    assert "it exploded" in oxide.second_relaxation
    assert other.second_e_above_hull == pytest.approx(0.05)
    assert "0.25 Å apart" in overlap.second_relaxation
    assert [rates["stable at 0.1"].count for rates in evaluation.second_rates.values()] == [1, 1]
    assert any("second could not place 1 of the 2 crystals that flat places" in c for c in evaluation.caveats)


def test_a_second_opinion_is_of_another_potential_with_a_calibration() -> None:
    with pytest.raises(InputError, match=r"^second_opinion: flat is the first potential too; give another"):
        judge([MGO], second_opinion=Flat(), second_calibration=Identity())
    with pytest.raises(
        InputError,
        match=r"^second_opinion: second has no released calibration; give --second-calibration FOLDER",
    ):
        judge([MGO], second_opinion=Second())
    with pytest.raises(InputError, match=r"^second_opinion: calibration: it is flat's, the potential "):
        judge([MGO], second_opinion=Second(), second_calibration=Identity())
