"""The operator's room: the `busgate` command and its processes. Nothing here is for import by others."""

__all__: list[str] = []
