"""Table K: media types of requests and of answers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busgate.edge.negotiation import check_accept, check_content_type
from busgate.edge.refusal import Refusal

CONTENT_TYPES: dict[str, tuple[int, str | None]] = {
    "K01 none": (415, None),
    "K02 text": (415, "text/plain"),
    "K03 another charset": (415, "application/json; charset=utf-16"),
    "K04 two charsets": (400, "application/json; charset=utf-8; charset=latin1"),
    "K04 two equal charsets": (400, "application/json;charset=utf-8;charset=utf-8"),
    "K05 two types": (400, "application/json, text/plain"),
    "K05 one type twice": (400, "application/json, application/json"),
    "K06 upper case": (200, "APPLICATION/JSON"),
    "K07 a +json type": (415, "application/vnd.x+json"),
    "K08 multipart without boundary": (415, "multipart/form-data"),
    "K08 multipart with a long boundary": (400, "multipart/form-data; boundary=" + "x" * 5000),
    "K09 multipart": (415, "multipart/form-data; boundary=x"),
    "K10 form": (415, "application/x-www-form-urlencoded"),
    "K14 8 kB of parameters": (400, "application/json" + ";a=b" * 2048),
    "plain": (200, "application/json"),
    "charset": (200, "application/json; charset=utf-8"),
    "charset without blank": (200, "application/json;charset=UTF-8"),
    "charset in quotes": (200, 'application/json ; charset="Utf-8"'),
    "charset under an old name": (200, "application/json; charset=utf8"),
    "charset that is empty": (400, "application/json; charset="),
    "other parameter": (200, "application/json; version=1"),
    "charset inside a quoted parameter": (200, 'application/json; x="; charset=utf-16"'),
    "quote without end": (400, 'application/json; x="y'),
    "empty parameter": (200, "application/json;"),
    "JSON text sequence": (415, "application/json-seq"),
    "patch": (415, "application/merge-patch+json"),
    "no subtype": (400, "application"),
    "empty": (400, ""),
    "blank": (400, "  "),
    "blank inside": (400, "application /json"),
    "NUL": (400, "application/json\0"),
    "line break": (400, "application/json\r\nX: y"),
}

ACCEPTS: dict[str, tuple[int, str | None]] = {
    "K11 HTML only": (406, "text/html"),
    "K12 nothing": (406, "*/*;q=0"),
    "K13 1000 entries": (400, ",".join(f"text/x{n}" for n in range(1000))),
    "none": (200, None),
    "empty": (200, ""),
    "anything": (200, "*/*"),
    "plain": (200, "application/json"),
    "upper case": (200, "Application/JSON"),
    "a browser": (200, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    "any application": (200, "application/*"),
    "with parameters": (200, "application/json;charset=utf-8"),
    "low weight": (200, "text/html, application/json;q=0.001"),
    "excluded, all else taken": (406, "application/json;q=0, */*"),
    "type excluded, JSON taken": (200, "application/*;q=0.0, application/json"),
    "all excluded but JSON": (200, "*/*;q=0,application/json;q=1.000"),
    "application excluded": (406, "*/*, application/*;q=0"),
    "problems only": (406, "application/problem+json"),
    "a +json type": (406, "application/vnd.x+json"),
    "empty elements": (200, ", ,application/json,"),
    "quoted comma": (406, 'text/html;x="a,application/json"'),
    "weight over 1": (400, "application/json;q=1.5"),
    "weight with many digits": (400, "application/json;q=0.0001"),
    "weight that is no number": (400, "application/json;q=high"),
    "two weights": (400, "application/json;q=1;q=0"),
    "no subtype": (400, "json"),
    "half a range": (400, "application/"),
    "semicolons": (400, "text/html;;; application/json"),
}


@pytest.mark.parametrize(("status", "value"), CONTENT_TYPES.values(), ids=CONTENT_TYPES)
def test_a_content_type_gets_the_status_of_the_table(status: int, value: str | None):
    if status == 200:
        check_content_type(value)
    else:
        with pytest.raises(Refusal) as caught:
            check_content_type(value)
        assert caught.value.kind.status == status


@pytest.mark.parametrize(("status", "value"), ACCEPTS.values(), ids=ACCEPTS)
def test_an_accept_gets_the_status_of_the_table(status: int, value: str | None):
    if status == 200:
        check_accept(value)
    else:
        with pytest.raises(Refusal) as caught:
            check_accept(value)
        assert caught.value.kind.status == status


words = st.sampled_from(
    ["application", "json", "text", "*", "/", ";", "q=", "0", "1", ".", ",", " ", '"', "\\", "=", "é"]
)


@settings(deadline=None)
@given(st.lists(words, max_size=30).map("".join) | st.text(max_size=300))
def test_any_text_is_taken_or_refused(value: str):
    for check in (check_accept, check_content_type):
        try:
            check(value)
        except Refusal as refusal:
            assert refusal.kind.status in (400, 406, 415)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["text/html", "application/json", "application/*", "*/*", "image/png;q=0.5"])))
def test_json_is_served_exactly_when_a_range_holds_it(ranges: list[str]):
    holds = any(one in ("application/json", "application/*", "*/*") for one in ranges)

    try:
        check_accept(", ".join(ranges))
    except Refusal as refusal:
        assert refusal.kind.status == 406
        assert ranges and not holds
    else:
        assert holds or not ranges
