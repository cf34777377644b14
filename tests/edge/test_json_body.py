"""The strict front parser, differentially against `json` and pydantic_core."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from busgate.edge.json_body import DEPTH_LIMIT, DIGITS_LIMIT, KEY_LIMIT, is_finite, parse_object
from busgate.edge.refusal import Refusal


def nested(depth: int) -> bytes:
    """An object with arrays in it, `depth` containers in all."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


REFUSED: dict[str, tuple[int, bytes]] = {
    "J01 duplicate key": (400, b'{"a":1,"a":2}'),
    "J01 duplicate of equal values": (400, b'{"a":1,"a":1}'),
    "J01 duplicate deep inside": (400, b'{"a":[{"b":{"c":1,"c":2}}]}'),
    "J01 duplicate that drops a container": (400, b'{"a":{"x":1,"y":2},"a":3}'),
    "J01 duplicate behind white space": (400, b'{"a" :1,"a"\t:2,"b":"\\":"}'),
    "J01 duplicate with as many colons lost as won": (400, b'{"a"\n:1,"a"\r:2,"u":"\\":\\":"}'),
    "J01 duplicate of the empty key": (400, b'{"":1,"":2}'),
    "J02 duplicate by escape": (400, b'{"a":1,"\\u0061":2}'),
    "J03 NaN": (400, b'{"a":NaN}'),
    "J03 -NaN": (400, b'{"a":-NaN}'),
    "J04 Infinity": (400, b'{"a":Infinity}'),
    "J04 -Infinity": (400, b'{"a":-Infinity}'),
    "J05 1e400": (400, b'{"a":1e400}'),
    "J05 -1E+400": (400, b'{"a":-1E+400}'),
    "J05 1e400 deep inside": (400, b'{"a":[[{"b":[0,1.0e309]}]]}'),
    "J05 large mantissa": (400, b'{"a":' + b"9" * 250 + b"e99}"),
    "J05 long exponent": (400, b'{"a":1e' + b"9" * 1000 + b"}"),
    "J06 5000 digits": (400, b'{"a":' + b"9" * 5000 + b"}"),
    "J06 one digit too many": (400, b'{"a":' + b"9" * (DIGITS_LIMIT + 1) + b"}"),
    "J07 100000 digits": (400, b'{"a":' + b"9" * 100_000 + b"}"),
    "J14 01": (400, b'{"a":01}'),
    "J14 +1": (400, b'{"a":+1}'),
    "J14 0x1": (400, b'{"a":0x1}'),
    "J14 .5": (400, b'{"a":.5}'),
    "J14 1.": (400, b'{"a":1.}'),
    "J15 trailing comma": (400, b'{"a":1,}'),
    "J15 trailing comma in an array": (400, b'{"a":[1,]}'),
    "J16 line comment": (400, b'{"a":1} // one'),
    "J16 block comment": (400, b'{"a":/* one */1}'),
    "J17 single quotes": (400, b"{'a':1}"),
    "J17 unquoted key": (400, b"{a:1}"),
    "J18 BOM": (400, b'\xef\xbb\xbf{"a":1}'),
    "J19 UTF-16": (400, '{"a":1}'.encode("utf-16")),
    "J19 UTF-16 without BOM": (400, '{"a":1}'.encode("utf-16-le")),
    "J19 UTF-32": (400, '{"a":1}'.encode("utf-32")),
    "J20 invalid UTF-8": (400, b'{"a":"\xff"}'),
    "J21 overlong UTF-8": (400, b'{"a":"\xc0\xaf"}'),
    "J21 CESU-8": (400, b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}'),
    "J22 lone high surrogate": (400, b'{"a":"\\ud800"}'),
    "J22 lone low surrogate": (400, b'{"a":"\\udc00"}'),
    "J22 lone surrogate in a key": (400, b'{"\\ud800":1}'),
    "J23 U+0000": (422, b'{"a":"\\u0000"}'),
    "J23 U+0000 in a key": (422, b'{"a\\u0000":1}'),
    "J23 U+0000 deep inside": (422, b'{"a":[{"b":["x\\u0000y"]}]}'),
    "J24 raw control character": (400, b'{"a":"\x01"}'),
    "J24 raw NUL": (400, b'{"a":"\x00"}'),
    "J24 raw newline": (400, b'{"a":"x\ny"}'),
    "J25 two documents": (400, b'{"a":1}{"a":1}'),
    "J25 trailing data": (400, b'{"a":1} x'),
    "J25 trailing NUL": (400, b'{"a":1}\x00'),
    "J26 empty": (400, b""),
    "J27 white space only": (400, b" \r\n\t"),
    "J28 null": (422, b"null"),
    "J28 true": (422, b"true"),
    "J28 number": (422, b"1"),
    "J28 string": (422, b'"a"'),
    "J29 array": (422, b'[{"a":1}]'),
    "J30 truncated": (400, b'{"a":'),
    "J31 depth 65": (400, nested(DEPTH_LIMIT + 1)),
    "J31 depth 65 of empty objects": (400, b'{"a":' + b"[" * 63 + b"{}" + b"]" * 63 + b"}"),
    "J31 depth 100": (400, nested(100)),
    "J32 depth 1000": (400, nested(1000)),
    "J33 100000 arrays": (400, nested(100_000)),
    "J33 100000 objects": (400, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "J34 100000 arrays unclosed": (400, b"[" * 100_000),
    "J40 key of a megabyte": (400, b'{"' + b"k" * 1_000_000 + b'":1}'),
    "J40 key one too long": (400, b'{"a":{"' + b"k" * (KEY_LIMIT + 1) + b'":1}}'),
    "J46 JSON lines": (400, b'{"a":1}\n{"a":2}\n'),
    "J47 a megabyte of zeros": (400, b'{"a":0.' + b"0" * 1_000_000 + b"1}"),
}

ACCEPTED: dict[str, bytes] = {
    "J08 2^53+1": b'{"a":9007199254740993}',
    "J09 2^64": b'{"a":18446744073709551616}',
    "J10 -0": b'{"a":-0}',
    "J11 1.0": b'{"a":1.0}',
    "J35 many elements": b'{"a":[' + b"1," * 100_000 + b"1]}",
    "J37 words with a meaning elsewhere": b'{"__proto__":1,"constructor":2,"__class__":3}',
    "J38 keys that differ by case": b'{"a":1,"A":2}',
    "J39 empty key": b'{"":1}',
    "J41 one key in NFC and NFD": '{"\u00e9":1,"e\u0301":2}'.encode(),
    "J42 emoji, right-to-left, joiners": '{"a":"👩‍👩‍👧 עברית"}'.encode(),
    "empty object": b" {\r\n\t} ",
    "escaped backslash before u0000": b'{"a":"\\\\u0000"}',
    "surrogate pair": b'{"a":"\\ud83d\\ude00"}',
    "colons in strings": b'{"at":"2025-01-01T12:00:00Z","url":"http://a:1/","trap":"\\":"}',
    "white space before colons": b'{"a" :1,"b"\t:2,"c"\n:{"d"\r:3}}',
    "digits in a string": b'{"a":"' + b"1" * 1000 + b'"}',
    "as many digits as may be": b'{"a":-' + b"9" * DIGITS_LIMIT + b"}",
    "exponents": b'{"a":1e308,"b":-1E-5,"c":"1e400","d":5e-400}',
    "depth 64": nested(DEPTH_LIMIT),
    "more arrays than the depth": b'{"a":[' + b"[]," * 200 + b"[]]}",
    "key as long as may be": b'{"' + b"k" * KEY_LIMIT + b'":1}',
    "as many keys lost as colons in strings": b'{"a":{"b":1},"c":":"}',
}


@pytest.mark.parametrize(("status", "body"), REFUSED.values(), ids=REFUSED)
def test_a_bad_body_is_refused_with_its_status(status: int, body: bytes):
    with pytest.raises(Refusal) as caught:
        parse_object(body)

    assert caught.value.kind.status == status


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_body_means_what_it_means_to_others(body: bytes):
    assert parse_object(body) == json.loads(body) == from_json(body)


def test_a_refusal_quotes_nothing_of_the_body():
    for name, (_, body) in REFUSED.items():
        with pytest.raises(Refusal) as caught:
            parse_object(body if "by escape" in name else body.replace(b"a", b"SECRET"))

        assert "SECRET" not in f"{caught.value}{caught.value.errors}", name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
objects = st.dictionaries(st.text(max_size=8), json_values, max_size=5)
layouts = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t"), ("\r,", "\n: ")])


@settings(deadline=None)
@given(objects, layouts, st.booleans())
def test_every_object_is_read_as_others_read_it(value: dict[str, Any], layout: tuple[str, str], ascii_only: bool):
    body = json.dumps(value, separators=layout, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    try:
        parsed = parse_object(body)
    except Refusal as refusal:
        bad_text = any(0xD800 <= ord(letter) <= 0xDFFF for letter in json.dumps(value, ensure_ascii=False))
        assert bad_text or refusal.kind.status == 422
    else:
        assert parsed == json.loads(body) == from_json(body)
        assert json.dumps(parsed) == json.dumps(value)


TOKENS = ["{", "}", "[", "]", ":", ",", " ", "\n", '"a"', '"\\u0061"', '"b:"', '"\\":"', '"', "\\", "1", "-0", "e5"]
TOKENS += ["1e400", "NaN", "Infinity", "true", "null", '"\\u0000"', '"\\ud800"', '{"a":', '"a":1,', "\x00", "é"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=12).map("".join) | st.text())
def test_what_is_accepted_means_one_thing_to_all_readers(text: str):
    body = text.encode("utf-8", "surrogatepass")

    try:
        parsed = parse_object(body)
    except Refusal as refusal:
        assert refusal.kind.status in (400, 422)
    else:
        assert parsed == json.loads(body) == from_json(body, allow_inf_nan=False)


class Pairs(list[tuple[str, Any]]):
    """An object as JSON writes it: repeated keys are kept."""


def dump(value: Any, colon: str) -> str:
    if isinstance(value, Pairs):
        return "{" + ",".join(json.dumps(key) + colon + dump(inner, colon) for key, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(inner, colon) for inner in value) + "]"
    return json.dumps(value)


def repeats(value: Any) -> bool:
    if isinstance(value, Pairs):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(map(repeats, value))


keys = st.sampled_from(["a", "b", ":", '":', ""])
pairs = st.recursive(
    st.sampled_from([1, 1.5, None, ":", '":', ' :"', "x" * 100]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(keys, inner), max_size=4).map(Pairs),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(st.tuples(keys, pairs), max_size=4).map(Pairs), st.sampled_from([":", " :", "\t:\n", ": "]))
def test_repeated_keys_and_only_they_are_refused(value: Pairs, colon: str):
    body = dump(value, colon).encode()

    if repeats(value):
        with pytest.raises(Refusal) as caught:
            parse_object(body)
        assert caught.value.kind.status == 400
    else:
        assert parse_object(body) == json.loads(body)


@pytest.mark.parametrize("text", [b"[NaN]", b'{"a":-Infinity}', b"1e400", b'{"a":[{"b":-1.0E+999}]}'])
def test_a_number_that_is_not_finite_is_seen(text: bytes):
    assert not is_finite(text)


@settings(deadline=None)
@given(json_values)
def test_finite_numbers_pass(value: Any):
    assert is_finite(json.dumps([value, "NaN", "Infinity", "0e9"]).encode())


@settings(deadline=None)
@given(st.floats())
def test_finite_is_what_math_says_is_finite(number: float):
    assert is_finite(json.dumps({"a": [number]}).encode()) == math.isfinite(number)
