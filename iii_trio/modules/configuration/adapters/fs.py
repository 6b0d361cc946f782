"""Entries as files: `<directory>/<id>.yaml`, written whole or not at all, and edited by hand (config-cli-modules 7)."""

import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import attrs
import trio

from iii_trio.modules.configuration.config import DEFAULT_DIRECTORY, LEGACY_DIRECTORY, FsConfig
from iii_trio.modules.configuration.store import ENTRY_ID, ConfigurationAdapter, Stored
from iii_trio.protocol import Json
from iii_trio.protocol.errors import AdapterDataError, AdapterUnavailable

from .files import Claim, replace_file, sync_directory
from .watch import Watch
from .yaml_text import dump_yaml

_log = logging.getLogger("iii_trio.configuration")
ParseYaml = Callable[[str], dict[str, Any]]
"""Reads a document whose top is a mapping; raises ValueError. Bounds how much there may be."""

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LARGEST: Final = 16 << 20
_DEEPEST: Final = 60
_MOST: Final = 50_000
_LONGEST_NUMBER: Final = 256
_ASIDE: Final = ".unreadable"


class ForeignFileError(AdapterDataError):
    """A YAML file that is no entry: people keep others in a directory of this name."""


def entry_path(directory: Path, entry_id: str) -> Path:
    """The file of an entry."""
    return directory / f"{entry_id}.yaml"


@asynccontextmanager
async def open_fs(config: FsConfig, parse: ParseYaml) -> AsyncIterator[ConfigurationAdapter]:
    """The adapter `fs` for the length of a block. Nothing is written before there is something to keep."""
    watch = Watch(Path(config.directory))
    files = FsConfiguration(Path(config.directory), parse, watch)
    if config.directory == DEFAULT_DIRECTORY:
        await files.migrate(Path(LEGACY_DIRECTORY))
    try:
        yield files
    finally:
        watch.close()
        files.claim.release()


