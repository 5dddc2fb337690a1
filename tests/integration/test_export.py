"""Exports run in their own runtimes and give the same bits; PyTorch checkpoints become weights of the link."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from forked import forked

from benchmarks import cli, export, export_runtime
from benchmarks.export import FORMATS, NEEDS, export_model, verify_folder
from benchmarks.export_folder import content_sha256
from benchmarks.export_graph import side_graph
from benchmarks.import_torch import import_checkpoint
from receivers.weights.folder import TrainedModel
from receivers.weights.torch import _pairs
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

# Every format with each side, and with a network that is not convolutional. ONNX and LiteRT of a gNB are in
# test_inputs_and_outputs_bear_the_names_of_the_list, evt-80 as a Keras graph in the test of its registration file, and
# csinet-100 of a UE as ONNX is verified in test_verification_notices_damage.
CASES = [
    ("litert", "csinet-100", "ue"),
    ("keras", "csinet-100", "gnb"),
    ("savedmodel", "csinet-100", "gnb"),
    *((format_, "evt-80", "ue") for format_ in ("onnx", "litert", "savedmodel")),
]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    """Where exports note whose graphs they are."""
    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path / "cache"))


def installed(format_):
    return all(importlib.util.find_spec(name) for name in NEEDS.get(format_, ()))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """csinet-100 of the UE as an ONNX graph, exported once; each test takes a copy."""
    if not installed("onnx"):
        pytest.skip("extra onnx is not installed")
    folder = tmp_path_factory.mktemp("onnx") / "model"
    export_model("csinet-100", "ue", "onnx", folder)
    return folder


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with forked(tmp_path_factory.mktemp("said")) as runner:
        yield runner


@pytest.fixture
def one_import(runner, monkeypatch):
    """Graphs that need TensorFlow run in processes that share its import; all else in processes as users have them."""
    monkeypatch.setattr(export, "subprocess", runner)


def copied(folder, path):
    return Path(shutil.copytree(folder, path))


@pytest.mark.parametrize(("format_", "weights", "side"), CASES)
@pytest.mark.long
def test_every_format_gives_the_same_latents_and_bits(tmp_path, format_, weights, side, request):
    if not installed(format_):
        pytest.skip(f"extra {format_} is not installed")
    if format_ in ("keras", "savedmodel"):
        request.getfixturevalue("one_import")
    export_model(weights, side, format_, tmp_path / "model")
    assert "32 bitstreams equal" in verify_folder(tmp_path / "model")
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert names == {FORMATS[format_], "codec.json", "card.json", "golden.npz"}
    codec = json.loads((tmp_path / "model" / "codec.json").read_text())
    assert codec["graph"]["input"] == ("image" if side == "ue" else "latent")
    assert {"range", "huffman"} == set(codec["tables"])


@pytest.mark.long
def test_inputs_and_outputs_bear_the_names_of_the_list(tmp_path):
    """As another program sees them."""
    onnx, litert = (pytest.importorskip(name) for name in ("onnxruntime", "ai_edge_litert.interpreter"))
    pytest.importorskip("tf2onnx")
    for format_ in ("onnx", "litert"):
        export_model("csinet-100", "gnb", format_, tmp_path / format_)
        assert "32 bitstreams equal" in verify_folder(tmp_path / format_)
    session = onnx.InferenceSession(tmp_path / "onnx" / "model.onnx")
    assert [t.name for t in (*session.get_inputs(), *session.get_outputs())] == ["latent", "image"]
    interpreter = litert.Interpreter(str(tmp_path / "litert" / "model.tflite"))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["latent"], "outputs": ["image"]}}
    details = (*interpreter.get_input_details(), *interpreter.get_output_details())
    assert [t["name"] for t in details] == ["latent", "image"]


@pytest.mark.long
def test_the_check_calls_by_name_and_without_csilink(tmp_path, monkeypatch, exported):
    """A list with another name, or a graph that needs csilink, does not pass."""
    copied(exported, tmp_path / "m")
    codec = json.loads((tmp_path / "m" / "codec.json").read_text())
    codec["graph"]["output"] = "codeword"
    (tmp_path / "m" / "codec.json").write_text(json.dumps(codec))
    with pytest.raises(StoreError, match=r"does not run without csilink.*codeword"):
        verify_folder(tmp_path / "m")
    program = tmp_path / "runtime.py"
    program.write_text(
        Path(export_runtime.__file__).read_text().replace("run = runtime(", "import receivers; runtime(")
    )
    monkeypatch.setattr(export_runtime, "__file__", str(program))
    with pytest.raises(StoreError, match=r"does not run without csilink.*receivers: not in this process"):
        verify_folder(tmp_path / "m")


@pytest.mark.long
def test_a_registration_file_of_unknown_origin_does_not_run(tmp_path, one_import):
    """The graph is then loaded with our own layers; with trust the file runs, whatever it does."""
    folder, mark = tmp_path / "m", tmp_path / "ran"
    export_model("evt-80", "ue", "keras", folder)
    names = {FORMATS["keras"], "codec.json", "card.json", "golden.npz", "csilink_layers.py"}
    assert {p.name for p in folder.iterdir()} == names
    assert "32 bitstreams equal" in verify_folder(folder)
    layers = folder / "csilink_layers.py"
    layers.write_text(layers.read_text() + f"\nopen({str(mark)!r}, 'w')\n")
    codec = json.loads((folder / "codec.json").read_text())
    codec["sha256"]["csilink_layers.py"] = content_sha256(layers)
    (folder / "codec.json").write_text(json.dumps(codec))
    assert "32 bitstreams equal" in verify_folder(folder) and not mark.exists()
    assert "32 bitstreams equal" in verify_folder(folder, trust=True) and mark.exists()


@pytest.mark.parametrize(
    ("format_", "weights", "side"),
    [("onnx", "csinet", "ue"), ("onnx", "transnet", "gnb"), ("litert", "csinet", "gnb"), ("litert", "transnet", "ue")],
)
@pytest.mark.long
def test_eight_bits(tmp_path, format_, weights, side):
    """Of a convolutional network, and of one with norms and softmax, which eight bits would ruin."""
    if not installed(format_):
        pytest.skip(f"extra {format_} is not installed")
    export_model(f"{weights}-100", side, format_, tmp_path / "m", int8=True)
    verify_folder(tmp_path / "m")
    floats = 4 * side_graph(TrainedModel(f"{weights}-100", alone=True), side).count_params()
    assert (tmp_path / "m" / FORMATS[format_]).stat().st_size < 0.35 * floats


@pytest.mark.long
def test_verification_notices_damage(tmp_path, monkeypatch, capsys, exported):
    folder = copied(exported, tmp_path / "model")
    monkeypatch.setattr(sys, "argv", ["csilink", "export", str(folder), "--verify"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0 and "bitstreams equal" in capsys.readouterr().out
    with np.load(folder / "golden.npz") as data:
        golden = dict(data)
    codec = json.loads((folder / "codec.json").read_text())

    def with_golden(**changes):
        np.savez_compressed(folder / "golden.npz", **{**golden, **changes})
        changed = {**codec, "sha256": {k: v for k, v in codec["sha256"].items() if k != "golden.npz"}}
        (folder / "codec.json").write_text(json.dumps(changed))

    with_golden(latent=golden["latent"] + 0.01)
    with pytest.raises(StoreError, match="deviates from Keras"):
        verify_folder(folder)
    bits = golden["bits"].copy()
    bits[3, 7] ^= 1
    with_golden(bits=bits)
    with pytest.raises(StoreError, match="bitstreams of 1 of 32"):
        verify_folder(folder)
    (folder / "codec.json").write_text(json.dumps(codec))
    with pytest.raises(StoreError, match=r"golden\.npz: damaged"):
        verify_folder(folder)
    with pytest.raises(StoreError, match="no exported model"):
        verify_folder(tmp_path)


def test_wrong_exports(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for arguments, words in (
        (("nowhere", "ue", "keras", tmp_path / "a"), "weights: got 'nowhere'"),
        (("csinet-100", "up", "keras", tmp_path / "a"), "--side: got 'up'; allowed: ue, gnb"),
        (("csinet-100", "ue", "pdf", tmp_path / "a"), "--format: got 'pdf'; allowed: keras"),
        (("klt-mixed", "ue", "keras", tmp_path / "a"), "weights of a network"),
        (("csinet-100", "ue", "keras", tmp_path / "mine"), "holds other files"),
    ):
        with pytest.raises((ConfigError, StoreError), match=words):
            export_model(*arguments)
    with pytest.raises(ConfigError, match="--int8: got 'keras'; allowed: onnx, litert"):
        export_model("csinet-100", "ue", "keras", tmp_path / "a", int8=True)
    assert (tmp_path / "mine" / "thesis.txt").exists() and not (tmp_path / "a").exists()


# PyTorch -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Truncated angular-delay images of 32 delays and 32 antennas, as imported from COST 2100 files."""
    rng = np.random.default_rng(7)
    layout = ChannelLayout(Panel(32, 1, 1), 1024, 19531.25, num_delays=32)
    folder = tmp_path_factory.mktemp("cost") / "s"
    with StoreWriter(folder, layout, name="s") as writer:
        for split in ("train", "val", "test"):
            x = (rng.standard_normal((60, *layout.entry_shape, 2)) @ [1, 1j]) * 0.01
            writer.add(split, (x * np.exp(-np.arange(32) / 6)).astype(np.complex64))
        writer.finish({})
    return ChannelStore(folder)


