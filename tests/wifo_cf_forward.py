"""Forward pass of the released WiFo-CF in NumPy float64, from a state dict with its names: channels first, as there.

Written from a description of the released modules; shares nothing with the Keras network.
"""

import numpy as np
from torch_forward import Forward, conv, sigmoid, softmax


def random_state(rng, dim=16, patch_dim=16, hidden=6, experts=4, depth=2, decoder_depth=2, shared=1, channels=4):
    """Tensors of a network of these sizes by their released names, none trivial."""
    state = {}

    def linear(name, rows, columns):
        state[f"{name}.weight"] = rng.standard_normal((rows, columns)) / columns**0.5
        state[f"{name}.bias"] = 0.3 * rng.standard_normal(rows)

    def conv2d(name, out, into, *size):
        state[f"{name}.weight"] = rng.standard_normal((out, into, *size)) / (into * size[0] * size[1]) ** 0.5
        state[f"{name}.bias"] = 0.3 * rng.standard_normal(out)

    def batch_norm(name, size):
        state[f"{name}.weight"], state[f"{name}.bias"] = rng.uniform(0.5, 2, size), 0.3 * rng.standard_normal(size)
        state[f"{name}.running_mean"] = 0.3 * rng.standard_normal(size)
        state[f"{name}.running_var"] = rng.uniform(0.5, 2, size)
        state[f"{name}.num_batches_tracked"] = np.array(7)

    for index, patch in enumerate(((4, 4), (4, 2), (2, 2)), 1):
        conv2d(f"csi_2d_patch_{index}", patch_dim, 2, *patch)
        linear(f"embed_proj_bs_{index}", 2 * patch[0] * patch[1], dim)
    for name, rows, columns in (("embed_encoder", dim, patch_dim), ("output_encoder", patch_dim, dim)):
        linear(f"proj_{name}", rows, columns)
    linear("proj_embed_decoder", dim, patch_dim)
    for side, count in (("encoder", depth), ("decoder", decoder_depth)):
        names = ("self_attn", "multihead_attn") if side == "decoder" else ("self_attn",)
        for index in range(count):
            layer = f"{side}.layer.{index}"
            for name in names:
                state[f"{layer}.{name}.in_proj_weight"] = rng.standard_normal((3 * dim, dim)) / dim**0.5
                state[f"{layer}.{name}.in_proj_bias"] = 0.3 * rng.standard_normal(3 * dim)
                linear(f"{layer}.{name}.out_proj", dim, dim)
            for norm in range(len(names) + 1):
                state[f"{layer}.norm{norm + 1}.weight"] = rng.uniform(0.5, 2, dim)
            state[f"{layer}.moe.gate.weight"] = rng.standard_normal((experts, dim))
            groups = [(f"experts.{e}", hidden) for e in range(experts)]
            groups += [("shared_experts", shared * hidden)] if side == "decoder" and shared else []
            for name, width in groups:
                linear(f"{layer}.moe.{name}.w1", width, dim)
                linear(f"{layer}.moe.{name}.w2", dim, width)
                linear(f"{layer}.moe.{name}.w3", width, dim)
        state[f"{side}.norm.weight"] = rng.uniform(0.5, 2, dim)
    for name in ("cnn_compression", "cnn_expansion"):
        for stage in range(3):
            conv2d(f"{name}.{4 * stage}", channels, channels if stage else 1, 5, 5)
            batch_norm(f"{name}.{4 * stage + 1}", channels)
            conv2d(f"{name}.{4 * stage + 3}.conv", channels, channels, 3, 3)
        conv2d(f"{name}.12", 1, channels, 5, 5)
        batch_norm(f"{name}.13", 1)
    return {key: value.astype(np.float32) if value.ndim else value for key, value in state.items()}


