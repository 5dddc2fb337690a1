"""Products of every form against NumPy in float64, each several times: ``python tests/products.py`` lists wrong ones.

Once through ``keras.ops`` and layers, whatever the backend. Import it after the backend is chosen.
"""

import itertools
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

BATCHES = [(), (1,), (3,), (1, 1), (3, 1), (1, 4), (3, 4), (2, 3, 1), (2, 1, 1), (1, 3, 4)]
SIZES = [(9, 1, 16), (9, 2, 16), (1, 5, 7), (33, 3, 4)]  # m, k, n
ROUNDS = 3


def avx512() -> bool:
    """Whether this CPU is one for which oneDNN has its faulty kernel, and TensorFlow has oneDNN on."""
    found = Path("/proc/cpuinfo")
    return found.exists() and "avx512_vnni" in found.read_text()


def wrong_products() -> list[str]:
    """Name and shapes of every product that is off by more than float32 rounding."""
    rng = np.random.default_rng(1)
    step = 1 if keras.backend.backend() == "tensorflow" else 10  # others compile every shape
    cases = itertools.islice(_cases(), 0, None, step)
    return [name for name, product, sides in cases if not all(_right(product, sides, rng) for _ in range(ROUNDS))]


def _right(product, sides, rng) -> bool:
    values = [_normal(shape, dtype, rng) for shape, dtype in sides]
    wide = [v.astype(np.complex128 if np.iscomplexobj(v) else np.float64) for v in values]
    got, expected = product(*values), np.matmul(*wide)
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-4, atol=1e-4)


def _normal(shape, dtype, rng):
    x = rng.standard_normal((*shape, 2))
    return (x[..., 0] if dtype == "float32" else x @ [1, 1j]).astype(dtype)


def _cases():
    """Name, function of two arrays, (shape, dtype) of both."""
    for left, right, (m, k, n), dtype in itertools.product(BATCHES, BATCHES, SIZES, ("float32", "complex64")):
        if _broadcasts(left, right):
            sides = [((*left, m, k), dtype), ((*right, k, n), dtype)]
            yield f"matmul {sides}", lambda x, y: np.asarray(ops.matmul(x, y)), sides
            yield f"einsum {sides}", lambda x, y: np.asarray(ops.einsum("...mk,...kn->...mn", x, y)), sides
    for left, (m, k, n) in itertools.product(BATCHES, SIZES):
        yield f"Dense {left, m, k, n}", _dense, [((*left, m, k), "float32"), ((k, n), "float32")]
        if len(left) == 2:
            yield f"Conv2D {left, m, k, n}", _convolution, [((*left, m, k), "float32"), ((k, n), "float32")]


def _broadcasts(left, right) -> bool:
    try:
        np.broadcast_shapes(left, right)
    except ValueError:
        return False
    return True


def _dense(x, kernel):
    layer = layers.Dense(kernel.shape[1], use_bias=False)
    layer.build(x.shape)
    layer.kernel.assign(kernel)
    return ops.convert_to_numpy(layer(x))


def _convolution(x, kernel):
    """1x1 over the images [height, width, channel] = x.shape[1:]."""
    layer = layers.Conv2D(kernel.shape[1], 1, use_bias=False)
    layer.build(x.shape)
    layer.kernel.assign(kernel[None, None])
    return ops.convert_to_numpy(layer(x))


if __name__ == "__main__":
    wrong = wrong_products()
    print(keras.backend.backend(), len(wrong), *wrong, sep="\n")
    sys.exit(len(wrong) > 0)
