"""The rounds after the first: learn from what DFT returned, correct the estimates, choose what is next.

A round reads the campaign's store and writes a folder of its own, ``round-2``, ``round-3``, …; the store's
predictions stay as the models made them, so that results are always compared with those.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from invdesign.campaign.acquisition import informative
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.folder import held
from invdesign.campaign.last_pick import last_pick
from invdesign.campaign.learning import Learned, has_result, learn
from invdesign.campaign.more import draw_more
from invdesign.campaign.run import DATABASE
from invdesign.campaign.stages import Parts, one_thread
from invdesign.campaign.store import Store
from invdesign.configs import build
from invdesign.errors import InputError
from invdesign.properties import STABILITY, known_property
from invdesign.provenance import RUN_FILE, write_run_json
from invdesign.ranking import hit_probability, shortlist

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from invdesign.campaign.last_pick import Pick
    from invdesign.candidate import Candidate, Estimate
    from invdesign.targets import Target


Choice = Literal["hits", "information"]
REVISED = frozenset({"hull", "properties", "identity"})
"""Gates whose verdict hangs on estimates, or on who else passed: corrected estimates are judged anew."""


@dataclass(frozen=True)
class Round:
    """What is to be computed next.

    Attributes:
        number: 2 is the first after the campaign's own shortlist.
        out: its folder.
        config: the campaign's.
        shortlist: best first, with corrected ``properties``; ``provenance`` has ``rank`` and ``p_hit``.
        learned: what the results taught.
        message: one sentence on the outcome.
    """

    number: int
    out: Path
    config: CampaignConfig
    shortlist: list[Candidate]
    learned: Learned
    message: str

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
    parts: Parts | None = None,
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
        parts: own objects, where the campaign was made with such.
        executor: takes the relaxations.
        workers: processes that relax; default: one per core.
        progress: show the live funnel on stderr.

    Raises:
        InputError: no campaign, not finished, no results, other options for results that a round was chosen
            from already, nothing left to choose from, or another run is at work in the folder.
    """
    if choose not in get_args(Choice):
        msg = f"choose: {choose!r} is not known; give {' or '.join(get_args(Choice))}."
        raise InputError(msg)
    if not (run / DATABASE).is_file():
        msg = f"continue: {str(run)!r} holds no campaign (no {DATABASE}); give the folder of one."
        raise InputError(msg)
    with held(run, DATABASE):
        store = Store(run / DATABASE)
        config = _config(store, run, n_shortlist, workers)
        parts = _parts(store, config, parts)
        candidates = store.read()
        asked = {"choose": choose, "n_shortlist": config.n_shortlist, "n_genes": n_genes, "n_relax": n_relax}
        origin = _origin(run, store, candidates) | asked
        number = _number(run, origin)
        out = run / f"round-{number}"
        if n_genes is not None or n_relax is not None:
            draw_more(
                store,
                _with(config, {"n_genes": n_genes, "n_relax": n_relax}),
                parts,
                number=number,
                out=out,
                name=f"round {number} after results {origin['results'][:12]}",
                executor=executor,
                progress=progress,
            )
            candidates = store.read()
        with one_thread():
            found, pool = _choose(config, parts, candidates, choose)
        return _write(Round(number, out, config, *found), parts, origin, pool)


def _config(store: Store, run: Path, n_shortlist: int | None, workers: int | None) -> CampaignConfig:
    """The campaign's own config."""
    if not store.complete:
        msg = f"continue: the campaign in {str(run)!r} has not finished; give its own command again first."
        raise InputError(msg)
    fields = {name: value for name, value in store.identity.items() if name != "objects"}
    own = build(CampaignConfig, fields | {"out": run, "workers": workers}, "campaign")
    return _with(own, {"n_shortlist": n_shortlist})


def _with(config: CampaignConfig, changes: dict[str, int | None]) -> CampaignConfig:
    """The config with those fields that are given."""
    given = {name: value for name, value in changes.items() if value is not None}
    return build(CampaignConfig, dict(config) | given, "campaign")


def _parts(store: Store, config: CampaignConfig, given: Parts | None) -> Parts:
    """The campaign's own parts."""
    parts, objects = given or Parts.named(config), store.identity.get("objects", {})
    if parts.signature() != objects:
        own = ", ".join(f"{kind} {name}" for kind, name in sorted(objects.items())) or "none"
        msg = f"parts: the campaign was made with other objects ({own}); give the same to next_round."
        raise InputError(msg)
    return parts