class WiFoCfForward(Forward):
    """The released network with ``heads`` heads and ``top_k`` experts of a token."""

    def __init__(self, state, heads=8, top_k=3):
        super().__init__(state)
        self.heads, self.top_k = heads, top_k

    def __call__(self, x, bits):
        """Codewords at their levels and channels of ``x [batch, 2, user, antenna, subcarrier]``; ``bits [user]``."""
        batch, _, users, height, width = x.shape
        grid = height // 4, width // 4
        tokens = grid[0] * grid[1]
        images = x.transpose(0, 2, 1, 3, 4).reshape(batch * users, 2, height, width)
        w, b = self.s["csi_2d_patch_1.weight"], self.s["csi_2d_patch_1.bias"]
        y = np.array([
            [np.einsum("ocij,cij->o", w, image[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]) + b
             for i in range(grid[0]) for j in range(grid[1])]
            for image in images
        ])  # fmt: skip
        y = self.linear(y, "proj_embed_encoder").reshape(batch, users * tokens, -1)
        y = (y + self.place(grid, bits, y.shape[-1])).reshape(batch * users, tokens, -1)
        for index in range(self.count("encoder.layer.")):
            y, _ = self.layer(y, None, f"encoder.layer.{index}")
        y = self.linear(self.rms(y, "encoder.norm"), "proj_output_encoder")
        z = self.convolutions(y[:, None], "cnn_compression", self.halved)
        z = sigmoid(z).reshape(batch, users, -1)
        levels = 2.0 ** np.reshape(bits, (1, users, 1))
        cells = np.ceil(np.log1p(255 * z) / np.log1p(255) * levels)
        z = np.expm1(cells / levels * np.log1p(255)) / 255
        y = self.convolutions(z.reshape(batch * users, 1, tokens // 8, -1), "cnn_expansion", self.doubled)[:, 0]
        y = self.linear(y.reshape(batch, users * tokens, -1), "proj_embed_decoder")
        y = y + self.place(grid, bits, y.shape[-1])
        memory = y
        for index in range(self.count("decoder.layer.")):
            y, _ = self.layer(y, memory, f"decoder.layer.{index}")
        y = self.linear(self.rms(y, "decoder.norm"), "embed_proj_bs_1").reshape(batch, users, *grid, 2, 4, 4)
        out = np.zeros((batch, 2, users, height, width))
        for u, i, j in np.ndindex(users, *grid):
            out[:, :, u, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = y[:, u, i, j]
        return z, out

    def count(self, start):
        return len({key[len(start) :].split(".")[0] for key in self.s if key.startswith(start)})

    def place(self, grid, bits, dim):
        """Code of column, row and width of every token of all UEs; widths alternate from token to token."""

        def code(n, features):
            rates = n / 10000.0 ** (2 * np.arange(features // 2) / features)
            return np.concatenate([np.sin(rates), np.cos(rates)])

        rows = []
        for n in range(len(bits) * grid[0] * grid[1]):
            row, column = divmod(n % (grid[0] * grid[1]), grid[1])
            rows.append(
                np.concatenate([code(column, dim // 4), code(row, dim // 4), code(bits[n % len(bits)], dim // 2)])
            )
        return np.array(rows)

    def rms(self, x, name):
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * self.s[f"{name}.weight"]

    def across(self, q, kv, name):
        """Attention along the first axis, that of the samples."""
        w, b = self.s[f"{name}.in_proj_weight"], self.s[f"{name}.in_proj_bias"]
        dim, out = q.shape[-1], np.zeros(q.shape)
        parts = [x @ w[i * dim : (i + 1) * dim].T + b[i * dim : (i + 1) * dim] for i, x in enumerate((q, kv, kv))]
        size = dim // self.heads
        for token, head in np.ndindex(q.shape[1], self.heads):
            a, k, v = (part[:, token, head * size : (head + 1) * size] for part in parts)
            out[:, token, head * size : (head + 1) * size] = softmax(a @ k.T / size**0.5) @ v
        return self.linear(out, f"{name}.out_proj")

    def layer(self, y, memory, name):
        branch = self.across(y, y, f"{name}.self_attn")
        y = self.rms(y + branch, f"{name}.norm1")
        source, last = y, 2
        if memory is not None:
            branch = self.across(y, memory, f"{name}.multihead_attn")
            y, last = self.rms(y + branch, f"{name}.norm2"), 3
            source = branch
        return self.rms(y + self.experts(source, f"{name}.moe"), f"{name}.norm{last}"), branch

    def expert(self, t, name):
        a = self.linear(t, f"{name}.w1")
        return self.linear(a * sigmoid(a) * self.linear(t, f"{name}.w3"), f"{name}.w2")

    def experts(self, x, name):
        tokens = x.reshape(-1, x.shape[-1])
        y = np.zeros(tokens.shape)
        for i, t in enumerate(tokens):
            p = softmax(self.s[f"{name}.gate.weight"] @ t)
            for e in np.argsort(-p)[: self.top_k]:
                y[i] += p[e] * self.expert(t, f"{name}.experts.{e}")
        if f"{name}.shared_experts.w1.weight" in self.s:
            y += self.expert(tokens, f"{name}.shared_experts")
        return y.reshape(x.shape)

    def halved(self, x, name):
        x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
        return conv(x, self.s[f"{name}.weight"], self.s[f"{name}.bias"], stride=2, pad=0)

    def doubled(self, x, name):
        return conv(x.repeat(2, axis=2).repeat(2, axis=3), self.s[f"{name}.weight"], self.s[f"{name}.bias"])

    def convolutions(self, x, name, resize):
        def stage(x, index):
            x = conv(x, self.s[f"{name}.{index}.weight"], self.s[f"{name}.{index}.bias"])
            mean, var, gain, offset = (
                self.s[f"{name}.{index + 1}.{k}"][:, None, None]
                for k in ("running_mean", "running_var", "weight", "bias")
            )
            return (x - mean) / np.sqrt(var + 1e-5) * gain + offset

        for index in (0, 4, 8):
            x = resize(np.maximum(stage(x, index), 0), f"{name}.{index + 3}.conv")
        return stage(x, 12)
