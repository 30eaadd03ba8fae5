"""Settings of a screening as one typed object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from invdesign.composition.families import members
from invdesign.composition.oxidation_states import ChargeRules
from invdesign.core.properties import STABILITY, models_from_composition
from invdesign.core.target import MAX_ATOMS, Target
from invdesign.core.target_parser import fields_of, words_of
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT
from invdesign.errors import InputError
from invdesign.filters.novelty import Wanted

ESTIMATED = ("band_gap", "band_gap_experimental")
"""Properties that are always estimated."""


class ScreenConfig(BaseModel):
    """Settings that decide the verdicts and estimates of a screening; the formulas come from elsewhere.

    Attributes:
        target: windows, elements and limits, in the language of ``design``, without space group and atoms in
            the cell, which need a structure.
        excluded: elements that the target excludes by name; those that ``design`` excludes by default are
            allowed here.
        rules: of charge balance: by the likelihood of oxidation states, or smact's; None: not checked.
        novelty: compositions that are ``new``, ``any``, or ``known``; others are rejected.
        estimates: predict stability and properties; False: only gates that need no model.
        min_stability: minimum probability of a compound with e_above_hull below the target's limit.
        min_probability: minimum probability that all properties lie in their windows.
        states: report the likeliest oxidation states, every neutral assignment, or none.
        known: index of the known materials.
        stability: stability model.
        predictors: model by property, in addition to the released ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target = Target()
    excluded: frozenset[str] = frozenset()
    rules: ChargeRules | Literal["likeliest"] | None = "likeliest"
    novelty: Wanted = "any"
    estimates: bool = True
    min_stability: float = Field(0.0, ge=0, le=1)
    min_probability: float = Field(0.1, ge=0, le=1)
    states: Literal["likeliest", "all", "none"] = "likeliest"
    known: str = "known-materials"
    stability: str = "stability-composition"
    predictors: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:  # noqa: ANN401 - whatever a caller holds
        """Collect the elements that clauses exclude by name."""
        target = given.get("target", ())
        named = (
            target.excluded - EXCLUDED_BY_DEFAULT
            if isinstance(target, Target)
            else (fields_of(target).get("excluded", frozenset()))
        )
        words = words_of(given.get("excluded", ()), "excluded") | named
        return {**given, "excluded": members(words, without=frozenset())}

    @model_validator(mode="after")
    def _of_compositions(self) -> ScreenConfig:
        target = self.target
        asked = {
            "space_group": target.space_groups,
            "n_atoms": target.n_atoms != (1, MAX_ATOMS),
            "dimensionality": target.dimensionality != (0, 3),
        }
        for name, given in asked.items():
            if given:
                raise InputError(
                    f"target: {name} needs a structure, formulas have none; give it to design --from."
                )
        if self.states == "all" and isinstance(self.rules, ChargeRules):
            raise InputError("states: all of them are listed by likelihood; leave out smact's options.")
        if strange := sorted(target.windows.keys() - self.models.keys()):
            raise InputError(
                f"target: nothing predicts {', '.join(strange)} from a formula; ask for "
                f"{', '.join(self.models)}, or for it in design --from."
            )
        if not self.estimates and (target.windows or self.min_stability):
            raise InputError(
                "estimates: windows and min_stability need them; drop these or let them be estimated."
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides verdicts and estimates, as plain JSON."""
        fields = self.model_dump(mode="json", exclude={"target", "excluded"})
        return {"target": str(self.target), "excluded": sorted(self.excluded), **fields}

    @property
    def models(self) -> dict[str, str]:
        """Return the model of each property that can be predicted from a formula."""
        return models_from_composition() | self.predictors

    @property
    def estimated(self) -> dict[str, str]:
        """Return the model of each property that is estimated."""
        wanted = {*ESTIMATED, *self.target.windows, *self.predictors} - {STABILITY}
        return {name: model for name, model in self.models.items() if name in wanted}
