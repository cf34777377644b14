"""Metrics as a strict reader of Prometheus' text format sees them."""

import re

_SAMPLE = re.compile(r"([a-z_]+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
_ENDS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Scrape:
    """Metrics as a strict reader of the text format sees them."""

    def __init__(self, text: str) -> None:
        self.types: dict[str, str] = {}
        self.helps: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        assert text.endswith("\n")
        lines = iter(text[:-1].split("\n"))
        for line in lines:
            if line.startswith("# HELP "):
                self._family(line, next(lines))
            else:
                self._sample(line)

    def _family(self, help_line: str, type_line: str) -> None:
        name, text = help_line.removeprefix("# HELP ").split(" ", 1)
        assert re.fullmatch(r"busgate_[a-z_]+", name)
        assert text.endswith(".")
        assert name not in self.types, "a family stands twice"
        kind = type_line.removeprefix(f"# TYPE {name} ")
        assert (kind == "counter") == name.endswith("_total")
        self.types[name] = kind
        self.helps[name] = text
        self._names = {name + end for end in _ENDS[kind]}

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        assert found is not None, line
        name, labels, value = found.groups()
        assert name in self._names, "a sample outside its family"
        pairs = _LABEL.findall(labels)
        assert sum(len(label) + len(text) + 3 for label, text in pairs) + max(len(pairs) - 1, 0) == len(labels)
        key = name, frozenset((label, _unescape(text)) for label, text in pairs)
        assert key not in self.samples, "a sample stands twice"
        self.samples[key] = float(value)

    def value(self, name: str, **labels: str) -> float:
        return self.samples["busgate_" + name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
