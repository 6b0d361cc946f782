"""Under CI a skip is a failure, wherever it comes from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPS = {
    "test_call.py": "import pytest\n\ndef test_it():\n    pytest.skip('no redis here')\n",
    "test_mark.py": "import pytest\n\n@pytest.mark.skip(reason='too slow')\ndef test_it():\n    pass\n",
    "test_module.py": "import pytest\n\npytest.importorskip('no_such_package')\n",
}
XFAIL = "import pytest\n\n@pytest.mark.xfail(reason='known')\ndef test_it():\n    assert False\n"


def run(folder: Path, ci: str | None) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, folder / "conftest.py")
    env = {key: value for key, value in os.environ.items() if key != "CI"} | ({"CI": ci} if ci else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_a_skip_fails_where_ci_is_set_and_nowhere_else(tmp_path: Path) -> None:
    for name, text in {**SKIPS, "test_xfail.py": XFAIL}.items():
        (tmp_path / name).write_text(text)
    failed = run(tmp_path, ci="true")
    assert failed.returncode != 0
    assert "No module named 'no_such_package'\n(CI is set: nothing may be skipped)" in failed.stdout
    (tmp_path / "test_module.py").unlink()  # as it could not be collected, the others were not run
    assert "1 failed, 1 xfailed, 1 error" in run(tmp_path, ci="true").stdout
    assert "2 skipped, 1 xfailed" in run(tmp_path, ci=None).stdout
