"""The adapters of the configuration module against their contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from iii_trio.modules.configuration import ConfigurationAdapter, FsConfig
from iii_trio.modules.configuration.adapters.fs import open_fs
from iii_trio.modules.configuration.adapters.memory import MemoryConfiguration
from iii_trio.settings.document import parse_document
from iii_trio.testing import ConfigurationAdapterContract


class TestFs(ConfigurationAdapterContract):
    @asynccontextmanager
    async def open(self, place: Path) -> AsyncIterator[ConfigurationAdapter]:
        async with open_fs(FsConfig(str(place / "made" / "here")), lambda text: parse_document(text).values) as adapter:
            yield adapter


class TestMemory(ConfigurationAdapterContract):
    keeps = False

    @asynccontextmanager
    async def open(self, place: Path) -> AsyncIterator[ConfigurationAdapter]:
        async with MemoryConfiguration().open() as adapter:
            yield adapter
