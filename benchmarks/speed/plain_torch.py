"""Plain PyTorch with torch.nn alone, as one would write it: the peers of the training speed, of the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as fn


class Conv(nn.Sequential):
    """Convolution of the image's size, batch norm."""

    def __init__(self, i: int, o: int, kernel: tuple[int, int], bias: bool = False):
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__(nn.Conv2d(i, o, kernel, padding=padding, bias=bias), nn.BatchNorm2d(o))


class CsiNet(nn.Module):
    """CsiNet, 32 x 32, linear output."""

    def __init__(self, num_latents: int = 128):
        super().__init__()
        self.first = Conv(2, 2, (3, 3), True)
        self.down, self.up, self.last = (
            nn.Linear(2048, num_latents),
            nn.Linear(num_latents, 2048),
            nn.Conv2d(2, 2, 3, 1, 1),
        )
        self.refine = nn.ModuleList(
            nn.Sequential(
                *(Conv(2, 8, (3, 3), True), nn.LeakyReLU(0.3), Conv(8, 16, (3, 3), True), nn.LeakyReLU(0.3)),
                Conv(16, 2, (3, 3), True),
            )
            for _ in range(2)
        )

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, 32, 32]``."""
        y = self.up(self.down(fn.leaky_relu(self.first(x), 0.3).flatten(1))).reshape(x.shape)
        for block in self.refine:
            y = fn.leaky_relu(y + block(y), 0.3)
        return self.last(y)


class CrBlock(nn.Module):
    """Two branches of different resolutions, a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(
            *(Conv(2, 7, (3, 3)), nn.LeakyReLU(0.3), Conv(7, 7, (1, 9)), nn.LeakyReLU(0.3), Conv(7, 7, (9, 1)))
        )
        self.b = nn.Sequential(Conv(2, 7, (1, 5)), nn.LeakyReLU(0.3), Conv(7, 7, (5, 1)))
        self.merge, self.act = Conv(14, 2, (1, 1)), nn.LeakyReLU(0.3)

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, height, width]``."""
        return self.act(x + self.merge(self.act(torch.cat([self.a(x), self.b(x)], dim=1))))


class CrNet(nn.Module):
    """CRNet, 32 x 32."""

    def __init__(self, num_latents: int = 128):
        super().__init__()
        self.a = nn.Sequential(
            *(Conv(2, 2, (3, 3)), nn.LeakyReLU(0.3), Conv(2, 2, (1, 9)), nn.LeakyReLU(0.3), Conv(2, 2, (9, 1)))
        )
        self.b, self.act = Conv(2, 2, (3, 3)), nn.LeakyReLU(0.3)
        self.merge = Conv(4, 2, (1, 1))
        self.down, self.up = nn.Linear(2048, num_latents), nn.Linear(num_latents, 2048)
        self.head = nn.Sequential(Conv(2, 2, (5, 5)), nn.LeakyReLU(0.3), CrBlock(), CrBlock(), nn.Sigmoid())

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, 32, 32]``."""
        y = self.act(self.merge(self.act(torch.cat([self.a(x), self.b(x)], dim=1))))
        return self.head(self.up(self.down(y.flatten(1))).reshape(x.shape))


def layer(dim: int, heads: int, hidden: int, activation: str, cross: bool = False) -> nn.Module:
    """Pre-norm transformer layer."""
    make = nn.TransformerDecoderLayer if cross else nn.TransformerEncoderLayer
    return make(dim, heads, hidden, dropout=0.0, activation=activation, batch_first=True, norm_first=True)


class TransNet(nn.Module):
    """TransNet, 32 x 32, pre-norm layers of its own, as the shipped recipes have it."""

    def __init__(self, num_latents: int = 256, dim: int = 64, heads: int = 2, hidden: int = 512, count: int = 2):
        super().__init__()
        self.dim = dim
        self.encoder = nn.ModuleList(layer(dim, heads, hidden, "relu") for _ in range(count))
        self.decoder = nn.ModuleList(layer(dim, heads, hidden, "relu", cross=True) for _ in range(count))
        self.down, self.up = nn.Linear(2048, num_latents), nn.Linear(num_latents, 2048)

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, 32, 32]``."""
        y = x.reshape(len(x), -1, self.dim)
        for block in self.encoder:
            y = block(y)
        y = memory = self.up(self.down(y.flatten(1))).reshape(y.shape)
        for block in self.decoder:
            y = block(y, memory)
        return y.reshape(x.shape)


class Evt(nn.Module):
    """Eigenvector transformer of 13 subbands and 32 ports."""

    def __init__(self, num_latents: int = 60, dim: int = 128, heads: int = 4, hidden: int = 256, units: int = 13):
        super().__init__()
        self.embed, self.head = nn.Linear(64, dim), nn.Linear(dim, 64)
        self.down, self.up = nn.Linear(units * dim, num_latents), nn.Linear(num_latents, units * dim)
        self.positions = nn.ParameterList(nn.Parameter(0.02 * torch.randn(units, dim)) for _ in range(2))
        self.encoder = nn.ModuleList(layer(dim, heads, hidden, "gelu") for _ in range(2))
        self.decoder = nn.ModuleList(layer(dim, heads, hidden, "gelu") for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 13, 32, 2]``."""
        y = self.embed(x.flatten(2)) + self.positions[0]
        for block in self.encoder:
            y = block(y)
        z = torch.tanh(self.down(self.norms[0](y).flatten(1)))
        y = self.up(z).reshape(y.shape) + self.positions[1]
        for block in self.decoder:
            y = block(y)
        return self.head(self.norms[1](y)).reshape(x.shape)


