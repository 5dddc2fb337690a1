"""Batched products are right in this process, and no network of ours uses the form that oneDNN corrupts."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from batched import is_bad, products_run
from keras import ops
from marks import long_but
from products import avx512, wrong_products

from receivers.models.mamba import Mamba
from receivers.models.wifo import WiFo
from receivers.models.wifo_cf import WiFoCf
from simulator.core import registry
from simulator.core.onednn import VARIABLE, onednn_is_on

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


def python(*arguments, **variables):
    """A fresh process with several TensorFlow threads: with one, oneDNN makes no error."""
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    environment |= {"TF_NUM_INTRAOP_THREADS": "4", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *arguments], env=environment | variables, cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.backend
def test_products_of_this_process():
    if keras.backend.backend() == "tensorflow":
        assert not onednn_is_on()
    assert wrong_products() == []


@pytest.mark.skipif(not avx512(), reason="TensorFlow has oneDNN on, and its faulty kernel, on such CPUs")
@pytest.mark.long
def test_the_guard_sees_the_fault():
    """With oneDNN it finds wrong products or dies of them. Fails with a mended TensorFlow: then delete the switch."""
    done = python(str(TESTS / "products.py"), TF_ENABLE_ONEDNN_OPTS="1")
    assert done.returncode != 0 and ("matmul" in done.stdout or done.returncode < 0), done.stderr[-500:]


# The switch ----------------------------------------------------------------------------------------------------------

STATE = (
    "from simulator.core.onednn import onednn_is_on, VARIABLE; import os; print(onednn_is_on(), os.environ[VARIABLE])"
)


@pytest.mark.parametrize(
    "package", ["simulator", "receivers", "benchmarks", "receivers.models.csinet", "simulator.phy"]
)
@pytest.mark.long
def test_every_package_turns_it_off(package):
    """No TensorFlow needed: the first thing that an import of ours does."""
    code = f"import os, sys; import {package}; print(os.environ['{VARIABLE}'])"
    done = python("-W", "error", "-c", code, KERAS_BACKEND="jax")
    assert done.stdout.split() == ["0"], done.stderr


@pytest.mark.long
def test_no_module_of_receivers_needs_tensorflow_under_another_backend():
    names = "(m.name for m in pkgutil.walk_packages(receivers.__path__, 'receivers.'))"
    code = f"import importlib, pkgutil, sys, receivers; [importlib.import_module(n) for n in {names}]"
    done = python("-c", f"{code}; print(sorted({{'tensorflow', 'sionna'}} & set(sys.modules)))", KERAS_BACKEND="jax")
    assert done.stdout == "[]\n", done.stderr[-500:]


@pytest.mark.long
def test_off_in_tensorflow_and_in_children():
    """A child inherits it before it imports anything of ours."""
    child = "print(end='', flush=True); import subprocess; subprocess.run(['printenv', VARIABLE])"
    done = python("-c", f"import receivers, tensorflow; {STATE}; {child}")
    assert done.stdout.split() == ["False", "0", "0"], done.stderr[-500:]


@pytest.mark.skipif(not avx512(), reason="TensorFlow has oneDNN off on such CPUs unless told otherwise")
@pytest.mark.long
def test_tensorflow_first_is_said():
    done = python("-c", f"import keras, receivers; {STATE}")
    assert done.stdout.split() == ["True", "0"]
    assert "RuntimeWarning: oneDNN is on (TensorFlow was imported before csilink)" in done.stderr


@pytest.mark.long
def test_a_choice_is_kept_and_said():
    done = python("-c", f"import os, simulator; print(os.environ['{VARIABLE}'])", TF_ENABLE_ONEDNN_OPTS="1")
    assert done.stdout.split() == ["1"] and f"RuntimeWarning: oneDNN is on ({VARIABLE}=1)" in done.stderr


# Networks ------------------------------------------------------------------------------------------------------------

SMALL = {
    "mamba_transformer": {"height": 8, "width": 8, "maps": 4, "num_latents": 8, "state": 2, "hidden": 8},
    "evt": {},
    "learned_transform": {},
}
PREDICTORS = {
    "wifo": lambda: WiFo(16, 1, 1, 1),
    "lstm": lambda: registry.build("prediction_models", "lstm", group=2),
    "transformer": lambda: registry.build(
        "prediction_models", "transformer", group=2, d_model=8, num_heads=1, hidden=8
    ),
    "llm4cp": lambda: registry.build(
        "prediction_models", "llm4cp", group=2, num_history=4, width=4, num_blocks=1, d_model=8, num_heads=1,
        num_layers=1, num_positions=4,
    ),
    "delay_beam": lambda: registry.build(
        "prediction_models", "delay_beam", num_history=4, num_future=2, num_subcarriers=4, panel=[4, 1, 1],
        num_tokens=1, orders=[2, 1], dim=8, num_heads=1, num_layers=1, hidden=8,
    ),
}  # fmt: skip


def gradients(model, outputs):
    """One training step of ``outputs()``, which records what it multiplies."""
    import tensorflow as tf

    with products_run() as seen, tf.GradientTape() as tape:
        loss = sum(ops.sum(ops.square(y)) for y in outputs())
        tape.gradient(loss, model.trainable_variables)
    return seen


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def assert_sound(seen):
    assert not [product for product in seen if is_bad(product)]


tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="records TensorFlow's operations")


@tensorflow_only
def test_the_recorder_sees_the_form():
    import tensorflow as tf

    with products_run() as seen:
        ops.matmul(normal(2, 4, 9, 1), normal(4, 1, 16)), ops.matmul(normal(1, 1, 9, 1), normal(1, 1, 16))
        ops.einsum("abcd,de->abce", normal(2, 1, 9, 1), normal(1, 16))
    assert len(seen) == 3 and not any(map(is_bad, seen))
    with products_run() as seen:
        tf.function(lambda x: tf.matmul(x, tf.ones((1, 1, 16)))).get_concrete_function(tf.TensorSpec((None, 1, 9, 1)))
    assert any(map(is_bad, seen))


@pytest.mark.long
@tensorflow_only
@pytest.mark.parametrize("name", long_but((n for n in registry.names("models") if n != "klt"), "csinet", "transnet"))
def test_autoencoders(name):
    params = SMALL.get(name, {"num_latents": 32})
    model = registry.build("models", name, **params)
    for part in (model.encoder, model.decoder):
        x = normal(2, *part.input_shape[1:])
        assert_sound(gradients(part, lambda part=part, x=x: [part(x, training=True)]))


@tensorflow_only
@pytest.mark.parametrize("name", registry.names("prediction_models"))
def test_predictors(name):
    model = PREDICTORS[name]()
    for entries, antennas in ((1, 1), (4, 4)):
        if name in ("wifo", "delay_beam"):
            entries, antennas = 4, 4  # one token of an axis, or of all
        seen = gradients(model, lambda: [model.forecast(normal(2, 4, entries, antennas, 2), 2)])  # noqa: B023
        assert_sound(seen)


@tensorflow_only
@pytest.mark.parametrize("name", registry.names("estimation_models"))
def test_estimation_networks(name):
    model = registry.build("estimation_models", name)
    for shape in ((2, 1, 1, 1, 1, 2), (2, 4, 2, 4, 13, 2)):
        assert_sound(gradients(model, lambda shape=shape: [model(normal(*shape), normal(*shape))]))


@tensorflow_only
@pytest.mark.parametrize("name", registry.names("refiners"))
def test_refiners(name):
    own = {"gpt2": {"d_model": 8, "num_heads": 1, "num_layers": 1}, "transformer": {"d_model": 8, "num_heads": 1}}
    own |= {"fc": {"width": 8}, "mlp": {"budget": 500}}
    own |= {"lvm4cf": {"d_model": 8, "num_heads": 1, "num_layers": 1}}
    for num_pol in (1, 2):
        model = registry.build("refiners", name, num_ports=4, num_pol=num_pol, **own.get(name, {}))
        assert_sound(gradients(model, lambda model=model: [model(normal(2, *model.network.input_shape[1:]))]))


@tensorflow_only
def test_mamba_in_one_direction():
    """The one layer that had the form."""
    layer, x = Mamba(2), normal(2, 5, 8)
    layer(x)
    assert_sound(gradients(layer, lambda: [layer(x)]))


@pytest.mark.long
@tensorflow_only
def test_wifo_cf():
    model = WiFoCf(
        dim=16, depth=1, decoder_depth=1, num_heads=1, patch_dim=16, num_experts=2, top_k=1, conv_dim=4, pad=True
    )
    for users, antennas, subcarriers in ((1, 8, 4), (2, 8, 16)):
        x = normal(2, users, antennas, subcarriers, 2)
        assert_sound(gradients(model, lambda x=x: [model(x, 2)]))
