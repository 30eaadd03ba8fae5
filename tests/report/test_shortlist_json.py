"""``shortlist.json``: valid by its schema, true to the shortlist, the same bytes again."""

import json
from importlib.resources import files

import campaign_fakes
import jsonschema
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign import design
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import GATES
from invdesign.crystal.symmetry import gene_of
from invdesign.report.shortlist_json import optimade_attributes, powder_pattern, write_shortlist_json

SCHEMA = json.loads(files("invdesign.report").joinpath("shortlist.schema.json").read_text(encoding="utf-8"))


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def content(unbroken):
    return json.loads((unbroken[0] / "shortlist.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_it_is_valid_and_the_schema_too(content):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    broken = json.loads(json.dumps(content))
    del broken["data"][0]["attributes"]["_invdesign_xrd"]
    with pytest.raises(jsonschema.ValidationError, match="_invdesign_xrd"):
        jsonschema.validate(broken, SCHEMA)


def test_it_says_what_the_shortlist_says(content, unbroken):
    shortlist = unbroken[1].shortlist
    assert [entry["id"] for entry in content["data"]] == [c.id for c in shortlist]
    for entry, candidate in zip(content["data"], shortlist, strict=True):
        told = entry["attributes"]
        again = Structure(
            Lattice(told["lattice_vectors"]),
            told["species_at_sites"],
            told["cartesian_site_positions"],
            coords_are_cartesian=True,
        )
        assert again == candidate.structure
        assert sum(told["elements_ratios"]) == pytest.approx(1)
        assert told["_invdesign_p_hit"] == pytest.approx(candidate.selection.p_hit, rel=1e-5)
        gap = candidate.properties["band_gap"]
        assert told["_invdesign_estimates"]["band_gap"]["low"] == pytest.approx(gap.low, rel=1e-5)
        assert [v["gate"] for v in told["_invdesign_verdicts"]] == list(candidate.verdicts)
        assert (unbroken[0] / told["_invdesign_cif_file"]).is_file()
    campaign = content["meta"]["_invdesign_campaign"]
    assert campaign["target"] == str(unbroken[1].config.target)
    assert campaign["seed"] == 0
    assert "validators/mp-hull" not in campaign["weights"]  # the fakes have no files


def test_the_same_campaign_gives_the_same_bytes(unbroken, tmp_path):
    design(campaign_fakes.fake_config(tmp_path), components=campaign_fakes.fake_components(), progress=False)
    assert (tmp_path / "shortlist.json").read_bytes() == (unbroken[0] / "shortlist.json").read_bytes()


def test_an_empty_shortlist_is_valid(tmp_path):
    made = {"target": "band_gap>1", "words": "", "seed": 0, "potential": "chgnet-0.3.0", "finish": None}
    made["weights"] = {}
    write_shortlist_json([], tmp_path / "shortlist.json", made)
    content = json.loads((tmp_path / "shortlist.json").read_text())
    jsonschema.validate(content, SCHEMA)
    assert content["data"] == []
    assert content["meta"]["data_returned"] == 0


def test_names_with_the_standard_formulas():
    salt = Structure(Lattice.cubic(5), ["Na", "Na", "Na", "N"], np.eye(4)[:, :3] * 0.5)
    told = optimade_attributes(salt, 1)
    assert told["chemical_formula_reduced"] == "NNa3"  # by the alphabet
    assert told["chemical_formula_anonymous"] == "A3B"
    assert told["elements"] == ["N", "Na"]
    assert told["elements_ratios"] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        # halite, 5.640 Å: 2θ and hkl of PDF 05-0628
        (
            Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6402), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]),
            [(27.37, 200), (31.70, 200), (45.45, 220)],
        ),
        # zincite: hexagonal, three indices
        (
            Structure.from_spacegroup(
                "P6_3mc",
                Lattice.hexagonal(3.2498, 5.2066),
                ["Zn", "O"],
                [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]],
            ),
            [(31.77, 100), (34.42, 2), (36.25, 101)],
        ),
    ],
)
def test_the_powder_pattern_is_the_textbook_one(structure, expected):
    gene, geometry = gene_of(structure)
    pattern = powder_pattern(Candidate("c0", gene, geometry=geometry, structure=structure))
    angles = [peak["two_theta"] for peak in pattern["peaks"]]
    assert angles == sorted(angles)
    assert max(peak["intensity"] for peak in pattern["peaks"]) == 100
    for angle, _ in expected:
        assert min(abs(angle - found) for found in angles) < 0.05
    assert all(len(hkl) == 3 for peak in pattern["peaks"] for hkl in peak["hkl"])


def test_the_schema_knows_every_gate():
    definition = next(part for part in _parts(SCHEMA) if "gate" in part.get("properties", {}))
    assert definition["properties"]["gate"]["enum"] == [gate.name for gate in GATES]


def _parts(schema):
    """All objects inside a JSON value."""
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    yield from [schema] * isinstance(schema, dict)
    for part in inner:
        yield from _parts(part)
