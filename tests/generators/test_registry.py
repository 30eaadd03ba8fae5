import inspect
import json
import subprocess
import sys

import pytest

from invdesign.errors import InputError
from invdesign.generators.registry import LOADERS, _loader, folder_of, load_generator


@pytest.mark.parametrize("name", ["ion-exchange", "prototypes"])
def test_baselines_load_by_name(name):
    assert load_generator(name).name == name


def test_a_generator_loads_by_name_and_by_folder():
    from invdesign.io.artifacts import find

    named = load_generator("gene-diffusion", guidance=2.0)
    assert (named.name, named.guidance) == ("gene-diffusion", 2.0)
    assert load_generator(find("models", "gene-diffusion"), temperature=0.5).temperature == 0.5


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="did you mean ion-exchange"):
        load_generator("ion-exchang")
    with pytest.raises(InputError, match=r"^generator: .* is no generator: it has no model_index\.json"):
        load_generator(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(InputError, match="names no generator known here"):
        load_generator(tmp_path)


def test_the_folder_is_the_one_that_is_loaded():
    for name in LOADERS:
        assert folder_of(name).name == inspect.signature(_loader(name)).parameters["name"].default
    assert folder_of(folder_of("crystal-vae")) == folder_of("crystal-vae")


def test_a_folder_is_found_without_torch():
    code = "import sys; from invdesign.generators.registry import folder_of; folder_of('gene-diffusion')"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)


@pytest.mark.parametrize("name", ["band-gap", "geometries", "geometry-diffusion"])
def test_another_artifact_is_no_generator(name):
    with pytest.raises(
        InputError, match=f"^generator: '{name}' is no generator: .*give structure-types, gene"
    ):
        folder_of(name, beside=("structure-types",))


def test_options_that_a_generator_lacks_are_told():
    with pytest.raises(InputError, match="guidance: the generator prototypes has no such option"):
        load_generator("prototypes", guidance=2.0)


def test_every_name_has_its_class():
    assert set(LOADERS) == {"gene-diffusion", "crystal-vae", "ion-exchange", "prototypes"}
