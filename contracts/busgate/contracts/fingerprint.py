"""What tells two versions of one contract apart."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

from .call import Call

DIGITS = 10


def fingerprint(call: Call[Any, Any]) -> str:
    """Ten hex digits that change with what the two sides of a contract agree on: route, models, problems, deadline.

    Processes announce it, so that a deploy that is half done can be seen.
    """
    agreed = {
        "topic": call.topic,
        "route": [call.http.method, call.http.path, call.http.status],
        "request": TypeAdapter(call.request).json_schema(mode="validation"),
        "reply": TypeAdapter(call.reply).json_schema(mode="serialization"),
        "errors": [[error.type, error.status, error.model.model_json_schema()] for error in call.errors],
        "timeout": call.timeout,
        "reruns": call.reruns,
    }
    if call.bound:
        agreed["bound"] = True
    return hashlib.sha256(json.dumps(agreed, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]
