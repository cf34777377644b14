"""Files that are encoded once: the same answer each time, or the word that the client has it."""

import gzip

import pytest

from busgate.edge.static import StaticFile

BODY = b"<p>hello</p>" * 200
ID, DATE = b"0" * 32, b"Tue, 24 Nov 2026 12:00:00 GMT"


def read(
    file: StaticFile, *, with_body: bool = True, close: bool = False, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to a request with these headers."""
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    head, _, body = file.answer(given).encode(ID, DATE, close=close, with_body=with_body).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.fixture
def page() -> StaticFile:
    return StaticFile(BODY, "text/html; charset=utf-8", [("X-Frame-Options", "DENY")])


def test_the_whole_file_comes_with_its_type_tag_and_headers(page):
    status, headers, body = read(page)

    assert (status, body) == (200, BODY)
    assert headers == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(BODY)),
        "ETag": headers["ETag"],
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "X-Frame-Options": "DENY",
        "Date": DATE.decode(),
        "X-Request-Id": ID.decode(),
    }


def test_who_has_the_file_gets_no_body(page):
    tag = read(page)[1]["ETag"]

    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, headers, body = read(page, if_none_match=known)
        assert (status, body, headers["ETag"]) == (304, b"", tag)
        assert "Content-Length" not in headers
    assert read(page, if_none_match='"other"')[0] == 200


def test_two_contents_have_two_tags_and_one_content_has_one(page):
    assert read(page)[1]["ETag"] == read(StaticFile(BODY, "text/html"))[1]["ETag"]
    assert read(page)[1]["ETag"] != read(StaticFile(BODY + b"!", "text/html"))[1]["ETag"]


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "GZIP", "deflate , gzip ; q=1"])
def test_who_takes_gzip_gets_it_under_a_tag_of_its_own(page, accepted):
    status, headers, body = read(page, accept_encoding=accepted)

    assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", BODY)
    assert headers["Content-Length"] == str(len(body))
    assert headers["ETag"] != read(page)[1]["ETag"]
    assert read(page, accept_encoding=accepted, if_none_match=headers["ETag"])[0] == 304


@pytest.mark.parametrize("accepted", ["", "br", "identity", "gzip;q=0", "gzip; q=0.000", "x-gzip", "*"])
def test_who_does_not_name_gzip_gets_the_file_as_it_is(page, accepted):
    assert read(page, accept_encoding=accepted)[2] == BODY


def test_a_short_file_is_not_packed():
    assert read(StaticFile(b"short", "text/css"), accept_encoding="gzip")[2] == b"short"


def test_head_has_the_headers_of_get_and_no_body(page):
    assert read(page, with_body=False)[1:] == (read(page)[1], b"")
    assert read(page, close=True)[1]["Connection"] == "close"
