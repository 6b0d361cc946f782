"""The grammar of the command line: commands, options, their types and their help (config-cli-modules 10)."""

import argparse
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

from iii_trio import __version__

PROGRAM: Final = "iii-trio"
_HIGHEST_PORT = 65_535
_DEFAULT_PORT = 49_134
_TRIGGER_USAGE: Final = f"{PROGRAM} trigger [OPTIONS] FUNCTION_PATH [key=value ...]"
NOT_OURS: Final = MappingProxyType(
    {
        "console": "the web console is a program of its own; start it and point it at this engine",
        "worker": "workers are started by whoever runs them, and connect by themselves",
        "project": "projects are not made here",
        "cloud": "there is no cloud service",
        "compose": "containers are not started here",
        "update": "install another version with pip or uv",
    }
)
_EXAMPLES: Final = """\
examples:
  iii-trio                                 serve with config.yaml, or the defaults on 127.0.0.1
  iii-trio serve --config my.yaml --port 0
  iii-trio trigger math::add a=2 b=3
  iii-trio tree
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    The namespace it makes has `command` (`serve` if none is given) and `parser`, the one to report usage errors with.
    Words and unknown options are left over (`parse_known_args`): `trigger` takes words between its options.
    """
    parser = argparse.ArgumentParser(
        PROGRAM,
        usage=f"{PROGRAM} [OPTIONS] [COMMAND]",
        description="The iii backend orchestration engine. Without a command it serves.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command="serve", parser=parser, load_more=[])
    parser.add_argument("-v", "--version", action="version", version=__version__, help="print the version")
    _add_serve_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog=PROGRAM)
    _add_serve(commands)
    _add_trigger(commands)
    _add_tree(commands)
    for name in NOT_OURS:
        foreign = commands.add_parser(name, add_help=False, allow_abbrev=False)
        foreign.set_defaults(command=name, parser=foreign)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="run the engine (the default)",
        usage=f"{PROGRAM} serve [OPTIONS]",
        argument_default=argparse.SUPPRESS,  # what stands before `serve` counts, too
        allow_abbrev=False,
    )
    serve.set_defaults(command="serve", parser=serve)
    _add_serve_options(serve, load="load_more")


def _add_serve_options(parser: argparse.ArgumentParser, load: str = "load") -> None:
    add = parser.add_argument
    add("-c", "--config", metavar="PATH", type=Path, help="configuration file (config.yaml, then iii-config.yaml)")
    add(
        "--use-default-config", action="store_true", default=parser.argument_default or False, help="ignore those files"
    )
    add("--host", metavar="HOST", type=_host, help="interface of the first worker listener, whatever the file says")
    add("--port", metavar="PORT", type=_port_or_any, help="port of the first worker listener; 0 takes a free one")
    add("--log-format", choices=("default", "json"), help="for people, or one JSON object per line")
    add("--load", metavar="MODULE", dest=load, action="append", help="import a Python module that registers modules")
    add(
        "--strip-seeded-config",
        action="store_true",
        default=parser.argument_default or False,
        help="take `config` blocks whose values are stored out of the file",
    )
    add("--no-update-check", action="store_true", default=parser.argument_default, help="accepted, without effect")
    for reload_option, nargs in (("--no-watch", 0), ("--reload-errors", "?")):
        add(reload_option, action=_HotReload, nargs=nargs, help=argparse.SUPPRESS)


def _add_trigger(commands: Any) -> None:
    trigger = commands.add_parser(
        "trigger",
        aliases=["t"],
        help="call a function of a running engine",
        usage=_TRIGGER_USAGE,
        description="Call a function and print its result as JSON. Values are read as JSON, else taken as text.",
        add_help=False,
        allow_abbrev=False,
    )
    trigger.set_defaults(command="trigger", parser=trigger)
    trigger.add_argument("--json", metavar="JSON", help="the payload; key=value words are merged into it")
    trigger.add_argument("--function-id", metavar="ID", help="the function, instead of FUNCTION_PATH")
    trigger.add_argument("--payload", metavar="JSON", help="the payload, as in earlier releases")
    trigger.add_argument("-n", "--namespace", metavar="NS", help="where the function is looked for (default)")
    _add_engine_options(trigger, timeout_ms=30_000)
    trigger.add_argument("-h", "--help", action="store_true", dest="wants_help", help="with a function: describe it")


def _add_tree(commands: Any) -> None:
    tree = commands.add_parser(
        "tree",
        help="show the supervision tree of a running engine",
        usage=f"{PROGRAM} tree [OPTIONS]",
        allow_abbrev=False,
    )
    tree.set_defaults(command="tree", parser=tree)
    _add_engine_options(tree, timeout_ms=10_000)
    tree.add_argument("--json", action="store_true", help="print it as JSON")


def _add_engine_options(parser: argparse.ArgumentParser, timeout_ms: int) -> None:
    add = parser.add_argument
    add(
        "--address",
        metavar="HOST",
        dest="engine_host",
        type=_host,
        default="localhost",
        help="of the engine (localhost)",
    )
    add("--port", metavar="PORT", dest="engine_port", type=_port, default=_DEFAULT_PORT, help="of the engine (49134)")
    add("--timeout-ms", metavar="N", type=_positive, default=timeout_ms, help=f"how long to wait ({timeout_ms})")


class _HotReload(argparse.Action):
    """Refuses an option of a part that does not exist yet, rather than serving as if it were there."""

    def __call__(
        self, parser: argparse.ArgumentParser, _space: object, _values: object, option: str | None = None
    ) -> NoReturn:
        parser.error(f"{option}: hot reload of the configuration is not part of this release; leave the option out")


def _host(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the host is empty")
    return text.strip().removeprefix("[").removesuffix("]")


def _number(text: str, lowest: int, highest: int | None = None) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number < lowest or (highest is not None and number > highest):
        bounds = f"{lowest} to {highest}" if highest is not None else f"at least {lowest}"
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {bounds}")
    return number


def _port_or_any(text: str) -> int:
    return _number(text, 0, _HIGHEST_PORT)


def _port(text: str) -> int:
    return _number(text, 1, _HIGHEST_PORT)


def _positive(text: str) -> int:
    return _number(text, 1)
