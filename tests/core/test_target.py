import math
import pickle

import pytest
import yaml
from hangs import no_hang
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.composition.supply import scarcer_than, unconcentrated
from invdesign.core.target import PROPERTIES, Target, Window, parse_target
from invdesign.core.target_parser import reduced_as_written
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.config import build, read_yaml

SALT = Gene.parse("225 Na@a Cl@b")
PEROVSKITE = Gene.parse("221 Sr@b Ti@a O@c")


@pytest.mark.parametrize(
    ("clause", "low", "high"),
    [
        ("band_gap=1.5±0.25", 1.25, 1.75),
        ("band_gap=1.5+-0.25", 1.25, 1.75),
        ("band_gap = 1.5 +/- 0.25 eV", 1.25, 1.75),
        ("band_gap=1.25..1.75", 1.25, 1.75),
        ("band_gap=1250..1750 meV", 1.25, 1.75),
        ("band_gap=1.25–1.75eV", 1.25, 1.75),
        ("band_gap>3", 3, math.inf),
        ("band_gap>=3 eV", 3, math.inf),
        ("band_gap>3 ev", 3, math.inf),
        ("band_gap=1.2 eV..1.8 eV", 1.2, 1.8),
        ("band_gap=1.2 eV to 1.8 eV", 1.2, 1.8),
        ("band_gap=1.5 eV ± 0.25 eV", 1.25, 1.75),
        ("bulk_modulus_gpa>2 Mbar", 200, math.inf),
        ("bulk_modulus_gpa=100000..200000 MPa", 100, 200),
        ("bulk_modulus_gpa<1000 kbar", -math.inf, 100),
        ("thermal_conductivity_w_mk<2 W/(m K)", -math.inf, 2),
        ("thermal_conductivity_w_mk<2 W m^-1 K^-1", -math.inf, 2),
        ("debye_temperature_k>500 K", 500, math.inf),
        ("formation_energy_per_atom<-1500 meV/atom", -math.inf, -1.5),
        ("band_gap≥3.", 3, math.inf),
        ("band_gap<0.5", -math.inf, 0.5),
        ("1.2<band_gap<1.8", 1.2, 1.8),
        ("1.2 < band_gap <= 1.8 eV", 1.2, 1.8),
        ("1800 meV>=band_gap>1.2 eV", 1.2, 1.8),
        ("-2<formation_energy_per_atom<-1", -2, -1),
        ("band_gap<=.5", -math.inf, 0.5),
        ("band_gap=0.1±0.25", 0, 0.35),
        ("formation_energy_per_atom<-1.5 eV/atom", -math.inf, -1.5),
        ("formation_energy_per_atom=-2..-1", -2, -1),
        ("formation_energy_per_atom=−2±5e-1", -2.5, -1.5),
    ],
)
def test_windows(clause, low, high):
    (window,) = parse_target([clause]).windows.values()
    assert (window.low, window.high) == pytest.approx((low, high))


def test_several_clauses_in_one_line_or_many():
    line = parse_target(
        "band_gap>1 eV, band_gap<2; e_above_hull<50 meV/atom elements=O,Li exclude=Pb elements=Fe"
    )
    several = parse_target(["band_gap=1..2", "e_above_hull<0.05"], elements=["Li", "Fe", "O"], exclude="Pb")
    assert line == several
    assert line.windows == {"band_gap": Window(1, 2)}
    assert line.e_above_hull_max == 0.05
    assert line.required == {"Li", "Fe", "O"}


@given(st.floats(0, 19), st.floats(0.01, 1), st.sampled_from(["", " "]), st.sampled_from(["<", "<=", "≤"]))
def test_a_property_between_two_numbers(low, width, blank, sign):
    low, high = round(low, 3), round(low + width, 3)
    text = f"elements=O {low}{blank}{sign}{blank}band_gap{blank}{sign}{blank}{high} hhi<5000"
    expected = parse_target(f"elements=O band_gap={low}..{high} hhi<5000")
    assert parse_target(text) == expected
    turned = {"<": ">", "<=": ">=", "≤": "≥"}[sign]
    assert parse_target(f"{high}{turned}band_gap{turned}{low} elements=O hhi<5000") == expected


