"""A layer imports only downward: every import of the two packages against the table of the style guide."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {
    "actors": set[str](),
    "protocol": set[str](),
    "kernel": {"protocol", "actors"},
    "sockets": {"protocol", "actors"},
    "transport": {"kernel", "sockets", "protocol", "actors"},
    "clients": {"protocol"},
    "modules": {"clients", "kernel", "sockets", "protocol", "actors"},
    "worker": {"kernel", "sockets", "protocol", "actors"},
    "settings": {"protocol"},
    "logs": set[str](),
    "network": {"protocol"},
    "testing": {"contracts", "kernel", "network", "protocol", "actors"},
    "contracts": {"modules", "protocol"},
}
COMPOSITION_ROOT = {
    *(
        "__init__",
        "__main__",
        "_configuration",
        "_crashes",
        "_notices",
        "_policies",
        "builder",
        "cli",
        "commands",
        "composition",
        "engine",
        "serving",
    ),
}
ALLOWED_OUTSIDE = {
    "actors": {"trio", "attrs"},
    "protocol": {"attrs", "cattrs", "msgspec", "orjson"},
    "kernel": {"trio", "attrs", "msgspec"},
    "sockets": {"trio", "attrs", "h11", "websockets"},
    "transport": {"trio", "attrs", "msgspec"},
}
PACKAGED_AS = {"ruamel": "ruamel.yaml"}
"""What a library is called on PyPI, where that is another name than the one it is imported by."""

SEVERAL_MODULES = {"base", "built_in", "catalogue", "driver", "live_config", "module_engine", "results"}
"""Files of `iii_trio.modules` that belong to no single module."""

MAY_LOOK_INSIDE = {("cli", "commands")}
"""The command line is one part in two places."""


@attrs.frozen
class Arrow:
    """One import: which file imports which dotted name."""

    file: str
    source: str
    target: str

    @property
    def layer(self) -> str:
        return layer_of(self.source)

    @property
    def target_layer(self) -> str | None:
        return layer_of(self.target) if self.target.split(".")[0] in {"iii_trio", "actors"} else None


def layer_of(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "actors":
        return "actors"
    return parts[1] if len(parts) > 1 else "__init__"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    """The dotted names an import statement loads: the module, or the submodule it takes from a package."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *filter(None, [node.module])])
        for alias in node.names:
            below = f"{module}.{alias.name}"
            yield below if is_module(below) else module


def arrows() -> list[Arrow]:
    found = []
    for file in sorted([*ROOT.glob("iii_trio/**/*.py"), *ROOT.glob("actors/**/*.py")]):
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(file.read_text())):
            found += [Arrow(str(file.relative_to(ROOT)), name, target) for target in imported(node, parts[:-1])]
    return found


ARROWS = arrows()


def test_every_part_has_a_place_in_the_table() -> None:
    assert {arrow.layer for arrow in ARROWS} <= set(LAYERS) | COMPOSITION_ROOT
    assert len(ARROWS) > 400
    assert not set(LAYERS) & COMPOSITION_ROOT


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_downward(layer: str) -> None:
    allowed = LAYERS[layer] | {layer}
    wrong = [
        f"{arrow.file}: {arrow.target}"
        for arrow in ARROWS
        if arrow.layer == layer and arrow.target_layer is not None and arrow.target_layer not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", ALLOWED_OUTSIDE)
def test_lower_layers_stand_on_few_libraries(layer: str) -> None:
    outside = {
        arrow.target.split(".")[0] for arrow in ARROWS if arrow.layer == layer and arrow.target_layer is None
    } - set(sys.stdlib_module_names)
    assert outside <= ALLOWED_OUTSIDE[layer]


def test_what_is_imported_is_what_is_installed() -> None:
    """A library that comes along with another one goes when that one does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split("[<>=~!;[ ]", line, maxsplit=1)[0].lower() for line in project["dependencies"]}
    outside = {arrow.target.split(".")[0] for arrow in ARROWS if arrow.target_layer is None}
    libraries = {PACKAGED_AS.get(name, name.replace("_", "-")) for name in outside - set(sys.stdlib_module_names)}
    assert libraries == declared


def test_nothing_needs_asyncio() -> None:
    assert [arrow.file for arrow in ARROWS if arrow.target.split(".")[0] in {"asyncio", "anyio", "sniffio"}] == []


def test_modules_do_not_import_each_other() -> None:
    def module_of(name: str) -> str | None:
        parts = name.split(".")
        return parts[2] if parts[:2] == ["iii_trio", "modules"] and len(parts) > 2 else None

    wrong = [
        f"{arrow.file}: {arrow.target}"
        for arrow in ARROWS
        if (source := module_of(arrow.source)) not in {None, *SEVERAL_MODULES}
        and (target := module_of(arrow.target)) not in {None, *SEVERAL_MODULES}
        and source != target
    ]
    assert wrong == []


def test_private_files_are_private_to_their_package() -> None:
    def owner(target: str) -> str | None:
        parts = target.split(".")
        private = [at for at, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
        return ".".join(parts[: private[0]]) if private else None

    wrong = [
        f"{arrow.file}: {arrow.target}"
        for arrow in ARROWS
        if arrow.target_layer is not None
        and (arrow.layer, arrow.target_layer) not in MAY_LOOK_INSIDE
        and (package := owner(arrow.target)) is not None
        and not f"{arrow.source}.".startswith(f"{package}.")
    ]
    assert wrong == []


def test_only_the_composition_root_imports_the_worker_and_the_command_line() -> None:
    for target in ("worker", "commands", "cli", "engine", "composition", "transport"):
        users = {arrow.layer for arrow in ARROWS if arrow.target_layer == target}
        assert users <= COMPOSITION_ROOT | {target}


def test_the_walk_sees_what_it_must() -> None:
    node = ast.parse("from ..kernel import bus, Kernel\nimport trio.testing\nfrom . import x\n")
    found = [name for statement in node.body for name in imported(statement, ["iii_trio", "transport"])]
    assert found == ["iii_trio.kernel.bus", "iii_trio.kernel", "trio.testing", "iii_trio.transport"]
