import csv
from dataclasses import replace

import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

from invdesign.campaign import CampaignConfig
from invdesign.cli.design import _print_shortlist
from invdesign.core.candidate import Candidate, Estimate, Origin, Relaxation, Selection
from invdesign.core.funnel import Funnel, kind_of_reason
from invdesign.core.placement import Placement
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.filters.site_states import CONTRADICTION
from invdesign.report.plots.funnel import draw_funnel
from invdesign.report.shortlist_csv import doubts, write_cifs, write_table
from invdesign.verdict import Verdict

PLACEMENT = Placement(-2.0, 0.02, 0.03, {"NaCl": 0.75, "Cl2": 0.25}, 7, True, True)


def salt(rank: int) -> Candidate:
    candidate = Candidate(
        f"c{rank:06d}",
        Gene.parse("225 Na@a Cl@b"),
        Origin(generator="gene-diffusion", geometry="inherited from mp-22862"),
        structure=Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        ),
        properties={"e_above_hull": Estimate(0.02, 0.03), "band_gap": Estimate(5.0, 0.4)},
        relaxation=Relaxation(
            energy=-6.7,
            fmax=0.04,
            n_steps=9,
            symmetry_kept=True,
            n_starting_structures=2,
            proposed_gene="225 Na@a Cl@b",
        ),
        placement=PLACEMENT,
        selection=Selection(p_hit=0.42, pareto_rank=2, synthesizability=0.875, rank=rank),
    )
    candidate.record(Verdict("charge balance", passed=True, reason="Na1+ Cl1-"))
    candidate.record(Verdict("novelty", passed=True, reason="known: mp-22862", value=0))
    return candidate


def test_table_has_value_and_interval(tmp_path):
    write_table([salt(1), salt(2)], tmp_path / "shortlist.csv")
    rows = list(csv.DictReader((tmp_path / "shortlist.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    row = rows[0]
    assert float(row["e_above_hull_low"]) < float(row["e_above_hull"]) < float(row["e_above_hull_high"])
    assert float(row["band_gap_high"]) == pytest.approx(5 + 1.6449 * 0.4, abs=1e-3)
    assert float(row["density"]) == pytest.approx(2.16, abs=0.02)
    assert row["novelty"] == "known"
    assert (row["pareto_rank"], row["synthesizability"], row["toxic"]) == ("2", "0.875", "")
    assert (row["hhi_production"], row["hhi_reserves"], row["abundance"]) == ("1343", "1107", "145.0")
    assert row["cif_file"] == "cifs/01_NaCl.cif"
    assert row["reason"].startswith("42% likely a hit; energy above hull 0.02 (-0.03 to 0.07) eV/atom; ")


def test_what_speaks_against_a_row_is_in_its_reason(tmp_path):
    doubtful = salt(1)
    doubtful.first_placement = replace(PLACEMENT, e_above_hull=0.21)
    contradiction = f"{CONTRADICTION}: the nearest leave +2 in the cell"
    doubtful.record(Verdict("site states", passed=True, reason=contradiction, value=2))
    assert doubts(doubtful) == [
        "the potentials disagree (0.21 eV/atom before finishing)",
        "its bonds contradict usual states",
    ]
    write_table([doubtful], tmp_path / "shortlist.csv")
    (row,) = csv.DictReader((tmp_path / "shortlist.csv").open())
    assert row["potentials_agree"] == "no"
    assert row["reason"].endswith("; its bonds contradict usual states.")
    sure = salt(2)
    sure.first_placement = replace(PLACEMENT, e_above_hull=0.04)
    assert doubts(sure) == []


@pytest.mark.parametrize(("dimensionality", "shown"), [("0..3", False), ("3", True)])
def test_the_terminal_shows_doubts_and_what_was_asked_of_connections(dimensionality, shown, capsys):
    doubtful = salt(1)
    doubtful.first_placement = replace(PLACEMENT, e_above_hull=0.21)
    config = CampaignConfig(target=parse_target(f"band_gap>3 dimensionality={dimensionality}"))
    _print_shortlist([doubtful, salt(2)], config, Console(width=200))
    printed = capsys.readouterr().out
    assert ("connected" in printed and "framework" in printed) is shown
    assert printed.count("the potentials disagree (0.21") == 1


def test_empty_shortlist_is_a_table_too(tmp_path):
    write_table([], tmp_path / "shortlist.csv")
    assert (tmp_path / "shortlist.csv").read_text().startswith("rank,")


def test_cifs_read_back_and_what_else_is_there_stays(tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")
    write_cifs([salt(1)], folder)
    written = sorted(folder.rglob("*.cif"))
    assert [str(path.relative_to(folder)) for path in written] == ["01_NaCl.cif", "P1/01_NaCl.cif"]
    assert (folder / "mine.txt").read_text() == "precious"
    for path in written:
        assert Structure.from_file(path).composition.reduced_formula == "NaCl"
    assert "Fm-3m" in (folder / "01_NaCl.cif").read_text()


def test_reasons_are_grouped_without_their_values():
    assert kind_of_reason("not converged after 150 steps (0.3 eV/Å)") == "not converged after … steps"
    assert kind_of_reason("known: mp-1") == kind_of_reason("known: mp-2")
    assert kind_of_reason("shortest contact Cs-Cs 1.23 Å") == "shortest contact … Å"
    assert kind_of_reason("neutral only as La3+ 2 Ni2+ Si4-, against all") == "neutral only as …, against all"


def test_picture_of_a_funnel_that_nothing_passed(tmp_path):
    candidate = salt(1)
    candidate.verdicts = {"target": Verdict("target", passed=False, reason="not as asked")}
    funnel = Funnel.of([candidate], {"generator": (2.0, 1.0)})
    draw_funnel(funnel, tmp_path / "funnel.png", title="band gap 5 eV")
    assert (tmp_path / "funnel.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["funnel.png"]


def test_funnel_counts_by_gate():
    kept, dropped = salt(1), salt(2)
    dropped.record(Verdict("hull", passed=False, reason="too high: 0.4", value=0.4))
    dropped.selection = None
    funnel = Funnel.of([kept, dropped], {"hull": (1.0, 2.0)})
    assert (funnel.stages["generator"].entered, funnel.stages["charge balance"].passed) == (2, 2)
    assert (funnel.stages["hull"].entered, funnel.stages["hull"].rejected, funnel.stages["hull"].core) == (
        1,
        1,
        2.0,
    )
    assert funnel.stages["shortlist"].passed == 1
