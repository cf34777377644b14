"""Models to JSON and back, as both ends of a call do it. Nothing here knows the bus."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)

_SHOWN = 5


def reader(model: type[ModelT]) -> Callable[[bytes], ModelT]:
    """A function that reads JSON into the model and raises ValidationError.

    Unknown fields are ignored even where the model forbids them: the edge is strict to clients, and between
    our own processes a field too many only means that the other side is a version ahead. Whether values are
    read strictly is left to the model: what arrives is the canonical JSON of one that was already valid.
    """
    _complete(model)
    return partial(model.__pydantic_validator__.validate_json, extra="ignore", by_alias=True, by_name=False)


def writer(model: type[ModelT], *, exclude_unset: bool = False) -> Callable[[ModelT], bytes]:
    """A function that writes the model as JSON; raises PydanticSerializationError where it has no such value.

    Whether each value fits its field is not looked at: that would double the time, the other side looks
    anyway, and pydantic's way to say so is a warning that quotes the value.
    """
    _complete(model)
    write = model.__pydantic_serializer__.to_json
    if exclude_unset:
        return partial(write, by_alias=True, exclude_unset=True, warnings=False)
    return partial(write, by_alias=True, warnings=False)


def explain(error: ValidationError) -> str:
    """Where a document does not fit, as JSON pointers and kinds of error; never its values, a client's."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{_pointer(each['loc'])} ({each['type']})" for each in errors[:_SHOWN]]
    more = len(errors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901 as a URI fragment; a key may be a client's, so what could break a log line is replaced."""
    pointer = "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(letter if letter.isprintable() else "?" for letter in pointer[:200])


def _complete(model: type[BaseModel]) -> None:
    if not model.__pydantic_complete__:  # forward references, or defer_build
        model.model_rebuild()
