"""The block of the configuration module in the configuration file, and those of its adapters."""

from typing import Final

import attrs

DEFAULT_DIRECTORY: Final = "./config"
LEGACY_DIRECTORY: Final = "./data/configuration"
"""Where other engines before 0.21 kept the files; moved to the default directory when it is used."""


@attrs.frozen
class ConfigurationConfig:
    """Configuration values that functions read, change and follow."""

    ttl_seconds: int = attrs.field(
        default=0,
        metadata={
            "doc": "An entry that triggers followed is deleted when the last of them has been gone that long; 0: never.",
            "minimum": 0,
        },
    )


@attrs.frozen
class FsConfig:
    """One YAML file an entry, which may be edited by hand."""

    directory: str = attrs.field(
        default=DEFAULT_DIRECTORY,
        metadata={
            "doc": "Where the files `<id>.yaml` are; relative to the working directory, made with the first entry."
        },
    )


@attrs.frozen
class MemoryConfig:
    """Values that end with the engine. The choice of engines that are started with a mapping instead of a file."""
