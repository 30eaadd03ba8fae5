"""The rounds after the first: estimates corrected by DFT results, and the candidates to compute next.

A round reads the campaign's store and writes a folder ``round-2``, ``round-3``, …; the stored estimates stay
as the models made them, so that DFT results are always compared with those.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from invdesign.campaign.active_learning.acquisition import Criterion, Request, acquire
from invdesign.campaign.active_learning.correction import Corrections, has_result
from invdesign.campaign.active_learning.extend import extend
from invdesign.campaign.active_learning.rescore import record_round
from invdesign.campaign.components import Components, made_with
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import DATABASE
from invdesign.campaign.stages.dynamical_stability import require
from invdesign.campaign.store import Store
from invdesign.campaign.validate import check_finisher
from invdesign.composition.formula import formula_amounts
from invdesign.core.candidate import Candidate
from invdesign.core.properties import STABILITY, known_property
from invdesign.crystal.chemical_formula import chemical_formula
from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import one_thread
from invdesign.io.provenance import RUN_FILE, write_run_json
from invdesign.io.tables import Tabular


@dataclass(frozen=True)
class Round(Tabular):
    """The candidates to compute next.

    Attributes:
        number: 2 is the first after the campaign.
        out: folder of the round.
        config: the campaign's.
        shortlist: best first, with corrected ``properties`` and the verdicts that follow from these;
            ``selection`` has ``rank`` and ``p_hit``.
        corrections: fitted to the results.
        message: one sentence on the outcome.
    """

    number: int
    out: Path
    config: CampaignConfig
    shortlist: list[Candidate]
    corrections: Corrections
    message: str

    def __repr__(self) -> str:
        """Return the number of crystals selected and the folder."""
        return f"<round {self.number} in {self.out}: {len(self.shortlist)} crystals>"

    def rows(self) -> list[dict[str, Any]]:
        """Return the shortlist, as in ``shortlist.csv``."""
        from invdesign.report.shortlist_csv import row_of

        return [row_of(candidate) for candidate in self.shortlist]

    def lines(self) -> list[str]:
        """Describe the corrections, and name the goals without a result."""
        goals = [*self.config.target.windows, STABILITY]
        without = [known_property(goal).words for goal in goals if goal not in self.corrections.by_property]
        last = [f"No result yet of {', '.join(without)}: estimated as before."] if without else []
        return [*self.corrections.lines(), *last]


def next_round(
    run: str | Path,
    *,
    choose: str = "hits",
    n_shortlist: int | None = None,
    n_genes: int | None = None,
    n_relax: int | None = None,
    components: Components | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Round:
    """Select what to compute next in a finished campaign with DFT results, and write it as ``round-N``.

    The same results and options give the same round again; new results begin the next. The command is
    ``invdesign design --continue``.

    >>> chosen = next_round("run", choose="hits", n_shortlist=10)  # doctest: +SKIP
    >>> chosen.lines()  # doctest: +SKIP
    ['Band gap: 12 results; predictions shifted by +0.31 eV, intervals × 1.20; …']

    Args:
        run: the campaign's folder, with results that ``dft collect`` put there.
        choose: ``hits``: those of most worth that differ from one another; ``information``: those whose
            results leave the least uncertainty about hits among the others.
        n_shortlist: how many; by default as many as in the campaign.
        n_genes: genes to generate first; by default none, or with ``n_relax`` as many as in the campaign.
        n_relax: how many of them to relax; by default none, or with ``n_genes`` as many as in the campaign.
        components: custom objects, where the campaign was made with such.
        executor: takes the relaxations and checks.
        workers: processes that relax and check; default: one per core.
        progress: show the live funnel on stderr.

    Returns:
        The round: ``shortlist`` with corrected ``properties``, ``corrections``, ``message``.

    Raises:
        InputError: no campaign, not finished, no results, other options for results that a round was selected
            from already, nothing left to select from, or another run is at work in the folder.
    """
    if choose not in get_args(Criterion):
        raise InputError(f"choose: {choose!r} is not known; give {' or '.join(get_args(Criterion))}.")
    run = Path(run)
    if not (run / DATABASE).is_file():
        raise InputError(f"continue: {str(run)!r} holds no campaign (no {DATABASE}); give the folder of one.")
    with locked_folder(run, DATABASE):
        store = Store(run / DATABASE)
        config = _config(store, run, n_shortlist, workers)
        components = _components(store, config, components)
        require(config.check)
        if components.finisher is not None:
            check_finisher(components)
        candidates = store.read()
        asked = {"choose": choose, "n_shortlist": config.n_shortlist, "n_genes": n_genes, "n_relax": n_relax}
        origin = _origin(run, store, candidates, components) | asked
        number = _number(run, origin)
        out = run / f"round-{number}"
        if n_genes is not None or n_relax is not None:
            extend(
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
            request = Request(number, config, components, store, choose)
            acquired = acquire(request, candidates, executor, progress=progress)
        if changed := record_round(candidates, acquired.shortlist, number):
            store.put(changed, complete=True)
        found = Round(number, out, config, acquired.shortlist, acquired.corrections, acquired.message)
        return _write(found, components, origin, acquired.pool)


def _config(store: Store, run: Path, n_shortlist: int | None, workers: int | None) -> CampaignConfig:
    """Restore the campaign's config."""
    if not store.complete:
        raise InputError(
            f"continue: the campaign in {str(run)!r} has not finished; repeat its command first."
        )
    fields = {name: value for name, value in store.identity.items() if name != "objects"}
    # of campaigns before there was `novelty`: what was known was left out, or included, before relaxation
    fields = {"novelty": "any"} | {name: value for name, value in fields.items() if name != "include_known"}
    fields["formulas"] = [
        chemical_formula(formula_amounts(formula)) for formula in fields.get("formulas", ())
    ]
    config = build(CampaignConfig, {"finish": "none"} | fields | {"out": run, "workers": workers}, "campaign")
    return _with(config, {"n_shortlist": n_shortlist})


