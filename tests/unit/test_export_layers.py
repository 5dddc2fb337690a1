"""Registration files of Keras exports: complete, without csilink, for the networks of every registered model."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import export_runtime
from benchmarks.export_graph import write_graph
from benchmarks.export_layers import registration
from benchmarks.quiet import quiet
from simulator.core import registry
from simulator.core.errors import StoreError

ROOMS = {"receivers", "simulator"}
SIZES = {
    "csinet": {}, "csinet_plus": {}, "crnet": {}, "clnet": {}, "attention_csinet": {}, "learned_transform": {},
    "transnet": {"hidden": 8}, "evt": {"height": 4, "width": 8, "dim": 16, "hidden": 8},
    "variable_bit": {"height": 8, "width": 8}, "mamba_transformer": {"maps": 16, "state": 2, "hidden": 8, "chunk": 8},
    "stnet": {"height": 32, "width": 32}, "stqenet": {"height": 32, "width": 32},
}  # fmt: skip
OURS = {name for name in registry.names("models") if registry.target("models", name).startswith("receivers.")} - {"klt"}
PLAIN = {"attention_csinet", "csinet", "csinet_plus", "crnet", "clnet"}


def networks(name):
    sizes = {"height": 16, "width": 16, "num_latents": 8, **SIZES[name]}
    if name == "learned_transform":
        sizes.pop("num_latents")
    model = registry.build("models", name, **sizes)
    return model.encoder, model.decoder


def own(graph):
    layers = [layer for layer in graph.layers if type(layer).__module__.partition(".")[0] in ROOMS]
    return {type(layer).__name__ for layer in layers}


@pytest.mark.long
@pytest.mark.parametrize("name", ["csinet", "transnet", "stqenet", "evt"])
def test_everything_that_the_layers_use(name):
    check(name)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(OURS - {"csinet", "transnet", "stqenet", "evt"}))
def test_everything_that_the_layers_of_any_model_use(name):
    check(name)


def check(name):
    """Every name is defined in the file or by Python, and no import is of ours."""
    for graph in networks(name):
        text = registration(graph, ROOMS)
        assert (text is None) == (not own(graph))
        if text is None:
            continue
        tree = ast.parse(text)
        roots = {
            (alias.name if isinstance(node, ast.Import) else node.module).partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not roots & {*ROOMS, "benchmarks", "scenarios", "tensorflow", "pydantic"}
        classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        assert own(graph) <= classes and len(text.splitlines()) < 600
        compile(text, "csilink_layers.py", "exec")
    assert (name in PLAIN) == (text is None)


PROGRAM = """
import sys
sys.path.insert(0, {place!r})
from export_runtime import _Refuse, runtime
sys.meta_path.insert(0, _Refuse)
import numpy as np
from pathlib import Path
for stem in {stems!r}:
    folder = Path({folder!r}) / stem
    layers = folder / "csilink_layers.py"
    run = runtime("keras", folder / "m.keras", ("image", "latent"), layers if layers.is_file() else None)
    error = np.abs(run(np.load(folder / "x.npy")) - np.load(folder / "y.npy")).max()
    print(stem, error < 1e-4)
try:
    import receivers
except ModuleNotFoundError:
    print("refused")
"""


@pytest.mark.long
def test_keras_loads_without_csilink(tmp_path, rng):
    """Every network of ours, one process in which nothing of csilink can be imported."""
    stems = sorted(OURS)
    for name in stems:
        graph = networks(name)[0]
        if graph.outputs[0].name != "latent":
            import keras

            graph = keras.Model(graph.input, keras.layers.Identity(name="latent")(graph.output))
        folder = tmp_path / name
        folder.mkdir()
        x = rng.standard_normal((2, *graph.input_shape[1:])).astype(np.float32)
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", np.asarray(graph(x, training=False)))
        with quiet():
            write_graph(graph, folder / "m.keras", "keras", ("image", "latent"))
        if (text := registration(graph, ROOMS)) is not None:
            (folder / "csilink_layers.py").write_text(text)
    place = str(Path(export_runtime.__file__).parent)
    program = PROGRAM.format(place=place, folder=str(tmp_path), stems=stems)
    done = subprocess.run([sys.executable, "-IBc", program], capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == [*(f"{name} True" for name in stems), "refused"], done.stderr[-2000:]


@pytest.mark.long
def test_one_file_cannot_hold_two_things_of_one_name(monkeypatch):
    graph = networks("transnet")[0]
    module = "receivers.models.attention"
    source = "from receivers.models.position import Position as MultiHeadAttention\n"
    source += "class TransformerLayer(MultiHeadAttention): pass\n"
    monkeypatch.setattr("benchmarks.export_layers.inspect.getsource", lambda m: source if m.__name__ == module else "")
    with pytest.raises(StoreError, match="imported as MultiHeadAttention"):
        registration(graph, ROOMS)
