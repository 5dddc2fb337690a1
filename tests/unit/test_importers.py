"""Every importer against an independent loop on files made here, third-party files, bad files."""

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

from csilink import testing
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


@pytest.mark.long
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


def matlab_v73_cells(path, key, cells):
    """A cell array as MATLAB writes it: references to arrays in a group."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((len(cells), 1), h5py.ref_dtype)
        for number, cell in enumerate(cells):
            pairs = np.empty(cell.T.shape, [("real", "f8"), ("imag", "f8")])
            pairs["real"], pairs["imag"] = cell.T.real, cell.T.imag
            references[number, 0] = file.create_dataset(f"#refs#/{number}", data=pairs).ref
        file.create_dataset(key, data=references, dtype=h5py.ref_dtype).attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_form(folder, form, h):
    """``h [sample, subcarrier, port]`` in one of the forms that people keep; file and parameters of the importer."""
    axes = "sample subcarrier n1"
    if form == "npy":
        np.save(folder / "h.npy", h)
        return folder / "h.npy", {"axes": axes}
    if form == "npy parts":
        np.save(folder / "re.npy", h.real)
        np.save(folder / "im.npy", h.imag)
        return folder / "re.npy", {"axes": axes, "key_imag": "im.npy"}
    if form == "npz parts":
        np.savez(folder / "h.npz", H_r=h.real, H_i=h.imag, other=np.ones(3))
        return folder / "h.npz", {"axes": axes, "key": "H_r", "key_imag": "H_i"}
    if form in ("csv", "csv with header"):
        rows = np.concatenate([h.real.reshape(len(h), -1), h.imag.reshape(len(h), -1)], axis=1)
        header = ",".join(f"c{i}" for i in range(rows.shape[1])) if form.endswith("header") else ""
        np.savetxt(folder / "h.csv", rows, delimiter=",", header=header, comments="", fmt="%.18e")
        return folder / "h.csv", {"axes": "sample reim*subcarrier*n1", "n1": h.shape[2]}
    if form == "csv of complex numbers":
        lines = [",".join(f"{x.real!r}{x.imag:+}i" for x in row.reshape(-1).tolist()) for row in h]
        (folder / "h.csv").write_text("\n".join(lines) + "\n")
        return folder / "h.csv", {"axes": "sample subcarrier*n1", "sizes": {"subcarrier": h.shape[1]}}
    if form == "cells":
        cells = np.empty((1, len(h)), object)
        cells[0] = [*h]
        scipy.io.savemat(folder / "h.mat", {"H": cells})
    else:
        matlab_v73_cells(folder / "h.mat", "H", h)
    return folder / "h.mat", {"axes": axes, "key": "H"}


@pytest.mark.parametrize(
    "form",
    ["npy", "npy parts", "npz parts", "csv", "csv with header", "csv of complex numbers", "cells", "cells of v7.3"],
)
def test_generic_forms(tmp_path, rng, form):
    truth = gaussian(rng, 6, 5, 4)
    file, params = write_form(tmp_path, form, truth)
    importer = build("generic", file, spacing_hz=1e4, **params)
    h = everything(importer)[0]
    assert importer.layout.panel == Panel(4) and h.shape == (6, 1, 4, 1, 5)
    np.testing.assert_allclose(h[:, 0, :, 0], truth.swapaxes(1, 2), rtol=1e-6)
    assert {
        i["name"] for i in imported("generic", file, tmp_path / "s", spacing_hz=1e4, **params).origin["inputs"]
    } == {p.name for p in tmp_path.iterdir() if p.is_file()}


def test_generic_joined_axes_and_slots(tmp_path, rng, monkeypatch):
    """``[speed, sample, slot, subcarrier, n1, n2, pol]`` of a v7.3 file, all at once and in parts of one row."""
    truth = gaussian(rng, 3, 4, 5, 6, 2, 2, 2).astype(np.complex64)
    matlab_v73(tmp_path / "h.mat", H_U_his_train=truth)
    params = {"axes": "speed sample slot subcarrier n1 n2 pol sample=speed*sample", "spacing_hz": 1e4, "slot_s": 1e-3}
    h, labels = everything(build("generic", tmp_path / "h.mat", **params))
    for index in np.ndindex(truth.shape):
        speed, sample, slot, k, n1, n2, pol = index
        assert h[speed * 4 + sample, 0, pol * 4 + n1 * 2 + n2, slot, k] == truth[index]
    assert labels["speed"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 and labels["sample"].tolist() == [0, 1, 2, 3] * 3
    monkeypatch.setattr("simulator.data.generic._BLOCK_BYTES", 1)
    blocks = list(build("generic", tmp_path / "h.mat", **params).blocks("all"))
    assert len(blocks) == 3
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), h)
    np.testing.assert_array_equal(np.concatenate([known["speed"] for _, known in blocks]), labels["speed"])


def test_generic_without_a_sample_axis(tmp_path, rng):
    truth = gaussian(rng, 2, 4, 6, 3).astype(np.complex64)  # [UE antenna, BS antenna, subcarrier, time]
    scipy.io.savemat(tmp_path / "h.mat", {"h": truth})
    importer = build("generic", tmp_path / "h.mat", axes="rx_ant n1 subcarrier slot sample=1", spacing_hz=1e4)
    np.testing.assert_array_equal(everything(importer)[0], truth.transpose(0, 1, 3, 2)[None])
    assert importer.layout.num_slots == 3 and importer.layout.num_rx_ant == 2


def test_generic_truncated_images_of_a_table(tmp_path, rng):
    """2,048 columns of CsiNet around 0.5: the same store as from its .mat file."""
    images = cost_files(tmp_path, rng)["test"]
    flat = images.reshape(len(images), -1)
    rows = np.clip(np.concatenate([flat.real, flat.imag], axis=1) + 0.5, 0, 1)
    np.savetxt(tmp_path / "t.csv", rows, delimiter=",", fmt="%.12f")
    cost = build("cost2100", tmp_path, environment="outdoor")
    importer = build(
        "generic", tmp_path / "t.csv", axes="sample reim*n1*delay", n1=32, offset=0.5, num_subcarriers=1024,
        spacing_hz=20e6 / 1024, carrier_hz=300e6,
    )  # fmt: skip
    assert importer.layout == cost.layout
    np.testing.assert_allclose(everything(importer)[0], everything(cost, "test")[0], atol=2e-7)


PORT_ORDERS = ["pol*n1*n2", "pol*n2*n1", "n1*n2*pol", "n2-*n1*pol", "n1 n2- pol", "n2*pol n1-", "port"]


@pytest.mark.parametrize("order", PORT_ORDERS)
def test_generic_ports_in_any_order_and_direction(tmp_path, rng, order):
    store = gaussian(rng, 3, 2, 4, 3, 5).astype(np.complex64)  # [sample, pol, n1, n2, subcarrier]
    stored = store
    for axis, name in enumerate(("pol", "n1", "n2"), 1):
        stored = np.flip(stored, axis) if f"{name}-" in order else stored
    names = ("pol*n1*n2" if order == "port" else order.replace("-", "")).replace("*", " ").split()
    stored = stored.transpose(0, *(1 + ("pol", "n1", "n2").index(name) for name in names), 4)
    size = {"pol": 2, "n1": 4, "n2": 3}
    tokens = ("pol*n1*n2" if order == "port" else order.replace("-", "")).split()
    shape = [int(np.prod([size[name] for name in token.split("*")])) for token in tokens]
    np.save(tmp_path / "h.npy", stored.reshape(3, *shape, 5))
    importer = build(
        "generic", tmp_path / "h.npy", axes=f"sample {order} subcarrier", n1=4, n2=3, num_pol=2, spacing_hz=1e4
    )
    np.testing.assert_array_equal(everything(importer)[0], store.reshape(3, 1, 24, 1, 5))


def few_waves(rng, count, zenith=(95, 120)):
    """Three waves for each sample at a panel 4 x 3, two polarisations, ``[sample, pol, n1, n2, subcarrier]``."""
    azimuth, zenith = np.radians(rng.uniform(-60, 60, (count, 3))), np.radians(rng.uniform(*zenith, (count, 3)))
    phase = [np.multiply.outer(np.arange(4), np.sin(zenith) * np.sin(azimuth))]
    phase += [np.multiply.outer(np.arange(3), np.cos(zenith))]
    steer = np.exp(1j * np.pi * (phase[0][:, None] + phase[1]))  # [n1, n2, sample, wave]
    return np.einsum("absw,spw,swk->spabk", steer, gaussian(rng, count, 2, 3), gaussian(rng, count, 3, 4))


@pytest.mark.parametrize("truth", ["pol*n2*n1", "n1*n2*pol", "n2*pol*n1"])
def test_an_implausible_order_of_ports_is_refused(tmp_path, rng, truth):
    h = few_waves(rng, 60)
    stored = h.transpose(0, *(1 + ("pol", "n1", "n2").index(name) for name in truth.split("*")), 4).reshape(60, 24, 4)
    np.save(tmp_path / "h.npy", stored)
    params = {"n1": 4, "n2": 3, "num_pol": 2, "spacing_hz": 1e4}
    with pytest.raises(ConfigError) as caught:
        imported("generic", tmp_path / "h.npy", tmp_path / "s", axes="sample port subcarrier", **params)
    assert caught.value.field == "import.axes" and caught.value.allowed.startswith(f"{truth} (slowest first)")
    right = build("generic", tmp_path / "h.npy", axes=f"sample {truth} subcarrier", **params)
    np.testing.assert_allclose(everything(right)[0][:, 0, :, 0], h.reshape(60, 24, 4), rtol=1e-6)
    assert right.facts() == {}
    everything(build("generic", tmp_path / "h.npy", axes="sample port subcarrier", check=False, **params))


def test_an_implausible_order_is_refused_where_rows_are_reversed(tmp_path, rng):
    np.save(tmp_path / "h.npy", few_waves(rng, 60)[:, :, :, ::-1].reshape(60, 24, 4))
    params = {"n1": 4, "n2": 3, "num_pol": 2, "spacing_hz": 1e4}
    with pytest.raises(ConfigError, match=r"allowed: pol\*n1\*n2 \(slowest first\)"):
        everything(build("generic", tmp_path / "h.npy", axes="sample pol*n2-*n1 subcarrier", **params))
    everything(build("generic", tmp_path / "h.npy", axes="sample pol*n1*n2- subcarrier", **params))


def test_wifo_in_another_order_of_antennas_is_refused(tmp_path, rng):
    h = few_waves(rng, 30)[:, 0]  # [sample, n1, n2, subcarrier]
    for order, right in (((0, 3, 1, 2), True), ((0, 3, 2, 1), False)):
        scipy.io.savemat(tmp_path / "X_test.mat", {"X_val": h.transpose(order).reshape(30, 1, 4, 12)})
        importer = build("wifo", tmp_path, n1=4, n2=3, spacing_hz=1e4, slot_s=1e-3)
        if right:
            np.testing.assert_allclose(everything(importer)[0][:, 0, :, 0], h.reshape(30, 12, 4), rtol=1e-6)
        else:
            with pytest.raises(ConfigError, match=r"n2\*n1 \(slowest first\)"):
                everything(importer)


def test_independent_antennas_have_no_order(tmp_path, rng):
    np.save(tmp_path / "h.npy", gaussian(rng, 300, 24, 4))
    for axes in ("sample port subcarrier", "sample n2*n1*pol subcarrier"):
        everything(build("generic", tmp_path / "h.npy", axes=axes, n1=4, n2=3, num_pol=2, spacing_hz=1e4))


def test_rows_that_count_downwards_are_noted(tmp_path, rng):
    h = few_waves(rng, 60)[:, :, :, ::-1]
    np.save(tmp_path / "h.npy", h)
    importer = build("generic", tmp_path / "h.npy", axes="sample pol n1 n2 subcarrier", spacing_hz=1e4)
    everything(importer)
    assert "declare n2-" in importer.facts()["direction"]
    importer = build("generic", tmp_path / "h.npy", axes="sample pol n1 n2- subcarrier", spacing_hz=1e4)
    everything(importer)
    assert importer.facts() == {}


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
    for _ in ("arrival", "departure"):
        rows += [rng.uniform(-180, 180, paths), rng.uniform(0, 180, paths)]
    rows += [np.zeros(paths)]
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
    keys = ("phase", "delay", "power", "aoa_az", "aoa_el", "aod_az", "aod_el")
    data = {key: np.full((users, paths), np.nan) for key in (*keys, "inter")}
    for user, matrix in enumerate(matrices[:3]):
        for row, key in enumerate(keys):
            data[key][user, : matrix.shape[1]] = matrix[row]
        data["inter"][user, : matrix.shape[1]] = 1
    data["inter"][0, 0] = 0
    data["rx_pos"] = rng.uniform(0, 100, (users, 3))
    for key, value in data.items():
        name = folder / f"{key}_t001_tx000_r000.{form}"
        np.savez_compressed(name, **{key: value}) if form == "npz" else scipy.io.savemat(name, {key: value})
    (folder / "params.json").write_text(json.dumps({"rt_params": {"frequency": 28e9}}))
    return matrices, data["rx_pos"]


def old_folder(folder, rng, name="O1_60", bs=1, counts=(3, 0, 1, 7), power_dbm=5.0):
    """v1 and v2: flat arrays, ``number of UEs, then (UE, paths, 4 values for each path) ...``."""
    folder.mkdir(parents=True, exist_ok=True)
    matrices = [ray_matrix(rng, n) if n else np.zeros((0, 0), np.float32) for n in counts]
    flat = {"CIR": [len(counts)], "DoD": [len(counts)], "DoA": [len(counts)]}
    for user, matrix in enumerate(matrices):
        columns = {"CIR": (0, 1, 2), "DoD": (5, 6, 2), "DoA": (3, 4, 2)}
        for key, rows in columns.items():
            flat[key] += [user + 1, counts[user]]
            for number, path in enumerate(matrix.T.astype(float)):
                values = [path[row] + (power_dbm if row == 2 else 0) for row in rows]
                flat[key] += [number + 1, *values]
    for key, values in flat.items():
        scipy.io.savemat(folder / f"{name}.{bs}.{key}.mat", {f"{key}_array_full": np.array([values])})
    places = rng.uniform(0, 100, (len(counts), 4))
    scipy.io.savemat(folder / f"{name}.{bs}.LoS.mat", {"LOS_tag_array_full": np.array([[len(counts), 1, -1, 0, 0]])})
    scipy.io.savemat(folder / f"{name}.Loc.mat", {"Loc_array_full": places})
    facts = {"carrier_freq": 28e9, "transmit_power": power_dbm, "num_BS": bs, "user_grids": np.array([[1, 1, 4]])}
    scipy.io.savemat(folder / f"{name}.params.mat", facts)
    return matrices, places[:, 1:]


def turned(vector, rotation):
    """A vector turned about x, then y, then z."""
    x, y, z = np.radians(rotation)
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x) @ vector


def ray_sum(matrix, tx, rx, offsets_hz):
    """Channel ``[rx_ant, port, subcarrier]``, ray by ray; a panel is (columns, rows, spacing, rotation)."""
    places = [
        [turned([0, m * d, k * d], turn) for m in range(columns) for k in range(rows)]
        for columns, rows, d, turn in (rx, tx)
    ]
    h = np.zeros((len(places[0]), len(places[1]), len(offsets_hz)), complex)
    for phase, delay, power, rx_azimuth, rx_zenith, azimuth, zenith, _ in matrix.T.astype(float):
        towards = []
        for a, z in ((rx_azimuth, rx_zenith), (azimuth, zenith)):
            a, z = np.radians(a), np.radians(z)
            towards.append(np.array([np.sin(z) * np.cos(a), np.sin(z) * np.sin(a), np.cos(z)]))
        for r, q in enumerate(places[0]):
            for p, s in enumerate(places[1]):
                space = 2j * np.pi * (q @ towards[0] + s @ towards[1])
                for k, f in enumerate(offsets_hz):
                    h[r, p, k] += 10 ** (power / 20) * np.exp(1j * np.radians(phase) + space - 2j * np.pi * f * delay)
    return h


NO_TURN = [0.0, 0.0, 0.0]
ARRAYS = {
    "one antenna": ({}, (3, 2, 0.5, NO_TURN), (1, 1, 0.5, NO_TURN)),
    "arrays, turned": (
        {"spacing": 0.7, "rotation": [10.0, -20.0, 60.0], "num_rx_ant": 4, "num_rx_rows": 2, "rx_spacing": 0.4,
         "rx_rotation": [5.0, 15.0, -100.0]},
        (3, 2, 0.7, [10.0, -20.0, 60.0]), (2, 2, 0.4, [5.0, 15.0, -100.0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("arrays", ARRAYS)
@pytest.mark.parametrize("make", [native_folder, saved_folder, lambda f, r: saved_folder(f, r, form="mat"), old_folder])
def test_deepmimo_channels_by_a_loop(tmp_path, rng, make, arrays):
    matrices, places = make(tmp_path / "d", rng)
    params, tx, rx = ARRAYS[arrays]
    importer = build("deepmimo", tmp_path / "d", n1=3, n2=2, num_subcarriers=5, bandwidth_hz=10e6, **params)
    h, labels = everything(importer)
    users = [u for u, m in enumerate(matrices) if m is not None and m.size]
    assert labels["user"].tolist() == users and importer.layout.carrier_hz == 28e9
    assert labels["los"].tolist() == [u == 0 for u in users] and "scene" not in labels
    np.testing.assert_allclose(labels["position_m"], places[users][:, :3], rtol=1e-6)
    for row, user in enumerate(users):
        truth = ray_sum(matrices[user], tx, rx, (np.arange(5) - 2) * 2e6)
        np.testing.assert_allclose(h[row, :, :, 0], truth, atol=3e-6 * np.abs(truth).max())
        power, delay = 10 ** (matrices[user][2].astype(float) / 10), matrices[user][1].astype(float)
        assert abs(labels["path_gain_db"][row] - 10 * np.log10(power.sum())) < 1e-4
        mean = power @ delay / power.sum()
        spread = np.sqrt(power @ (delay - mean) ** 2 / power.sum())
        np.testing.assert_allclose(labels["rms_delay_spread_s"][row], spread, rtol=1e-5, atol=1e-13)


def sets_folder(folder, rng, json_sets=True):
    """Set 0: two transmitters; sets 1, 2: UEs; set 3: base stations that transmit and receive."""
    folder.mkdir()
    for t, tx, r in [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 1, 1), (0, 1, 2), (0, 1, 3), (3, 0, 1), (3, 0, 2), (3, 0, 3)]:
        users = {1: 5, 2: 4, 3: 3}[r]
        data = {"power": np.full((users, 1), -100.0 - 10 * t - tx), "inter": np.zeros((users, 1))}
        data |= {key: rng.uniform(10, 80, (users, 1)) for key in ("phase", "aod_az", "aod_el", "aoa_az", "aoa_el")}
        data |= {"delay": rng.uniform(1e-8, 1e-6, (users, 1)), "rx_pos": rng.uniform(0, 9, (users, 3))}
        for key, value in data.items():
            np.savez(folder / f"{key}_t{t:03}_tx{tx:03}_r{r:03}.npz", **{key: value})
    kinds = {0: (True, False), 1: (False, True), 2: (False, True), 3: (True, True)}
    sets = {f"txrx_set_{i}": {"id": i, "is_tx": tx, "is_rx": rx, "num_points": 1} for i, (tx, rx) in kinds.items()}
    data = {"rt_params": {"frequency": 28e9}} | ({"txrx_sets": sets} if json_sets else {})
    (folder / "params.json").write_text(json.dumps(data))


@pytest.mark.parametrize("json_sets", [True, False])
def test_deepmimo_sets_that_transmit_are_no_users(tmp_path, rng, json_sets):
    """Three transmitters are three sites; UEs of both receiver sets count on; base stations are none of them."""
    sets_folder(tmp_path / "d", rng, json_sets)
    labels = everything(build("deepmimo", tmp_path / "d"))[1]
    assert np.bincount(labels["site"]).tolist() == [0, 9, 9, 9]
    for site, gain in ((1, -100), (2, -101), (3, -130)):
        here = labels["site"] == site
        np.testing.assert_allclose(labels["path_gain_db"][here], gain)
        assert sorted(labels["user"][here].tolist()) == list(range(9))
    second = everything(build("deepmimo", tmp_path / "d", bs=[2]))[1]
    assert set(second["site"]) == {2} and len(second["site"]) == 9
    between = everything(build("deepmimo", tmp_path / "d", rx_sets=[3]))[1]
    assert np.bincount(between["site"]).tolist() == [0, 3, 3, 3]
    with pytest.raises(ConfigError, match=r"import\.rx_sets.*1, 2, 3"):
        build("deepmimo", tmp_path / "d", rx_sets=[7])
    with pytest.raises(StoreError, match="no UE file of base station 4; found 1, 2, 3"):
        build("deepmimo", tmp_path / "d", bs=[4])


@pytest.mark.parametrize(
    ("make", "facts"), [(old_folder, ""), (native_folder, "params.mat"), (saved_folder, "params.json")]
)
@pytest.mark.parametrize("digits", ["04", ""])
def test_deepmimo_scenes(tmp_path, rng, make, facts, digits):
    """Numbered folders, in the order of the numbers; the parameters may lie in the folder above."""
    (tmp_path / "dyn").mkdir()
    scenes = [make(tmp_path / "dyn" / f"scene_{n:{digits}}", rng) for n in (0, 1, 10)]
    for scene in (tmp_path / "dyn").iterdir() if facts else ():
        (scene / facts).rename(tmp_path / "dyn" / facts)
    importer = build("deepmimo", tmp_path / "dyn", n1=2)
    h, labels = everything(importer)
    assert labels["scene"].tolist() == [0] * 3 + [1] * 3 + [10] * 3 and importer.layout.carrier_hz == 28e9
    offsets = (np.arange(64) - 31.5) * 20e6 / 64
    truth = ray_sum(scenes[2][0][0], (2, 1, 0.5, NO_TURN), (1, 1, 0.5, NO_TURN), offsets)
    np.testing.assert_allclose(h[6, :, :, 0], truth, atol=3e-6 * np.abs(truth).max())
    some = everything(build("deepmimo", tmp_path / "dyn", n1=2, scenes=[10]))[0]
    np.testing.assert_array_equal(some, h[6:])
    with pytest.raises(ConfigError, match=r"import\.scenes.*0, 1, 10"):
        build("deepmimo", tmp_path / "dyn", scenes=[2])


def test_deepmimo_parts_of_a_base_station_and_transmit_power(tmp_path, rng):
    """A v3 base station in two files of UEs; power was found with 30 dBm, two more rows hold the Doppler shift."""
    _, places = native_folder(tmp_path, rng)
    cells = np.empty((1, 2), object)
    matrix = np.concatenate([ray_matrix(rng, 2), np.zeros((2, 2), np.float32)])
    cells[0, 0], cells[0, 1] = {"p": matrix}, {"p": matrix}
    scipy.io.savemat(tmp_path / "BS1_UE_4-6.mat", {"channels": cells, "rx_locs": places[:2]})
    scipy.io.savemat(tmp_path / "params.mat", {"carrier_freq": 28e9, "transmit_power": 30.0})
    h, labels = everything(build("deepmimo", tmp_path))
    assert labels["user"].tolist() == [0, 2, 3, 4, 5] and len(h) == 5
    gain = 10 * np.log10(np.sum(10 ** (matrix[2].astype(float) / 10))) - 30
    assert abs(labels["path_gain_db"][4] - gain) < 1e-4


def test_deepmimo_generator_output_and_folder_agree(tmp_path, rng):
    """The official array is [user, UE antenna, antenna, subcarrier]; here the loop of rays makes it.

    n1 runs fastest, divided by sqrt(subcarriers), from the carrier upwards, without paths longer than a symbol
    (16 / 10 MHz here).
    """
    matrices, _ = native_folder(tmp_path / "d", rng, counts=(3, 2, 1, 7))
    official = np.zeros((4, 1, 6, 16), np.complex64)
    for user, matrix in enumerate(matrices):
        there = matrix[:, matrix[1] < 1.6e-6]
        h = ray_sum(there, (3, 2, 0.5, NO_TURN), (1, 1, 0.5, NO_TURN), np.arange(16) * 10e6 / 16) / 4
        for m1 in range(3):
            for m2 in range(2):
                official[user, 0, m2 * 3 + m1] = h[0, m1 * 2 + m2]
    assert any((matrix[1] >= 1.6e-6).any() for matrix in matrices)
    np.save(tmp_path / "channel.npy", official)
    theirs = everything(
        build("generic", tmp_path / "channel.npy", axes="sample rx_ant n2*n1 subcarrier", n1=3, n2=2, scale=4.0,
              spacing_hz=10e6 / 16)
    )[0]  # fmt: skip
    folder = build("deepmimo", tmp_path / "d", n1=3, n2=2, num_subcarriers=16, bandwidth_hz=10e6, grid="upper")
    np.testing.assert_allclose(theirs, everything(folder)[0], atol=3e-6 * np.abs(theirs).max())


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
    "generic no sample": ("generic", "x", {"axes": "n1 slot", "spacing_hz": 1}, "sample=1 for a single sample"),
    "generic unknown name": ("generic", "x", {"axes": "sample speed n1", "spacing_hz": 1}, ": speed"),
    "generic undefined": ("generic", "x", {"axes": "sample n1 sample=a*b", "spacing_hz": 1}, "import.axes"),
    "generic delay": ("generic", "x", {"axes": "sample delay subcarrier", "spacing_hz": 1}, "subcarrier or delay"),
    "unknown format": ("nothing", "x", {}, "cost2100, deepmimo, generic, quadriga, wifo"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls(tmp_path, name):
    format_, file, params, message = BAD_CALLS[name]
    with pytest.raises(CsilinkError) as caught:
        build(format_, tmp_path / file, **params)
    assert message in str(caught.value), caught.value


BAD_FORMS = {
    "panel": ({"axes": "sample n2*n1 subcarrier", "n1": 3}, "a panel of 8 ports"),
    "panel without n1": ({"axes": "sample n2*n1 subcarrier", "n2": 2}, "a panel of 8 ports"),
    "two lengths open": ({"axes": "sample slot*n1 subcarrier"}, "at most one left out"),
    "delay without grid": ({"axes": "sample n1 delay"}, "import.num_subcarriers"),
    "grid without delay": ({"axes": "sample n1 subcarrier", "num_subcarriers": 9}, "null without delay"),
    "reim of length 5": ({"axes": "sample n1 reim"}, "import.sizes"),
    "real": ({"axes": "sample n1 subcarrier"}, "allowed: complex"),
    "axes": ({"axes": "sample n1"}, "shape (4, 8, 5); allowed: (any, any)"),
    "imaginary part": ({"axes": "sample n1 subcarrier", "key_imag": "i.npy"}, "import.key_imag"),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_bad_declarations_are_named(tmp_path, name):
    params, message = BAD_FORMS[name]
    np.save(tmp_path / "h.npy", np.ones((4, 8, 5)))
    np.save(tmp_path / "i.npy", np.ones((4, 8, 6)))
    with pytest.raises(CsilinkError) as caught:
        everything(build("generic", tmp_path / "h.npy", spacing_hz=1e4, **params))
    assert message in str(caught.value), caught.value


def test_bad_files_of_one_array(tmp_path, rng):
    cells = np.empty((1, 2), object)
    cells[0] = [np.ones((2, 3)) * 1j, np.ones((2, 4)) * 1j]
    scipy.io.savemat(tmp_path / "cells.mat", {"H": cells})
    np.savez(tmp_path / "two.npz", a=np.ones(2), b=np.ones(2))
    np.save(tmp_path / "objects.npy", np.array([Trap(tmp_path / "owned")], object))
    (tmp_path / "ragged.csv").write_text("1,2,3,4\n1,2\n")
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    for file, message in (
        ("cells.mat", r"H\{2\} is complex128 \(2, 4\).*first cell, \(2, 3\)"), ("two.npz", "import.key.*a, b"),
        ("objects.npy", "cannot be read"), ("ragged.csv", "cannot be read"), ("words.csv", "no row of numbers"),
    ):  # fmt: skip
        with pytest.raises(CsilinkError, match=message):
            everything(build("generic", tmp_path / file, axes="sample reim*n1*subcarrier", n1=1, spacing_hz=1e4))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("compress", [True, False])
def test_cells_of_cells_are_refused_unread(tmp_path, compress, monkeypatch):
    """The reader recurses into them as deep as a file says, so it must not be called; the second cell is named."""
    text = np.empty((1, 2), object)
    text[0] = [np.ones((2, 3)) * 1j, "words"]
    good = np.empty((2, 1), object)
    good[:, 0] = [np.ones((2, 3)) * 1j, np.ones((2, 3)) * 2j]
    inner = np.empty((1, 1), object)
    inner[0, 0] = good
    two = np.empty((1, 2), object)
    two[0] = [np.ones((2, 3)), inner]
    file = tmp_path / "h.mat"
    scipy.io.savemat(file, {"a": np.ones(3), "two": two, "text": text, "good": good, "z": 1}, do_compression=compress)
    importer = build("generic", file, key="good", axes="sample n1 subcarrier", spacing_hz=1e4)
    assert everything(importer)[0][:, 0, 0, 0, 0].tolist() == [1j, 2j]
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("read"))
    for key in ("two", "text"):
        with pytest.raises(StoreError, match=rf"{key}\{{2\}} is a (cell|text); allowed: numbers"):
            build("generic", file, key=key, axes="sample n1 subcarrier", spacing_hz=1e4)


@pytest.mark.parametrize("compress", [True, False])
def test_damaged_cells_end_with_one_error(tmp_path, compress):
    cells = np.empty((1, 2), object)
    cells[0] = [np.ones((2, 3)) * 1j, np.ones((2, 3)) * 2j]
    whole, file = mat_bytes(compress=compress, H=cells), tmp_path / "h.mat"
    for damage in (*(whole[:n] for n in range(128, len(whole), 9)), *(flipped(whole, n / 20) for n in range(4, 20))):
        file.write_bytes(damage)
        try:
            everything(build("generic", file, key="H", axes="sample n1 subcarrier", spacing_hz=1e4))
        except CsilinkError as error:
            assert "h.mat" in str(error)


def test_cells_outside_their_file_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    for kind in ("external", "group"):
        with h5py.File(tmp_path / "h.mat", "w", userblock_size=512) as file:
            group = file.create_group("#refs#")
            inner = group.create_group("a") if kind == "group" else group.create_dataset(
                "a", (8,), "f8", external=[(str(tmp_path / "secret"), 0, 64)]
            )  # fmt: skip
            file.create_dataset("H", data=np.array([[inner.ref]], h5py.ref_dtype), dtype=h5py.ref_dtype)
        with (tmp_path / "h.mat").open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        with pytest.raises(StoreError, match=r"outside the file|in another file"):
            build("generic", tmp_path / "h.mat", axes="sample n1", spacing_hz=1e4)


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


# The contract --------------------------------------------------------------------------------------------------------


def cost_case(folder, rng):
    cost_files(folder, rng)
    return folder, {"environment": "outdoor"}


def deepmimo_case(folder, rng):
    native_folder(folder / "scene", rng)
    return folder / "scene", {"n1": 2, "num_subcarriers": 4, "bandwidth_hz": 10e6}


def generic_case(folder, rng):
    path, params = write_form(folder, "npz parts", gaussian(rng, 6, 5, 4))
    return path, {**params, "spacing_hz": 15e3}


def quadriga_case(folder, rng):
    for name in "ab":
        np.savez(folder / f"{name}.npz", h=gaussian(rng, 4, 1, 2, 2), site_id=np.array([0, 0, 1, 1]))
    return folder, {}


def wifo_case(folder, rng):
    for split in ("test", "val"):
        wifo_file(folder / f"X_{split}.mat", rng, f"X_{split}", form="mat5")
    return folder, {"n1": 4, "n2": 2, "spacing_hz": 90e3, "slot_s": 1e-3}


# A small folder or file of every format, and the parameters of its importer.
CASES = {
    "cost2100": cost_case,
    "deepmimo": deepmimo_case,
    "generic": generic_case,
    "quadriga": quadriga_case,
    "wifo": wifo_case,
}


@pytest.mark.parametrize("check", testing.IMPORTER_CHECKS)
@pytest.mark.parametrize("name", registry.names("importers"))
def test_contract(tmp_path, rng, name, check):
    assert name in CASES, f"give the importer {name!r} an entry in CASES"
    (tmp_path / "files").mkdir()
    path, params = CASES[name](tmp_path / "files", rng)
    check(testing.Part("importers", name, path, **params), rng)
