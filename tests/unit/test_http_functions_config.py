"""The block of `iii-http-functions` in a file (config-cli-modules 1.8)."""

from pathlib import Path
from typing import Any

import pytest

from iii_trio.composition import settings_catalogue
from iii_trio.modules.http_functions.config import compile_glob
from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import load_settings


def load(folder: Path, config: str, name: str = "name: iii-http-functions") -> Any:
    file = folder / "engine.yaml"
    file.write_text(f"workers:\n  - {name}\n    config:\n{config}")
    (entry,) = (
        entry
        for entry in load_settings(file, {}, settings_catalogue(), "1").entries
        if entry.module == "iii-http-functions"
    )
    return entry.options.security


@pytest.mark.parametrize("written", ["name: iii-http-functions", "class: modules::http_functions::HttpFunctionsModule"])
def test_the_keys_in_both_vocabularies(tmp_path: Path, written: str) -> None:
    security = load(tmp_path, "      security: {url_allowlist: [a.test], block_private_ips: false}\n", written)
    assert (security.url_allowlist, security.block_private_ips, security.require_https) == (("a.test",), False, True)


@pytest.mark.parametrize("config", ["      {}\n", "      security: {}\n"])
def test_the_defaults(tmp_path: Path, config: str) -> None:  # config 17
    security = load(tmp_path, config)
    assert (security.url_allowlist, security.block_private_ips, security.require_https) == (("*",), True, True)


def test_the_module_is_there_without_being_listed(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("{}")
    assert "iii-http-functions" in {
        entry.module for entry in load_settings(file, {}, settings_catalogue(), "1").entries
    }


@pytest.mark.parametrize(
    ("config", "line", "text"),
    [
        ("      security:\n        zzz: 1\n", 5, "unknown field `zzz`"),
        ("      zzz: 1\n", 4, "unknown field `zzz`"),
        ("      security:\n        url_allowlist: [ok, 'a[b']\n", 4, "bad glob `a[b`: `[` without `]`"),
        ("      security:\n        url_allowlist: ['[z-a]']\n", 4, "bad glob `[z-a]`: bad character range z-a"),
        ("      security:\n        require_https: 1\n", 5, "invalid type"),
    ],
)
def test_what_fails_the_start(tmp_path: Path, config: str, line: int, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, config)
    (problem,) = caught.value.problems
    assert text in problem
    assert f"engine.yaml:{line}" in problem
    assert "iii-http-functions" in problem


def test_it_is_listed_once_at_most(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("modules: [{class: 'modules::http_functions::HttpFunctionsModule'}, {name: iii-http-functions}]")
    with pytest.raises(ConfigError, match=r"listed more than once .* one instance serves all"):
        load_settings(file, {}, settings_catalogue(), "1")


@pytest.mark.parametrize(
    ("glob", "fits", "fits_not"),
    [
        ("*", ["", "a", "a.b"], []),
        ("a*c", ["ac", "a.b.c"], ["acd", "bac"]),
        ("a.c", ["a.c"], ["abc"]),
        ("?", ["a"], ["", "ab"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[!a]x", ["bx"], ["ax"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[]]x", ["]x"], ["x"]),
        ("[!]]x", ["ax"], ["]x"]),
        ("[\\w]", ["\\", "w"], ["a"]),
        ("[&&|~]", ["&", "|", "~"], ["a"]),
        ("A", ["a"], ["A"]),
        ("a]", ["a]"], ["a"]),
    ],
)
def test_globs(glob: str, fits: list[str], fits_not: list[str]) -> None:
    pattern = compile_glob(glob)
    assert [text for text in fits if not pattern.fullmatch(text)] == []
    assert [text for text in fits_not if pattern.fullmatch(text)] == []


@pytest.mark.parametrize("glob", ["[", "a[b", "[]", "[!]", "x[^]"])
def test_bad_globs(glob: str) -> None:
    with pytest.raises(ValueError, match="without"):
        compile_glob(glob)
