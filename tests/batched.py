"""Which batched products TensorFlow runs: every eager call and every node of a traced graph, gradients included."""

from contextlib import contextmanager

KINDS = ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


@contextmanager
def products_run():
    """Set of (operation, equation or None, dtype, left shape, right shape); an unknown size is None."""
    from tensorflow.python.framework import op_callbacks

    seen = set()

    def see(kind, inputs, attributes, outputs, op_name=None, graph=None):
        if kind in KINDS:
            flat = dict(zip(attributes[::2], attributes[1::2], strict=True)) if attributes else {}
            sides = tuple(tuple(x.shape.as_list()) for x in inputs)
            seen.add((kind, str(flat.get("equation", "")), inputs[0].dtype.name, *sides))

    op_callbacks.add_op_callback(see)
    try:
        yield seen
    finally:
        op_callbacks.remove_op_callback(see)


def is_bad(product) -> bool:
    """Whether oneDNN of TensorFlow 2.21 corrupts it: float32 ``[B, 1, m, k] x [(1, (1,)) k, n]`` with B > 1.

    An unknown size counts as any, an einsum with an ellipsis as bad: its kernel keeps the axes of the ellipsis apart.
    """
    kind, equation, dtype, left, right = product
    if dtype != "float32":
        return False
    if kind == "Einsum":
        return "..." in equation
    batch = left[:-2]
    return len(batch) == 2 and batch[0] != 1 and batch[1] in (1, None) and all(n in (1, None) for n in right[:-2])
