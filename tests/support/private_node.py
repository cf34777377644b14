"""A private node of the machine's rabbitmq-server package, beside any node that the system runs."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from support.broker import MAX_MESSAGE_SIZE, Broker, BrokerError, RabbitNode
from support.management import Management
from support.ports import HOST, free_ports
from support.reaper import Reaper

# Packages put the server where a plain user's PATH does not look.
SBIN = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/rabbitmq/sbin"]

CONFIG = """\
listeners.tcp.default = {host}:{amqp}
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {prometheus}
default_user = test
default_pass = {password}
collect_statistics_interval = 500
disk_free_limit.absolute = 1MB
max_message_size = {max_message_size}
log.console = false
log.file = broker.log
"""


# Ends every process group that has a file in `running`, then removes the folder.
CLEAN_UP = 'cd "$1/running" && for group in *; do kill -s KILL -- "-$group"; done; rm -rf "$1"'


def find_scripts() -> Path | None:
    """The folder of RabbitMQ's own scripts, or None without rabbitmq-server.

    Debian's commands are wrappers that change to the user rabbitmq; the scripts behind them do not.
    """
    command = shutil.which("rabbitmq-server", path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))
    if command is None:
        return None
    for folder in (Path(command).parent, Path(command).resolve().parent, Path("/usr/lib/rabbitmq/bin")):
        if (folder / "rabbitmq-env").exists():
            return folder
    return None


def find_epmd() -> str:
    in_erlang = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    return shutil.which("epmd") or str(in_erlang[-1] if in_erlang else "epmd")


class PrivateNode(RabbitNode):
    """A node in a folder of its own.

    Args:
        scripts: as `find_scripts` gives them.
        config: more lines of rabbitmq.conf.
    """

    def __init__(self, scripts: Path, *, config: str = "") -> None:
        self._scripts = scripts
        self._home = Path(tempfile.mkdtemp(prefix="busgate-rabbitmq-"))
        self._running = self._home / "running"
        self._running.mkdir()
        self._reaper = Reaper(["sh", "-c", CLEAN_UP, "sh", str(self._home)])
        self._node: subprocess.Popen[bytes] | None = None
        amqp, management, prometheus, distribution, epmd = free_ports(5)
        password = secrets.token_hex(8)
        self.broker = Broker(
            f"test:{password}@{HOST}:{amqp}", Management(f"http://{HOST}:{management}", "test", password)
        )
        self.prometheus = f"http://{HOST}:{prometheus}"
        self._write_files(
            CONFIG.format(
                host=HOST,
                amqp=amqp,
                management=management,
                prometheus=prometheus,
                password=password,
                max_message_size=MAX_MESSAGE_SIZE,
            )
            + config
        )
        self._environment = self._build_environment(distribution, epmd)
        # RabbitMQ would start one as a daemon that outlives it.
        self._epmd = self._spawn(find_epmd(), "-port", str(epmd), "-address", HOST)

    def _write_files(self, config: str) -> None:
        (self._home / "rabbitmq.conf").write_text(config)
        (self._home / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].")
        (self._home / "environment.conf").touch()
        cookie = self._home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)

    def _build_environment(self, distribution: int, epmd: int) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"test-{distribution}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "environment.conf"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._home / "data"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            # The script then becomes the server instead of waiting for it as a parent.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        }

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._home / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        (self._running / str(process.pid)).touch()
        return process

    async def launch(self) -> None:
        self._node = self._spawn(str(self._scripts / "rabbitmq-server"))

    async def last_words(self) -> str | None:
        if self._node is None or self._node.poll() is None:
            return None
        output = (self._home / "output").read_text(errors="replace")
        return f"code {self._node.returncode}, {' '.join(output.split())[-600:]}"

    async def kill(self) -> None:
        if self._node is not None:
            self._signal(signal.SIGKILL)
            await asyncio.to_thread(self._node.wait)
            (self._running / str(self._node.pid)).unlink(missing_ok=True)

    async def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._node is not None and self._node.poll() is None:
            os.killpg(self._node.pid, number)

    async def ctl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._ctl, arguments)

    def _ctl(self, arguments: tuple[str, ...]) -> str:
        done = subprocess.run(
            [self._scripts / "rabbitmqctl", "--quiet", *arguments],
            env=self._environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {' '.join((done.stdout + done.stderr).split())}")
        return done.stdout

    def dispose(self) -> None:
        self._reaper.run()
        for process in (self._node, self._epmd):
            if process is not None:
                process.wait(timeout=10)