@attrs.define(eq=False)
class FsConfiguration:
    """One file an entry. Files are touched in threads, one at a time."""

    directory: Path
    parse: ParseYaml
    watch: Watch
    claim: Claim = attrs.field(init=False, default=attrs.Factory(lambda self: Claim(self.directory), takes_self=True))
    _was_warned: bool = attrs.field(default=False, init=False)
    _seen: set[str] = attrs.field(factory=set, init=False)
    """Every id that was ever told, so that one that vanishes while nobody watches is told once more."""

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def load(self) -> Mapping[str, Stored]:
        found = {}
        await self._in_thread(self._claim)
        for entry_id in await self._in_thread(self._ids):
            try:
                entry = await self.read(entry_id)
            except ForeignFileError as error:
                _log.debug("%s; it is left as it is", error)
            except AdapterDataError as error:
                _log.warning("%s; it is left as it is and not used", error)
            else:
                if entry is not None:
                    found[entry_id] = entry
        self._seen = set(found)
        return found

    async def read(self, entry_id: str) -> Stored | None:
        return await self._in_thread(self._read, entry_id)

    async def save(self, entry: Stored) -> None:
        await self._in_thread(self._save, entry)
        self._seen.add(entry.id)
        self.watch.directory_made()

    async def delete(self, entry_id: str) -> None:
        await self._in_thread(self._delete, entry_id)

    async def wait_changes(self) -> Collection[str]:
        while True:
            changed = await self.watch.wait()
            if changed is None:
                ids = self._seen.union(await self._in_thread(self._ids))
            else:
                ids = {path.stem for path in changed if path.suffix == ".yaml" and ENTRY_ID.fullmatch(path.stem)}
            self._seen |= ids
            if ids:
                return ids

    async def migrate(self, legacy: Path) -> None:
        """Move the files of another engine that kept them elsewhere; what is here already stays as it is."""
        await self._in_thread(self._migrate, legacy)

    async def _in_thread(self, step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a step to its end, even if the caller is cancelled meanwhile: no file is left half-written."""
        try:
            return await trio.to_thread.run_sync(partial(step, *args, **kwargs), limiter=self._limiter)
        except OSError as error:
            raise AdapterUnavailable(f"{error.filename or self.directory}: {error.strerror or error}") from error

    # --- in threads -------------------------------------------------------------------------------------------------

    def _ids(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(path.stem for path in self.directory.glob("*.yaml") if ENTRY_ID.fullmatch(path.stem))

    def _path(self, entry_id: str) -> Path:
        return entry_path(self.directory, entry_id)

    def _read(self, entry_id: str) -> Stored | None:
        path = self._path(entry_id)
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"more than {_LARGEST} bytes")
            document = self.parse(path.read_bytes().decode())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise AdapterDataError(f"{path} cannot be read: {error}") from error
        return _stored(entry_id, document, path)

    def _save(self, entry: Stored) -> None:
        path = self._path(entry.id)
        text = dump_yaml(_document(entry, path))
        self._make_directory()
        self._keep_unreadable(entry.id, path)
        replace_file(path, text.encode())

    def _make_directory(self) -> None:
        if not self.directory.is_dir():
            self.directory.mkdir(parents=True, exist_ok=True)
            sync_directory(self.directory.parent)
        self._claim()

    def _claim(self) -> None:
        """Say so if another engine keeps its values here, too: each would take what the other stores for a change by hand."""
        if not (self._was_warned or self.claim.take()):
            self._was_warned = True
            _log.warning(
                "%s belongs to another engine that runs: what one of them stores is in force in both; "
                "give each a `directory` of its own (configuration, adapter fs)",
                self.directory,
            )

    def _keep_unreadable(self, entry_id: str, path: Path) -> None:
        """A file with a slip of the pen in it is somebody's work: it is moved aside, not overwritten."""
        try:
            self._read(entry_id)
        except AdapterDataError as error:
            aside = path.with_name(f"{path.name}{_ASIDE}")
            path.replace(aside)
            _log.warning("%s; it is now %s", error, aside)

    def _delete(self, entry_id: str) -> None:
        self._path(entry_id).unlink(missing_ok=True)
        if self.directory.is_dir():
            sync_directory(self.directory)

    def _migrate(self, legacy: Path) -> None:
        for old in sorted(legacy.glob("*.yaml")) if legacy.is_dir() else ():
            new = self.directory / old.name
            if ENTRY_ID.fullmatch(old.stem) and not new.exists():
                self._make_directory()
                replace_file(new, old.read_bytes())
                old.unlink()
                _log.info("%s is now %s", old, new)


def _document(entry: Stored, path: Path) -> dict[str, Json]:
    """The content of a file. Raises AdapterDataError for what could not be read back."""
    document: dict[str, Json] = {"id": entry.id, "name": entry.name, "description": entry.description}
    document["value"] = entry.value
    document |= {key: value for key in ("metadata", "seed") if (value := getattr(entry, key)) is not None}
    _Bounds(path).check(document, 0)
    return document


def _stored(entry_id: str, document: dict[str, Json], path: Path) -> Stored:
    if document and "id" not in document and "value" not in document:
        raise ForeignFileError(f"{path} is no configuration entry: it has no `id` and no `value`")
    if "value" not in document:  # an editor at work, perhaps
        raise AdapterDataError(f"{path} cannot be read: it has no `value`")
    if document.get("id", entry_id) != entry_id:
        raise AdapterDataError(f"{path} cannot be read: its id is not the name of the file")
    name, description = document.get("name") or "", document.get("description") or ""
    if not (isinstance(name, str) and isinstance(description, str)):
        raise AdapterDataError(f"{path} cannot be read: name and description are texts")
    values = {key: document.get(key) for key in ("value", "metadata", "seed")}
    if not _is_json(values):
        raise AdapterDataError(f"{path} cannot be read: it holds a number that JSON cannot carry")
    return Stored(entry_id, name, description, **values)


def _is_json(value: Json) -> bool:
    if isinstance(value, (dict, list)):
        return all(map(_is_json, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@attrs.define
class _Bounds:
    """What a file may hold so that it can be read again."""

    path: Path
    seen: int = 0

    def check(self, value: Json, depth: int) -> None:
        self.seen += 1
        if self.seen > _MOST or depth > _DEEPEST or _digits(value) > _LONGEST_NUMBER:
            raise AdapterDataError(
                f"{self.path}: an entry has at most {_MOST} values, {_DEEPEST} levels and {_LONGEST_NUMBER} digits a number"
            )
        if isinstance(value, (dict, list)):
            self.seen += len(value)
            for part in value.values() if isinstance(value, dict) else value:
                self.check(part, depth + 1)


def _digits(value: Json) -> int:
    return value.bit_length() // 3 if isinstance(value, int) else 0
