"""Models to JSON and back, as both ends of a call do it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)

_SHOWN = 5


def reader(model: type[ModelT], *, strict: bool | None = None) -> Callable[[bytes], ModelT]:
    """A function that reads JSON into the model and raises ValidationError.

    Unknown fields are ignored even where the model forbids them: the edge is strict to clients, and between
    our own processes a field too many only means that the other side is a version ahead. `strict` takes no text
    for a number; None leaves that to the model: what arrives is the canonical JSON of one that was already valid.
    """
    complete(model)
    read = model.__pydantic_validator__.validate_json
    return partial(read, strict=strict, extra="ignore", by_alias=True, by_name=False)


def writer(model: type[ModelT], *, exclude_unset: bool = False) -> Callable[[ModelT], bytes]:
    """A function that writes the model as JSON; raises PydanticSerializationError where it has no such value.

    Whether each value fits its field is not looked at: that would double the time, the other side looks
    anyway, and pydantic's way to say so is a warning that quotes the value.
    """
    complete(model)
    write = model.__pydantic_serializer__.to_json
    if exclude_unset:
        return partial(write, by_alias=True, exclude_unset=True, warnings=False)
    return partial(write, by_alias=True, warnings=False)


def explain(error: ValidationError) -> str:
    """Where a document does not fit, as JSON pointers and kinds of error; never its values, a client's."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{pointer(each['loc'])} ({each['type']})" for each in errors[:_SHOWN]]
    more = len(errors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def pointer(location: tuple[int | str, ...]) -> str:
    """A place as a JSON pointer (RFC 6901, as a URI fragment).

    A key may be a client's, so what could break a log line is replaced.
    """
    text = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def complete(model: type[BaseModel]) -> None:
    """Make a model ready that waits for forward references, or was told to wait."""
    if not model.__pydantic_complete__:
        model.model_rebuild()
