"""YAML and JSON that users give: read, or refused in one sentence within a second, whatever they hold."""

import pytest
import yaml
from hangs import no_hang
from hypothesis import given
from hypothesis import strategies as st

from invdesign.errors import InputError, quoted, shortened
from invdesign.io.config import parse_json, read_json, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
BAD_YAML = {
    "bomb": (BOMB, "more than 100000 values"),
    "bomb of mappings": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 30)),
        "more than 100000 values",
    ),
    "endless": ("a: &a [*a]\n", "holds itself"),
    "deep lists": ("a: " + "[" * 5_000, "nest"),
    "deep mappings": ("a: " + "{a: " * 5_000, "nest"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(500)), "nested more than 40 deep"),
    "long": ("a: [" + "1, " * 200_000 + "1]", "more than 100000 values"),
    "large": ("# " + "x" * 2**21, "larger than 1 MiB"),
    "digits": ("seed: " + "9" * 10_000, "cannot be read as YAML"),
    "date": ("seed: 2024-13-45", "cannot be read as YAML"),
    "code": ("seed: !!python/object/apply:os.system [ls]", "cannot be read as YAML"),
    "twice": ("seed: 1\nn_genes: 2\nseed: 2\n", "'seed' is given twice"),
    "twice, deeper": ("target:\n  required: O\n  required: N\n", "'required' is given twice"),
    "list": ("- a\n- b\n", "not a mapping"),
    "nothing": ("", "not a mapping"),
    "tabs": ("a:\n\t- b", "cannot be read as YAML"),
    "unhashable": ("{[a]: b, {c: d}: e}", "cannot be read as YAML"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_no_configuration(tmp_path, case):
    text, told = BAD_YAML[case]
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with no_hang(), pytest.raises(InputError, match=told) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_files_that_are_none(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / "latin.yaml", "x" * 10_000):
        with pytest.raises(InputError, match=r"cannot be read|no such file"):
            read_yaml(path)
        with pytest.raises(InputError, match=r"cannot be read|no such file"):
            read_json(path)


def test_anchors_and_merges_are_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("base: &base {a: 1, b: [1, 2]}\nother: {<<: *base, c: 3}\nagain: *base\nf: x\ng: x\n")
    found = read_yaml(path)
    assert found["other"] == {"a": 1, "b": [1, 2], "c": 3}
    assert found["again"] == found["base"]


letters = st.characters(codec="latin-1", exclude_categories=("Cc",))
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(letters, max_size=8)
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(letters, max_size=5), inner, max_size=3)
    ),
)


@given(st.dictionaries(st.text(letters, min_size=1, max_size=8), values, max_size=5))
def test_what_yaml_writes_is_read(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    assert read_yaml(path) == content


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#,?\n \t1.~<", max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    try:
        assert isinstance(read_yaml(path), dict)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": ' * 100_000, "9" * 10_000, '{"a": tru}'])
def test_no_json(text):
    with pytest.raises(InputError, match="cannot be read as JSON") as caught:
        parse_json(text, "x.json")
    assert len(str(caught.value)) < 300


def test_quoting():
    assert quoted("NaCl") == "'NaCl'"
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted(7) == "7"
    assert len(quoted("x" * 10**6)) < 170
    assert "(1000000 characters)" in quoted("x" * 10**6)
    assert len(quoted([["x" * 99] * 99] * 99)) < 170
    assert "beyond any sense" in quoted(10**5000)
    assert shortened("abc", 3) == "abc"
    assert len(str(InputError("x" * 10**6))) < 2_100
