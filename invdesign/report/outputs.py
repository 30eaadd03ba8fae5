"""The files of a campaign: shortlist as table and CIFs, funnel as picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from invdesign.core.candidate import Candidate
from invdesign.core.funnel import Funnel
from invdesign.core.target import Target
from invdesign.crystal.structure_files import SHORTLIST
from invdesign.report.plots.funnel import draw_funnel
from invdesign.report.shortlist_csv import CIF_FOLDER, write_cifs, write_table

PICTURE = "funnel.png"


def write_outputs(out: Path, shortlist: Sequence[Candidate], funnel: Funnel, target: Target) -> None:
    """Write ``shortlist.csv``, ``cifs/`` and ``funnel.png``."""
    write_cifs(shortlist, out / CIF_FOLDER)
    write_table(shortlist, out / SHORTLIST)
    draw_funnel(funnel, out / PICTURE, title=target.words())
