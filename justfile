# The recipes that people and CI run alike. `.venv/bin/just --list` shows them.

bin := justfile_directory() / ".venv" / "bin"
python := bin / "python"
golden_records := env("GOLDEN_RECORDS", justfile_directory() / ".." / "shared" / "golden")

# everything a change must pass
default: lint types test

# style and hazards; changes nothing
lint:
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .
    {{ bin }}/flake8 actors iii_trio examples tests

# mypy, strict
types:
    {{ bin }}/mypy

# all tests, or those named: `just test tests/unit -k http`; a file stays with one of the processes that share them
test *args:
    {{ python }} -m pytest -n auto --dist loadfile {{ args }}

# let ruff repair and format what it can
fix:
    {{ bin }}/ruff check --fix .
    {{ bin }}/ruff format .

# the published SDKs against an engine, alone
conformance *args:
    {{ python }} -m pytest tests/conformance {{ args }}

# requests made up from the description of the example library, so many per route; every answer must be as described
schemathesis examples="100" *args:
    {{ python }} -m tests.conformance.api_tester {{ examples }} {{ args }}

# compare with what the reference engine was recorded to answer: `just golden wire --show`
golden area="basic" *args:
    {{ python }} {{ golden_records }}/golden.py {{ area }} --engine "{{ python }} -m iii_trio" --accepted tests/golden/accepted.txt {{ args }}

# measure the hot path against the floor: `just bench --quick`; requests over HTTP: `just bench http`
bench *args:
    {{ python }} -m tests.bench {{ args }}

# feed the decoders bytes nobody would send, for so many seconds (needs the extra `fuzz`): `just fuzz 600`
fuzz seconds="60" *args:
    {{ python }} -m tests.fuzz {{ seconds }} {{ args }}

# use an engine for so many minutes and fail if anything of it is left or grows: `just soak 60`
soak minutes="10" *args:
    {{ python }} -m tests.soak {{ minutes }} {{ args }}

# write docs/config.md anew, then run every program and check every claim in the documents that a test covers
docs:
    {{ python }} -c 'from iii_trio.composition import settings_catalogue; from iii_trio.settings import render_reference; print(render_reference(settings_catalogue()), end="")' > docs/config.md.new
    mv docs/config.md.new docs/config.md
    {{ python }} -m pytest tests/unit/test_readme.py tests/unit/test_examples.py tests/unit/test_worker_docs.py tests/unit/test_http_docs.py tests/unit/test_errors.py tests/unit/test_settings_reference.py tests/unit/test_settings_samples.py tests/unit/test_engine_guarantees.py tests/actors/test_guarantees.py

# which lines and branches the tests in this process reach
coverage *args:
    {{ bin }}/coverage run -m pytest {{ args }}
    {{ bin }}/coverage report --skip-covered