def _with(config: CampaignConfig, changes: dict[str, int | None]) -> CampaignConfig:
    """Replace the fields that are given."""
    given = {name: value for name, value in changes.items() if value is not None}
    return build(CampaignConfig, dict(config) | given, "campaign")


def _components(store: Store, config: CampaignConfig, given: Components | None) -> Components:
    """Restore the campaign's components."""
    components, objects = Components.of(config, given), store.identity.get("objects", {})
    if components.signature() != objects:
        named = ", ".join(f"{kind} {name}" for kind, name in sorted(objects.items())) or "none"
        raise InputError(
            f"components: the campaign was made with other objects ({named}); give the same to next_round."
        )
    return components


def _origin(
    run: Path, store: Store, candidates: Sequence[Candidate], components: Components
) -> dict[str, Any]:
    """Describe the results that a round is selected from, by content.

    Raises:
        InputError: there are none yet.
    """
    predicted = {STABILITY, "formation_energy_per_atom", *(components.predictors or {})}
    results = {c.id: _fitted_values(c, predicted) for c in candidates if c.dft}
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


def _fitted_values(candidate: Candidate, predicted: Iterable[str]) -> dict[str, Any]:
    """Return the values of a result that corrections are fitted to; none of one that failed."""
    names = {"functional", *predicted}
    values = candidate.dft.as_dict() if candidate.dft else {}
    return {name: value for name, value in values.items() if name in names}


def _number(run: Path, origin: dict[str, Any]) -> int:
    """Return the latest round's number where it has these results and options, else the next.

    Raises:
        InputError: it has these results, but other options.
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
            f"continue: {folder} was selected from these results already, with other options; compute it and "
            "collect its results, or remove it to select again."
        )
    return number - 1


def _write(found: Round, components: Components, origin: dict[str, Any], pool: int) -> Round:
    from invdesign.crystal.structure_files import SHORTLIST
    from invdesign.report.shortlist_csv import CIF_FOLDER, write_cifs, write_table
    from invdesign.report.shortlist_json import SHORTLIST_JSON, write_shortlist_json

    write_cifs(found.shortlist, found.out / CIF_FOLDER)
    write_table(found.shortlist, found.out / SHORTLIST)
    if not (found.out / RUN_FILE).exists():  # the record of the first call stays
        write_shortlist_json(found.shortlist, found.out / SHORTLIST_JSON, made_with(found.config, components))
        write_run_json(
            found.out,
            {
                "round": found.number,
                "target": found.config.describe(),
                "learned_from": origin,
                "learned": found.lines(),
                "pool": pool,
                "shortlisted": len(found.shortlist),
                "message": found.message,
            },
        )
    return found
