"""The rounds after the first: learn from what DFT returned, correct the estimates, choose what is next.

A round reads the campaign's store and writes a folder of its own, ``round-2``, ``round-3``, …; the store's
predictions stay as the models made them, so that results are always compared with those.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from invdesign.campaign.active_learning.correction import Learned, has_result
from invdesign.campaign.active_learning.extend import draw_more
from invdesign.campaign.active_learning.revise import remember_round
from invdesign.campaign.active_learning.select import Ask, Choice, choose_next
from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import DATABASE
from invdesign.campaign.stages.dynamical_stability import require
from invdesign.campaign.store import Store
from invdesign.core.properties import STABILITY, known_property
from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import one_thread
from invdesign.io.provenance import RUN_FILE, write_run_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    import pandas as pd

    from invdesign.core.candidate import Candidate


@dataclass(frozen=True)
class Round:
    """What is to be computed next.

    Attributes:
        number: 2 is the first after the campaign's own shortlist.
        out: its folder.
        config: the campaign's.
        shortlist: best first, with corrected ``properties`` and the verdicts that follow from these;
            ``selection`` has ``rank`` and ``p_hit``.
        learned: what the results taught.
        message: one sentence on the outcome.
    """

    number: int
    out: Path
    config: CampaignConfig
    shortlist: list[Candidate]
    learned: Learned
    message: str

    def __repr__(self) -> str:
        """Return the number of crystals chosen and the folder."""
        return f"<round {self.number} in {self.out}: {len(self.shortlist)} crystals>"

    def to_pandas(self) -> pd.DataFrame:
        """Return the shortlist as a data frame, as in ``shortlist.csv``."""
        import pandas as pd

        from invdesign.report.shortlist_csv import row_of

        return pd.DataFrame([row_of(candidate) for candidate in self.shortlist])

    def lines(self) -> list[str]:
        """What was learned, and which of the goals no result tells of."""
        asked = [*self.config.target.windows, STABILITY]
        untold = [known_property(prop).words for prop in asked if prop not in self.learned.lessons]
        told = [f"No result yet of {', '.join(untold)}: estimated as before."] if untold else []
        return [*self.learned.lines(), *told]


def next_round(
    run: Path,
    *,
    choose: str = "hits",
    n_shortlist: int | None = None,
    n_genes: int | None = None,
    n_relax: int | None = None,
    components: Components | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Round:
    """Choose what to compute next in a finished campaign with DFT results, and write it as ``round-N``.

    The same results and options give the same round again; new results begin the next.

    Args:
        run: the campaign's folder, with results that ``dft collect`` put there.
        choose: ``hits``: the likeliest, unlike one another; ``information``: those that leave least doubt
            about which of the others are hits.
        n_shortlist: how many; by default as many as the campaign's own.
        n_genes: generate so many more genes first; by default none, or with ``n_relax`` the campaign's own.
        n_relax: relax so many of these; by default none, or with ``n_genes`` the campaign's own.
        components: own objects, where the campaign was made with such.
        executor: takes the relaxations and checks.
        workers: processes that relax and check; default: one per core.
        progress: show the live funnel on stderr.

    Raises:
        InputError: no campaign, not finished, no results, other options for results that a round was chosen
            from already, nothing left to choose from, or another run is at work in the folder.
    """
    if choose not in get_args(Choice):
        raise InputError(f"choose: {choose!r} is not known; give {' or '.join(get_args(Choice))}.")
    if not (run / DATABASE).is_file():
        raise InputError(f"continue: {str(run)!r} holds no campaign (no {DATABASE}); give the folder of one.")
    with locked_folder(run, DATABASE):
        store = Store(run / DATABASE)
        config = _config(store, run, n_shortlist, workers)
        components = _parts(store, config, components)
        require(config.check)
        candidates = store.read()
        asked = {"choose": choose, "n_shortlist": config.n_shortlist, "n_genes": n_genes, "n_relax": n_relax}
        origin = _origin(run, store, candidates, components) | asked
        number = _number(run, origin)
        out = run / f"round-{number}"
        if n_genes is not None or n_relax is not None:
            draw_more(
                store,
                _with(config, {"n_genes": n_genes, "n_relax": n_relax}),
                components,
                number=number,
                out=out,
                name=f"round {number} after results {origin['results'][:12]}",
                executor=executor,
                progress=progress,
            )
            candidates = store.read()
        with one_thread():
            ask = Ask(number, config, components, store, choose)
            chosen = choose_next(ask, candidates, executor, progress=progress)
        if changed := remember_round(candidates, chosen.shortlist, number):
            store.put(changed, complete=True)
        found = Round(number, out, config, chosen.shortlist, chosen.learned, chosen.message)
        return _write(found, components, origin, chosen.pool)


def _config(store: Store, run: Path, n_shortlist: int | None, workers: int | None) -> CampaignConfig:
    """The campaign's own config."""
    if not store.complete:
        raise InputError(
            f"continue: the campaign in {str(run)!r} has not finished; give its own command again first."
        )
    fields = {name: value for name, value in store.identity.items() if name != "objects"}
    own = build(CampaignConfig, fields | {"out": run, "workers": workers}, "campaign")
    return _with(own, {"n_shortlist": n_shortlist})


