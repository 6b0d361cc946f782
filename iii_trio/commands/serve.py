"""`iii-trio serve`: run an engine until a signal (config-cli-modules 1.1, 3, 10.1)."""

import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import trio

from iii_trio.engine import Engine, build_engine, resolve_settings
from iii_trio.logs import LogFormat, LogOptions, configure_logging
from iii_trio.protocol.errors import ConfigError, IIIError
from iii_trio.serving import StartFailed, serve_engine
from iii_trio.settings import Settings, find_config

from ._memory import return_large_buffers

_log = logging.getLogger("iii_trio.serve")
_ENTRY_POINTS = "iii_trio.modules"


@attrs.frozen
class ServeOptions:
    """What the command line says; flags win over the file."""

    config: Path | None = None
    use_default_config: bool = False
    host: str | None = None
    port: int | None = None
    log_format: LogFormat | None = None
    load: tuple[str, ...] = ()
    strip_seeded_config: bool = False


def serve(options: ServeOptions) -> int:
    """Run the engine in this process; returns the exit code. Every failure is one `Error: ...` on stderr."""
    configure_logging(LogOptions(options.log_format or "default"))
    return_large_buffers()
    try:
        load_modules(options.load)
        settings = _settings(options)
        engine = build_engine(settings, host=options.host, port=options.port)
        trio.run(partial(serve_engine, engine, when_up=_when_up(options)))
    except IIIError as error:
        _explain(error)
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  # the command's answer
        return 1
    return 0


def _when_up(options: ServeOptions) -> Callable[[Engine], Awaitable[None]] | None:
    if not options.strip_seeded_config:
        return None
    from ._strip import strip_seeded_config

    return strip_seeded_config


def load_modules(names: tuple[str, ...]) -> None:
    """Import what registers modules: `--load` packages and the entry points group `iii_trio.modules`. Raises ConfigError."""
    if names and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it: the packages of a project lie where it is served
    wanted = [(f"--load {name}", name) for name in names]
    wanted += [(f"entry point {point.name}", point.module) for point in entry_points(group=_ENTRY_POINTS)]
    for source, name in wanted:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(f"{source}: cannot be imported: {error}") from error
        except (Exception, SystemExit) as error:  # code of others, which may do anything
            _log.error("%s failed in\n%s", source, traceback.format_exc().rstrip())
            raise ConfigError(f"{source}: cannot be imported: {type(error).__name__}: {error}") from error


def _settings(options: ServeOptions) -> Settings:
    """The settings of the file named, of the one found, or the defaults; what they say about the log is applied."""
    path = options.config
    if path is None and not options.use_default_config:
        path = find_config(Path.cwd())
        path = Path(path.name) if path is not None else None  # messages name it as the user would
    settings = resolve_settings(path)
    log_options, problems = LogOptions.of(settings.log_config(), options.log_format)
    configure_logging(log_options)
    if path is None:
        _log.info("Using default config (no config file)")
    else:
        _log.info("Parsed config file: %s", path)
    for problem in problems:
        _log.warning("%s", problem)
    _log.info("Log level from config: %s, Log format: %s, OTel enabled: false", log_options.level, log_options.format)
    _log.info("Building engine with %d modules", len(settings.entries))
    return settings


def _explain(error: IIIError) -> None:
    """Log the traceback of a start that failed in somebody's code: its text alone rarely says where."""
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(error, StartFailed) and cause is not None and not isinstance(cause, IIIError | OSError):
        _log.error("the start failed in\n%s", "".join(traceback.format_exception(cause)).rstrip())
