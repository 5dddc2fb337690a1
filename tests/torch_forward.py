"""Forward passes of the published PyTorch networks in NumPy float64, from their state dicts: channels first, as there.

Written layer by layer from the descriptions of the published modules; shares nothing with the Keras networks.
"""

import numpy as np


def conv(x, w, bias=None, stride=1, pad=None):
    """Cross-correlation, ``x [batch, in, h, w]``, ``w [out, in, kh, kw]``; padding (k - 1) // 2 unless given."""
    kh, kw = w.shape[2:]
    ph, pw = ((kh - 1) // 2, (kw - 1) // 2) if pad is None else (pad, pad)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::stride, ::stride]
    y = np.einsum("bihwkl,oikl->bohw", windows, w)
    return y if bias is None else y + bias[:, None, None]


def conv_transpose(x, w, bias, stride=2, pad=1):
    """Every input value paints its kernel, ``w [in, out, kh, kw]``."""
    batch, _, height, width = x.shape
    k = w.shape[2]
    y = np.zeros((batch, w.shape[1], (height - 1) * stride + k, (width - 1) * stride + k))
    for i in range(height):
        for j in range(width):
            painted = np.einsum("bi,iokl->bokl", x[:, :, i, j], w)
            y[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += painted
    return y[:, :, pad:-pad, pad:-pad] + bias[:, None, None]


def leaky(x):
    return np.where(x > 0, x, 0.3 * x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Forward:
    def __init__(self, state):
        self.s = {k: np.asarray(v, np.float64) for k, v in state.items()}

    def conv_bn(self, x, name, pad=None):
        s = self.s
        x = conv(x, s[f"{name}.conv.weight"], pad=pad)
        mean, var, gain, offset = (
            s[f"{name}.bn.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * gain + offset

    def linear(self, x, name):
        y = x @ self.s[f"{name}.weight"].reshape(self.s[f"{name}.weight"].shape[:2]).T
        return y + self.s[f"{name}.bias"] if f"{name}.bias" in self.s else y

    def norm(self, x, name, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        return x * self.s[f"{name}.weight"] + self.s[f"{name}.bias"]

    def cr_block(self, x, name, long):
        a = leaky(self.conv_bn(x, f"{name}.path1.conv3x3"))
        a = leaky(self.conv_bn(a, f"{name}.path1.conv1x{long}"))
        a = self.conv_bn(a, f"{name}.path1.conv{long}x1")
        b = leaky(self.conv_bn(x, f"{name}.path2.conv1x5"))
        b = self.conv_bn(b, f"{name}.path2.conv5x1")
        return leaky(self.conv_bn(leaky(np.concatenate([a, b], axis=1)), f"{name}.conv1x1") + x)

    def crnet(self, x):
        a = leaky(self.conv_bn(x, "encoder1.conv3x3_bn"))
        a = leaky(self.conv_bn(a, "encoder1.conv1x9_bn"))
        a = self.conv_bn(a, "encoder1.conv9x1_bn")
        y = leaky(np.concatenate([a, self.conv_bn(x, "encoder2")], axis=1))
        y = leaky(self.conv_bn(y, "encoder_conv.conv1x1_bn"))
        latent = self.linear(y.reshape(len(x), -1), "encoder_fc")
        y = self.linear(latent, "decoder_fc").reshape(x.shape)
        y = leaky(self.conv_bn(y, "decoder_feature.conv5x5_bn"))
        for block in (1, 2):
            y = self.cr_block(y, f"decoder_feature.CRBlock{block}", 9)
        return latent, sigmoid(y)

    def clnet(self, x):
        e = "encoder.encoder1"
        a = leaky(self.conv_bn(x, f"{e}.conv3x3_bn"))
        a = leaky(self.conv_bn(a, f"{e}.conv1x9_bn"))
        a = self.conv_bn(a, f"{e}.conv9x1_bn")
        gate = self.conv_bn(np.stack([a.max(axis=1), a.mean(axis=1)], axis=1), "encoder.sa.spatial")
        a = a * sigmoid(gate)
        b = self.conv_bn(x, "encoder.encoder2")
        weight = np.maximum(self.linear(b.mean(axis=(2, 3)), "encoder.se.fc.0"), 0)
        b = b * sigmoid(self.linear(weight, "encoder.se.fc.2"))[:, :, None, None]
        y = leaky(self.conv_bn(leaky(np.concatenate([a, b], axis=1)), "encoder.encoder_conv.conv1x1_bn"))
        latent = self.linear(y.reshape(len(x), -1), "encoder.replace_efc")
        kernel = self.s["decoder.replace_dfc.weight"][..., 0]
        y = (latent @ kernel + self.s["decoder.replace_dfc.bias"]).reshape(x.shape)
        y = leaky(self.conv_bn(y, "decoder.decoder_feature.conv5x5_bn"))
        for block in (1, 2):
            y = self.cr_block(y, f"decoder.decoder_feature.CRBlock{block}", 3)
        return latent, np.clip(y + 3, 0, 6) / 6

    def attention(self, q, kv, name, heads):
        w, b = self.s[f"{name}.in_proj_weight"], self.s[f"{name}.in_proj_bias"]
        d = q.shape[-1]
        parts = [x @ w[i * d : (i + 1) * d].T + b[i * d : (i + 1) * d] for i, x in enumerate((q, kv, kv))]
        out = []
        for head in range(heads):
            q_, k_, v_ = (x[..., head * d // heads : (head + 1) * d // heads] for x in parts)
            out.append(softmax(q_ @ k_.swapaxes(-1, -2) / np.sqrt(d // heads)) @ v_)
        return self.linear(np.concatenate(out, axis=-1), f"{name}.out_proj")

    def transnet(self, x, axis="token"):
        def layer(y, memory, name):
            turn = (lambda t: t.swapaxes(0, 1)) if axis == "batch" else (lambda t: t)
            y = self.norm(y + turn(self.attention(turn(y), turn(y), f"{name}.self_attn", 2)), f"{name}.norm1", 1e-5)
            last = 2
            if memory is not None:
                cross = turn(self.attention(turn(y), turn(memory), f"{name}.multihead_attn", 2))
                y, last = self.norm(y + cross, f"{name}.norm2", 1e-5), 3
            hidden = np.maximum(self.linear(y, f"{name}.linear1"), 0)
            return self.norm(y + self.linear(hidden, f"{name}.linear2"), f"{name}.norm{last}", 1e-5)

        y = x.reshape(len(x), 32, 64)
        for _ in range(2):
            y = layer(y, None, "encoder.layer")
        latent = self.linear(y.reshape(len(x), -1), "fc_encoder")
        memory = y = self.linear(latent, "fc_decoder").reshape(len(x), 32, 64)
        for _ in range(2):
            y = layer(y, memory, "decoder.layer")
        return latent, self.norm(y, "decoder.norm", 1e-5).reshape(x.shape)

    def separable(self, x, name):
        """STNet's block as released: reshapes in row-major order, whatever they mix."""
        batch, c, height, width = x.shape
        y = self.norm(x, f"{name}.norm1", 1e-6).reshape(batch, c, height // 8, 8, width)
        qkv = self.linear(y, f"{name}.attn1.qkv").reshape(batch, c, 16, -1, 3, 4, 2).transpose(4, 0, 1, 2, 5, 3, 6)
        y = softmax(qkv[0] @ qkv[1].swapaxes(-1, -2) * 8**-0.5) @ qkv[2]
        y = y.swapaxes(2, 3).reshape(batch, 4, 4, 8, 8, c).swapaxes(2, 3).reshape(batch, c, height, width)
        x = x + self.linear(y, f"{name}.attn1.proj")
        y = gelu(self.linear(self.norm(x, f"{name}.norm2", 1e-6), f"{name}.mlp1.cc1"))
        x = x + self.linear(y, f"{name}.mlp1.cc2")
        y = self.norm(x, f"{name}.norm3", 1e-6)
        q = self.linear(y, f"{name}.attn2.q").reshape(batch, c, -1, 4, 4).transpose(0, 1, 3, 2, 4)
        small = conv(y, self.s[f"{name}.attn2.sr.weight"], self.s[f"{name}.attn2.sr.bias"], stride=8, pad=0)
        small = self.norm(small.reshape(batch, c, -1, 4, 4), f"{name}.attn2.norm", 1e-5)
        kv = self.linear(small, f"{name}.attn2.kv").reshape(batch, c, -1, 2, 4, 4).transpose(3, 0, 1, 4, 2, 5)
        y = softmax(q @ kv[0].swapaxes(-1, -2) * 8**-0.5) @ kv[1]
        y = y.swapaxes(1, 2).reshape(batch, c, height, width)
        x = x + self.linear(y, f"{name}.attn2.proj")
        y = gelu(self.linear(self.norm(x, f"{name}.norm4", 1e-6), f"{name}.mlp2.cc1"))
        return x + self.linear(y, f"{name}.mlp2.cc2")

    def resampled(self, x, side):
        s = self.s
        x = conv_transpose(x, s[f"{side}.convT.weight"], s[f"{side}.convT.bias"])
        return conv(x, s[f"{side}.conv4.weight"], s[f"{side}.conv4.bias"], stride=2, pad=1)

    def stnet(self, x):
        s = self.s
        y = conv(x, s["encoder.conv1.weight"], s["encoder.conv1.bias"])
        skip = conv(y, s["encoder.conv5.weight"], s["encoder.conv5.bias"])
        y = self.norm(self.separable(skip, "encoder.blocks.0"), "encoder.norm3", 1e-6)
        y = self.norm(skip + self.resampled(y, "encoder"), "encoder.norm2", 1e-6)
        latent = self.linear(y.reshape(len(x), -1), "encoder.fc")
        image = self.linear(latent, "decoder.dense_layers.0").reshape(x.shape)
        branch = leaky(self.conv_bn(image, "decoder.decoder_feature.conv5x5_bn"))
        branch = self.cr_block(branch, "decoder.decoder_feature.CRBlock1", 9)
        y = conv(image, s["decoder.conv5.weight"], s["decoder.conv5.bias"])
        y = self.norm(self.separable(y + branch, "decoder.blocks.0"), "decoder.norm2", 1e-6)
        y = self.separable(self.resampled(y, "decoder") + branch, "decoder.blocks.0")
        return latent, sigmoid(self.norm(y, "decoder.norm3", 1e-6))
