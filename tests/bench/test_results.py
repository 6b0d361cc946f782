"""The arithmetic of the bench, and that the document says what the record holds."""

from pathlib import Path

import attrs
import pytest

from .__main__ import DOCUMENT, RECORD
from .report import BEGIN, END, render, render_scaling, replace_measured
from .results import ENGINE, FLOOR, GUARDED, Results, Routed, Scaling, Window, dump, load, percentile
from .targets import Target, compare, saturated_cpu, saturated_rate, scaling_targets, single_p50, targets


def window(cpu_us: float, per_s: float, p50_us: float = 100.0) -> Window:
    return Window(calls=1000, per_s=per_s, cpu_us=cpu_us, p50_us=p50_us, p99_us=2 * p50_us)


def routed(contestant: str, round_: int, measured: Window) -> Routed:
    return Routed(contestant, 150, round_, one_at_a_time=measured, saturated=measured)


@pytest.fixture
def record() -> Results:
    return load(RECORD)


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.99, 1), (2, 0.5, 1), (3, 0.5, 2), (100, 0.99, 99), (101, 0.99, 100)]
)
def test_a_percentile_is_the_nearest_rank(count: int, share: float, expected: float) -> None:
    assert percentile(range(1, count + 1), share) == expected


def test_the_best_of_all_rounds_is_compared(record: Results) -> None:
    rows = [
        routed(ENGINE, 0, window(12.0, 50_000.0)),
        routed(FLOOR, 0, window(10.0, 60_000.0)),
        routed(ENGINE, 1, window(11.0, 70_000.0)),
        routed(FLOOR, 1, window(22.0, 40_000.0)),
    ]
    results = attrs.evolve(record, routed=rows)
    cpu, rate = compare(results, 150, saturated_cpu), compare(results, 150, saturated_rate, max)
    assert (cpu.measured, cpu.yardstick, cpu.ratio) == (11.0, 10.0, 1.1)
    assert cpu.per_round == [1.2, 0.5]
    assert (rate.measured, rate.yardstick) == (70_000.0, 60_000.0)


def test_a_target_is_met_up_to_its_limit() -> None:
    assert Target("p50", 0.9, 0.9, "").is_met
    assert not Target("p50", 0.9, 0.91, "").is_met


def test_a_slow_engine_misses_the_targets_of_what_is_slow(record: Results) -> None:
    rows = [attrs.evolve(row, saturated=window(10.0, 1.0), one_at_a_time=window(10.0, 1.0)) for row in record.routed]
    equal = {target.what: target.is_met for target in targets(attrs.evolve(record, routed=rows))}
    slow = [
        attrs.evolve(row, saturated=window(14.0, 1.0)) if row.contestant == ENGINE and row.size == 150 else row
        for row in rows
    ]
    slower = {target.what: target.is_met for target in targets(attrs.evolve(record, routed=slow))}
    assert {what for what in equal if equal[what] != slower[what]} == {"CPU per call, saturated, 150 B"}
    assert not equal["CPU per call, one at a time, 150 B"]


def test_what_grows_with_the_registrations_misses_its_target(record: Results) -> None:
    def rows(what: str, *costs: float) -> list[Scaling]:
        return [Scaling(what, level, 0, cost) for level, cost in zip((500, 1500, 5000), costs, strict=True)]

    second = [Scaling("flat", 5000, 1, 10.9), Scaling("flat", 500, 1, 14.0)]
    results = attrs.evolve(record, scaling=[*rows("flat", 10.0, 11.0, 12.0), *second, *rows("grows", 1.0, 1.2, 1.31)])
    flat, grows = scaling_targets(results)
    assert (flat.measured, flat.is_met) == (1.09, True)
    assert (grows.measured, grows.is_met) == (1.31, False)
    assert grows in targets(results)
    assert "| flat | 10.0 | 11.0 | 10.9 | 1.09 |" in render_scaling(results)
    assert render(results).endswith(render_scaling(results))
    assert list(scaling_targets(attrs.evolve(record, scaling=[]))) == []


def test_a_guarded_listener_has_targets_where_it_was_measured(record: Results) -> None:
    plain = [row for row in record.routed if row.contestant != GUARDED]
    costly = [
        attrs.evolve(row, contestant=GUARDED, saturated=window(1e6, 1.0)) for row in plain if row.contestant == ENGINE
    ]
    before, after = (targets(attrs.evolve(record, routed=rows)) for rows in (plain, [*plain, *costly]))
    more = [target for target in after if target not in before]
    assert [target.what for target in more] == [
        f"CPU per call, saturated, {size}, with access control" for size in ("150 B", "16 KiB", "64 KiB", "1 MiB")
    ]
    assert not any(target.is_met for target in more)
    assert "### Routed calls, with access control" in render(attrs.evolve(record, routed=[*plain, *costly]))


def test_a_run_comes_back_from_json(record: Results, tmp_path: Path) -> None:
    dump(record, tmp_path / "new" / "results.json")
    again = load(tmp_path / "new" / "results.json")
    assert again == record
    assert compare(again, 150, single_p50) == compare(record, 150, single_p50)


def test_the_document_shows_the_record(record: Results) -> None:
    measured = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert measured.strip() == render(record)


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_measured(document, "new")
    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"{BEGIN}\nno end\n")
    with pytest.raises(ValueError, match="lacks the marks"):
        replace_measured(document, "new")
    assert document.read_text() == f"{BEGIN}\nno end\n"
