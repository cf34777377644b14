"""The sub-commands: modules with `run(options) -> int`, imported when called, so each brings only its own."""

__all__: list[str] = []
