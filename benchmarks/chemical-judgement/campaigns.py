"""Six fixed campaigns, read as a chemist would: what stands among their first ten rows, and their yield.

``python benchmarks/chemical-judgement/campaigns.py OUT [NAME…]`` runs them (two minutes each on two cores)
and writes ``OUT/NAME/`` and ``OUT/campaigns.json``. The marks of a reader stand in ``marks.csv``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import invdesign
from invdesign.io.provenance import git_revision, hardware

RARE_EARTHS = "La,Ce,Pr,Nd,Pm,Sm,Eu,Gd,Tb,Dy,Ho,Er,Tm,Yb,Lu"
D_METALS = "Ti,V,Cr,Mn,Fe,Co,Ni,Cu,Mo,Tc,Ru,Rh,Pd,Ag,W,Re,Os,Ir,Pt,Au"
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "absorber": {"target": "band_gap=0.8..1.4", "exclude": f"toxic,{RARE_EARTHS},Th,U"},
    "transparent-oxide": {
        "target": "band_gap=2..4.5",
        "elements": "O",
        "exclude": f"toxic,{RARE_EARTHS},Th,U",
    },
    "kesterite-like": {"target": "band_gap=0.7..1.5", "only": "Cu,Ag,Zn,Mg,Mn,Fe,Sn,Ge,Si,Ga,In,S,Se"},
    "hard-insulator": {"target": "bulk_modulus_gpa>180 band_gap>3"},
    "solid-electrolyte": {
        "target": "band_gap>3",
        "elements": "Li",
        "exclude": f"toxic,{D_METALS},{RARE_EARTHS},Th,U",
    },
    "awkward": {"target": "band_gap=1..2.5", "elements": "N", "only": "Zn,Mg,Ca,Sn,Ge,Si,Ti,Zr,Nb,Ta,N,O"},
}
BUDGET = {"n_genes": 2048, "n_relax": 96, "n_shortlist": 10, "seed": 0}
COLUMNS = (
    "formula",
    "space_group",
    "p_hit",
    "band_gap",
    "e_above_hull",
    "novelty",
    "charge_states",
    "site_states",
)


def main(out: Path, names: list[str]) -> None:
    """Run the campaigns named, or all, and write down their first rows and yields."""
    results = {}
    for name in names or CAMPAIGNS:
        settings = dict(CAMPAIGNS[name])
        start = time.monotonic()
        result = invdesign.design(settings.pop("target"), out=out / name, **settings, **BUDGET)
        stages = {stage["stage"]: stage for stage in result.funnel.as_json()}
        results[name] = {
            **CAMPAIGNS[name],
            "relaxed": stages["relaxation"]["entered"],
            "survivors": stages["properties"]["passed"],
            "seconds": round(time.monotonic() - start),
            "rows": [{key: row[key] for key in COLUMNS if key in row} for row in result.rows()],
        }
        about = {"budget": BUDGET, "hardware": hardware(), "revision": git_revision()}
        text = json.dumps({**about, "campaigns": results}, indent=1)
        (out / "campaigns.json").write_text(text + "\n", encoding="utf-8")
        for row in results[name]["rows"]:
            print(name, *row.values(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
