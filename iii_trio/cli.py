"""The command `iii-trio`, the same as `python -m iii_trio`: reads the command line, runs a subcommand (config-cli-modules 10).

Only what a subcommand needs is imported, and only when it runs: `--version` and `--help` load neither Trio nor the engine.
"""

import errno
import io
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from .commands._parser import NOT_OURS, PROGRAM, build_parser

if TYPE_CHECKING:
    from .commands._client import EngineAddress
    from .commands.trigger import TriggerOptions

_STDERR = 2
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_USAGE_ERROR = 2
_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (that of the process unless given) and return the exit code (config-cli-modules 3)."""
    _prepare_streams()
    try:
        options, rest = build_parser().parse_known_args(argv)
        code = _COMMANDS.get(options.command, _refuse_command)(options, rest)
        sys.stdout.flush()
    except SystemExit as left:  # argparse: 0 after --help and --version, 2 after a usage error
        return left.code if isinstance(left.code, int) else _USAGE_ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        if error.errno not in _UNWRITABLE and not isinstance(error, BrokenPipeError):
            raise
        # the interpreter would complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # else `| head` has read enough
            print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return code


def _prepare_streams() -> None:
    """Make stdout and stderr fit for whatever is written to them.

    A daemon may be started without them: then nobody reads them, and no socket of ours may get their numbers. Letters
    that an encoding does not have are escaped.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(spare)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _serve(options: Namespace, rest: list[str]) -> int:
    _refuse_rest(options, rest)
    if options.use_default_config and options.config is not None:
        options.parser.error("the argument '--use-default-config' cannot be used with '--config <PATH>'")
    from .commands.serve import ServeOptions, serve

    return serve(
        ServeOptions(
            config=options.config,
            use_default_config=options.use_default_config,
            host=options.host,
            port=options.port,
            log_format=options.log_format,
            load=(*(options.load or ()), *options.load_more),
            strip_seeded_config=options.strip_seeded_config,
        )
    )


def _trigger(options: Namespace, rest: list[str]) -> int:
    words = _words(options, rest)
    wanted = _trigger_options(options, words)
    if options.wants_help and wanted.function_id is None:
        options.parser.print_help()
        return 0
    from .commands.trigger import describe, trigger

    if options.wants_help:
        return describe(wanted, options.parser.format_help(), sys.stdout, sys.stderr)
    return trigger(wanted, sys.stdout, sys.stderr)


def _trigger_options(options: Namespace, words: list[str]) -> "TriggerOptions":
    """Tell the two forms apart: FUNCTION_PATH and words, or `--function-id` and `--payload` (10.2)."""
    if options.json is not None and options.payload is not None:
        options.parser.error("the argument '--json <JSON>' cannot be used with '--payload <JSON>'")
    function_id = options.function_id
    if function_id is None and words:
        function_id = words.pop(0)
    elif function_id is not None and words and "=" not in words[0]:
        options.parser.error("the argument '--function-id <ID>' cannot be used with 'FUNCTION_PATH'")
    elif function_id is None and options.payload is not None and not options.wants_help:
        options.parser.error("the following argument is required: --function-id <ID>")
    from .commands._payload import Given
    from .commands.trigger import TriggerOptions

    text, option = (options.payload, "--payload") if options.payload is not None else (options.json, "--json")
    given = Given(text, option, tuple(words))
    return TriggerOptions(_engine(options), function_id, given, options.timeout_ms / 1000, options.namespace)


def _tree(options: Namespace, rest: list[str]) -> int:
    _refuse_rest(options, rest)
    _refuse_serve_options(options)
    from .commands.tree import TreeOptions, tree

    wanted = TreeOptions(_engine(options), options.timeout_ms / 1000, options.json)
    return tree(wanted, os.environ, sys.stdout, sys.stderr)


def _refuse_command(options: Namespace, _rest: list[str]) -> int:
    print(f"{PROGRAM} has no command '{options.command}': {NOT_OURS[options.command]}.", file=sys.stderr)
    return 1


def _engine(options: Namespace) -> "EngineAddress":
    from .commands._client import EngineAddress

    return EngineAddress(options.engine_host, options.engine_port)


def _words(options: Namespace, rest: list[str]) -> list[str]:
    """The words between the options of `trigger`, in order; after `--` everything is one."""
    _refuse_serve_options(options)
    end = rest.index("--") if "--" in rest else len(rest)
    _refuse_rest(options, [word for word in rest[:end] if word.startswith("-")])
    return rest[:end] + rest[end + 1 :]


def _refuse_rest(options: Namespace, rest: list[str]) -> None:
    if rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")


def _refuse_serve_options(options: Namespace) -> None:
    """Those of `serve` stand before the command and would be ignored there."""
    given = {"--config": options.config, "--host": options.host, "--port": options.port, "--load": options.load}
    given["--strip-seeded-config"] = options.strip_seeded_config or None
    for option, value in given.items():
        if value is not None:
            options.parser.error(f"{option} before the command belongs to `{PROGRAM} serve`; put it after the command")


_COMMANDS: Final[MappingProxyType[str, Callable[[Namespace, list[str]], int]]] = MappingProxyType(
    {"serve": _serve, "trigger": _trigger, "tree": _tree}
)
