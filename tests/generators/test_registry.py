import inspect
import json
import subprocess
import sys

import pytest

from invdesign.errors import InputError
from invdesign.generators.registry import GENERATORS, find_generator, generator_digest, load_generator
from invdesign.io.artifacts import find
from invdesign.io.provenance import folder_digest


def test_a_generator_loads_by_name_and_by_folder():
    named = load_generator("gene-diffusion", guidance=2.0)
    assert (named.name, named.guidance) == ("gene-diffusion", 2.0)
    assert load_generator(find("models", "gene-diffusion"), temperature=0.5).temperature == 0.5


def test_what_is_not_there_is_reported(tmp_path):
    with pytest.raises(InputError, match="did you mean ion-exchange"):
        load_generator("ion-exchang")
    with pytest.raises(InputError, match=r"^generator: .* is no generator: it has no model_index\.json"):
        load_generator(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(InputError, match="names no generator known here"):
        load_generator(tmp_path)


@pytest.mark.parametrize("name", GENERATORS.built_in)
def test_the_files_that_are_hashed_are_those_that_are_loaded(name):
    kind = GENERATORS.load(name)
    assert kind.name == name
    assert inspect.signature(kind.load).parameters["name"].default == kind.artifact
    assert generator_digest(name) == folder_digest(find("models", kind.artifact))


def test_a_folder_belongs_to_the_generator_that_its_pipeline_makes():
    folder = find("models", "crystal-vae")
    assert find_generator(folder) == "crystal-vae"
    assert generator_digest(folder) == generator_digest("crystal-vae")


def test_a_name_is_found_without_torch():
    code = "import sys; from invdesign.generators.registry import find_generator as f; f('gene-diffusion')"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)


@pytest.mark.parametrize("name", ["band-gap", "geometries", "geometry-diffusion"])
def test_another_artifact_is_no_generator(name):
    with pytest.raises(
        InputError, match=f"^generator: '{name}' is no generator: .*give structure-types, gene"
    ):
        find_generator(name, also=("structure-types",))


def test_options_that_a_generator_lacks_are_reported():
    with pytest.raises(InputError, match="guidance: the generator prototypes has no such option"):
        load_generator("prototypes", guidance=2.0)
