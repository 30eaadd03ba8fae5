"""The main job: a campaign from its config to a shortlist, resumable at every unit of work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from invdesign.campaign.budget import GeneratorYield, allot, rounds
from invdesign.campaign.closing_message import closing_message
from invdesign.campaign.components import Components, made_with
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.known import COLUMNS, KNOWN_TABLE, known_rows
from invdesign.campaign.progress import GENE_PHASE
from invdesign.campaign.session import Session
from invdesign.campaign.stages.dynamical_stability import check_survivors, require
from invdesign.campaign.stages.filter import filter_genes, first_of_genes
from invdesign.campaign.stages.finish import finish
from invdesign.campaign.stages.gates import GateUnit
from invdesign.campaign.stages.generate import generate, generate_units
from invdesign.campaign.stages.prerank import prerank
from invdesign.campaign.stages.relax import relax_unit
from invdesign.campaign.stages.shortlist import distinct_survivors, picked, put_on_shortlist
from invdesign.campaign.store import Store
from invdesign.campaign.validate import check_finisher, check_names
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import FINISHING, STRUCTURE_GATES, Funnel, GeneratorTally, yields
from invdesign.crystal.structure_files import SHORTLIST
from invdesign.errors import InputError
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import run_tasks
from invdesign.io.tables import Tabular, write_csv
from invdesign.report.plots.funnel import draw_funnel
from invdesign.report.shortlist_csv import CIF_FOLDER, row_of, write_cifs, write_table
from invdesign.report.shortlist_json import SHORTLIST_JSON, write_shortlist_json
from invdesign.verdict import Verdict

DATABASE, PICTURE = "candidates.db", "funnel.png"
_BRIEF = 60  # characters


@dataclass(frozen=True)
class CampaignResult(Tabular):
    """What a campaign found.

    Attributes:
        config: what was asked.
        shortlist: in order of worth, each with its pymatgen ``structure``, ``verdicts``, ``properties``
            and ``selection`` (``rank``, ``p_hit``, ``pareto_rank``, ``synthesizability``).
        funnel: counts and cost by stage.
        message: one sentence on the outcome; where the shortlist is short, why and what would lengthen it.
        wall: seconds that the work took, all sessions together.
        yields: what each generator gave and cost.
        known: rows of ``known.csv``: known materials that already do what was asked, best first.
    """

    config: CampaignConfig
    shortlist: list[Candidate]
    funnel: Funnel
    message: str
    wall: float
    yields: list[GeneratorTally]
    known: list[dict[str, Any]]

    def __repr__(self) -> str:
        """Return the number of shortlisted crystals and the folder."""
        return f"<campaign {self.out}: {len(self.shortlist)} crystals shortlisted>"

    def rows(self) -> list[dict[str, Any]]:
        """Return the shortlist, as in ``shortlist.csv``."""
        return [row_of(candidate) for candidate in self.shortlist]

    @property
    def out(self) -> Path:
        """Folder of the output files."""
        return self.config.out

    @property
    def candidates(self) -> list[Candidate]:
        """Every candidate, rejected ones included, from the database."""
        return Store(self.out / DATABASE).read()


def design(
    config: CampaignConfig,
    *,
    components: Components | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    had: Mapping[str, str] | None = None,
) -> CampaignResult:
    """Run a campaign, or go on with it, or (when it is complete) give its result again.

    Killed at any moment, the same call resumes after the last stored unit of work and ends with the same
    shortlist. In a script, call it under ``if __name__ == "__main__":`` (relaxations run in new processes),
    or set ``workers=1``.

    Args:
        config: what to do; ``config.out`` is created and gets ``shortlist.csv``, ``shortlist.json``,
            ``known.csv``, ``cifs/``, ``candidates.db``, ``funnel.png`` and ``run.json``.
        components: custom objects in place of the components that the config names.
        executor: takes the relaxation chunks (default: one process per core).
        progress: show the live funnel on stderr.
        had: genes (id by hash) of an earlier campaign that this one goes on from; they are not taken again.

    Raises:
        InputError: the target cannot be met, a component is missing or does not fit, the folder is another
            campaign's or in use, the disk is full, a worker died.
    """
    components = Components.of(config, components)
    with locked_folder(config.out, DATABASE):
        if not (config.out / DATABASE).exists():
            _check(config, components)  # a campaign that cannot run claims no folder
        store = _store(config, components)
        if worked := not store.complete:
            _check(config, components)
            title = f"Target: {config.describe()}"
            with Session.begin(
                config, components, store, executor, title=title, progress=progress
            ) as session:
                _gene_phase(session, had or {})
                _structure_phase(session)
                _last_phase(session)
        return _conclude(config, components, store, worked=worked)


def _store(config: CampaignConfig, components: Components) -> Store:
    """Open the store of the folder, which must belong to this campaign."""
    identity = {**config.identity(), "objects": components.signature()}
    store = Store(config.out / DATABASE, identity)
    stored = store.identity
    keys = sorted(identity.keys() | stored.keys())
    if different := [key for key in keys if identity.get(key) != stored.get(key)]:
        different.sort(key=lambda key: key != "target")
        listed = ", ".join(
            f"{key} {' there, '.join(_brief(stored.get(key), identity.get(key)))} here"
            for key in different[:3]
        )
        raise InputError(f"out: {str(config.out)!r} holds another campaign ({listed}); give another folder.")
    return store


def _brief(one: Any, other: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """Return both as JSON, long ones from where they begin to differ on."""
    texts = [json.dumps(value, ensure_ascii=False) for value in (one, other)]
    if max(map(len, texts)) <= _BRIEF:
        return texts
    same = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    shown = [text[max(0, same - 20) :] for text in texts]
    before = "…" if same > 20 else ""
    return [before + (text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…") for text in shown]


def _check(config: CampaignConfig, components: Components) -> None:
    """Load every component once before any work; check that they fit one another and the target."""
    from pymatgen.core import Composition

    from invdesign.filters.charge_balance import charge_balance

    require(config.check)
    check_names(hull=components.hull, calibration=components.calibration)
    if components.finisher is not None:
        check_finisher(components)
    target = config.target
    if target.formula is not None and not (verdict := charge_balance(Composition(target.formula))).passed:
        raise InputError(
            f"formula: {target.formula} cannot be balanced ({verdict.reason}); give one that can."
        )
    for made, kind in product((components, components.best()), ("potential", "calibration", "hull")):
        if missing := sorted(target.required - made.get(kind).elements):
            named = ", ".join(missing)
            raise InputError(
                f"elements: the {kind} does not know {named}; leave them out or give another {kind}."
            )
    for kind in ("known", "ranker", "geometry", "synthesizability", "neighbors"):
        components.get(kind)
    components.check_scale()
    asked = target.with_formula(config.formulas[0]) if config.formulas else target
    for name in components.generators:
        components.generator_called(name).propose(
            asked, 1, config.seed
        )  # raises where it can never meet the target
    for prop in components.predictors or {}:
        if getattr(components.predictor(prop), "for_evaluation", False):
            raise InputError(
                f"predictors: the model of {prop} is for the evaluation of generators alone; give another."
            )
    measured = {"e_above_hull", "formation_energy_per_atom", *(components.predictors or {})}
    if unknown := sorted(set(target.windows) - measured):
        raise InputError(
            f"target: nothing predicts {', '.join(unknown)}; ask for {', '.join(sorted(measured))}."
        )


def _gene_phase(session: Session, had: Mapping[str, str]) -> None:
    config, store, live = session.config, session.store, session.live
    stored = store.read()
    live.funnel.charge(store.seconds)
    live.count(stored, GENE_PHASE)
    if not any("pre-ranking" in candidate.verdicts for candidate in stored):
        _generate(session, had)
        stored = store.read()  # as a resumed run would have them
        clock = prerank(config, session.components, stored)
        store.put([candidate for candidate in stored if "pre-ranking" in candidate.verdicts], clock)
        live.funnel.charge(clock.seconds)
    live.count(stored, ("pre-ranking", *STRUCTURE_GATES))
    live.line(("pre-ranking",))


def _generate(session: Session, had: Mapping[str, str]) -> None:
    """Generate, filter and store in order the batches that are not stored yet."""
    config, components, store, live = session.config, session.components, session.store, session.live
    live.phase("generator", config.n_genes)
    seen = {**first_of_genes(store.read()), **had}
    todo = [unit for unit in generate_units(config, components) if unit.first >= len(store)]
    for candidates, generating in run_tasks(
        generate, todo, workers=1, executor=session.executor, ordered=True
    ):
        clock = generating + filter_genes(config, components, candidates, seen)
        store.put(candidates, clock, generator=candidates[0].origin.generator)
        seen |= first_of_genes(candidates)
        live.count(candidates, GENE_PHASE, clock)
    live.line(GENE_PHASE)


def _structure_phase(session: Session) -> None:
    """Relax in rounds; the yields of the earlier rounds decide how generators share a round."""
    config, components, store, live = session.config, session.components, session.store, session.live
    known = {candidate.id: candidate for candidate in store.read("place>=0")}
    pools = {name: _pool(known, name) for name in components.generators}
    taken = dict.fromkeys(pools, 0)
    live.phase("geometry", min(config.n_relax, len(known)))
    for size in rounds(config.n_relax, len(pools)):
        shares = allot(size, [_yield_so_far(pool, taken[name], known) for name, pool in pools.items()])
        chunks = []
        for (name, pool), share in zip(pools.items(), shares, strict=True):
            chosen = [known[id_] for id_ in pool[taken[name] : taken[name] + share]]
            taken[name] += share
            chunks += [chosen[i : i + config.relax_chunk] for i in range(0, share, config.relax_chunk)]
        todo = [
            GateUnit(config, components, chunk) for chunk in chunks if "geometry" not in chunk[0].verdicts
        ]
        for candidates, clock in run_tasks(relax_unit, todo, workers=1, executor=session.executor):
            store.put(candidates, clock, generator=candidates[0].origin.generator)
            live.count(candidates, STRUCTURE_GATES, clock)
            known |= {candidate.id: candidate for candidate in candidates}
    live.line(STRUCTURE_GATES)
    if left := [known[id_] for name, pool in pools.items() for id_ in pool[taken[name] :]]:
        for candidate in left:
            ranked = candidate.verdicts["pre-ranking"]
            reason = "the relaxations went to likelier hits and to generators that yield more"
            candidate.record(Verdict("pre-ranking", False, reason, ranked.value, ranked.threshold))  # noqa: FBT003
        store.put(left)


def _last_phase(session: Session) -> None:
    """Remove duplicates, finish and check what could be shortlisted, and select the shortlist."""
    config, components, live = session.config, session.components, session.live
    survivors = distinct_survivors(session)
    if components.finisher is not None:
        survivors = finish(session, survivors)
    if config.check:
        survivors = check_survivors(session, survivors)
    chosen = picked(config, [candidate for candidate in survivors if candidate.alive])
    clock = put_on_shortlist(config, components, chosen, survivors)
    session.store.put(survivors, clock, complete=True)
    live.count(survivors, ("shortlist",), clock)
    live.line(("duplicates", *[FINISHING] * (components.finisher is not None), *config.check, "shortlist"))


def _pool(known: Mapping[str, Candidate], generator: str) -> list[str]:
    """Return the ids of the candidates that a generator has for relaxation, best first."""
    pool = [candidate for candidate in known.values() if candidate.origin.generator == generator]
    return [candidate.id for candidate in sorted(pool, key=lambda c: c.place or 0)]


def _yield_so_far(pool: Sequence[str], taken: int, known: Mapping[str, Candidate]) -> GeneratorYield:
    verdicts = [known[id_].verdicts.get("hull") for id_ in pool[:taken]]
    passed = sum(verdict is not None and verdict.passed for verdict in verdicts)
    return GeneratorYield(taken, passed, len(pool) - taken)


def _conclude(
    config: CampaignConfig, components: Components, store: Store, *, worked: bool
) -> CampaignResult:
    """Return the result of a complete store and write its files; ``run.json`` stays if it is there."""
    # without those that later rounds added
    candidates = [candidate for candidate in store.read() if candidate.origin.round is None]
    funnel = Funnel.of(candidates, store.seconds)
    shortlisted = sorted(
        (c for c in candidates if c.shortlisted), key=lambda c: (c.selection and c.selection.rank) or 0
    )
    message = closing_message(config, funnel, len(shortlisted))
    result = CampaignResult(
        *(config, shortlisted, funnel, message, store.elapsed),
        yields(candidates, store.core),
        known_rows(config, components, candidates),
    )
    write_cifs(shortlisted, config.out / CIF_FOLDER)
    write_table(shortlisted, config.out / SHORTLIST)
    write_csv(config.out / KNOWN_TABLE, result.known, COLUMNS)
    draw_funnel(funnel, config.out / PICTURE, title=config.target.describe())
    if worked or not (config.out / SHORTLIST_JSON).exists():
        write_shortlist_json(shortlisted, config.out / SHORTLIST_JSON, made_with(config, components))
    if worked or not (config.out / "run.json").exists():
        _write_run_json(result, components)
    return result


def _write_run_json(result: CampaignResult, components: Components) -> None:
    from invdesign.composition.assignment import USUAL
    from invdesign.composition.state_likelihood import POSSIBLE
    from invdesign.io.provenance import write_run_json

    used = {"potential": components.get("potential")}
    if components.finisher is not None:
        used["finish"] = components.best().get("potential")
    write_run_json(
        result.out,
        {
            "campaign": result.config.identity(),
            "target": result.config.describe(),
            **{role: {"name": one.name, "weights": one.digest} for role, one in used.items()},
            "charge_balance": {"usual": USUAL, "possible": POSSIBLE},
            "funnel": result.funnel.as_json(),
            "generators": [tally.as_json() for tally in result.yields],
            "shortlisted": len(result.shortlist),
            "known": len(result.known),
            "message": result.message,
            "wall_s": round(result.wall, 1),
        },
    )