def test_no_gap_at_all():
    target = parse_target("band_gap<=0")
    assert "PBE gap at most 0 eV" in target.describe()
    assert "band_gap<=0" in str(target)
    assert parse_target(str(target)) == target


def test_groups_of_elements_in_any_case():
    assert parse_target("exclude=Toxic,Co") == parse_target("exclude=toxic,Co")
    assert parse_target("exclude=RADIOACTIVE") == parse_target("exclude=radioactive")


def test_elements():
    assert parse_target("elements=O").elements == frozenset(SYMBOLS[1:]) - EXCLUDED_BY_DEFAULT
    assert parse_target("only=Li,Fe,O").elements == {"Li", "Fe", "O"}
    assert "Tc" in parse_target("elements=Tc").elements
    assert "Tc" not in parse_target("elements=O exclude=Pb").elements
    assert parse_target("formula=O8Fe2Li4Si2").formula == "Li2FeSiO4"
    assert parse_target("formula=Li2FeSiO4").elements == {"Li", "Fe", "Si", "O"}


def test_sodium_nitride_is_no_missing_number():
    target = parse_target(formula="NaN")
    assert (target.formula, target.required) == ("NaN", {"Na", "N"})
    assert Target.model_validate(yaml.safe_load("formula: NaN")) == target


def test_space_groups_by_number_range_and_symbol():
    assert parse_target(space_group="225, P2_1/c,195..197").space_groups == {225, 14, 195, 196, 197}
    assert parse_target("space_group=Fm-3m").space_groups == {225}
    assert parse_target(space_group=62).space_groups == {62}


@pytest.mark.parametrize(
    ("clauses", "gene", "objection"),
    [
        ("", SALT, None),
        ("elements=Na only=Na,Cl formula=NaCl anonymous=AB space_group=225 n_atoms=2", SALT, None),
        ("anonymous=A3BC", PEROVSKITE, None),
        ("anonymous=XY3Z", PEROVSKITE, None),
        ("anonymous=AB2", PEROVSKITE, "another formula type: ABC3"),
        ("elements=O,K", SALT, "required element missing: K and O"),
        ("exclude=Cl", SALT, "element excluded: Cl"),
        ("only=Li,Na", SALT, "element excluded: Cl"),
        ("formula=Na2Cl", SALT, "another formula: NaCl"),
        ("space_group=221", SALT, "another space group: 225"),
        ("n_atoms=5..20", SALT, "2 atoms: 5 to 20 wanted"),
    ],
)
def test_allows(clauses, gene, objection):
    verdict = parse_target(clauses).allows(gene)
    assert verdict.gate == "target"
    assert verdict.passed == (objection is None)
    assert verdict.reason == (objection or "as asked")


def test_technetium_only_when_asked():
    gene = Gene.parse("225 Tc@a O@b")
    assert not parse_target("elements=O").allows(gene).passed
    assert parse_target("elements=Tc").allows(gene).passed


def test_words():
    target = parse_target("band_gap>3", elements="O", exclude="Pb,Cd", n_atoms="5..20")
    assert target.describe() == (
        "PBE gap above 3 eV (measured: above about 3.9 eV), at most 0.1 eV/atom above the hull, with O, "
        "without Cd and Pb, no radioactive or inert elements, 5 to 20 atoms in the primitive cell"
    )
    assert "Li, Fe and O" not in parse_target("formula=LiFeO2").describe()
    assert "formula LiFeO2" in parse_target("formula=LiFeO2").describe()


