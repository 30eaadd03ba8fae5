import json

import pytest

from invdesign.errors import InputError
from invdesign.generators.loading import LOADERS, load_generator


@pytest.mark.parametrize("name", ["ion-exchange", "prototypes"])
def test_baselines_load_by_name(name):
    assert load_generator(name).name == name


def test_a_generator_loads_by_name_and_by_folder():
    from invdesign.artifacts import find

    named = load_generator("gene-diffusion", guidance=2.0)
    assert (named.name, named.guidance) == ("gene-diffusion", 2.0)
    assert load_generator(find("models", "gene-diffusion"), temperature=0.5).temperature == 0.5


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="did you mean ion-exchange"):
        load_generator("ion-exchang")
    with pytest.raises(InputError, match=r"lacks model_index\.json"):
        load_generator(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(InputError, match="names no generator known here"):
        load_generator(tmp_path)


def test_options_that_a_generator_lacks_are_told():
    with pytest.raises(InputError, match="guidance: the generator prototypes has no such option"):
        load_generator("prototypes", guidance=2.0)


def test_every_name_has_its_class():
    assert set(LOADERS) == {"gene-diffusion", "crystal-vae", "ion-exchange", "prototypes"}