class Separable(nn.Module):
    """Attention in windows of eight rows, MLP, attention to a sub-sampled image, MLP; 32 x 32."""

    def __init__(self, width: int = 32, heads: int = 4):
        super().__init__()
        self.width, self.heads = width, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.qkv, self.q, self.kv = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Linear(2, 2 * width)
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.reduce, self.norm = nn.Conv2d(2, 2, 8, 8), nn.LayerNorm(2 * 16)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(2)
        )

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, 32, 32]``."""
        b, depth = len(x), self.width // self.heads
        t = self.qkv(self.norms[0](x)).reshape(b, 8, 8, 3, self.heads, depth)
        q, k, v = (t[:, :, :, i].transpose(2, 3) for i in range(3))
        x = x + self.proj[0](fn.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(x.shape))
        x = x + self.mlps[0](self.norms[1](x))
        y = self.norms[2](x)
        q = self.q(y).reshape(b, -1, self.heads, depth).transpose(1, 2)
        reduced = self.norm(self.reduce(y).permute(0, 2, 3, 1).reshape(b, -1)).reshape(b, 16, 2)
        kv = self.kv(reduced).reshape(b, 16, 2, self.heads, depth)
        k, v = (kv[:, :, i].transpose(1, 2) for i in range(2))
        x = x + self.proj[1](fn.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
        return x + self.mlps[1](self.norms[3](x))


class StqeNet(nn.Module):
    """STQENet, 32 x 32."""

    def __init__(self, num_latents: int = 128):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 16, 1), nn.Conv2d(16, 2, 5, padding=2))
        self.blocks = nn.ModuleList(Separable() for _ in range(2))
        self.resample = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2, 2, 4, 2, 1), nn.Conv2d(2, 2, 4, 2, 1)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(4))
        self.down, self.up = nn.Linear(2048, num_latents), nn.Linear(num_latents, 2048)
        self.branch = nn.Sequential(Conv(2, 2, (5, 5)), nn.LeakyReLU(0.3), CrBlock())
        self.second = nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, x: Any) -> Any:
        """Image ``[batch, 2, 32, 32]``."""
        skip = self.first(x)
        y = self.norms[0](self.blocks[0](skip))
        y = self.norms[1](skip + self.resample[0](y))
        y = self.up(self.down(y.flatten(1))).reshape(x.shape)
        branch = self.branch(y)
        y = self.resample[1](self.norms[2](self.blocks[1](self.second(y) + branch)))
        return torch.sigmoid(self.norms[3](self.blocks[1](y + branch)))


class WiFo(nn.Module):
    """WiFo tiny on patches; ``visible`` lists the tokens that the encoder sees."""

    def __init__(self, visible: Sequence[int], tokens: int, entries: int = 128, dim: int = 64, heads: int = 8):
        super().__init__()
        self.register_buffer("visible", torch.tensor(visible))
        self.register_buffer("position", torch.randn(tokens, dim))
        self.embed, self.bridge, self.head = nn.Linear(entries, dim), nn.Linear(dim, dim), nn.Linear(dim, entries)
        self.encoder = nn.ModuleList(layer(dim, heads, 2 * dim, "gelu") for _ in range(3))
        self.decoder = nn.ModuleList(layer(dim, heads, 2 * dim, "gelu") for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.mask = nn.Parameter(0.02 * torch.randn(dim))

    def forward(self, x: Any) -> Any:
        """Patches ``[batch, token, entry]``."""
        y = (self.embed(x) + self.position)[:, self.visible]
        for block in self.encoder:
            y = block(y)
        full = self.mask.expand(*x.shape[:2], -1).clone()
        full[:, self.visible] = self.bridge(self.norms[0](y))
        y = full + self.position
        for block in self.decoder:
            y = block(y)
        return self.head(self.norms[1](y))


def plain_network(model: str) -> nn.Module:
    """Network of a name of ``benchmarks.speed.training``, from seed 0."""
    torch.manual_seed(0)
    if model == "wifo":
        return WiFo(range(24), 48)
    return {"csinet": CsiNet, "crnet": CrNet, "transnet": TransNet, "stqenet": StqeNet, "evt": Evt}[model]()
