"""The command line: what each form means, and what is refused with which exit code (config-cli-modules 10.1, 10.2)."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import iii_trio.commands.serve
import iii_trio.commands.tree
import iii_trio.commands.trigger
from iii_trio import __version__
from iii_trio.cli import main
from iii_trio.commands._client import EngineAddress
from iii_trio.commands._payload import Given
from iii_trio.commands.serve import ServeOptions
from iii_trio.commands.tree import TreeOptions
from iii_trio.commands.trigger import TriggerOptions

LOCAL = EngineAddress("localhost", 49134)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the commands were asked to do; they do nothing and answer 7."""
    seen: list[Any] = []

    def command(options: Any, *_: Any) -> int:
        seen.append(options)
        return 7

    monkeypatch.setattr(iii_trio.commands.serve, "serve", command)
    monkeypatch.setattr(iii_trio.commands.trigger, "trigger", command)
    monkeypatch.setattr(iii_trio.commands.trigger, "describe", command)
    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    return seen


SERVED = [
    ([], ServeOptions()),
    (["serve"], ServeOptions()),
    (["-c", "a.yaml"], ServeOptions(config=Path("a.yaml"))),
    (["--config=a.yaml", "serve"], ServeOptions(config=Path("a.yaml"))),
    (["serve", "--config", "a.yaml", "--port", "0"], ServeOptions(config=Path("a.yaml"), port=0)),
    (["--port", "1", "serve", "--port", "2"], ServeOptions(port=2)),
    (["--use-default-config", "--no-update-check"], ServeOptions(use_default_config=True)),
    (["--use-default-config", "serve"], ServeOptions(use_default_config=True)),
    (["serve", "--host", "[::1]", "--port", "65535"], ServeOptions(host="::1", port=65535)),
    (["--log-format", "json"], ServeOptions(log_format="json")),
    (["--strip-seeded-config"], ServeOptions(strip_seeded_config=True)),
    (["--strip-seeded-config", "serve"], ServeOptions(strip_seeded_config=True)),
    (["serve", "--strip-seeded-config"], ServeOptions(strip_seeded_config=True)),
    (["--load", "a", "serve", "--load", "b.c", "--load", "d"], ServeOptions(load=("a", "b.c", "d"))),
]


@pytest.mark.parametrize(("argv", "options"), SERVED)
def test_serving_with_and_without_the_word(argv: list[str], options: ServeOptions, asked: list[Any]) -> None:
    assert main(argv) == 7
    assert asked == [options]


TRIGGERED = [
    (["trigger", "f"], TriggerOptions(LOCAL, "f")),
    (["t", "f"], TriggerOptions(LOCAL, "f")),
    (["trigger", "f", "a=1", "b=-2"], TriggerOptions(LOCAL, "f", Given(words=("a=1", "b=-2")))),
    (
        ["trigger", "--json", "{}", "f", "a=1", "-n", "ns", "b=2"],
        TriggerOptions(LOCAL, "f", Given("{}", words=("a=1", "b=2")), namespace="ns"),
    ),
    (["trigger", "f", "--json", "-1"], TriggerOptions(LOCAL, "f", Given("-1"))),
    (["trigger", "f", "--", "-a=1", "--json"], TriggerOptions(LOCAL, "f", Given(words=("-a=1", "--json")))),
    (["trigger", "--function-id=f", "--payload={}"], TriggerOptions(LOCAL, "f", Given("{}", "--payload"))),
    (["trigger", "--function-id", "f"], TriggerOptions(LOCAL, "f")),
    (["trigger", "f", "--payload", "{}"], TriggerOptions(LOCAL, "f", Given("{}", "--payload"))),
    (
        ["trigger", "f", "--address", "h", "--port", "5", "--timeout-ms", "250"],
        TriggerOptions(EngineAddress("h", 5), "f", timeout=0.25),
    ),
    (["trigger"], TriggerOptions(LOCAL)),
    (["trigger", "f", "--help"], TriggerOptions(LOCAL, "f")),
    (["tree"], TreeOptions(LOCAL)),
    (["tree", "--json", "--port", "5", "--address", "::1"], TreeOptions(EngineAddress("::1", 5), json=True)),
]


@pytest.mark.parametrize(("argv", "options"), TRIGGERED)
def test_calling_a_running_engine(argv: list[str], options: Any, asked: list[Any]) -> None:
    assert main(argv) == 7
    assert asked == [options]


