"""Recipe of a training data set: a mixture of channels on one radio geometry, with splits that share no seed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from scenarios.channels import parse_channel
from scenarios.radio import Radio
from scenarios.sections import Section
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat, parsed


class Part(Section):
    """One channel of the mixture and its share.

    Args:
        channel: as in a scenario.
        weight: share of the samples, relative to the other parts.
    """

    channel: Any
    weight: PositiveFloat = 1.0

    _channel = field_validator("channel", mode="before")(parse_channel)


class DatasetRecipe(Radio):
    """A mixture of channels; every sample is one UE.

    ``normalization`` scales every sample to unit mean power per entry (``per_sample``), or all samples by one factor
    (``per_dataset``): E|h|^2 = 1 over the data set, and samples keep the difference of their path gains.

    Args:
        name: of the store.
        description: free text.
        seed: root of all random numbers.
        parts: channels of the mixture.
        splits: name of a split to its number of samples.
        shard_samples: samples of one file, at most.
        normalization: power: 1 for every sample, or in the mean over the data set.
    """

    younger_fields = frozenset({"normalization"})

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    splits: Annotated[dict[FileName, Count], Field(min_length=1)]
    shard_samples: Annotated[Integer, Field(ge=1, le=100_000)] = 2000
    normalization: Literal["per_sample", "per_dataset"] = "per_sample"

    @model_validator(mode="after")
    def _one_user(self) -> DatasetRecipe:
        if self.ue.num_users != 1:
            raise ConfigError("ue.num_users", self.ue.num_users, "1: every sample of a data set is one UE")
        if self.bs.num_trps != 1:
            raise ConfigError("bs.num_trps", self.bs.num_trps, "1: samples of a data set have one station")
        for number, part in enumerate(self.parts):
            self.check_channel(part.channel, f"parts.{number}.channel")
        return self


def parse_recipe(data: dict[str, Any]) -> DatasetRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(DatasetRecipe, data)
