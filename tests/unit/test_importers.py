"""Every importer against an independent loop on files made here; third-party files where their folder is given; and bad
files, each a clear error."""

import io
import json
import lzma
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from simulator.core import registry
from simulator.core.errors import ConfigError, CsilinkError, StoreError
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.cost2100 import truncation_loss
from simulator.data.importer import import_store
from simulator.data.store import ChannelStore, sha256

DATA = Path(os.environ.get("CSILINK_CHANNEL_FILES", "not given"))  # see golden/README.md
third_party = pytest.mark.skipif(not DATA.is_dir(), reason="CSILINK_CHANNEL_FILES names no folder")


def build(format_, path, **params):
    return registry.build("importers", format_, Path(path), **params)


def imported(format_, path, out, **params):
    return import_store(build(format_, path, **params), Path(out), name="s", origin={"format": format_})


def everything(importer, split=None):
    """All channels and labels of a split."""
    blocks = list(importer.blocks(split or importer.splits[0]))
    return np.concatenate([h for h, _ in blocks]), {k: np.concatenate([b[k] for _, b in blocks]) for k in blocks[0][1]}


def gaussian(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def matlab_v73(path, **arrays):
    """A file as MATLAB writes it: reversed axes, complex numbers as compound ('real', 'imag')."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in arrays.items():
            value = np.ascontiguousarray(value.T)
            if value.dtype.kind == "c":
                part = value.real.dtype
                pairs = np.empty(value.shape, [("real", part), ("imag", part)])
                pairs["real"], pairs["imag"] = value.real, value.imag
                value = pairs
            file[key] = value
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


# COST 2100.


def cost_files(folder, rng, counts=(7, 3, 4), short="out", **change):
    images = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        images[split] = 0.1 * gaussian(rng, count, 32, 32)
        flat = images[split].reshape(count, -1)
        rows = np.concatenate([flat.real, flat.imag], axis=1) * 0.9 + 0.5
        images[split] = images[split] * 0.9
        scipy.io.savemat(folder / f"DATA_H{split}{short}.mat", {"HT": np.clip(rows, 0, 1)}, do_compression=True)
    return images


def test_cost2100_images_and_hashes(tmp_path, rng):
    images = cost_files(tmp_path, rng)
    store = imported("cost2100", tmp_path, tmp_path / "s", environment="outdoor")
    assert set(store.shards) == {"train", "val", "test"} and store.layout.num_delays == 32
    assert store.layout.panel == Panel(32) and store.layout.num_subcarriers == 1024
    for split, truth in images.items():
        (h,) = [h for h, _ in store.read(split)]
        assert h.shape == (len(truth), 1, 32, 1, 32)
        inside = (np.abs(truth.real) < 0.5) & (np.abs(truth.imag) < 0.5)
        np.testing.assert_allclose(h[:, 0, :, 0][inside], truth[inside], atol=1e-6)
    assert {i["name"]: i["sha256"] for i in store.origin["inputs"]} == {
        f.name: sha256(f) for f in tmp_path.glob("DATA_*")
    }


def test_truncation_loss_by_a_loop(rng):
    full_images = gaussian(rng, 3, 32, 257) * np.exp(-np.arange(257) / 12)
    full = np.array([[[sum(x[a, d] * np.exp(-2j * np.pi * d * k / 257) for d in range(257)) for k in range(125)]
                      for a in range(32)] for x in full_images[:1]])  # fmt: skip
    ratio, rho = truncation_loss(full_images[:1, :, :32], full)
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(32), np.arange(125)) / 257)
    cut = full_images[0, :, :32] @ kernel
    assert abs(ratio[0] - np.sum(np.abs(cut - full[0]) ** 2) / np.sum(np.abs(full[0]) ** 2)) < 1e-12
    cosine = [
        abs(np.vdot(full[0][:, k], cut[:, k])) / np.linalg.norm(full[0][:, k]) / np.linalg.norm(cut[:, k])
        for k in range(125)
    ]
    assert abs(rho[0] - np.mean(cosine)) < 1e-12 and 0 < ratio[0] < 1


def test_cost2100_truncation_and_labels(tmp_path, rng):
    """Images of 40 taps of which 32 are kept, against sums over taps; labels from their own file."""
    full = 0.03 * gaussian(rng, 4, 32, 40)
    bins = np.einsum("nad,dk->nak", full, np.exp(-2j * np.pi * np.outer(np.arange(40), np.arange(125)) / 257))
    images = full[:, :, :32].reshape(4, -1)
    rows = np.concatenate([images.real, images.imag], axis=1) + 0.5
    meta = {
        "ue_xyz_m": rng.uniform(0, 10, (4, 3)),
        "environment_id": [[3, 3, 5, 5]],
        "pathloss_dB": [[90.0, 91, 92, 93]],
    }
    scipy.io.savemat(tmp_path / "DATA_Htestin.mat", {"HT": rows})
    scipy.io.savemat(tmp_path / "DATA_HtestFin_all.mat", {"HF_all": bins.reshape(4, -1)})
    scipy.io.savemat(tmp_path / "meta_testin.mat", meta)
    importer = build("cost2100", tmp_path, environment="indoor")
    h, labels = everything(importer, "test")
    assert importer.layout.carrier_hz == 5.3e9
    np.testing.assert_allclose(h[:, 0, :, 0], full[:, :, :32], atol=1e-6)
    np.testing.assert_array_equal(labels["site"], [3, 3, 5, 5])
    np.testing.assert_allclose(labels["position_m"], meta["ue_xyz_m"])
    np.testing.assert_allclose(labels["path_gain_db"], [-90, -91, -92, -93])
    lost = np.einsum(
        "nad,dk->nak", full[:, :, 32:], np.exp(-2j * np.pi * np.outer(np.arange(32, 40), np.arange(125)) / 257)
    )
    ratio, rho = [], []
    for x, gone in zip(bins, lost, strict=True):
        kept = x - gone
        ratio.append(sum(abs(v) ** 2 for v in gone.flat) / sum(abs(v) ** 2 for v in x.flat))
        norms = [np.linalg.norm(x[:, k]) * np.linalg.norm(kept[:, k]) for k in range(125)]
        rho.append(np.mean([abs(np.vdot(x[:, k], kept[:, k])) / norms[k] for k in range(125)]))
    loss = importer.facts()["truncation"]
    assert loss["nmse_db"] == pytest.approx(10 * np.log10(np.mean(ratio)), abs=6e-3)
    assert loss["rho"] == pytest.approx(np.mean(rho), abs=6e-5) and loss["num_samples"] == 4


@third_party
@pytest.mark.parametrize(("environment", "nmse_db", "rho"), [("indoor", -11.9, 0.996), ("outdoor", -14.1, 0.980)])
def test_cost2100_truncation_of_the_third_party_files(environment, nmse_db, rho):
    importer = build("cost2100", DATA / "cost2100", environment=environment)
    h, labels = everything(importer, "test")
    loss = importer.facts()["truncation"]
    assert abs(loss["nmse_db"] - nmse_db) < 0.06 and abs(loss["rho"] - rho) < 6e-4
    assert set(labels) == {"site", "position_m", "path_gain_db"} and len(h) == loss["num_samples"]


# QuaDRiGa, WiFo, generic.


@pytest.mark.parametrize("kind", ["npz", "mat5", "mat73"])
def test_quadriga_axes(tmp_path, rng, kind):
    """Ports are pol, horizontal, vertical, whatever the file format."""
    truth, site = gaussian(rng, 6, 2, 3, 4).astype(np.complex64), np.array([0, 0, 1, 1, 2, 2], np.int16)
    file = tmp_path / ("x.npz" if kind == "npz" else "x.mat")
    if kind == "npz":
        np.savez(file, h=truth, site_id=site)
    elif kind == "mat5":
        scipy.io.savemat(file, {"h": truth, "site_id": site})
    else:
        matlab_v73(file, h=truth, site_id=site[None])
    importer = build("quadriga", file, carrier_hz=28e9)
    h, labels = everything(importer)
    assert importer.layout.panel == Panel(4, 3, 2)
    for pol in range(2):
        for row in range(3):
            for column in range(4):
                port = pol * 12 + column * 3 + row
                np.testing.assert_array_equal(h[:, 0, port, 0, 0], truth[:, pol, row, column])
    np.testing.assert_array_equal(labels["site"], site)


def test_quadriga_folder_keeps_sites_apart(tmp_path, rng):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", h=gaussian(rng, 4, 1, 2, 2), site_id=np.array([0, 0, 1, 1]))
    labels = everything(build("quadriga", tmp_path))[1]
    assert labels["site"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and labels["file"].tolist() == [0] * 4 + [1] * 4


@third_party
def test_quadriga_third_party_steering(tmp_path):
    """Users far to one side have the phase progression of their azimuth over the columns: y grows with n1."""
    path = DATA / "quadriga_narrowband" / "RMa_NLOS_3p5GHz.npz"
    h, labels = everything(build("quadriga", path))
    x = h[:, 0, :64, 0, 0].reshape(-1, 8, 8)  # first polarisation [sample, n1, n2]
    slope = np.angle(np.sum(x[:, 1:] * x[:, :-1].conj(), axis=(1, 2))) / np.pi
    place = labels["position_m"]
    u = place[:, 1] / np.linalg.norm(place - [0, 0, 25], axis=1)
    assert np.corrcoef(slope, u)[0, 1] > 0.7


def wifo_file(path, rng, name="X_val", count=5, form="mat73"):
    truth = gaussian(rng, count, 3, 6, 8).astype(np.complex64)
    matlab_v73(path, **{name: truth}) if form == "mat73" else scipy.io.savemat(path, {name: truth})
    return truth


@pytest.mark.parametrize("form", ["mat73", "mat5"])
def test_wifo_axes_and_swapped_names(tmp_path, rng, form):
    test, val = (
        wifo_file(tmp_path / f"X_{s}.mat", rng, n, form=form) for s, n in (("test", "X_val"), ("val", "X_test"))
    )
    importer = build("wifo", tmp_path, n1=4, n2=2, spacing_hz=90e3, slot_s=1e-3)
    assert importer.splits == ("val", "test")
    assert importer.facts() == {"variables": {"X_val.mat": "X_test", "X_test.mat": "X_val"}}
    for split, truth in (("test", test), ("val", val)):
        h = everything(importer, split)[0]
        for column in range(4):
            for row in range(2):
                port = antenna = column * 2 + row
                np.testing.assert_array_equal(h[:, 0, port], truth[:, :, :, antenna])


@third_party
@pytest.mark.parametrize(
    ("name", "n1", "n2", "spacing_hz", "slot_s", "correlation"),
    [("D1", 4, 1, 90e3, 1e-3, 0.995), ("D17", 8, 4, 180e3, 5e-4, 0.936), ("D18", 4, 4, 180e3, 1e-3, 0.985)],
)
def test_wifo_third_party_figures(name, n1, n2, spacing_hz, slot_s, correlation):
    importer = build("wifo", DATA / "wifo_layout" / name, n1=n1, n2=n2, spacing_hz=spacing_hz, slot_s=slot_s)
    h = everything(importer, "test")[0][:, 0]  # [sample, port, slot, subcarrier]
    inner = np.abs(np.sum(h[:, :, 1:] * h[:, :, :-1].conj(), axis=(1, 2, 3)))
    energy = np.sqrt(np.sum(np.abs(h[:, :, 1:]) ** 2, (1, 2, 3)) * np.sum(np.abs(h[:, :, :-1]) ** 2, (1, 2, 3)))
    assert abs(np.median(inner / energy) - correlation) < 0.004


@pytest.mark.parametrize("kind", ["npz", "hdf5", "mat73"])
@pytest.mark.parametrize("complex_axis", ["none", "first", "last"])
@pytest.mark.parametrize("axes", ["sample subcarrier n2 n1 pol", "slot, sample, port, rx_ant"])
def test_generic_axes(tmp_path, rng, kind, complex_axis, axes):
    size = {"sample": 5, "rx_ant": 2, "pol": 2, "n1": 4, "n2": 3, "port": 24, "slot": 3, "subcarrier": 6}
    names = axes.replace(",", "").split()
    truth = gaussian(rng, *(size[name] for name in names)).astype(np.complex64)
    stored = truth
    if complex_axis != "none":
        stored = np.stack([truth.real, truth.imag], axis=0 if complex_axis == "first" else -1)
    file = tmp_path / ("x.npz" if kind == "npz" else "x.h5")
    if kind == "npz":
        np.savez(file, data=stored, who=np.arange(5))
    elif kind == "hdf5":
        with h5py.File(file, "w") as f:
            f["data"], f["who"] = stored, np.arange(5)
    else:
        matlab_v73(file, data=stored, who=np.arange(5)[None])
    panel = {"n1": 4, "n2": 3, "num_pol": 2} if "port" in names else {}
    importer = build(
        "generic",
        file,
        key="data",
        axes=axes,
        spacing_hz=1e4,
        complex_axis=complex_axis,
        labels={"user": "who"},
        **panel,
    )
    h, labels = everything(importer)
    assert importer.layout.panel == Panel(4, 3, 2) and labels["user"].tolist() == [0, 1, 2, 3, 4]
    for index in np.ndindex(*truth.shape):
        at = dict(zip(names, index, strict=True))
        port = at["port"] if "port" in at else at["pol"] * 12 + at["n1"] * 3 + at["n2"]
        assert h[at["sample"], at.get("rx_ant", 0), port, at.get("slot", 0), at.get("subcarrier", 0)] == truth[index]


def test_a_file_as_matlab_itself_wrote_it(tmp_path):
    """One COST 2100 snapshot of 32 positions and 257 frequencies; the numbers as h5dump prints them."""
    (tmp_path / "x.mat").write_bytes(
        lzma.decompress((Path(__file__).parents[1] / "golden/matlab_v73.mat.xz").read_bytes())
    )
    array = ArrayFile(tmp_path / "x.mat")
    value = array.read("H")
    assert value.dtype == np.complex128 and value.shape == array.shapes["H"] == (1, 257, 1, 32)
    np.testing.assert_allclose(value[0, 100, 0, 3], -4.1869771786201586e-05 - 4.543178615788349e-06j, rtol=1e-15)
    np.testing.assert_allclose(value[0, 0, 0, 0].real, 8.04613755e-06, rtol=1e-8)


# DeepMIMO.


def ray_matrix(rng, paths):
    rows = [rng.uniform(-180, 180, paths), rng.uniform(1e-7, 2e-6, paths), rng.uniform(-120, -80, paths)]
    rows += [rng.uniform(-180, 180, paths), rng.uniform(0, 180, paths)] * 2 + [np.zeros(paths)]
    return np.array(rows, np.float32)


def native_folder(folder, rng, counts=(3, 0, 1, 7)):
    folder.mkdir(exist_ok=True)
    matrices = [ray_matrix(rng, n) if n else np.zeros((0, 0), np.float32) for n in counts]
    matrices[0][7, 0] = 1
    cells = np.empty((1, len(counts)), object)
    for user, matrix in enumerate(matrices):
        cells[0, user] = {"p": matrix}
    places = rng.uniform(0, 100, (len(counts), 5)).astype(np.float32)
    scipy.io.savemat(folder / "BS1_UE_0-4.mat", {"channels": cells, "rx_locs": places, "tx_loc": np.zeros((1, 3))})
    scipy.io.savemat(folder / "params.mat", {"carrier_freq": 28e9})
    return matrices, places


def saved_folder(folder, rng, users=4, paths=5, form="npz"):
    folder.mkdir(exist_ok=True)
    matrices = [ray_matrix(rng, n) for n in (3, 5, 1)] + [None]
    data = {key: np.full((users, paths), np.nan) for key in ("phase", "delay", "power", "aod_az", "aod_el", "inter")}
    for user, matrix in enumerate(matrices[:3]):
        for row, key in ((0, "phase"), (1, "delay"), (2, "power"), (5, "aod_az"), (6, "aod_el")):
            data[key][user, : matrix.shape[1]] = matrix[row]
        data["inter"][user, : matrix.shape[1]] = 1
    data["inter"][0, 0] = 0
    data["rx_pos"] = rng.uniform(0, 100, (users, 3))
    for key, value in data.items():
        name = folder / f"{key}_t001_tx000_r000.{form}"
        np.savez_compressed(name, **{key: value}) if form == "npz" else scipy.io.savemat(name, {key: value})
    (folder / "params.json").write_text(json.dumps({"rt_params": {"frequency": 28e9}}))
    return matrices, data["rx_pos"]


@pytest.mark.parametrize("make", [native_folder, saved_folder, lambda f, r: saved_folder(f, r, form="mat")])
def test_deepmimo_channels_by_a_loop(tmp_path, rng, make):
    matrices, places = make(tmp_path / "d", rng)
    importer = build("deepmimo", tmp_path / "d", n1=3, n2=2, num_subcarriers=5, bandwidth_hz=10e6)
    h, labels = everything(importer)
    users = [u for u, m in enumerate(matrices) if m is not None and m.size]
    assert labels["user"].tolist() == users and importer.layout.carrier_hz == 28e9
    assert labels["los"].tolist() == [u == 0 for u in users]
    np.testing.assert_allclose(labels["position_m"], places[users][:, :3], rtol=1e-6)
    for row, user in enumerate(users):
        truth = np.zeros((6, 5), complex)
        for phase, delay, power, _, _, azimuth, zenith, _ in matrices[user].T.astype(float):
            for port in range(6):
                m1, m2 = divmod(port, 2)
                t, p = np.radians(zenith), np.radians(azimuth)
                space = np.exp(1j * np.pi * (m1 * np.sin(t) * np.sin(p) + m2 * np.cos(t)))
                for k in range(5):
                    f = (k - 2) * 2e6
                    truth[port, k] += (
                        10 ** (power / 20) * np.exp(1j * np.radians(phase) - 2j * np.pi * f * delay) * space
                    )
        np.testing.assert_allclose(h[row, 0, :, 0], truth, atol=3e-6 * np.abs(truth).max())
        assert (
            abs(labels["path_gain_db"][row] - 10 * np.log10(np.sum(10 ** (matrices[user][2].astype(float) / 10))))
            < 1e-4
        )


@third_party
@pytest.mark.parametrize("city", ["new_york", "los_angeles"])
def test_deepmimo_equals_the_official_generator(city):
    """Its antennas run over columns first, its grid upwards from the carrier, its amplitude is ours / sqrt(64)."""
    official = np.load(DATA / "deepmimo" / f"{city}_ofdm_8x4_64sc_20MHz.npz")
    numbers = [int(key[2:-8]) for key in official.files if key.endswith("_channel")]
    h, labels = everything(build("deepmimo", DATA / "deepmimo" / city, n1=8, n2=4, bs=numbers, grid="upper"))
    for number in numbers:
        theirs = official[f"BS{number}_channel"].reshape(-1, 4, 8, 64).swapaxes(1, 2).reshape(-1, 32, 64) * 8
        for user, truth in zip(official[f"BS{number}_user_index"], theirs, strict=True):
            (ours,) = h[(labels["site"] == number) & (labels["user"] == user), 0, :, 0]
            assert np.linalg.norm(ours - truth) < 1e-3 * np.linalg.norm(truth)


@third_party
def test_deepmimo_base_station_without_users_is_named():
    with pytest.raises(StoreError, match="no UE file of base station 3; found 1, 2"):
        build("deepmimo", DATA / "deepmimo" / "los_angeles", bs=[3])


# Bad files: content, then what the message must hold besides the name of the file.


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def npz_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def mat_bytes(compress=True, **arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=compress)
    return buffer.getvalue()


def hdf5_bytes(**arrays):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, value in arrays.items():
            file[key] = value
    return buffer.getvalue()


GOOD = np.random.default_rng(1).standard_normal((6, 2, 3, 4, 2)) @ [1, 1j]


def spoilt(value):
    out = GOOD.copy()
    out[4, 1, 2, 3] = value
    return out


def flipped(data, at):
    """Some bytes in the middle of the content turned over."""
    start = int(len(data) * at)
    return data[:start] + bytes(b ^ 0xA5 for b in data[start : start + 24]) + data[start + 24 :]


BAD_ARRAYS = {
    "empty": (b"", "empty"),
    "text": (b"no channel at all, just text" * 50, "allowed: .mat"),
    "random": (np.random.default_rng(2).bytes(5000), "allowed: .mat"),
    "npz truncated": (npz_bytes(h=GOOD)[:900], "damaged or truncated"),
    "npz flipped": (flipped(npz_bytes(h=GOOD), 0.4), "damaged or truncated"),
    "npz without entries": (npz_bytes(), "allowed: .mat"),
    "npz wrong key": (npz_bytes(channel=GOOD), "key 'h' not found; it holds channel"),
    "npz wrong rank": (npz_bytes(h=GOOD[0]), "shape (2, 3, 4)"),
    "npz no sample": (npz_bytes(h=GOOD[:0]), "at least one entry"),
    "npz real": (npz_bytes(h=GOOD.real), "allowed: complex"),
    "npz text": (npz_bytes(h=np.full((2, 2, 3, 4), "x")), "allowed: numbers"),
    "npz nan": (npz_bytes(h=spoilt(np.nan)), "infinite values, first 4"),
    "npz inf": (npz_bytes(h=spoilt(1j * np.inf)), "infinite values, first 4"),
    "npz label length": (npz_bytes(h=GOOD, site_id=np.arange(5)), "one entry per sample, 6"),
    "mat truncated": (mat_bytes(h=GOOD)[:1000], "damaged or truncated"),
    "mat plain truncated": (mat_bytes(compress=False, h=GOOD)[:1500], "damaged or truncated"),
    "mat flipped": (flipped(mat_bytes(h=GOOD), 0.5), "damaged or truncated"),
    "mat wrong key": (mat_bytes(H=GOOD), "key 'h' not found; it holds H"),
    "mat wrong rank": (mat_bytes(h=GOOD[0, 0]), "shape (3, 4)"),
    "mat nan": (mat_bytes(h=spoilt(np.nan)), "infinite values, first 4"),
    "mat struct": (mat_bytes(h={"a": 1}), "shape"),
    "mat header only": (mat_bytes(h=GOOD)[:128], "key 'h' not found; it holds nothing"),
    "hdf5 truncated": (hdf5_bytes(h=GOOD)[:1500], "damaged or truncated"),
    "hdf5 wrong key": (hdf5_bytes(x=GOOD), "key 'h' not found; it holds x"),
    "hdf5 nan": (hdf5_bytes(h=spoilt(np.nan)), "infinite values, first 4"),
    "hdf5 text": (hdf5_bytes(h=np.full((2, 2, 3, 4), b"x")), "allowed: numbers"),
    "hdf5 three polarisations": (hdf5_bytes(h=np.ones((2, 3, 2, 2), complex)), "pol (1 or 2)"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_array_files(tmp_path, name):
    content, message = BAD_ARRAYS[name]
    file = tmp_path / "bad.npz"
    file.write_bytes(content)
    with pytest.raises(CsilinkError) as caught:
        imported("quadriga", file, tmp_path / "s")
    assert message in str(caught.value), caught.value
    assert isinstance(caught.value, ConfigError) or "bad.npz" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]


def test_pickles_are_never_opened(tmp_path):
    mark = tmp_path / "owned"
    trap = np.empty((2, 2, 3, 4), object)
    trap.fill(Trap(mark))
    np.savez(tmp_path / "x.npz", h=trap)
    (tmp_path / "y.npz").write_bytes(pickle.dumps(Trap(mark)))
    for file, message in (("x.npz", "damaged|numbers"), ("y.npz", r"allowed: \.mat")):
        with pytest.raises(StoreError, match=f"{file}.*({message})"):
            imported("quadriga", tmp_path / file, tmp_path / "s")
    assert not mark.exists()


BAD_CALLS = {
    "no such file": ("quadriga", "none.npz", {}, "none.npz: no such file"),
    "empty folder": ("quadriga", ".", {}, "no .npz or .mat file"),
    "cost2100 nothing": ("cost2100", ".", {"environment": "indoor"}, "DATA_Htestin.mat found"),
    "cost2100 environment": ("cost2100", ".", {"environment": "sea"}, "import.environment"),
    "cost2100 no parameter": ("cost2100", ".", {}, "environment"),
    "wifo nothing": ("wifo", ".", {"n1": 1, "spacing_hz": 1e4, "slot_s": 1e-3}, "no X_train.mat"),
    "wifo no panel": ("wifo", ".", {"spacing_hz": 1e4, "slot_s": 1e-3}, "n1"),
    "deepmimo nothing": ("deepmimo", ".", {}, "neither BS"),
    "deepmimo no folder": ("deepmimo", "none", {}, "none: no such folder"),
    "generic axes": ("generic", "x", {"key": "h", "axes": "sample time", "spacing_hz": 1}, "import.axes"),
    "generic twice": ("generic", "x", {"key": "h", "axes": "sample sample", "spacing_hz": 1}, "import.axes"),
    "generic port and n1": ("generic", "x", {"key": "h", "axes": "sample port n1", "spacing_hz": 1}, "import.axes"),
    "unknown format": ("nothing", "x", {}, "cost2100, deepmimo, generic, quadriga, wifo"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls(tmp_path, name):
    format_, file, params, message = BAD_CALLS[name]
    with pytest.raises(CsilinkError) as caught:
        build(format_, tmp_path / file, **params)
    assert message in str(caught.value), caught.value


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((3, 2048), 1.5), "values 1.5..1.5; allowed: 0..1"),
        (np.full((3, 2047), 0.5), "HT has shape (3, 2047); allowed: (any, 2048)"),
        (np.full((3, 2048), np.nan), "infinite values, first 0"),
        (np.full((3, 2048), 1), "allowed: real floating point"),
        (np.full((3, 2048), 0.5 + 0.1j), "allowed: real floating point"),
    ],
)
def test_bad_cost2100_content(tmp_path, rows, message):
    scipy.io.savemat(tmp_path / "DATA_Htrainin.mat", {"HT": rows})
    with pytest.raises(StoreError) as caught:
        imported("cost2100", tmp_path, tmp_path / "s", environment="indoor")
    assert message in str(caught.value) and "DATA_Htrainin.mat" in str(caught.value)


def test_cost2100_full_channels_must_belong_to_the_test_set(tmp_path, rng):
    cost_files(tmp_path, rng)
    scipy.io.savemat(tmp_path / "DATA_HtestFout_all.mat", {"HF_all": np.zeros((5, 4000), complex)})
    with pytest.raises(StoreError, match=r"HF_all has shape \(5, 4000\); allowed: \(4, 4000\)"):
        build("cost2100", tmp_path, environment="outdoor")


def damage_native(folder, rng, kind):
    file = folder / "BS1_UE_0-4.mat"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-300])
    elif kind == "nan":
        cells = np.empty((1, 1), object)
        cells[0, 0] = {"p": np.full((8, 2), np.nan)}
        scipy.io.savemat(file, {"channels": cells, "rx_locs": np.zeros((1, 5))})
    elif kind == "rows":
        cells = np.empty((1, 1), object)
        cells[0, 0] = {"p": np.zeros((7, 2))}
        scipy.io.savemat(file, {"channels": cells, "rx_locs": np.zeros((1, 5))})
    elif kind == "numbers":
        scipy.io.savemat(file, {"channels": np.zeros((1, 4)), "rx_locs": np.zeros((4, 5))})
    elif kind == "locations":
        scipy.io.savemat(file, {"channels": scipy.io.loadmat(file)["channels"], "rx_locs": np.zeros((3, 5))})
    else:
        file.write_bytes(b"")


@pytest.mark.parametrize("kind", ["truncated", "nan", "rows", "numbers", "locations", "empty"])
def test_damaged_deepmimo_folders(tmp_path, rng, kind):
    native_folder(tmp_path / "d", rng)
    damage_native(tmp_path / "d", rng, kind)
    with pytest.raises(StoreError, match=r"BS1_UE_0-4\.mat"):
        imported("deepmimo", tmp_path / "d", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_incomplete_saved_deepmimo(tmp_path, rng):
    saved_folder(tmp_path / "d", rng)
    (tmp_path / "d" / "delay_t001_tx000_r000.npz").unlink()
    with pytest.raises(StoreError, match=r"delay_t001_tx000_r000\.(npz|mat): no such file"):
        build("deepmimo", tmp_path / "d")


def test_wifo_with_two_variables_or_another_panel(tmp_path, rng):
    scipy.io.savemat(tmp_path / "X_test.mat", {"X_val": np.ones((2, 2, 2, 4)), "X_test": np.ones((2, 2, 2, 4))})
    with pytest.raises(StoreError, match=r"X_test\.mat: holds .*one of X_train"):
        build("wifo", tmp_path, n1=4, spacing_hz=1e4, slot_s=1e-3)
    wifo_file(tmp_path / "X_test.mat", rng)
    with pytest.raises(ConfigError, match="n1 \\* n2 = 8"):
        build("wifo", tmp_path, n1=4, spacing_hz=1e4, slot_s=1e-3)


def test_the_store_of_an_import_opens_in_the_link(tmp_path, rng):
    cost_files(tmp_path, rng)
    store = imported("cost2100", tmp_path, tmp_path / "s", environment="outdoor")
    assert ChannelStore(store.folder).hash == store.hash
