"""What the documents at the top of the repository say is so: commands, programs, links, names and numbers."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from iii_trio import __version__
from iii_trio._policies import make_policies
from iii_trio.commands._parser import build_parser
from iii_trio.composition import settings_catalogue
from iii_trio.engine import resolve_settings
from iii_trio.kernel import Session
from iii_trio.modules.http.config import HttpConfig
from iii_trio.protocol import Payload
from iii_trio.protocol.access import AuthResult, decode_answer
from iii_trio.settings import MODULES
from iii_trio.settings.names import Accepts

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "adr").glob("*.md"))
BUILT_IN = {"iii-worker-manager", "iii-engine-functions"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run_program(source: str, folder: Path) -> list[str]:
    (folder / "program.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-W", "error", "program.py"]
    env = {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def programs_with(text: str) -> str:
    (source,) = [source for source in blocks("python") if text in source]
    return source


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_there_are_two_set_up_commands() -> None:
    assert [block.strip() for block in blocks("sh")] == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/iii-trio serve",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/just test",
    ]


def test_ci_runs_the_second_one_as_it_stands() -> None:
    (pattern,) = re.findall(
        r'^command=\$\(grep -E "(.*?)" README\.md', (ROOT / ".ci" / "run").read_text(), re.MULTILINE
    )
    lines = [line for line in README.splitlines() if re.search(pattern.replace("\\$", "$"), line)]
    assert lines == [blocks("sh")[1].strip()]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_without_a_file_it_listens_where_the_readme_says() -> None:
    settings = resolve_settings(None)
    (listener,) = settings.listeners()
    (http,) = [entry.options for entry in settings.entries if isinstance(entry.options, HttpConfig)]
    for address in (f"`{listener.host}:{listener.port}`", f"`{http.host}:{http.port}`"):
        assert address in section("Five minutes")
    assert (listener.host, http.host) == ("127.0.0.1", "127.0.0.1")


def test_the_configuration_shown_is_one(tmp_path: Path) -> None:
    text, _ = blocks("yaml")
    (tmp_path / "config.yaml").write_text(text)
    settings = resolve_settings(tmp_path / "config.yaml")
    assert settings.warnings == ()
    assert settings.unbuilt == ()
    assert [entry.options.port for entry in settings.entries if isinstance(entry.options, HttpConfig)] == [3111]


async def test_the_guarded_port_is_as_shown(tmp_path: Path) -> None:
    _, text = blocks("yaml")
    (tmp_path / "config.yaml").write_text(text)
    settings = resolve_settings(tmp_path / "config.yaml")
    own, guests = make_policies(settings.listeners())
    assert own is None
    assert guests is not None
    program: dict[str, Any] = {}
    exec(programs_with("async def auth"), program)
    headers = {"authorization": "Bearer s3cret"}
    said = decode_answer(Payload.of(await program["auth"]({"headers": headers})), AuthResult)
    session = Session.of(guests, "id", "127.0.0.1", said)
    names = ("billing::quote", "shop::list", "engine::workers::list")
    assert [session.refusal("default", name, None) is None for name in names] == [True, True, False]
    with pytest.raises(PermissionError):
        await program["auth"]({"headers": {}})


def test_actors_alone(tmp_path: Path) -> None:
    assert run_program(programs_with("from actors import"), tmp_path) == ["2", "5", "crashed: ValueError(-1)", "4"]


def test_embedding(tmp_path: Path) -> None:
    address, result = run_program(programs_with("open_engine("), tmp_path)
    assert re.fullmatch(r"workers connect to \('127\.0\.0\.1', \d+\)", address)
    assert result == "5"


def test_the_worker_of_the_published_sdk_is_python() -> None:
    tree = ast.parse(programs_with("from iii import"))
    assert [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] == ["greet"]
    assert len(blocks("python")) == 4


def test_the_commands_shown_are_understood() -> None:
    commands = re.findall(r"^\| `iii-trio (.*?)` \|", section("Command line"), re.MULTILINE)
    assert len(commands) == 7
    for line in commands[:-1]:
        words = line.split()
        options, rest = build_parser().parse_known_args(words)
        assert options.command == words[0]
        assert [word for word in rest if word.startswith("-")] == []
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(commands[-1].split())
    assert left.value.code == 0


def test_the_status_names_every_module_on_its_side() -> None:
    rows = [line.strip("|").split(" | ") for line in section("Status").splitlines() if line.startswith("| ")]
    here, missing = (" ".join(column) for column in zip(*rows, strict=True))
    built = BUILT_IN | settings_catalogue().modules.keys()
    for module in MODULES:
        if module.accepts in {Accepts.KNOWN_KEYS, Accepts.WARN} and module.name != "iii-worker-manager":
            assert (f"`{module.name}`" in here) == (module.name in built), module.name
            assert (f"`{module.name}`" in missing) == (module.name not in built), module.name


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (latest, *_) = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert __version__ == project["version"] == latest
    assert f"Version {__version__}" in section("Status")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, target


def test_every_document_is_linked() -> None:
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"](docs/{path.name})" not in README] == []


def test_every_decision_is_listed_and_has_its_parts() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert titles == ["Context", "Decision", "Consequences"], path.name
        assert f"](adr/{path.name})" in architecture
        assert text.startswith(f"# {int(path.name[:4])}. ")


def test_the_files_and_functions_of_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:actors|iii_trio|tests)/[\w/]+(?:\.py|/))`", text)):
        assert (ROOT / name).exists(), name
    source = {path: path.read_text() for path in (*ROOT.glob("iii_trio/**/*.py"), *ROOT.glob("actors/*.py"))}
    for owner, method in set(re.findall(r"`([A-Z]\w+)\.(\w+)`", text)):
        homes = [code for code in source.values() if f"class {owner}" in code]
        assert any(re.search(rf"\b{method}\b", code) for code in homes), f"{owner}.{method}"
    for function in set(re.findall(r"`([a-z]\w+)\(\)`", text)):
        assert any(f"def {function}(" in code for code in source.values()), function
