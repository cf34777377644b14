"""make_secrets.py FOLDER DEFINITIONS: the passwords of the compose example, each where only its role finds it.

RabbitMQ gets the users and their rights (DEFINITIONS) with hashes of the passwords, never the passwords.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path


def make(folder: Path, definitions: Path) -> None:
    """Fill `folder`, one sub-folder for each role and one for the broker; what is there stays.

    Args:
        folder: with a sub-folder for each user of the definitions, and one named `rabbitmq`.
        definitions: users and rights, without passwords.
    """
    document = json.loads(definitions.read_text())
    for user in document["users"]:
        password = secret(folder / user["name"] / "rabbitmq")
        user["password_hash"] = hashed(password)
        user["hashing_algorithm"] = "rabbit_password_hashing_sha256"
    secret(folder / "edge" / "jwt")
    write(folder / "rabbitmq" / "definitions.json", json.dumps(document, indent=2), mode=0o644)


def secret(path: Path) -> str:
    """The secret in this file; a new one, of 256 bits, if there is none."""
    if not path.exists():
        write(path, secrets.token_urlsafe(32), mode=0o400)
    return path.read_text()


def hashed(password: str) -> str:
    """As RabbitMQ keeps it: a salt of four bytes, and SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def write(path: Path, text: str, *, mode: int) -> None:
    """Write a whole file or none."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    draft.chmod(mode)  # whatever the umask
    draft.rename(path)


if __name__ == "__main__":
    make(*map(Path, sys.argv[1:]))