WRONG = [
    ("bandgap=1.5±0.25", "did you mean band_gap?"),
    ("hardness>3", "known: band_gap, "),
    ("band_gap=1.5", "give a tolerance"),
    ("band_gap=2..1", "impossible"),
    ("band_gap=2±-1", "impossible"),
    ("band_gap=1.5±0", "such as band_gap=1.5±0.15, or a range"),
    ("band_gap=1.5..1.5", "needs a width"),
    ("formation_energy_per_atom=-1±0", "such as formation_energy_per_atom=-1±0.1"),
    ("band_gap>1 band_gap<1", "cannot be within both"),
    ("band_gap=-1..0.5", "never below 0"),
    ("band_gap=-1±2", "never below 0"),
    ("band_gap<-1", "never below 0"),
    ("band_gap>50", "no PBE gap is above 20"),
    ("band_gap>1 band_gap<0.5", "cannot be within both"),
    ("band_gap=nan", "cannot read"),
    ("band_gap=1,5±0.2", "cannot read"),
    ("band_gap=1.5±0.2 GPa", "given in eV"),
    ("band_gap>1e999", "impossible"),
    ("band gap 1.5", "cannot read"),
    ("band_gap", "cannot read"),
    ("1.5eV", "a value needs its property"),
    ("1.5±0.2 eV", "a value needs its property"),
    ("gap=1.5±0.2", "write band_gap=1.5±0.25 (PBE) or band_gap_experimental"),
    ("Eg>3", "write band_gap=1.5±0.25 (PBE)"),
    ("gap", "write band_gap=1.5±0.25 (PBE)"),
    ("chemical_system=Li-Fe-O", "write only=Li,Fe,O for no other elements"),
    ("Li-Fe-O", "write only=Li,Fe,O for no other elements"),
    ("metal", "write band_gap<0.1"),
    ("metallic=true", "write band_gap<0.1"),
    ("stable", "write e_above_hull<0.05"),
    ("energy_above_hull<0.1", "write e_above_hull<0.05"),
    ("semiconductor band_gap<3", "write band_gap>0.5"),
    ("CuInS2", "write formula=CuInS2"),
    ("oxide", "write elements=O"),
    ("crystal_system=cubic", "write space_group=195..230"),
    ("space_group=cubic", "write space_group=195..230"),
    ("nelements=3", "write anonymous=ABC3"),
    ("band_gap=1.5 eV", "give a tolerance (band_gap=1.5±0.25)"),
    ("bulk_modulus_gpa=180", "give a tolerance (bulk_modulus_gpa=180±30)"),
    ("formation_energy_per_atom<-100 kJ/mol", "96.5 kJ per mole"),
    ("band_gap=1.2 eV..1500 meV", "in eV and in meV; give both in eV"),
    ("band_gap=500±10 nm", "given in eV, not in 'nm'"),
    (f"band_gap={'9' * 10_000}", "longer than 10000"),
    (f"band_gap={'9' * 9_000}..2", "cannot read"),
    ("band_gap>1" + " " * 9_000 + "x", "not in 'x'"),
    ("band_gap>1" * 2_000, "longer than 10000"),
    ("e_above_hull>0.1", "upper limit"),
    ("e_above_hull=1..inf", "cannot read"),
    ("elements=Xx", "'Xx' is not a chemical element"),
    ("elements=o", "did you mean O?"),
    ("elements=D", "D is an isotope; write H"),
    ("1.2<band_gap", "cannot read"),
    ("1.2<band_gap>1", "cannot read"),
    ("1" + " " * 9_000 + "<band_gap", "cannot read"),
    ("1.8<band_gap<1.2", "cannot be within both"),
    ("formula=PBTIO3", "write 'PbTiO3'"),
    ("exclude=poison", "halogens, toxic, radioactive"),
    ("elements=Pb exclude=toxic", "both asked for and excluded"),
    ("hhi>5000", "write hhi<5000"),
    ("hhi=5000", "write hhi<5000"),
    ("hhi<20000", "at most 10000"),
    ("abundance<1", "write abundance>1 mg/kg"),
    ("abundance>1 kg", "write abundance>1 mg/kg"),
    ("abundance>0", "not above 0"),
    ("elements=Te abundance>1", "Te must be there"),
    ("formula=PtO2 abundance>1", "lower abundance"),
    ("only=Te,Pt abundance>1", "no element is left"),
    ("elements>O", "write elements=…"),
    ("elements=Pb exclude=Pb", "both asked for and excluded"),
    ("formula=PbO exclude=Pb", "both asked for and excluded"),
    ("formula=NaCl elements=K", "has no K"),
    ("formula=NaCl only=Na,F", "Cl of the formula"),
    ("formula=NaCl formula=KCl", "given twice"),
    ("formula=Foo", "Fo is no element"),
    ("formula=Og2O", "Og is no element up to Lr"),
    ("formula=Xx2O", "Xx is no element up to Lr"),
    ("formula=Na0.5Cl", "whole amounts"),
    ("formula=NaCl anonymous=AB2", "not of the type"),
    ("formula=NaCl n_atoms=3", "no multiple of the 2 atoms"),
    ("anonymous=AB2 n_atoms=4..5", "no multiple of the 3 atoms"),
    ("anonymous=AB elements=Li,Fe,O", "AB has 2 elements, but 3"),
    ("anonymous=AbC", "not a formula type"),
    ("only=O elements=Fe", "not among the allowed"),
    ("space_group=231", "none of the 230"),
    ("space_group=0", "none of the 230"),
    ("space_group=Fm-4m", "none of the 230"),
    ("n_atoms=20..5", "not a range between 1 and 20"),
    ("n_atoms=5..52", "not a range between 1 and 20"),
    ("n_atoms=few", "not a number of atoms"),
    ("n_atoms=1 elements=Na,Cl", "do not fit"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_wrong_targets_are_reported_in_one_sentence(text, told):
    with no_hang():
        with pytest.raises(InputError) as caught:
            parse_target(text)
        message = str(caught.value)
    assert len(message) < 600
    assert told in message
    assert "\n" not in message
    assert message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"band_gap": "1..2"}, "there is no field 'band_gap'"),
        ({"windows": {"band_gap": 1.5}}, "not a window"),
        ({"windows": {"band_gap": {"low": 1, "top": 2}}}, "not a window"),
        ({"windows": {"band_gap": {"low": "much"}}}, "not a window"),
        ({"windows": {"band_gap": {"low": math.nan}}}, "holds nothing"),
        ({"windows": {"band_gap": {"low": 1, "high": 1}}}, "needs a width"),
        ({"windows": ["band_gap"]}, "not a mapping"),
        ({"required": [False]}, "quote it"),
        ({"e_above_hull_max": -1}, "greater than or equal to 0"),
        ({"e_above_hull_max": "low"}, "valid number"),
        ({"n_atoms": 5.5}, "not a number of atoms"),
    ],
)
def test_wrong_fields_are_reported_in_one_sentence(fields, told):
    with pytest.raises(InputError, match=told):
        build(Target, fields, "target")


