import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.edge.signatures.fields import read_digests, read_input, read_signature
from busgate.edge.verified import CredentialRefused

names = st.from_regex(r"@?[a-z0-9_.*-]{1,12}", fullmatch=True)
texts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=128
)
times = st.integers(min_value=0, max_value=10**15 - 1)
labels = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,10}", fullmatch=True)


@given(labels, st.lists(names, max_size=8), texts, texts, times, st.none() | times, st.none() | texts, st.randoms())
def test_what_is_written_in_the_one_way_is_read(label, components, keyid, nonce, created, expires, tag, random) -> None:
    listed = "(" + " ".join(f'"{name}"' for name in components) + ")"
    parameters = [f'keyid="{keyid}"', f'nonce="{nonce}"', f"created={created}"]
    parameters += [] if expires is None else [f"expires={expires}"]
    parameters += [] if tag is None else [f'tag="{tag}"']
    random.shuffle(parameters)
    text = ";".join([listed, *parameters])

    read = read_input(f"{label}={text}".encode())

    assert (read.label, read.text, read.components) == (label, text, listed)
    assert (read.keyid, read.nonce, read.created, read.expires, read.tag) == (keyid, nonce, created, expires, tag)


@given(st.binary(max_size=200) | st.text(alphabet='sig=("@method")keyidnonce;:,\\ 0123', max_size=120).map(str.encode))
def test_nothing_but_a_refusal_comes_of_anything_else(value: bytes) -> None:
    for read in (read_input, read_digests, lambda each: read_signature(each, "sig")):
        try:
            read(value)
        except CredentialRefused as error:
            assert re.fullmatch(r"[A-Z a-z0-9,-]+", str(error))


GOOD = b'sig=("@method");created=1;keyid="k";nonce="n"'


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_byte_that_is_changed_is_refused_or_changes_what_is_signed(at: int, byte: int) -> None:
    changed = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    try:
        read = read_input(changed)
    except CredentialRefused:
        return

    assert f"{read.label}={read.text}".encode() == changed


@pytest.mark.parametrize(
    "value", [None, b"", b"a" * 2049, GOOD + b';tag="' + b"t" * 10240 + b'"', GOOD + b"\0", GOOD + b"\n"]
)
def test_what_is_missing_or_huge_or_holds_control_characters_is_refused(value: bytes | None) -> None:
    with pytest.raises(CredentialRefused):
        read_input(value)
    with pytest.raises(CredentialRefused):
        read_signature(value, "sig")
    with pytest.raises(CredentialRefused):
        read_digests(value)


@pytest.mark.parametrize("byte", [0, 9, 10, 13, 0x22, 0x5C, 0x7F, 0x80, 0xFF])
def test_a_keyid_holds_nothing_that_could_be_read_in_two_ways(byte: int) -> None:
    with pytest.raises(CredentialRefused):
        read_input(GOOD.replace(b'"k"', b'"k' + bytes([byte]) + b'k"'))
