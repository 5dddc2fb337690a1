"""Backend of Keras, threads, tests that share a worker, one seeded generator per test, skips against their list."""

import functools
import gc
import os
import random
import sys
import zlib
from pathlib import Path

if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":  # tests of mark "backend": make test-backends
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiles in half the time
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# What is found once for a channel law stays for later sessions, and out of the cache of the user.
os.environ.setdefault("CSILINK_CACHE", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "csilink"))
if "PYTEST_XDIST_WORKER" in os.environ:  # one core each; NumPy, TensorFlow and JAX read this when they are loaded
    for _name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{_name}_NUM_THREADS"] = "1"
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import numpy as np
import pytest
from skips import SkipList

import simulator  # noqa: F401  (before Keras: right products under TensorFlow)


def pytest_addoption(parser):
    parser.addoption(
        "--strict-skips",
        action="store_true",
        default=os.environ.get("CI") == "true",
        help="fail if a test skips that tests/skips.toml does not allow to (always on where CI=true)",
    )


def pytest_configure(config):
    if config.getoption("--strict-skips") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipList(config.rootpath / "tests" / "skips.toml"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of the Mamba-Transformer are long ones: its scans take seconds to trace."""
    for item in items:
        params = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value == "mamba_transformer" for value in params):
            item.add_marker(pytest.mark.long)


def pytest_collection_finish():
    """Spares all tests: searches for garbage in what stays to the end; Typer's commands, built for every call."""
    from typer import main, testing

    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    main.get_command = testing._get_command = functools.cache(main.get_command)


def seed_everything(name):
    """Global generators by a name: Keras draws the seeds of weights from Python's, TensorFlow has one of its own."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "tensorflow" in sys.modules:
        seed_tensorflow(seed)


def seed_tensorflow(seed):
    """As `tf.random.set_seed`, which also drops all kernels: every function that tests share would be prepared anew.

    Kernels hold the states of generators: they go where seeds of operations were drawn since the last call.
    """
    from tensorflow.python.eager.context import context

    now = context()
    if now._seed is None or now._rng.getstate() != random.Random(now._seed).getstate():
        sys.modules["tensorflow"].random.set_seed(seed)
    else:
        now._seed, now._rng = seed, random.Random(seed)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef):
    """What tests share is the same whichever of them comes first."""
    if fixturedef.scope != "function":
        seed_everything(f"{fixturedef.baseid}::{fixturedef.argname}")


@pytest.fixture(autouse=True)
def _seeded(request):
    """Weights that a test leaves to chance are the same in every run and in any order."""
    seed_everything(request.node.name)


@pytest.fixture
def rng(request):
    """Random generator seeded by the name of the test: the same numbers in every run and on every worker."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def eager():
    """Draws without graphs, for tests that draw a few times."""
    from eager import eagerly

    with eagerly():
        yield


@pytest.fixture(scope="module")
def eager_module():
    """The same for all tests of a module and for what they share; those that take many steps ask for `graphs`."""
    from eager import eagerly

    with eagerly():
        yield


@pytest.fixture
def graphs():
    """Traced functions, as users have them."""
    from eager import eagerly

    with eagerly(False):
        yield


@pytest.fixture
def run_here(monkeypatch):
    """Scenarios run in this process."""
    from inline import Inline

    from benchmarks import runner

    monkeypatch.setattr(runner, "make_engine", lambda name, workers: Inline())


@pytest.fixture
def undrawn(monkeypatch):
    """Reports with empty pictures, for tests of their words and of the names of their files."""
    from benchmarks.report import figures

    monkeypatch.setattr(figures, "render", lambda figure: {"svg": b"", "png": b""})