@pytest.mark.long
def test_a_checkpoint_becomes_weights_of_the_link(tmp_path, store, rng):
    torch = pytest.importorskip("torch")
    network = registry.build("models", "crnet", num_latents=64)
    state = {}
    for key, variable, convert in _pairs("crnet", network):
        axes = (3, 2, 0, 1) if variable.ndim == 4 else (1, 0) if variable.ndim == 2 else (0,)
        value = np.asarray(variable).transpose(axes)
        assert np.array_equal(convert(value), np.asarray(variable))
        state[f"module.{key}"] = torch.tensor(value.copy())
    torch.save({"epoch": 3, "state_dict": {**state, "module.total_ops": torch.zeros(1)}}, tmp_path / "crnet.pth")
    card = import_checkpoint("crnet", [tmp_path / "crnet.pth"], store.folder, tmp_path / "imported", {})
    assert card["model"]["params"]["num_latents"] == 64 and card["input"]["transposed"]
    trained = TrainedModel(str(tmp_path / "imported"))
    x = rng.standard_normal((2, 32, 32, 2)).astype(np.float32)  # [delay, antenna]
    seen = np.swapaxes(x, 1, 2) * trained.input.scale + 0.5
    np.testing.assert_allclose(trained.encode(x), np.asarray(network.encoder(seen.astype(np.float32))), atol=1e-6)
    for name, words in (("clnet", "no codeword layer"), ("foo", "model: got 'foo'; allowed: crnet, clnet")):
        with pytest.raises((ConfigError, StoreError), match=words):
            import_checkpoint(name, [tmp_path / "crnet.pth"], store.folder, tmp_path / "b", {})
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(StoreError, match="no checkpoint of tensors"):
        import_checkpoint("crnet", [tmp_path / "text.pth"], store.folder, tmp_path / "b", {})
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    with pytest.raises(StoreError, match="no state dict"):
        import_checkpoint("crnet", [tmp_path / "numbers.pth"], store.folder, tmp_path / "b", {})
