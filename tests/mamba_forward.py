"""Forward pass of the released Mamba-Transformer autoencoder in NumPy float64, from a state dict with its names.

Written from a description of the released modules; shares nothing with the Keras network.
"""

import numpy as np
from torch_forward import Forward, conv, sigmoid


def random_state(rng, side=16, latents=6, maps=4, blocks=2, states=3, rank=1, dim=8, hidden=10, layers=2):
    """Tensors of a network of these sizes by their released names, none trivial."""
    inner, state = 2 * maps, {}

    def tensor(name, *shape):
        state[name] = rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5

    def norm(name, size):
        state[f"{name}.weight"], state[f"{name}.bias"] = rng.uniform(0.5, 2, size), 0.3 * rng.standard_normal(size)

    tensor("encoder.stem.0.weight", maps, 2, 3, 3)
    norm("encoder.stem.1", maps)
    state["encoder.stem.1.running_mean"] = 0.3 * rng.standard_normal(maps)
    state["encoder.stem.1.running_var"] = rng.uniform(0.5, 2, maps)
    state["encoder.stem.1.num_batches_tracked"] = np.array(3)
    for index in range(blocks):
        name = f"encoder.layers.{index}"
        state[f"{name}.norm.gamma"] = rng.uniform(0.5, 2, maps)
        state[f"{name}.norm.beta"] = 0.3 * rng.standard_normal(maps)
        state[f"{name}.alpha"] = np.array(rng.uniform(0.5, 1))
        tensor(f"{name}.vss.1.in_proj.weight", 2 * inner, maps)
        tensor(f"{name}.vss.1.conv2d.weight", inner, 1, 3, 3)
        tensor(f"{name}.vss.1.conv2d.bias", inner)
        tensor(f"{name}.vss.1.x_proj_weight", 4, rank + 2 * states, inner)
        tensor(f"{name}.vss.1.dt_projs_weight", 4, inner, rank)
        tensor(f"{name}.vss.1.dt_projs_bias", 4, inner)
        state[f"{name}.vss.1.A_logs"] = rng.uniform(-1, 1, (4 * inner, states))
        tensor(f"{name}.vss.1.Ds", 4 * inner)
        norm(f"{name}.vss.1.out_norm", inner)
        tensor(f"{name}.vss.1.out_proj.weight", maps, inner)
    tensor("encoder.proj_conv.weight", 8, maps, 1, 1)
    for name, rows, columns in (("encoder.fc", latents, 2 * side**2), ("decoder.fc_decoder", 2 * side**2, latents)):
        tensor(f"{name}.weight", rows, columns)
        tensor(f"{name}.bias", rows)
    for index in range(layers):
        name = f"decoder.decoder.layers.{index}"
        for attention in ("self_attn", "multihead_attn"):
            tensor(f"{name}.{attention}.in_proj_weight", 3 * dim, dim)
            tensor(f"{name}.{attention}.in_proj_bias", 3 * dim)
            tensor(f"{name}.{attention}.out_proj.weight", dim, dim)
            tensor(f"{name}.{attention}.out_proj.bias", dim)
        for linear, rows, columns in (("linear1", hidden, dim), ("linear2", dim, hidden)):
            tensor(f"{name}.{linear}.weight", rows, columns)
            tensor(f"{name}.{linear}.bias", rows)
        for i in (1, 2, 3):
            norm(f"{name}.norm{i}", dim)
    return {key: value.astype(np.float32) if value.dtype == float else value for key, value in state.items()}


