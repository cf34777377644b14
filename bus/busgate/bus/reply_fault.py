"""What makes a message a reply of the wire format, and what is none. docs/wire.md has the table."""

from .wire import CONTENT_TYPE, TYPE_PROBLEM, TYPE_REPLY, VERSION, Message


def reply_fault(reply: Message) -> str | None:
    """Why a message on a reply queue cannot be believed, or None. Who called asks it, and who taps."""
    if reply.fault is not None:
        return reply.fault
    headers = reply.headers
    if headers.get("wire") != VERSION:
        return f"the reply is not of wire version {VERSION}"
    if reply.type not in (TYPE_REPLY, TYPE_PROBLEM) or reply.content_type != CONTENT_TYPE:
        return "the reply is not of type reply or problem with content type application/json"
    if type(headers.get("service")) is not str or type(headers.get("received")) is not int:
        return "the reply lacks its headers service and received"
    ran = headers.get("ran")
    if type(ran) is not int or ran < 0:
        return "the reply lacks its header ran"
    return None
