"""What a campaign is asked to do: one typed object, from YAML or from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from invdesign.core.funnel import CHECKS
from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.filters.novelty import Wanted

_HOW = {"out", "workers"}  # these never change the result


class CampaignConfig(BaseModel):
    """A campaign: the target, how much to spend on it, and with which components.

    Everything but ``out`` and ``workers`` decides the result; the same config gives the same shortlist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target
    formulas: tuple[str, ...] = Field((), description="the only ones, likeliest first; none: any")
    out: Path = Field(Path("run"), description="folder of the results, one campaign each")
    seed: int = Field(0, ge=0)
    n_genes: int = Field(4096, ge=1, description="genes to generate")
    n_relax: int = Field(256, ge=1, description="candidates to relax, the best of pre-ranking")
    n_shortlist: int = Field(20, ge=1)
    # of 96 candidates 37, 49, 52, 56 came through with 1, 2, 4, 6 geometries, at 21, 36, 69, 89 core seconds
    n_starting_structures: int = Field(2, ge=1, description="most geometries relaxed per candidate")
    gene_batch: int = Field(256, ge=1, description="genes per unit of work")
    relax_chunk: int = Field(16, ge=1, description="candidates per unit of work in the structure phase")
    fmax: float = Field(0.1, gt=0, description="largest force at convergence, eV/Å")
    max_steps: int = Field(150, ge=1)
    keep_symmetry: bool = Field(
        default=True, description="relax in the gene's symmetry, then see whether the crystal keeps it"
    )
    early_stopping: bool = Field(
        default=True, description="cut short relaxations that will likely stay above the limit"
    )
    min_probability: float = Field(
        0.1, ge=0, le=1, description="least probability that all properties lie in their windows"
    )
    novelty: Wanted = Field(
        "new", description="new compositions and clearly new structures; any; or known crystals alone"
    )
    diverse: bool = Field(
        default=True, description="one row for crystals that differ by like elements or as polymorphs"
    )
    check: tuple[Literal["phonons", "md"], ...] = Field(
        (), description="gates beyond the hull for what would be shortlisted"
    )
    generator: str | tuple[str, ...] = Field(
        "gene-diffusion", description="name or folder; several share the relaxations by their yield"
    )
    geometry: str = Field("geometries", description="library that geometries are inherited from")
    known: str = Field("known-materials", description="index of known crystals and compositions")
    ranker: str = "gene-rank"
    potential: str = Field(
        "chgnet", description="chgnet, 7net-0, 7net-l3i5, a matgl folder, or OWNER/NAME on the hub"
    )
    calibration: str | None = Field(None, description="default: that of the potential")
    finish: str = Field(
        "7net-0", description="potential that relaxes those of most worth again and places them; or none"
    )
    hull: str = "mp-hull"
    predictors: dict[str, str] = Field({}, description="model by property, in place of the released ones")
    workers: int | None = Field(None, ge=1, description="processes that relax; default: one per core")

    @field_validator("check", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:  # noqa: ANN401 - whatever YAML or a caller holds
        names = given.split(",") if isinstance(given, str) else given
        if not isinstance(names, list | tuple):
            return given
        names = [name.strip() if isinstance(name, str) else name for name in names]
        if strange := [name for name in names if name not in CHECKS]:
            raise InputError(f"check: there is no {strange[0]!r}; give {','.join(CHECKS)} or one of them.")
        return tuple(gate for gate in CHECKS if gate in names)

    @field_validator("generator")
    @classmethod
    def _distinct(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(given, str):
            return given
        if not given or len(set(given)) < len(given):
            raise InputError(f"generator: {', '.join(given) or 'none'} given; name one or more, each once.")
        return given[0] if len(given) == 1 else given

    @model_validator(mode="after")
    def _within_the_target(self) -> CampaignConfig:
        for formula in self.formulas:
            if formula != (reduced := self.target.with_formula(formula).formula):
                raise InputError(f"formulas: {formula} is not the reduced formula; write {reduced}.")
        return self

    @property
    def names_formulas(self) -> bool:
        """Whether the compositions are asked for by name."""
        return self.target.formula is not None or bool(self.formulas)

    @property
    def only_clearly_new(self) -> bool:
        """Whether a new structure of a known composition must likely be more stable than what is known."""
        return self.novelty == "new" and not self.names_formulas

    @property
    def asks_for_elements(self) -> bool:
        """Whether a pure element is asked for: by formula or formula type, or as the only one allowed."""
        alone = len(self.target.elements) == 1 or self.target.anonymous_formula == "A"
        return self.names_formulas or alone

    def describe(self) -> str:
        """Return the request in plain English."""
        n = len(self.formulas)
        return self.target.describe() + (f", of {n} screened formula{'s' * (n > 1)}" if n else "")

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the result, as plain JSON; equal ones mean the same campaign."""
        fields = self.model_dump(mode="json", exclude={*_HOW, "target", "formulas", "check"})
        listed = {name: list(asked) for name in ("formulas", "check") if (asked := getattr(self, name))}
        if self.diverse:  # as in folders of campaigns before rows were grouped
            del fields["diverse"]
        if self.finish == "none":  # as in folders of campaigns before there was any finishing
            del fields["finish"]
        return {"target": str(self.target), **listed, **fields}
