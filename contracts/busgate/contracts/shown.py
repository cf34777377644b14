"""The examples that the API document of a call shows: those of its author, else made up from the schemas."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .catalog import AnyCall
from .example import Example, is_reply, is_request
from .fields import request_fields
from .problem import Problem
from .sample import Json, sample, sample_members

MADE_UP = "Made up from the schema"


@dataclass(frozen=True, slots=True)
class Shown:
    """One example as JSON.

    Args:
        key: the same for request and answer.
        title: a few words.
        status: of the answer.
        request: all fields by their JSON names, wherever they come from; None: an answer whose request is not known.
        answer: the body.
    """

    key: str
    title: str
    status: int
    request: Json | None
    answer: Any


def shown_examples(
    call: AnyCall, schemas: Mapping[str, Json], *, request: Json, reply: Json, problems: Mapping[type[Problem], Json]
) -> list[Shown]:
    """At least one for each answer that the contract declares, where a valid one can be made up.

    Args:
        call: the contract.
        schemas: what the other schemas refer to.
        request: the schema of the request, itself and not a reference to it.
        reply: that of the reply.
        problems: those of all declared problems.
    """
    shown = [_given(call, example) for example in call.examples]
    if not any(isinstance(example.answer, call.reply) for example in call.examples):
        shown += _made_up(call, request_sample(call, request, schemas), sample(reply, schemas))
    given = {type(example.answer) for example in call.examples}
    for problem, schema in problems.items():
        if problem not in given:
            shown += _made_up_problem(problem, sample(schema, schemas))
    return shown


def request_sample(call: AnyCall, model: Json, schemas: Mapping[str, Json]) -> Json:
    """What a request may look like; whether it is valid is another question."""
    if "examples" in model:
        return dict(model["examples"][0])
    fields = request_fields(call)
    parameters = sample_members(model, schemas, [*fields.path, *fields.query, *fields.header])
    return parameters | sample_members(model, schemas, fields.body, some=True)


def _given(call: AnyCall, example: Example) -> Shown:
    status = example.answer.status if isinstance(example.answer, Problem) else call.http.status
    return Shown(example.key, example.title, status, example.request_json(), example.answer_json())


def _made_up(call: AnyCall, request: Json, reply: Any) -> Sequence[Shown]:
    if not is_reply(call.reply, json.dumps(reply)):
        return []
    asked = None if call.examples or not is_request(call.request, json.dumps(request)) else request
    return [Shown("made-up", MADE_UP, call.http.status, asked, reply)]


def _made_up_problem(problem: type[Problem], document: Json) -> Sequence[Shown]:
    document["title"] = problem.title
    try:
        problem.from_document(document)
    except ValueError:
        return []
    return [Shown(f"made-up-{problem.__name__.lower()}", problem.title, problem.status, None, document)]