def _origin(run: Path, store: Store, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What a round is learned from, by content.

    Raises:
        InputError: nothing came back yet.
    """
    results = {c.id: _figures(c) for c in candidates if c.provenance.get("dft")}
    if not results:
        msg = (
            f"continue: {str(run)!r} has no results to learn from; run `invdesign dft collect FOLDERS "
            f"--out {run}` first."
        )
        raise InputError(msg)
    text = json.dumps(results, sort_keys=True)
    computed = [candidate.id for candidate in candidates if has_result(candidate)]
    return {
        "campaign": store.identity,
        "results": hashlib.sha256(text.encode()).hexdigest(),
        "computed": computed,
        "failed": sorted(results.keys() - set(computed)),
    }


def _figures(candidate: Candidate) -> dict[str, Any]:
    """What of a result is learned from; nothing of one that failed."""
    names = {*candidate.properties, "functional"}
    return {name: value for name, value in candidate.provenance["dft"].items() if name in names}


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
        msg = (
            f"continue: {folder} was chosen from these results already, with other options; compute it and "
            "collect its results, or remove it to choose anew."
        )
        raise InputError(msg)
    return number - 1


def _choose(
    config: CampaignConfig, parts: Parts, candidates: Sequence[Candidate], choose: str
) -> tuple[tuple[list[Candidate], Learned, str], int]:
    """The shortlist, what was learned, and a sentence; and how many could have been chosen."""
    relaxed = [candidate for candidate in candidates if _relaxed(candidate)]
    vectors = embeddings(relaxed)
    learned = learn(relaxed, vectors)
    pool = _pool(relaxed)
    if not pool:
        msg = "continue: every candidate that relaxed was computed; give --n and --n-relax to make more."
        raise InputError(msg)
    _predict([relaxed[i] for i in pool], parts)
    rows = learned.corrected([relaxed[i].properties for i in pool], vectors[pool])
    corrected = [_revised(relaxed[i], row) for i, row in zip(pool, rows, strict=True)]

    pick: Pick = shortlist
    if choose == "information":
        place = {candidate.id: vectors[i] for i, candidate in zip(pool, corrected, strict=True)}
        pick = _by_information(learned, place, vectors[[has_result(candidate) for candidate in relaxed]])
    judged, _ = last_pick(config, parts, corrected, pick)
    chosen = sorted((c for c in judged if "rank" in c.provenance), key=lambda c: c.provenance["rank"])
    n = sum(candidate.alive for candidate in judged)
    expected = sum(candidate.provenance["p_hit"] for candidate in chosen)
    message = (
        f"{len(chosen)} of {n} candidates chosen for {choose}, {expected:.1f} hits expected among them, "
        f"after {learned.n} result{'s' * (learned.n != 1)}."
    )
    return (chosen, learned, message), n


def _relaxed(candidate: Candidate) -> bool:
    """Whether it was sent to DFT, or is relaxed and only its estimates or its likes speak against it."""
    if candidate.structure is None or "relaxation" not in candidate.verdicts:
        return False
    refused = {gate for gate, verdict in candidate.verdicts.items() if not verdict.passed}
    return refused <= REVISED or bool(candidate.provenance.get("dft"))


def _pool(relaxed: Sequence[Candidate]) -> list[int]:
    """Indices of what was not sent to DFT yet and is no twin of what was."""
    from invdesign.crystal.identity import unique_groups

    sent = [i for i, candidate in enumerate(relaxed) if candidate.provenance.get("dft")]
    left = [i for i, candidate in enumerate(relaxed) if not candidate.provenance.get("dft")]
    groups = unique_groups([relaxed[i].structure for i in (*sent, *left)])  # type: ignore[misc]
    taken = set(groups[: len(sent)])
    return [i for i, group in zip(left, groups[len(sent) :], strict=True) if group not in taken]


def _predict(candidates: Sequence[Candidate], parts: Parts) -> None:
    """Give those that the campaign rejected above the hull the estimates that it spared itself."""
    wanted = set(parts.predictors or {})
    bare = [candidate for candidate in candidates if not wanted <= candidate.properties.keys()]
    found = parts.estimates([candidate.structure for candidate in bare])  # type: ignore[misc]
    for candidate, estimates in zip(bare, found, strict=True):
        candidate.properties |= estimates


def _revised(candidate: Candidate, properties: dict[str, Estimate]) -> Candidate:
    """A copy with corrected estimates, to be judged anew."""
    verdicts = {gate: verdict for gate, verdict in candidate.verdicts.items() if gate not in REVISED}
    dropped = {"rank", "pareto_rank", "why"}
    provenance = {name: value for name, value in candidate.provenance.items() if name not in dropped}
    return replace(candidate, properties=properties, verdicts=verdicts, provenance=provenance)


def embeddings(candidates: Sequence[Candidate]) -> np.ndarray:
    """CHGNet's embeddings of relaxed candidates (n, 64), standardised over them; 0 where it fails."""
    if not candidates:
        return np.zeros((0, 1))
    chgnet = Parts(potential="chgnet").get("potential")
    found = chgnet.embed([candidate.structure for candidate in candidates])[1].astype(float)
    spread = np.maximum(np.nanstd(found, axis=0), 1e-6)
    return np.asarray(np.nan_to_num((found - np.nanmean(found, axis=0)) / spread))


def _by_information(learned: Learned, place: dict[str, np.ndarray], computed: np.ndarray) -> Pick:
    """Pick by what would be learned; ``place`` has embeddings by id, ``computed`` those of results (k, d)."""

    def pick(candidates: Sequence[Candidate], target: Target, n: int) -> list[Candidate]:
        if not candidates:
            return []
        chances = np.array([hit_probability(candidate.properties, target) for candidate in candidates])
        vectors = np.array([place[candidate.id] for candidate in candidates])
        chosen = informative(n, chances, vectors, computed, learned.likeness(target.windows))
        return [candidates[i] for i in chosen]

    return pick


def _write(found: Round, parts: Parts, origin: dict[str, Any], pool: int) -> Round:
    from invdesign.campaign.made_with import made_with
    from invdesign.crystal.files import SHORTLIST
    from invdesign.report import CIF_FOLDER
    from invdesign.report.shortlist_json import SHORTLIST_JSON, write_shortlist_json
    from invdesign.report.table import write_cifs, write_table

    write_cifs(found.shortlist, found.out / CIF_FOLDER)
    write_table(found.shortlist, found.out / SHORTLIST)
    if not (found.out / RUN_FILE).exists():  # who made it first stays on record
        write_shortlist_json(found.shortlist, found.out / SHORTLIST_JSON, made_with(found.config, parts))
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
