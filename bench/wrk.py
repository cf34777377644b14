"""wrk, the load generator for closed loops: each connection sends its next request when it has an answer."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.gateway import BODY

MISSING = "wrk is missing (Debian: apt-get install wrk; macOS: brew install wrk)"
_MILLIS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass(frozen=True, slots=True)
class Run:
    """What wrk saw. `failed` are answers that are not 2xx or 3xx, and broken connections."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    failed: int


def is_there() -> bool:
    return shutil.which("wrk") is not None


def wrk(
    url: str,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: float,
    body: bytes = BODY,
    each: Iterable[Mapping[str, str]] = (),
) -> Run:
    """Load a URL with POST requests from one thread. `each`: more headers of one request after the other."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script, tempfile.NamedTemporaryFile("w") as differing:
        differing.writelines("\t".join(f"{name}: {value}" for name, value in one.items()) + "\n" for one in each)
        differing.flush()
        script.write(_script(headers, body, differing.name))
        script.flush()
        seconds = max(round(seconds), 1)
        command = f"wrk -t1 -c{connections} -d{seconds}s -s {script.name} --latency --timeout 10s"
        done = subprocess.run([*command.split(), url], capture_output=True, text=True, check=True, timeout=seconds + 30)
    return _read(done.stdout)


_DIFFERING = """
local lines, n = {{}}, 0
for line in io.lines("{file}") do table.insert(lines, line) end
if #lines > 0 then
  request = function()
    n = n + 1
    for name, value in (lines[n] or lines[#lines]):gmatch("([^\t:]+): ([^\t]*)") do wrk.headers[name] = value end
    return wrk.format()
  end
end
"""


def _script(headers: Mapping[str, str], body: bytes, differing: str) -> str:
    lines = ['wrk.method = "POST"', f"wrk.body = [[{body.decode()}]]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    return "\n".join(lines) + _DIFFERING.format(file=differing)


def _read(text: str) -> Run:
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = sum(map(int, socket_errors.groups())) if socket_errors else 0
    return Run(
        requests=int(_number(r"(\d+) requests in", text)),
        rate=_number(r"Requests/sec:\s+([\d.]+)", text),
        p50_ms=_percentile("50", text),
        p99_ms=_percentile("99", text),
        failed=failed + int(_number(r"Non-2xx or 3xx responses: (\d+)", text, 0)),
    )


def _percentile(which: str, text: str) -> float:
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m)\b", text, re.MULTILINE)
    return float(found[1]) * _MILLIS[found[2]] if found else float("nan")


def _number(pattern: str, text: str, default: float = float("nan")) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else default
