"""Start just an edge and a worker of the echo, and print the address and a token; Ctrl-C ends both.

Every step of a call is on: front door, JWT, scopes, validation on both sides, reply check, metrics, and a
record line for each call, which goes to --records.
"""

import argparse
import signal
import sys
from pathlib import Path

from bench.gateway import GatewayError, Setup, gateway


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    parser.add_argument("--bus", required=True, metavar="URL", help="amqp://user:password@host:port/vhost")
    parser.add_argument("--port", type=int, default=8090, help="of the edge (default: 8090)")
    parser.add_argument("--edges", type=int, default=1, help="edge processes (default: 1)")
    parser.add_argument("--records", type=Path, default=Path("/dev/null"), help="default: /dev/null")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job begins with it ignored
        signal.signal(number, signal.default_int_handler)
    setup = Setup(options.bus, options.port, edges=options.edges, records=options.records)
    try:
        with gateway(setup) as started:
            print(f"POST {started.base}/echo")
            print(f"Authorization: Bearer {started.token}", flush=True)
            signal.pause()
    except GatewayError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
