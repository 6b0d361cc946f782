"""`iii-trio serve --strip-seeded-config`: blocks of the configuration file whose values are stored go (config-cli-modules 4.4)."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from iii_trio import __version__
from iii_trio._configuration import LIVE, open_adapter
from iii_trio.engine import Engine
from iii_trio.modules.configuration import ConfigurationAdapter, FsConfig
from iii_trio.modules.configuration.adapters.files import replace_file
from iii_trio.modules.configuration.adapters.fs import entry_path
from iii_trio.modules.configuration.store import canonical
from iii_trio.modules.live_config import LiveConfig
from iii_trio.protocol.errors import IIIError
from iii_trio.settings import ModuleEntry
from iii_trio.settings.load import read_text, read_values
from iii_trio.settings.names import CONFIGURATION
from iii_trio.settings.strip import Block, Stripped, strip_blocks

_log = logging.getLogger("iii_trio.serve")
_COMMENT: Final = (
    "{id}: its settings are in {place} now. Change them there, or with: "
    "iii-trio trigger configuration::set id={id} value=JSON"
)
_PLAIN: Final = re.compile(r"[\w ./~+@:-]+")


class _Refused(IIIError):
    """Why the file stays as it is."""


async def strip_seeded_config(engine: Engine) -> None:
    """Take the blocks that are stored on disk out of the file of a running engine. What stays is named in the log.

    Cancelled, the file is as it was, or as it is to be.
    """
    settings = engine.composition.settings
    if settings.path is None:
        return
    parse = partial(read_values, settings.path, env=engine.composition.environment, engine_version=__version__)
    try:
        blocks = await _stored_blocks(engine)
        if blocks:
            work = partial(_rewrite, settings.path, blocks, parse)
            done = await trio.to_thread.run_sync(work, limiter=trio.CapacityLimiter(1))
            _report(settings.path, done)
    except (IIIError, OSError) as error:
        _log.warning("%s is left as it is: %s", settings.path, getattr(error, "strerror", None) or error)


async def _stored_blocks(engine: Engine) -> list[Block]:
    """The blocks of modules that read their settings where these blocks are stored. Raises AdapterError, _Refused."""
    own = engine.composition.catalogue.modules
    entries = {entry.module: entry for entry in engine.composition.settings.entries if entry.module not in own}
    keeper = entries.get(CONFIGURATION)
    if keeper is None or keeper.adapter is None or not isinstance(keeper.adapter.options, FsConfig):
        raise _Refused("the values of this engine are not stored in files")
    directory = Path(keeper.adapter.options.directory)
    blocks = []
    async with open_adapter(keeper.adapter)() as adapter:
        for module, live_config in LIVE.items():
            entry = entries.get(module)
            if entry is not None and entry.key and entry.config is not None:
                live = live_config(entry)
                if await _is_stored(adapter, live):
                    blocks.append(_block(entry, entry.config, live.id, entry_path(directory, live.id)))
    return blocks


async def _is_stored(adapter: ConfigurationAdapter, live: LiveConfig[Any]) -> bool:
    """Whether there is a value, and it has taken note of the block. Raises AdapterError."""
    found = await adapter.read(live.id)
    if found is None or found.value is None:
        return False
    return live.block is None or canonical(live.block) == canonical(found.seed)


def _block(entry: ModuleEntry, config: Mapping[str, Any], entry_id: str, file: Path) -> Block:
    place = str(file) if _PLAIN.fullmatch(str(file)) else "the directory of the module configuration"
    return Block(entry.key, entry.written, config, _COMMENT.format(id=entry_id, place=place))


def _rewrite(path: Path, blocks: Sequence[Block], parse: Callable[[str], Mapping[str, Any]]) -> Stripped:
    """In a thread: what has been done to the file. Raises OSError, ConfigError, _Refused; then nothing has."""
    path = path.resolve()  # a link stays one
    if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):  # root may write what nobody is to write
        raise _Refused("it is read-only")
    text = read_text(path)
    done = strip_blocks(text, blocks, parse)
    if done.taken:
        if read_text(path) != text:
            raise _Refused("it is being changed at this moment")
        replace_file(path, done.text.encode())
    return done


def _report(path: Path, done: Stripped) -> None:
    for block in done.taken:
        _log.info("%s: the settings of %s are stored, and their block has been taken out", path, block.written)
    for block in done.fixed:
        _log.warning(
            "%s: the block of %s named variables; what they were is stored, and a change of them no longer acts",
            path,
            block.written,
        )
    for block, reason in done.left:
        _log.warning("%s: the block of %s is left in: %s", path, block.written, reason)
