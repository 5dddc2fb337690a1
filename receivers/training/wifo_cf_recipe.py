"""Recipe of the training of WiFo-CF. No Keras here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from receivers.training.recipe import Finite, TrainingSection
from receivers.training.stores_recipe import StoresRecipe
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, parsed


class WiFoCfSection(TrainingSection):
    """Constructor arguments of the network.

    Args:
        name: the network.
        params: arguments of its constructor.
    """

    name: Literal["wifo_cf"]
    params: dict[str, Any] = {}


class WiFoCfRecipe(StoresRecipe):
    """One training run of WiFo-CF; an image is a random slot of a UE antenna, scaled to unit power.

    ``users`` neighbouring samples of a batch are the UEs of a drop. Widths are drawn from ``bits - spread`` to
    ``bits + spread``; ``uplink_snr_db`` adds noise to the codewords.

    Args:
        model: network.
        users: UEs of a drop.
        bits: bits of a value, in the middle.
        spread: widths differ from it by up to this.
        uplink_snr_db: SNR of noise on the codewords [dB]; null: none.
    """

    model: WiFoCfSection
    users: Count = 1
    bits: Annotated[Integer, Field(ge=1, le=16)] = 5
    spread: Annotated[Integer, Field(ge=0, le=15)] = 2
    uplink_snr_db: Finite | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> WiFoCfRecipe:
        if self.batch_size % self.users:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of users ({self.users})")
        if not 1 <= self.bits - self.spread <= self.bits + self.spread <= 16:
            raise ConfigError("spread", self.spread, "widths bits - spread .. bits + spread in 1..16")
        return self


def parse_wifo_cf(data: dict[str, Any]) -> WiFoCfRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(WiFoCfRecipe, data)
