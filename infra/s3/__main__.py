"""Object storage on one machine, for trials and tests: ``make storage DIR=DIR [PORT=9000]``.

Listens on loopback only and checks no credentials. Each folder of DIR is a bucket. Prints the environment
that leads there, and ends at SIGTERM and at Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from infra.s3.server import Service, aws


def main(arguments: list[str]) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="infra.s3", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the buckets lie; made if need be")
    parser.add_argument("--port", type=int, default=9000, help="0 takes any that is free (default: 9000)")
    chosen = parser.parse_args(arguments)
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: sys.exit(0))
    try:
        service = Service(chosen.folder, chosen.port)
    except OSError as error:
        parser.error(f"cannot serve {chosen.folder} on port {chosen.port}: {error.strerror}")
    with service:
        said = "".join(f"export {name}={value}\n" for name, value in aws(service.endpoint).items())
        sys.stdout.write(said)
        sys.stdout.flush()
        service.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
