"""What the server keeps of the heads of answers."""

from iii_trio.modules.http.answer import Answers, Dates, Moment


async def test_only_short_heads_are_kept() -> None:
    answers = Answers(Moment(Dates(lambda: 0.0)))
    for number in range(20):
        long = ((b"x-a", b"%d" % number + b"x" * 5_000),)
        assert answers.encode(200, long, b"", b"") is None
        assert answers.encode(204, ((b"x-a", b"1"),), b"", b"") is None
    assert answers.encode(200, ((b"x-a", b"1"),), b"", b"") is not None
    assert sorted(status for status, _ in answers._heads) == [200, 204]
