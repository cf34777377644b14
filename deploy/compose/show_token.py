"""show_token.py ADDRESS FILE: a token for the compose example, signed with the secret in FILE, and how to use it."""

import sys
from dataclasses import replace
from pathlib import Path

from busgate.contracts import Catalog
from busgate.ops.demo_shop import CONTRACTS, banner, new_signer

END = "`docker compose logs --follow edge` shows each call, `docker compose down` ends it."

if __name__ == "__main__":
    address, secret = sys.argv[1:]
    sys.path.append(str(Path.cwd()))  # where the shop is
    signer = replace(new_signer(), secret=Path(secret).read_text())
    print(banner(address, signer.token(Catalog.load([CONTRACTS])), end=END), end="")