def _with(config: CampaignConfig, changes: dict[str, int | None]) -> CampaignConfig:
    """The config with those fields that are given."""
    given = {name: value for name, value in changes.items() if value is not None}
    return build(CampaignConfig, dict(config) | given, "campaign")


def _parts(store: Store, config: CampaignConfig, given: Components | None) -> Components:
    """The campaign's own components."""
    components, objects = given or Components.from_config(config), store.identity.get("objects", {})
    if components.signature() != objects:
        own = ", ".join(f"{kind} {name}" for kind, name in sorted(objects.items())) or "none"
        raise InputError(
            f"components: the campaign was made with other objects ({own}); give the same to next_round."
        )
    return components


def _origin(
    run: Path, store: Store, candidates: Sequence[Candidate], components: Components
) -> dict[str, Any]:
    """What a round is learned from, by content.

    Raises:
        InputError: nothing came back yet.
    """
    predicted = {STABILITY, "formation_energy_per_atom", *(components.predictors or {})}
    results = {c.id: _figures(c, predicted) for c in candidates if c.dft}
    if not results:
        raise InputError(
            f"continue: {str(run)!r} has no results to learn from; run `invdesign dft collect FOLDERS "
            f"--out {run}` first."
        )
    text = json.dumps(results, sort_keys=True)
    computed = [candidate.id for candidate in candidates if has_result(candidate)]
    return {
        "campaign": store.identity,
        "results": hashlib.sha256(text.encode()).hexdigest(),
        "computed": computed,
        "failed": sorted(results.keys() - set(computed)),
    }


def _figures(candidate: Candidate, predicted: Iterable[str]) -> dict[str, Any]:
    """What of a result is learned from; nothing of one that failed."""
    names = {"functional", *predicted}
    values = candidate.dft.as_dict() if candidate.dft else {}
    return {name: value for name, value in values.items() if name in names}


def _number(run: Path, origin: dict[str, Any]) -> int:
    """The latest round's where it was chosen in this way from these results, else the next.

    Raises:
        InputError: it was chosen from these results in another way.
    """
    number = 2
    while (record := run / f"round-{number}" / RUN_FILE).is_file():
        number += 1
    if number == 2:
        return number
    latest = json.loads((run / f"round-{number - 1}" / RUN_FILE).read_text(encoding="utf-8"))["learned_from"]
    if latest["results"] != origin["results"]:
        return number
    if {name: latest[name] for name in origin} != json.loads(json.dumps(origin)):
        folder = record.parent.with_name(f"round-{number - 1}")
        raise InputError(
            f"continue: {folder} was chosen from these results already, with other options; compute it and "
            "collect its results, or remove it to choose anew."
        )
    return number - 1


def _write(found: Round, components: Components, origin: dict[str, Any], pool: int) -> Round:
    from invdesign.campaign.provenance import made_with
    from invdesign.crystal.structure_files import SHORTLIST
    from invdesign.report.shortlist_csv import CIF_FOLDER, write_cifs, write_table
    from invdesign.report.shortlist_json import SHORTLIST_JSON, write_shortlist_json

    write_cifs(found.shortlist, found.out / CIF_FOLDER)
    write_table(found.shortlist, found.out / SHORTLIST)
    if not (found.out / RUN_FILE).exists():  # who made it first stays on record
        write_shortlist_json(found.shortlist, found.out / SHORTLIST_JSON, made_with(found.config, components))
        write_run_json(
            found.out,
            {
                "round": found.number,
                "target": found.config.words(),
                "learned_from": origin,
                "learned": found.lines(),
                "pool": pool,
                "shortlisted": len(found.shortlist),
                "message": found.message,
            },
        )
    return found
