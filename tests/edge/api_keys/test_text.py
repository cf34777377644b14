import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.edge.api_keys.text import PATTERN, new_id, new_key, read_key
from busgate.edge.verified import CredentialRefused

KEY = new_key("abcdefghi0")


def test_a_key_names_itself_and_is_kept_as_its_hash() -> None:
    name = new_id()
    key = new_key(name)

    assert read_key(key.encode()) == (name, sha256(key.encode()).digest())
    assert re.fullmatch(PATTERN, key)
    assert key.startswith(f"bgk_{name}_")


def test_no_two_keys_are_alike() -> None:
    assert len({new_key("abcdefghi0") for _ in range(1000)}) == 1000
    assert len({new_id() for _ in range(1000)}) == 1000


@given(st.integers(0, len(KEY) - 1), st.integers(0, 255))
def test_a_letter_that_is_mistyped_is_found(at: int, byte: int) -> None:
    mistyped = KEY.encode()[:at] + bytes([byte]) + KEY.encode()[at + 1 :]
    if mistyped == KEY.encode():
        return

    with pytest.raises(CredentialRefused):
        read_key(mistyped)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bgk_",
        "x",
        KEY[:-1],
        KEY + "0",
        KEY + "\n",
        " " + KEY,
        KEY.upper(),
        KEY.swapcase(),
        KEY.replace("bgk_", "bgk-"),
        KEY[4:],
        f"{KEY}, {KEY}",
        f"Bearer {KEY}",
        KEY.replace("_", "\0"),
        "bgk_" + "a" * 10 + "_" + "b" * 43 + "00000000",
        "bgk_" + "\u0660" * 10 + KEY[14:],
        "k" * 10_000,
        KEY[:-8] + KEY[-8:].upper() + "G",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(CredentialRefused) as caught:
        read_key(text.encode())

    assert str(caught.value) == "not an API key, or mistyped"


@given(st.binary(max_size=100))
def test_nothing_but_a_refusal_comes_of_anything_else(text: bytes) -> None:
    with pytest.raises(CredentialRefused):
        read_key(text)
