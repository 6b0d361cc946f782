"""docs/config.md, generated from the classes and tables the settings are read with, so that it cannot be wrong."""

import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

from .catalogue import Catalogue
from .messages import range_text
from .model import FileKeys, WorkerListenerConfig
from .names import MODULES, WORKER_MANAGER, Accepts, ModuleNames

_WORDS: Final = {int: "integer", float: "number", str: "string", bool: "true or false", Any: "anything"}

_INTRODUCTION: Final = """\
# Configuration reference

Generated from the classes the settings are read with; `tests/unit/test_settings_reference.py` fails when it is out of date.

## The file

`--config PATH` names it; otherwise `config.yaml`, then `iii-config.yaml` of the working directory is taken. Without any file
the default modules start and listen on 127.0.0.1 only. The file is UTF-8, YAML 1.2 or JSON. Every problem in it is reported at
once, with file, line and key, and the start ends with exit code 1.

### Settings that are stored

A module that takes its settings from the module `configuration` (`iii-http`) stores its block of the file there with the first
start, in `./config/iii-http.yaml`, and follows what is stored while it runs. From then on the last change wins, wherever it is
made: a block that says what it said before leaves the stored value alone (the log warns while the two differ), and one that says
something else replaces it with the next start. Two engines that run in one directory would share these values, so the second
warns: give each a `directory` of its own (below, `configuration`, adapter `fs`).

The engine does not write to the configuration file, unless `iii-trio serve --strip-seeded-config` asks for it: then each block
whose value is stored is taken out of the file once the engine is up. A comment in its place says where the value is and how to
change it; everything else of the file stays as it is. Variables in the block are put in for good, and the log says so. A file
that is read-only or in JSON stays as it is, so do blocks whose values are not kept in files (adapter `memory`) and blocks without
which the rest of the file would mean something else; the log names the reason. The block of `configuration` itself always stays.

### Environment variables

`${NAME}` and `${NAME:default}` are replaced in the text of the file before it is parsed, also in comments and in quotes. A
variable that is set wins, even if it is empty; a variable without a default that is not set ends the start. There is no
nesting, no escape, and what is put in is not expanded again. `${NAME:__III_ENGINE_VERSION__}` gives the engine's version.

### Top level
"""

_ENTRIES: Final = """\
### Entries of `workers` and `modules`

Both lists take both vocabularies; `workers` start before `modules`. Keys of an entry other than these are ignored.

| Key | Type | Meaning |
|---|---|---|
| `name` or `class` | string, required | The module, by any name of the table below. |
| `config` | mapping | The module's own keys; absent, null and `{}` give its defaults. |
| `image` | - | Refused: this engine starts no containers. |

A module with adapters takes the key `adapter` in its `config`:

| Key | Type | Meaning |
|---|---|---|
| `name` or `class` | string, required | The adapter, by any name of the table below. |
| `config` | mapping | The adapter's own keys. |

A module listed more than once is started as often, further instances with `#1`, `#2`, ... behind their name, except modules
that open a port of their own (`iii-http`, `iii-stream`) or serve the whole engine (`configuration`, `iii-http-functions`), which
are refused. A name and its successor (`iii-http` and `http`, and likewise cron, queue, state and pubsub) may not stand beside
each other.

Unknown keys in a `config` are refused, except that `iii-observability` and `iii-queue` only report them in the log. Where an
integer is expected, a string of digits is accepted, as quoted `"${PORT:3111}"` gives one; nothing else is converted.

Modules of the table below that this version cannot start yet are reported in the log and skipped, their keys unchecked.

### The log

Two keys of `iii-observability` count although the module itself is not part of this version: `level` (`trace`, `debug`, `info`,
`warn` or `error`; `info` unless given) and `format` (`default` or `json`). `--log-format` wins over the latter.

```yaml
workers:
  - name: iii-observability
    config: { level: debug, format: json }
```
"""


class UndocumentedKeyError(LookupError):
    """A field of a config class has no `doc` in its metadata."""


