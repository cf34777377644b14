"""What makes a message a call of the wire format, and what is none. docs/wire.md has the table."""

from typing import Any

from .wire import CONTENT_TYPE, MAX_HOPS, TYPE_CALL, VERSION, Message, is_call_id, is_reply_queue, is_traceparent

_HOPS = range(MAX_HOPS + 1)


def fault_of(message: Message) -> str | None:
    """Why a message is not a call of wire version 1, or None. Never quotes the message."""
    if message.fault is not None:
        return message.fault
    headers: dict[str, Any] = message.headers
    if headers.get("wire") != VERSION or type(headers["wire"]) is not int:
        return "its wire version is not 1"
    if message.type != TYPE_CALL or message.content_type != CONTENT_TYPE:
        return "it is not of type call with content type application/json"
    if not is_reply_queue(message.reply_to) or not 16 <= len(message.correlation_id) <= 64:
        return "it has no usable reply_to and correlation_id"
    if not is_call_id(headers.get("call")) or not is_traceparent(headers.get("traceparent")):
        return "its headers call and traceparent are not both well-formed"
    if type(headers.get("deadline")) is not int or type(headers.get("hops")) is not int or headers["hops"] not in _HOPS:
        return "its headers deadline and hops are not both integers in range"
    if not isinstance(headers.get("caller", ""), str) or "CC" in headers or "BCC" in headers:
        return "it has a header that no call has"
    if "jws" in headers and not (isinstance(headers["jws"], str) and isinstance(headers.get("via", ""), str)):
        return "its headers jws and via are not both texts"
    return None
