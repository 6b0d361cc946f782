"""URLs taken apart: every spelling of a host comes to the one that is connected to (wire-protocol 6.3)."""

import pytest

from iii_trio.clients.urls import InvalidUrl, Url, parse_url

HOSTS = {
    "EXAMPLE.org": "example.org",
    "example.org.": "example.org",
    "a_b.example": "a_b.example",
    "bücher.example": "xn--bcher-kva.example",
    "例え.テスト": "xn--r8jz45g.xn--zckzah",
    "ｅｘａｍｐｌｅ。org": "example.org",  # noqa: RUF001
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "127.1": "127.0.0.1",
    "127.0.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "0X7F.0.0.0x1": "127.0.0.1",
    "0177.0.0.01": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "0x": "0.0.0.0",
    "0": "0.0.0.0",
    "１２７.０.０.１": "127.0.0.1",  # noqa: RUF001
    "①②⑦.0.0.1": "127.0.0.1",
    "127。0。0。1": "127.0.0.1",
    "169.254.43518": "169.254.169.254",
    "[::1]": "::1",
    "[0:0:0:0:0:FFFF:7f00:1]": "::ffff:7f00:1",
    "[::ffff:127.0.0.1]": "::ffff:7f00:1",
    "good.test@127.0.0.1": "127.0.0.1",
    "127.0.0.1:80@good.test": "good.test",
    "a@b@10.0.0.1": "10.0.0.1",
}


@pytest.mark.parametrize("written", HOSTS)
def test_the_host(written: str) -> None:
    assert parse_url(f"http://{written}/x").host == HOSTS[written]


UNFIT = [
    *("", "/x", "x", "127.0.0.1/x", "//host/x", "not a url", "http:", "http:/host", "http:host", "http://", "http:///x"),
    *("http://?q", "http://#f", "http://:80/", "http://@/", "1http://host/", "http://host:x/", "http://host:65536/"),
    *("http://host:-1/", "http://ho st/", "http://ho\tst/", "http://ho\nst/", "http://ho\\st/", "http://host\\@127.0.0.1/"),
    *("http://a%2eb/", "http://%31%32%37.0.0.1/", "http://a..b/", "http://.a/", "http://a.b../", "http://[::1/", "http://::1/"),
    *("http://[::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[1.2.3.4]/", "http://[]/", "http://[::1]x/", "http://256.1/"),
    *("http://1.2.3.256/", "http://1.2.3.4.5/", "http://4294967296/", "http://08/", "http://1.0xg.3.4/", "http://a.09/"),
    *("http://1.2.3.a.0x/", "http://a|b/", "http://a^b/", "http://a<b/", f"http://{'a' * 64}.test/", f"http://{'a.' * 130}test/"),
    *("http://\u00ad/", "http://xn--a\u0300\u0300\U0010ffff/", "http://\u200d.test/", "http://host/\x00", "http://host/a\r\nb: c"),
]  # fmt: skip


@pytest.mark.parametrize("text", UNFIT)
def test_what_is_no_url_with_a_host(text: str) -> None:
    with pytest.raises(InvalidUrl, match=r"^Invalid URL$"):
        parse_url(text)


def test_port_target_and_authority() -> None:
    assert parse_url("https://h.test") == Url("https", "h.test", 443, "/")
    assert parse_url(" HTTP://h.test:/a?b#c \n") == Url("http", "h.test", 80, "/a?b")
    assert parse_url("https://h.test:8443?q=1").target == "/?q=1"
    assert parse_url("x+y://h.test/").port == 0
    target = parse_url("http://h/ä b%20c{d}/[e]|?f=ä &g='<{h}>\"").target
    assert target == "/%C3%A4%20b%20c%7Bd%7D/[e]|?f=%C3%A4%20&g=%27%3C{h}%3E%22"
    shown = {text: parse_url(text).authority for text in ("http://h", "http://h:80", "http://h:81", "https://h:80")}
    assert list(shown.values()) == ["h", "h", "h:81", "h:80"]
    assert parse_url("https://[::1]:9/").authority == "[::1]:9"
    assert parse_url("https://[::1]/").authority == "[::1]"


def test_credentials_are_kept_and_not_shown() -> None:
    url = parse_url("https://an%20n:p%40ss@h.test/?secret=1")
    assert url.credentials == b"an n:p@ss"
    assert parse_url("https://ann@h.test/").credentials == b"ann:"
    assert parse_url("https://@h.test/").credentials is None
    assert "ss" not in repr(url)
    assert "secret" not in repr(url)


@pytest.mark.parametrize(
    ("text", "is_address"), [("http://1.1.1.1", True), ("http://[::1]", True), ("http://a1", False)]
)
def test_addresses_need_no_lookup(text: str, is_address: bool) -> None:
    assert parse_url(text).is_address is is_address
