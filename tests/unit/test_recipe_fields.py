"""Null in place of any field of any recipe, and of any parameter of any network, is a ConfigError that names it."""

import copy
import inspect
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from receivers.models.checked import _hints, build_checked
from receivers.models.klt import Klt
from receivers.precision.offline import parse_precision
from receivers.training.recipe import parse_training
from scenarios.load import load_mapping
from simulator.core import registry
from simulator.core.errors import ConfigError

FOLDER = Path(str(files("receivers"))) / "training/recipes"
WIFO_CF = {
    "task": "wifo_cf",
    "name": "cf",
    "datasets": ["d"],
    "model": {"name": "wifo_cf", "params": {}},
    "bits": 5,
    "epochs": 2,
}
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def places(data, start=()):
    for key, value in data.items():
        yield (*start, key)
        if isinstance(value, dict):
            yield from places(value, (*start, key))


@pytest.mark.parametrize("name", [*RECIPES, "wifo_cf"])
def test_null_in_a_recipe(name):
    data = WIFO_CF if name == "wifo_cf" else load_mapping(FOLDER / f"{name}.yaml")
    recipe = parse_training(data)
    named = [place for place in places(data) if "params" not in place[:-1]]
    fields = {(field,) for field in type(recipe).model_fields}
    for place in (*named, *sorted(fields - set(named))):
        broken = copy.deepcopy(data)
        part = broken
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = None
        try:
            parse_training(broken)  # null is what some fields have by default
        except ConfigError as error:
            assert error.field, place
    with pytest.raises(ConfigError):
        parse_training(None)


def test_null_in_precision():
    for field in inspect.signature(type(parse_precision({}))).parameters:
        try:
            parse_precision({field: None})
        except ConfigError as error:
            assert error.field.startswith(field)


NETWORKS = [(kind, name) for kind in ("models", "prediction_models", "refiners") for name in registry.names(kind)]


@pytest.mark.parametrize(("kind", "name"), NETWORKS)
def test_null_in_the_parameters_of_a_network(kind, name):
    make = Klt.fit if name == "klt" else registry.load(kind, name)
    hints = {n: h for n, h in _hints(make).items() if n not in ("images", "num_ports", "num_pol", "height", "width")}
    assert hints
    for field, hint in hints.items():
        if type(None) not in getattr(hint, "__args__", ()):
            with pytest.raises(ConfigError, match=rf"^model\.params\.{field}: got None; allowed"):
                build_checked("model.params", make, {field: None})
        if hint in (int, float):
            for wrong in ("8", True, [3]):
                with pytest.raises(ConfigError, match=rf"^model\.params\.{field}: got"):
                    build_checked("model.params", make, {field: wrong})


def test_what_a_constructor_refuses(rng):
    images = rng.standard_normal((4, 2, 2, 2)).astype(np.float32)
    for params, words in (
        ({"num_samples": None}, r"^model\.params\.num_samples: got None; allowed: a valid integer"),
        ({"num_samples": 0}, r"^model\.params\.num_samples: got 0; allowed: at least 1"),
        ({"num_components": -1}, r"^model\.params\.num_components"),
        ({"samples": 3}, r"^model\.params: got \{'samples': 3\}; allowed: what .*fit takes"),
    ):
        with pytest.raises(ConfigError, match=words):
            build_checked("model.params", Klt.fit, params, images)
    assert len(build_checked("model.params", Klt.fit, {"num_samples": 2}, images).samples) == 2
    with pytest.raises(ConfigError, match=r"^model\.params\.attention_axis: got 'users'"):
        sizes = {"height": 4, "width": 8}
        build_checked(
            "model.params", registry.load("models", "transnet"), {"attention_axis": "users", "dim": 8}, **sizes
        )
    with pytest.raises(ConfigError, match=r"^model\.params: got .*fill tokens"):
        build_checked("model.params", registry.load("models", "transnet"), {"dim": 7}, **sizes)
