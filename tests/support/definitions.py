"""What the deployment says of RabbitMQ's users: deploy/rabbitmq/definitions.json."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEFINITIONS: dict[str, Any] = json.loads((ROOT / "deploy" / "rabbitmq" / "definitions.json").read_text())


def rights_of(user: str) -> dict[str, str]:
    """Its rights by name, as regular expressions."""
    (found,) = (each for each in DEFINITIONS["permissions"] if each["user"] == user)
    return {name: found[name] for name in ("configure", "write", "read")}
