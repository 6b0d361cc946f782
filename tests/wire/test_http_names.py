"""The names the module goes by in a configuration, proven by what listens (http.md 1)."""

from pathlib import Path

import httpx2
import pytest
import trio

from iii_trio import open_engine
from iii_trio.protocol.errors import ConfigError

HTTP = "{ host: 127.0.0.1, port: 0 }"


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"workers:\n  - name: iii-http\n    config: {HTTP}\n",
        f"workers:\n  - name: http\n    config: {HTTP}\n",
        f"modules:\n  - class: modules::api::RestApiModule\n    config: {HTTP}\n",
    ],
)
async def test_each_name_configures_the_server(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with trio.fail_after(20):
        async with open_engine(written(tmp_path, text), host="127.0.0.1", port=0) as engine:
            host, port = engine.addresses["http"]
            async with httpx2.AsyncClient() as client:
                answer = await client.get(f"http://{host}:{port}/")
    assert answer.status_code == 404  # http 2
    assert answer.json() == {"error": {"code": "NOT_FOUND", "message": "Not Found"}}  # http 1


async def test_two_of_them_together_prevent_the_start(tmp_path: Path) -> None:
    text = f"workers:\n  - name: iii-http\n    config: {HTTP}\n  - name: http\n    config: {HTTP}\n"
    with pytest.raises(ConfigError, match="iii-http") as caught:
        async with open_engine(written(tmp_path, text), host="127.0.0.1", port=0):
            pass
    assert "`http`" in str(caught.value) or "'http'" in str(caught.value)  # http 2
