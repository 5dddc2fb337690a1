"""Recipe of a codebook: data, method, network, schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from receivers.training.refine import RefineSchedule
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat, parsed


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSection(_Section):
    """A codeword refiner by name, with the folder of public weights of its backbone, if any.

    Args:
        name: refiner.
        params: arguments of its constructor.
        pretrained: folder of public weights of its backbone; null: random weights.
        freeze: train embedding, head and norms of the backbone only.
    """

    name: str
    params: dict[str, Any] = {}
    pretrained: str | None = None
    freeze: bool = True


class ScheduleSection(_Section):
    """Training of a refiner; ``update_interval`` belongs to side "ds".

    Args:
        epochs: passes over the training channels.
        batch_size: pairs of a step.
        learning_rate: of Adam, at its start.
        update_interval: epochs between two updates of the codebook, side "ds".
    """

    epochs: Count = 200
    batch_size: Count = 512
    learning_rate: PositiveFloat = 1e-3
    update_interval: Count = 40


class CodebookRecipe(_Section):
    """One codebook for each environment.

    Args:
        name: of the codebook.
        description: free text.
        seed: base codebook, LBG start, weights, order of samples.
        environments: data set by environment.
        bits: B, 1..20.
        method: "rvq", "coloured" (RVQ with the covariance of the data), "lbg", or "refine" (a network).
        side: "ds", or "ss" for a refined codebook at the gNB alone.
        network: refiner.
        schedule: its training.
        max_samples: training channels at most.
    """

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    environments: Annotated[dict[FileName, str], Field(min_length=1)]
    bits: Annotated[Integer, Field(ge=1, le=20)]
    method: Literal["rvq", "coloured", "lbg", "refine"]
    side: Literal["ss", "ds"] = "ds"
    network: NetworkSection | None = None
    schedule: ScheduleSection = ScheduleSection()
    max_samples: Count | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CodebookRecipe:
        if (self.method == "refine") != (self.network is not None):
            given = "none" if self.network is None else self.network.name
            raise ConfigError("network", given, "a refiner with method refine, nothing with the others")
        if self.side == "ss" and self.method != "refine":
            raise ConfigError("side", self.side, "ds with method " + self.method)
        return self

    def refine_schedule(self) -> RefineSchedule:
        """Schedule with the recipe's seed; without updates for side "ss"."""
        interval = self.schedule.update_interval if self.side == "ds" else None
        return RefineSchedule(
            self.schedule.epochs, self.schedule.batch_size, self.schedule.learning_rate, interval, self.seed
        )


def parse_codebook(data: dict[str, Any]) -> CodebookRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(CodebookRecipe, data)