def render_reference(catalogue: Catalogue | None = None) -> str:
    """The text of docs/config.md for the modules of `catalogue`.

    Raises:
      UndocumentedKeyError: a key has no description.

    """
    known = catalogue or Catalogue()
    parts = [_INTRODUCTION, _table(FileKeys), _ENTRIES, _names_table(), *_sections(known)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _sections(catalogue: Catalogue) -> Iterator[str]:
    yield "## Keys of the modules"
    yield from _section(WORKER_MANAGER, WorkerListenerConfig)
    for names in MODULES:
        cls = catalogue.modules.get(names.name)
        if cls is not None:
            yield from _section(names.name, cls)
        for adapter, options in sorted(catalogue.adapters.get(names.name, {}).items()):
            if options is not None:
                yield from _section(f"{names.name}, adapter {adapter}", options)


def _section(name: str, cls: type[Any]) -> Iterator[str]:
    yield f"### `{name}`"
    if cls.__doc__:
        yield cls.__doc__.strip().splitlines()[0]
    yield _table(cls)


def _table(cls: type[Any]) -> str:
    rows = [f"| `{key}` | {kind} | {default} | {doc} |" for key, kind, default, doc in _rows(cls, "")]
    if not rows:
        return "No keys."
    return "\n".join(["| Key | Type | Default | Meaning |", "|---|---|---|---|", *rows])


def _rows(cls: type[Any], before: str) -> Iterator[tuple[str, str, str, str]]:
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        if not field.init:
            continue
        if not field.metadata.get("doc"):
            raise UndocumentedKeyError(f"{cls.__name__}.{field.name} has no `doc` in its metadata")
        key = f"{before}{field.name}"
        yield key, _type_text(field.type) + _bounds(field.metadata), _default(field), str(field.metadata["doc"])
        nested, suffix = _nested(field.type)
        if nested is not None:
            yield from _rows(nested, f"{key}{suffix}.")


def _nested(kind: Any) -> tuple[type[Any] | None, str]:
    if isinstance(kind, type) and attrs.has(kind):
        return kind, ""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        found = [_nested(one) for one in arguments]
        return next((one for one in found if one[0] is not None), (None, ""))
    if origin in {list, tuple} and arguments:
        nested, suffix = _nested(arguments[0])
        return nested, f"[]{suffix}"
    if origin in {dict, Mapping} and arguments:
        nested, suffix = _nested(arguments[1])
        return nested, f".*{suffix}"
    return None, ""


def _type_text(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type_text(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in {list, tuple}:
        return f"list of {_type_text(arguments[0])}"
    if origin in {dict, Mapping} or attrs.has(kind):
        return "mapping"
    return _WORDS[kind]


def _bounds(metadata: Mapping[Any, Any]) -> str:
    lowest, highest = metadata.get("minimum"), metadata.get("maximum")
    if lowest is None and highest is None:
        return ""
    return f", {range_text(lowest, highest)}"


def _default(field: "attrs.Attribute[Any]") -> str:
    if field.default is attrs.NOTHING:
        return "required"
    default: Any = field.default
    if hasattr(default, "factory"):
        default = default.factory()
    if default is None or attrs.has(type(default)):
        return "-"
    return f"`{json.dumps(default, default=list)}`"


def _names_table() -> str:
    header = [
        "## Modules and their names",
        "",
        "| Name | Also | Old class | Adapters, the default first | Starts | What it is |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*header, *map(_names_row, MODULES)])


def _names_row(names: ModuleNames) -> str:
    adapters = sorted(names.adapters, key=lambda adapter: adapter.name != names.default_adapter)
    adapter_texts = [" = ".join(f"`{name}`" for name in (one.name, *one.aliases)) for one in adapters]
    starts = "never" if names.accepts in {Accepts.NOTHING_DONE, Accepts.NOTHING_DONE_WARN} else names.starts.value
    cells = (
        f"`{names.name}`",
        ", ".join(f"`{alias}`" for alias in names.aliases),
        ", ".join(f"`{cls}`" for cls in names.classes),
        ", ".join(adapter_texts),
        starts,
        names.purpose,
    )
    return "| " + " | ".join(cell or "-" for cell in cells) + " |"
