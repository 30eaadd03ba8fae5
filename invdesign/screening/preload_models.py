"""As :mod:`.preloaded`, with the models and tables that a screening has unless it is given others."""

import gc
from contextlib import suppress

import invdesign.screening.preload  # noqa: F401
from invdesign.errors import InputError
from invdesign.screening.config import ScreenConfig
from invdesign.screening.gates import predictor, stability_model

_CONFIG = ScreenConfig()
with suppress(InputError):  # the worker that needs what is damaged tells
    stability_model(_CONFIG.stability).context  # noqa: B018
    for _model in set(_CONFIG.estimated.values()):
        predictor(_model)
gc.freeze()