WRONG = [  # config 57, 7
    (["start"], "invalid choice: 'start'"),
    (["nope"], "invalid choice: 'nope'"),
    (["--nope"], "unrecognized arguments: --nope"),
    (["serve", "--nope"], "unrecognized arguments: --nope"),
    (["serve", "word"], "unrecognized arguments: word"),
    (["--conf=a"], "unrecognized arguments: --conf=a"),  # no abbreviations: later releases may add options
    (["--config"], "expected one argument"),
    (["--use-default-config", "--config", "a.yaml"], "cannot be used with"),
    (["serve", "--config", "a.yaml", "--use-default-config"], "cannot be used with"),
    (["--config", "a.yaml", "serve", "--use-default-config"], "cannot be used with"),
    (["--port", "65536"], "0 to 65535"),
    (["--port", "-1"], "0 to 65535"),
    (["--port", "x"], "0 to 65535"),
    (["--host", " "], "the host is empty"),
    (["--log-format", "xml"], "invalid choice: 'xml'"),
    (["--no-watch"], "hot reload"),
    (["serve", "--reload-errors=exit"], "hot reload"),
    (["serve", "--reload-errors", "keep"], "hot reload"),
    (["trigger", "f", "--nope"], "unrecognized arguments: --nope"),
    (["trigger", "f", "--port", "0"], "1 to 65535"),
    (["trigger", "f", "--timeout-ms", "0"], "at least 1"),
    (["trigger", "f", "--function-id", "g"], "cannot be used with 'FUNCTION_PATH'"),
    (["trigger", "--payload", "{}"], "--function-id"),  # config 63, form B
    (["trigger", "f", "--payload", "{}", "--json", "{}"], "cannot be used with"),
    (["--port", "4", "trigger", "f"], "--port before the command belongs to `iii-trio serve`"),
    (["-c", "a", "tree"], "--config before the command belongs to `iii-trio serve`"),
    (["--strip-seeded-config", "trigger", "f"], "--strip-seeded-config before the command belongs to `iii-trio serve`"),
    (["tree", "word"], "unrecognized arguments: word"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG)
def test_bad_command_lines_end_with_2_and_usage_on_stderr(
    argv: list[str], message: str, asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: iii-trio")
    assert message in said.err
    assert asked == []


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_the_version_stands_alone(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0  # config 57
    assert capsys.readouterr() == (f"{__version__}\n", "")


def test_help_lists_the_commands_and_no_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n    {command} " in said for command in ("serve", "trigger", "tree"))
    assert "start" not in said.replace("start it", "")
    assert "--no-watch" not in said


def test_help_of_trigger_needs_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trigger", "-h"]) == 0
    assert "FUNCTION_PATH [key=value ...]" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["console", "worker", "project", "cloud", "compose", "update"])
def test_commands_of_the_reference_are_refused_with_a_notice(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "add", "--help", "x"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert f"no command '{command}'" in said.err


def test_a_missing_function_is_an_error_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trigger"]) == 1  # config 63, form A
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: iii trigger: missing FUNCTION_PATH")


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (SystemExit(None), 2)], ids=["interrupt", "exit"]
)
def test_interrupts_leave_no_traceback(raised: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*_: Any) -> int:
        raise raised

    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    assert main(["tree"]) == code


def test_a_reader_that_has_gone_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(*_: Any) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["tree"]) == 1
        print("nobody reads this", file=out, flush=True)
    assert (tmp_path / "out").read_text() == ""


def run(arguments: str, redirections: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`iii-trio` under a shell; the engine it asks is one that is not there."""
    command = f"'{sys.executable}' -m iii_trio {arguments} {redirections}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error_of_ours(closed: str) -> None:
    done = run("serve --config /no/such/file", closed)
    assert done.returncode == 1
    assert done.stderr == ("" if "2>" in closed else done.stderr)
    assert "Traceback" not in done.stderr


def test_output_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    error = io.StringIO()
    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    monkeypatch.setattr(sys, "stderr", error)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["tree"]) == 1
    assert error.getvalue() == "Error: the output cannot be written: No space left on device\n"


def test_other_errors_of_the_system_are_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    with pytest.raises(OSError, match="Too many open files"):
        main(["tree"])


def test_letters_that_a_terminal_does_not_have_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*_: Any) -> int:
        print("└─ ü")
        return 0

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(iii_trio.commands.tree, "tree", command)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["tree"]) == 0
    assert out.buffer.getvalue() == rb"\u2514\u2500 \xfc" + b"\n"


def test_version_and_help_load_neither_trio_nor_the_engine() -> None:
    program = (
        "import sys; from iii_trio.cli import main; main(['--version']); main(['--help'])\n"
        "sys.exit(' '.join({'trio', 'attrs', 'msgspec', 'iii_trio.engine'} & set(sys.modules)) or 0)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith(__version__)


def test_stdout_is_flushed_while_a_broken_pipe_can_still_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            return self.target

    with Path(os.devnull).open("w") as target:
        out = Broken()
        out.target = target.fileno()
        monkeypatch.setattr(iii_trio.commands.tree, "tree", lambda *_: 0)
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["tree"]) == 1