def test_yaml(tmp_path):
    path = tmp_path / "target.yaml"
    path.write_text(
        "windows:\n  band_gap: 1.5±0.25\n  formation_energy_per_atom: {high: -1}\n"
        "required: O\nexcluded: [Pb, Cd]\nspace_groups: [225, Pnma]\nn_atoms: 5..20\ne_above_hull_max: 0.05\n"
    )
    expected = parse_target(
        "band_gap=1.25..1.75 formation_energy_per_atom<-1 e_above_hull<0.05",
        elements="O",
        exclude="Pb,Cd",
        space_group=[62, 225],
        n_atoms=(5, 20),
    )
    assert build(Target, read_yaml(path), "target") == expected
    assert Target.model_validate(str(expected)) == expected
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


MINED = frozenset(SYMBOLS[1:]) - scarcer_than(1e-8)


@st.composite
def targets(draw):
    figures = st.floats(0, 10, allow_subnormal=False)
    low, high = sorted(draw(st.lists(figures, min_size=2, max_size=2, unique=True)))
    window = draw(st.sampled_from([Window(low, high), Window(low), Window(high=high)]))
    symbols = st.sampled_from(SYMBOLS[1:])
    required = draw(st.frozensets(symbols, max_size=4))
    fields = {
        "windows": draw(st.sampled_from([{}, {"band_gap": window}, {"formation_energy_per_atom": window}])),
        "required": required,
        "allowed": draw(st.none() | st.frozensets(symbols, min_size=1, max_size=5).map(required.__or__)),
        "space_groups": draw(st.none() | st.frozensets(st.integers(1, 230), min_size=1, max_size=5)),
        "n_atoms": tuple(sorted(draw(st.tuples(st.integers(1, 20), st.integers(10, 20))))),
        "e_above_hull_max": draw(st.floats(0, 1)),
        "hhi_max": draw(st.none() | st.floats(9900, 10_000)),
        # so little that no element falls out of what the other fields ask for
        "abundance_min": draw(st.none() | st.floats(1e-9, 1e-8)),
    }
    asked = required | (fields["allowed"] or frozenset())
    if not asked <= MINED:
        del fields["abundance_min"]
    if not asked <= unconcentrated(9900):
        del fields["hhi_max"]
    fields["excluded"] = draw(st.frozensets(symbols, max_size=4)) - asked
    if draw(st.booleans()) and required:
        amounts = draw(st.lists(st.integers(1, 2), min_size=len(required), max_size=len(required)))
        fields["formula"] = "".join(f"{s}{n}" for s, n in zip(sorted(required), amounts, strict=True))
    return Target.model_validate({**fields, "n_atoms": (fields["n_atoms"][0] // 2 or 1, 20)})


@settings(max_examples=60)
@given(targets())
def test_round_trips(target):
    assert parse_target(str(target)) == target
    assert Target.model_validate_json(target.model_dump_json()) == target
    assert Target.model_validate(yaml.safe_load(yaml.safe_dump(target.model_dump(mode="json")))) == target
    assert pickle.loads(pickle.dumps(target)) == target
    assert target.describe()


def parsed(**given):
    """The target, or None where it was refused in words."""
    try:
        return parse_target(**given)
    except InputError:
        return None


@given(
    st.text(max_size=30) | st.sampled_from([text for text, _ in WRONG]).flatmap(st.permutations).map("".join)
)
def test_any_text_parses_or_is_refused(text):
    target = parsed(clauses=text)
    assert target is None or parse_target(str(target)) == target


@given(st.text(alphabet="ABCLiNaFeO0123456789()[]., ", max_size=12))
def test_any_formula_parses_or_is_refused(text):
    target = parsed(formula=text)
    assert target is None or target.formula


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("NiAl", "NiAl"),
        ("Ca(OH)2", "Ca(OH)2"),
        ("Ti2O4", "TiO2"),
        ("C60H60", "CH"),
        ("Li2 Fe Si O4", "Li2FeSiO4"),
        ("NaN", "NaN"),
    ],
)
def test_a_formula_as_it_was_written(given, written):
    assert reduced_as_written(given) == written
    assert parse_target(formula=written) == parse_target(formula=given)


def test_limits_of_supply():
    target = parse_target("hhi<2500 abundance>1 mg/kg exclude=toxic,radioactive")
    assert (target.hhi_max, target.abundance_min) == (2500, 1)
    assert not {"Te", "Pt", "Ag", "Pb", "U"} & target.elements  # generators do not even propose them
    reasons = {
        "225 Ca@a S@b": "as asked",
        "225 Pt@a S@b": "element too scarce: Pt",
        "225 Pb@a S@b": "element excluded: Pb",
        "225 La@a S@b": "supply risk too high: HHI 7850 of production, 2706 of reserves",
    }
    for gene, reason in reasons.items():
        assert target.allows(Gene.parse(gene)).reason == reason
    assert parse_target("hhi<9000 hhi<3000").hhi_max == 3000
    assert "at most 2500" in target.describe()
    assert "scarcer than 1 mg/kg" in target.describe()
    unmined = parse_target("hhi<2500", exclude="La").allows(Gene.parse("225 Xe@a O@b"))
    assert unmined.reason == "supply risk unknown: an element has no value"
    with pytest.raises(InputError, match="no compound with Xe"):
        parse_target("hhi<2500", elements="Xe")
    assert parse_target("exclude=radioactive").elements == parse_target("exclude=Th,U").elements


def test_registry_is_in_order():
    for entry in PROPERTIES.values():
        assert entry.low < entry.high
        assert entry.unit


def test_ends_of_a_window_are_sums_of_what_is_written():
    assert str(parse_target("band_gap=1.6±0.4")).startswith("band_gap=1.2..2")
