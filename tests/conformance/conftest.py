"""The SDKs installed, and a world in which all of them are connected: one for the tests that leave it as it is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sdk_install import SDKS, Sdk, install
from sdk_world import World, open_served_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="session")
def installed() -> Mapping[Sdk, Path]:
    return {sdk: install(sdk) for sdk in SDKS}


@pytest.fixture(scope="session")
def world(installed: Mapping[Sdk, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_served_world(tmp_path_factory.mktemp("world"), installed) as world:
        yield world