class MambaForward(Forward):
    """The released autoencoder: squares of 8 x 8 pixels, attention along the batch, keys and values of the queries."""

    def __call__(self, x):
        """Codewords and images of ``x [batch, 2, height, width]``."""
        s = self.s
        y = conv(x, s["encoder.stem.0.weight"], stride=2, pad=1)
        mean, var, gain, offset = (
            s[f"encoder.stem.1.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        y = (y - mean) / np.sqrt(var + 1e-5) * gain + offset
        y = y * sigmoid(y)
        for index in range(self.count("encoder.layers.")):
            y = self.residual(y, f"encoder.layers.{index}")
        latent = self.linear(conv(y, s["encoder.proj_conv.weight"]).reshape(len(x), -1), "encoder.fc")
        dim = s["decoder.decoder.layers.0.norm1.weight"].size
        y = self.linear(latent, "decoder.fc_decoder").reshape(len(x), -1, dim).swapaxes(0, 1)
        for index in range(self.count("decoder.decoder.layers.")):
            name = f"decoder.decoder.layers.{index}"
            y = self.norm(y + self.attention(y, y, f"{name}.self_attn", 2), f"{name}.norm1", 1e-5)
            y = self.norm(y + self.attention(y, y, f"{name}.multihead_attn", 2), f"{name}.norm2", 1e-5)
            hidden = np.maximum(self.linear(y, f"{name}.linear1"), 0)
            y = self.norm(y + self.linear(hidden, f"{name}.linear2"), f"{name}.norm3", 1e-5)
        return latent, y.swapaxes(0, 1).reshape(x.shape)

    def count(self, start):
        return len({key[len(start) :].split(".")[0] for key in self.s if key.startswith(start)})

    def residual(self, x, name):
        s = self.s
        mean, var = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
        y = (x - mean) / np.sqrt(var + 1e-5) * s[f"{name}.norm.gamma"][:, None, None]
        y = y + s[f"{name}.norm.beta"][:, None, None]
        y = y * sigmoid(y)
        out = np.zeros(x.shape)
        for i in range(0, x.shape[2], 8):
            for j in range(0, x.shape[3], 8):
                square = self.scanned(y[:, :, i : i + 8, j : j + 8].transpose(0, 2, 3, 1), f"{name}.vss.1")
                out[:, :, i : i + 8, j : j + 8] = square.transpose(0, 3, 1, 2)
        return x + s[f"{name}.alpha"] * out

    def scanned(self, x, name):
        """Four walks over the pixels of ``x [batch, height, width, channel]``."""
        s = self.s
        batch, height, width, _ = x.shape
        u, gate = np.split(x @ s[f"{name}.in_proj.weight"].T, 2, axis=-1)
        kernel = s[f"{name}.conv2d.weight"][:, 0]
        padded = np.pad(u, ((0, 0), (1, 1), (1, 1), (0, 0)))
        u = np.zeros(u.shape) + s[f"{name}.conv2d.bias"]
        for i, j in np.ndindex(3, 3):
            u = u + padded[:, i : i + height, j : j + width] * kernel[:, i, j]
        u = u * sigmoid(u)
        by_rows = [(i, j) for i in range(height) for j in range(width)]
        by_columns = [(i, j) for j in range(width) for i in range(height)]
        inner, y = u.shape[-1], np.zeros(u.shape)
        for way, walk in enumerate((by_rows, by_columns, by_rows[::-1], by_columns[::-1])):
            own = slice(way * inner, (way + 1) * inner)
            a, skip = -np.exp(s[f"{name}.A_logs"][own]), s[f"{name}.Ds"][own]
            rank, states = s[f"{name}.dt_projs_weight"].shape[2], a.shape[1]
            h = np.zeros((batch, inner, states))
            for i, j in walk:
                token = u[:, i, j]
                delta, b, c = np.split(token @ s[f"{name}.x_proj_weight"][way].T, (rank, rank + states), axis=-1)
                dt = delta @ s[f"{name}.dt_projs_weight"][way].T + s[f"{name}.dt_projs_bias"][way]
                dt = np.log1p(np.exp(dt))[..., None]
                h = np.exp(dt * a) * h + dt * b[:, None] * token[..., None]
                y[:, i, j] += (h * c[:, None]).sum(axis=-1) + skip * token
        y = self.norm(y, f"{name}.out_norm", 1e-5) * gate * sigmoid(gate)
        return y @ s[f"{name}.out_proj.weight"].T
