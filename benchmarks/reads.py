"""Files and plug-ins that the parts of a scenario read, noted without computing anything."""

from __future__ import annotations

from typing import Any

from scenarios.schema import Scenario
from simulator.core import registry
from simulator.core.content import note_files
from simulator.data.store import ChannelStore

_ROOMS = ("benchmarks", "receivers", "scenarios", "simulator")


def note_parts(scenario: Scenario) -> None:
    """Note stores, plug-ins of other packages, and files that their parameters name.

    Schemes, estimators and predictors of csilink note their own files when they are built.
    """
    note_channel(scenario.channel)
    _note_plugin("estimators", scenario.estimation.name, scenario.estimation.model_extra)
    for entry in scenario.feedback:
        _note_plugin("feedback", entry.scheme, entry.model_extra)
        if entry.predict is not None:
            _note_plugin("predictors", entry.predict.name, entry.predict.model_extra)
    for precoder in scenario.precoding.precoders:
        _note_plugin("precoders", precoder.name, precoder.params)
    for name in scenario.metrics or registry.names("metrics"):
        _note_plugin("metrics", name, None)


def note_channel(channel: Any) -> None:
    """Note store or plug-in of a channel section."""
    if channel.model == "recorded":
        ChannelStore(channel.store, verify=False)  # who draws from it compares the shards with its manifest
    else:
        _note_plugin("channels", channel.model, channel.model_extra)


def _note_plugin(kind: str, name: str, params: Any) -> None:
    if registry.target(kind, name).partition(".")[0].partition(":")[0] not in _ROOMS:
        note_files(params)
