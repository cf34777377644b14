"""Pairs of files: what is served, and what is refused with its name and the cure."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from support.bad_certificates import BAD_PAIRS, NAME, BadPair, Files
from support.certificates import DAY, Authority, Key

from busgate.edge.tls.certificate import read_certificate
from busgate.edge.tls.pem import CertificateFault, certificates_in


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority("root")


@pytest.fixture(scope="module")
def middle(root: Authority) -> Authority:
    return Authority("middle", parent=root)


@pytest.fixture
def files(tmp_path: Path, root: Authority, middle: Authority) -> Files:
    return Files(tmp_path / "server.pem", tmp_path / "server.key", root, middle)


@pytest.mark.parametrize("row", [row for row in BAD_PAIRS if row.at_start], ids=lambda row: row.id)
def test_a_bad_pair_is_refused_by_name(files: Files, row: BadPair) -> None:
    row.make(files)

    with pytest.raises(CertificateFault) as caught:
        read_certificate(files.cert, files.key)
    told = row.told.format(cert=files.cert, key=files.key)
    assert told in str(caught.value)
    assert "-----" not in str(caught.value)


@pytest.mark.parametrize("row", [row for row in BAD_PAIRS if not row.at_start], ids=lambda row: row.id)
def test_a_pair_that_is_only_untimely_is_read_and_tells(files: Files, row: BadPair) -> None:
    row.make(files)

    found = read_certificate(files.cert, files.key)
    trouble = found.trouble(files.cert.stat().st_mtime)
    assert row.told.format(cert=files.cert) in (trouble or "")


def some_keys() -> list[Key]:
    return [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ]


@pytest.mark.parametrize("key", some_keys(), ids=["P-256", "P-384", "RSA", "Ed25519"])
def test_a_good_pair_of_each_kind_is_read(files: Files, key: Key) -> None:
    issued = files.middle.issue(NAME, "*.Shop.example", "IP:127.0.0.1", key=key)
    files.write_issued(issued)

    found = read_certificate(files.cert, files.key)

    assert found.names == (NAME, "*.shop.example", "127.0.0.1")
    assert found.issuer == "middle"
    assert found.fingerprint == issued.fingerprint
    assert [found.trouble(found.begins), found.trouble(found.ends)] == [None, None]
    assert "PRIVATE" not in repr(found)


def test_one_file_may_hold_both(files: Files) -> None:
    issued = files.middle.issue(NAME)
    files.write(b"", issued.key_pem + issued.pem)

    assert read_certificate(files.key, files.key).fingerprint == issued.fingerprint


def test_what_ends_first_of_a_chain_is_its_end(files: Files) -> None:
    brief = Authority("brief", parent=files.root, ends=2 * DAY)
    files.write_issued(brief.issue(NAME, ends=20 * DAY))

    found = read_certificate(files.cert, files.key)

    assert found.ends == brief.certificate.not_valid_after_utc.timestamp()


def test_a_file_that_is_cut_off_anywhere_is_not_taken_for_less_than_it_is(files: Files) -> None:
    """But where one certificate ends: that is why changes count only when two looks found them the same."""
    issued = files.middle.issue(NAME)
    whole = issued.pem.rstrip()
    begins = len(issued.leaf_pem)

    for end in range(1, len(whole)):
        if not begins - 1 <= end <= begins + 1:
            with pytest.raises(CertificateFault):
                certificates_in(whole[:end], files.cert)
    assert len(certificates_in(whole, files.cert)) == 2
