"""Whatever is signed: it holds as it was sent, and not when anything that is covered was changed."""

import string
from typing import Any

import pytest
from aiohttp.http import HttpProcessingError
from hypothesis import assume, given
from hypothesis import strategies as st
from support.signed import AUTHORITY, KEYID, SECRET, request

from busgate.contracts.signing import Signer
from busgate.edge.refusal import Refusal
from busgate.edge.signatures.components import Coverage, Origin
from busgate.edge.signatures.scheme import Signatures
from busgate.edge.signatures.settings import SignatureSettings
from busgate.edge.stores.memory import MemoryStore
from busgate.edge.verified import CredentialRefused, VerifiedCaller

SIGNER = Signer(KEYID, SECRET, covered=("x-shop",))
SETTINGS = SignatureSettings.model_validate({"keys": [{"keyid": KEYID, "subject": "shop", "secret": SECRET}]})

letters = st.text(string.ascii_letters + string.digits + "-_~!$&'()*+,;=:@", min_size=1, max_size=12)
escapes = st.sampled_from(["%20", "%C3%A4", "%25", "%3F"])
segments = st.lists(st.one_of(letters, escapes), min_size=1, max_size=3).map("".join)
targets = st.builds(
    lambda path, query: "/" + "/".join(path) + ("" if query is None else "?" + query),
    st.lists(segments.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4),
    st.none() | st.lists(st.one_of(letters, escapes, st.sampled_from(["?", "/", "&"])), max_size=6).map("".join),
).filter(lambda target: not target.endswith("?"))  # an empty query is none
values = st.text(string.printable[:94] + " ", max_size=20).map(str.strip)
messages = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
        "target": targets,
        "value": values,
        "body": st.binary(max_size=40),
    }
)


def sent(message: dict[str, Any], headers: dict[str, str]) -> Any:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"X-Shop: {message['value']}"]
    lines += [f"Content-Length: {len(message['body'])}"] if message["body"] else []
    return request(*lines, line=f"{message['method']} {message['target']} HTTP/1.1", body=message["body"])


def sign(message: dict[str, Any]) -> dict[str, str]:
    url = f"http://{AUTHORITY}{message['target']}"
    return SIGNER.headers(message["method"], url, message["body"], {"X-Shop": message["value"]})


def holds(asked: Any) -> bool:
    try:
        found = Signatures(SETTINGS, MemoryStore()).verify(asked)
    except CredentialRefused:
        return False
    assert isinstance(found, VerifiedCaller)
    assert asked.signed is not None
    return bool(asked.signed.is_of(asked.body))


@given(messages)
def test_what_was_signed_holds(message: dict[str, Any]) -> None:
    assert holds(sent(message, sign(message)))


@given(messages, messages, st.sampled_from(["method", "target", "value", "body"]))
def test_what_was_changed_does_not(message: dict[str, Any], other: dict[str, Any], part: str) -> None:
    changed = message | {part: other[part]}
    assume(changed != message)

    assert not holds(sent(changed, sign(message)))


@given(messages, st.data())
def test_no_header_of_a_signature_can_be_changed(message: dict[str, Any], data: Any) -> None:
    headers = sign(message)
    name = data.draw(st.sampled_from(sorted(headers)))
    at = data.draw(st.integers(0, len(headers[name]) - 1))
    letter = data.draw(st.sampled_from(string.printable[:95]))
    changed = (headers[name][:at] + letter + headers[name][at + 1 :]).strip()
    assume(changed != headers[name])

    assert not holds(sent(message, headers | {name: changed}))


@given(messages, messages)
def test_no_two_requests_have_one_text_to_sign(message: dict[str, Any], other: dict[str, Any]) -> None:
    coverage = Coverage(["@method", "@authority", "@target-uri", "x-shop"])
    assume(any(message[part] != other[part] for part in ("method", "target", "value")))

    texts = [coverage.base(sent(each, {}), Origin(), "()") for each in (message, other)]

    assert texts[0] != texts[1]


@given(st.binary(max_size=60).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").decode("latin-1")))
def test_nothing_but_a_refusal_comes_of_anything_else(text: str) -> None:
    for lines in (
        [f"Signature-Input: {text}", f"Signature: {text}"],
        [f"Signature-Input: {sign_input()}", f"Signature: {text}"],
        [f"Signature-Input: {sign_input()};tag={text}", "Signature: sig=:AAAA:"],
    ):
        try:
            asked = request(*(line.replace("\0", "") for line in lines))
        except (Refusal, HttpProcessingError):
            continue  # what is not HTTP never gets here
        with pytest.raises(CredentialRefused):
            Signatures(SETTINGS, MemoryStore()).verify(asked)


def sign_input() -> str:
    return SIGNER.headers("GET", f"http://{AUTHORITY}/")["Signature-Input"]
