"""The example service in Node: its dependencies, installed once, and its process."""

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from support.faults.processes import Process
from support.provider import Say, can_install, install

FOLDER = Path(__file__).parents[2] / "examples" / "node"
OLDEST = 20
NOTHING = f"no Node.js for the tests: install node {OLDEST} or newer and npm"


class NodeJsError(Exception):
    """Node.js or the packages of the example cannot be had; the text is one line for the person who runs the tests."""


def prepare_node_service(say: Say) -> None:
    """Have node, npm and the packages of the lock file; `NodeJsError` where that cannot be."""
    if not _commands() and can_install():
        say("installing nodejs and npm for the tests (apt-get)")
        if why := install("nodejs", "npm"):
            raise NodeJsError(f"{NOTHING} ({why})")
    if not _commands():
        raise NodeJsError(NOTHING)
    version = _run("node", "--version").stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < OLDEST:
        raise NodeJsError(f"{NOTHING} (found {version or 'none'})")
    _install_packages(say)


async def start_node_service(url: str, *, name: str, jwks: str | None = None) -> Process:
    """Start it and wait until it serves.

    Args:
        url: of the broker.
        name: what it calls itself.
        jwks: file or URL of the keys by which it verifies who calls; None: it does not.
    """
    environ = {"BUS_URL": url, "SERVICE": name} | ({"JWKS": jwks} if jwks else {})
    started = await asyncio.create_subprocess_exec(
        "node", "stock.js", cwd=FOLDER, env=os.environ | environ,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    process = Process(started)
    await process.until("serves")
    return process


def _commands() -> bool:
    return all(map(shutil.which, ("node", "npm")))


def _install_packages(say: Say) -> None:
    """As the lock file says; not again while that is the same."""
    stamp = FOLDER / "node_modules" / ".installed"
    lock = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == lock:
        return
    say("installing the packages of examples/node (npm ci)")
    done = _run("npm", "ci", "--ignore-scripts")
    if done.returncode:
        raise NodeJsError(f"examples/node: npm ci failed: {' '.join(done.stderr.split())[-300:]}")
    stamp.write_text(lock)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
