"""An example of a call: a request and its answer. It documents a contract, and later answers for a service."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from .problem import Problem


@dataclass(frozen=True, slots=True)
class Example:
    """What a client asks, and what it gets.

        Example("Two of what is in stock", PlaceOrder(sku="A-1", quantity=2), Order(id=1, sku="A-1", quantity=2))
        Example("None left", PlaceOrder(sku="B-2"), OutOfStock("not enough in stock", sku="B-2", available=0))

    Args:
        title: a few words for the API document, different in each example of a contract.
        request: only the fields that are set are shown.
        answer: a reply, or a problem that the contract declares.
    """

    title: str
    request: BaseModel
    answer: BaseModel | Problem

    @property
    def key(self) -> str:
        """The title in letters that are safe in any document: `two-of-what-is-in-stock`."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def request_json(self) -> dict[str, Any]:
        """The request as it travels: all its fields by their JSON names, wherever they come from."""
        return dict(json.loads(_request_text(self.request)))

    def answer_json(self) -> Any:
        """The body of the answer."""
        if isinstance(self.answer, Problem):
            return self.answer.document()
        return json.loads(self.answer.model_dump_json(by_alias=True))

    def mismatch(
        self, request: type[BaseModel], reply: type[BaseModel], errors: Collection[type[Problem]]
    ) -> str | None:
        """Why this is no example of a contract with these models; None: it is one."""
        if not self.key:
            return "its title has no letter or digit"
        if type(self.request) is not request:
            return f"the request is a {request.__name__}, not a {type(self.request).__name__}"
        if isinstance(self.answer, Problem):
            if type(self.answer) not in errors:
                return f"{type(self.answer).__name__} is not among the errors of the contract"
        elif type(self.answer) is not reply:
            return f"the answer is a {reply.__name__} or a declared problem, not a {type(self.answer).__name__}"
        if not is_request(request, _request_text(self.request)):
            return f"the request does not fit {request.__name__} once it is JSON"
        if not isinstance(self.answer, Problem) and not is_reply(reply, self.answer.model_dump_json(by_alias=True)):
            return f"the answer does not fit {reply.__name__} once it is JSON"
        return None


def is_request(model: type[BaseModel], text: str | bytes) -> bool:
    """Whether a JSON text passes the edge as a request of this model."""
    return _fits(model, text, extra="forbid")


def is_reply(model: type[BaseModel], text: str | bytes) -> bool:
    """Whether a JSON text passes the edge as a reply of this model."""
    return _fits(model, text, extra="ignore")


def _fits(model: type[BaseModel], text: str | bytes, *, extra: str) -> bool:
    try:
        model.__pydantic_validator__.validate_json(text, strict=True, extra=extra, by_alias=True, by_name=False)  # type: ignore[arg-type]
    except ValidationError:
        return False
    return True


def _request_text(request: BaseModel) -> str:
    return request.model_dump_json(by_alias=True, exclude_unset=True, exclude_computed_fields=True)
