"""MATLAB v5 files: the numbers that SciPy's reader gives, and damaged ones as one error."""

import numpy as np
import pytest
import scipy.io

from simulator.core.errors import CsilinkError, StoreError
from simulator.data.arrays import ArrayFile

NUMBERS = {
    "double": np.arange(24.0).reshape(2, 3, 4),
    "complex": np.arange(6).reshape(2, 3) * (1 - 2j),
    "single": np.float32([[1.5, -2], [3, 4]]),
    "complex_single": np.complex64([[1.5 + 1j, -2]]),
    "int8": np.int8([[-3], [4]]),
    "uint16": np.uint16([[7, 65535]]),
    "int64": np.int64([[-(2**60), 5]]),
    "long_name_of_thirty_one_letters": np.ones((1, 1)),
    "none": np.zeros((0, 3)),
}


def cells(*values):
    found = np.empty((1, len(values)), object)
    found[0, :] = values
    return found


def written(path, compress=False, **arrays):
    scipy.io.savemat(path, arrays, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_scipy(tmp_path, name, compress):
    path = written(tmp_path / "x.mat", compress, **NUMBERS)
    expected = scipy.io.loadmat(path)[name]
    file = ArrayFile(path)
    assert file.shapes == {key: value.shape for key, value in NUMBERS.items()}
    found = file.read(name)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    found[...] = 0  # ours to change


def test_a_file_of_the_other_byte_order(tmp_path):
    """Big endian: every word and number of an uncompressed file of doubles is turned."""
    path = written(tmp_path / "x.mat", h=np.arange(6.0).reshape(2, 3) + 2.5)
    raw = path.read_bytes()
    body = np.frombuffer(raw[128:], "<u4").byteswap()
    body = bytearray(body.tobytes())
    start = raw.index(b"h\0\0\0") - 128
    body[start - 4 : start + 4] = b"\0\1\0\1h\0\0\0"  # a name of one octet in its tag
    at = raw.index(np.array([2.5]).tobytes()) - 128
    body[at : at + 48] = np.array([2.5, 5.5, 3.5, 6.5, 4.5, 7.5], ">f8").tobytes()
    path.write_bytes(raw[:124] + b"\x01\x00MI" + bytes(body))
    np.testing.assert_array_equal(ArrayFile(path).read("h"), np.arange(6.0).reshape(2, 3) + 2.5)


@pytest.mark.parametrize("compress", [False, True])
def test_cells_and_fields(tmp_path, compress):
    two_rows = np.empty((2, 2), object)
    two_rows[:] = [[np.full((1, 2), 10.0 * i + j) for j in range(2)] for i in range(2)]
    structs = cells({"p": np.ones((8, 2)), "q": "words"}, {"p": np.zeros((0, 0)), "q": 2.0})
    path = written(tmp_path / "x.mat", compress, c=two_rows, s=structs, t="text", one={"a": 1.0})
    file = ArrayFile(path)
    np.testing.assert_array_equal(file.read_cells("c")[..., 0, 0], [[0, 1], [10, 11]])
    first, second = file.read_field("s", "p")
    assert first.shape == (8, 2) and (first == 1).all() and second.size == 0
    for key, kind in (("c", "cell"), ("t", "text"), ("one", "struct")):
        with pytest.raises(StoreError, match=f"{key} is a {kind}; allowed: numbers"):
            file.read(key)
    for key, field in (("s", "r"), ("s", "q"), ("c", "p"), ("t", "p")):
        with pytest.raises(StoreError, match=rf"x\.mat: {key}\.{field} cannot be read"):
            file.read_field(key, field)


def seeds(folder):
    """Small files of every format, by their ending."""
    import h5py

    h = np.arange(60).reshape(5, 4, 3) * (1 + 2j)
    inner = cells(np.ones((2, 2)), cells(np.ones((2, 2))))
    for compress in (False, True):
        arrays = {"h": h, "c": cells(np.ones((2, 3)), np.ones((2, 3))), "n": inner, "s": {"a": 1.0}, "t": "text"}
        yield ".mat", written(folder / "s.mat", compress, **arrays).read_bytes()
    with h5py.File(folder / "s.h5", "w") as file:
        file["h"] = h
        file.create_dataset("z", data=h.real, compression="gzip", chunks=(2, 4, 3))
        file.create_group("g")["q"] = np.arange(4)
    yield ".h5", (folder / "s.h5").read_bytes()
    np.save(folder / "s.npy", h)
    yield ".npy", (folder / "s.npy").read_bytes()
    for save in (np.savez, np.savez_compressed):
        save(folder / "s.npz", h=h, k=np.arange(5))
        yield ".npz", (folder / "s.npz").read_bytes()
    yield ".csv", b"a,b\n1+2i,3-4i\n5+1i,2+2i\n"


def damaged(content, rng):
    """Cut, bits turned, octets of the header replaced, zeroed, words of special value, octets put in."""
    b, kind = bytearray(content), rng.integers(6)
    at, length = int(rng.integers(len(b))), int(rng.integers(1, 64))
    if kind == 0:
        del b[max(at, 1) :]
    elif kind == 1:
        for place in rng.integers(len(b), size=length // 3 + 1):
            b[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        b[rng.integers(min(len(b), 400))] = rng.integers(256)
    elif kind == 3:
        b[at : at + length] = bytes(length)
    elif kind == 4:
        b[at & ~3 : (at & ~3) + 4] = int(rng.choice([0, 1, 14, 15, 255, 2**24, 2**31 - 1, 2**31, 2**32 - 1])).to_bytes(
            4
        )
    else:
        b[at:at] = rng.bytes(length)
    return bytes(b)


@pytest.mark.parametrize("number", range(7))
def test_damaged_files_end_with_one_error(tmp_path, rng, number):
    """300 mutations of each format, in this process: numbers, or a CsilinkError that names the file."""
    suffix, content = list(seeds(tmp_path))[number]
    path = tmp_path / f"x{suffix}"
    refused = 0
    for _ in range(300):
        path.write_bytes(damaged(content, rng))
        try:
            file = ArrayFile(path)
            for key in file.shapes:
                file.read_cells(key) if file.is_cell(key) else file.read(key)
        except CsilinkError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 30
