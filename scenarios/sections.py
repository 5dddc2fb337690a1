"""Base of every section of a scenario or data set file: frozen, strict, with a stable content hash."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from simulator.core import registry
from simulator.core.errors import ConfigError


class _Hashed(BaseModel):
    """Part of a file whose dump goes into content hashes.

    ``younger_fields`` are newer than content hashes in results, stores and model cards. At its default such a field is
    left out of every dump, so that what does not use it keeps its hash.
    """

    younger_fields: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _keep_hashes(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unused = {name for name in self.younger_fields if getattr(self, name) == fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in unused}


class Section(_Hashed):
    """Frozen section of a file; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PluginSection(_Hashed):
    """Section with the parameters of a plug-in; its constructor checks them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="after")
    def _reserved(self) -> PluginSection:
        for key in ("config", "geometry", "kind", "name", "seed"):
            if key in (self.model_extra or {}):
                raise ValueError(f"no parameter {key!r}")
        return self


def known(field: str, kind: str, name: str) -> None:
    """ConfigError unless ``name`` is a registered plug-in of the kind, or a dotted path to one."""
    if not registry.is_known(kind, name):
        raise ConfigError(field, name, ", ".join(registry.names(kind)))
