"""Take a lease and hold it: `lease_driver.py URI NAME SECONDS [CLOCK_SHIFT]`.

Says `ready`, `refused` at every look in vain, `held NUMBER WHEN` and, once a line came in or the input was
closed, `kept WHEN` or `lost WHEN`.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from types import SimpleNamespace

import time_machine

from glmstore import leases


def refused(seconds: float) -> None:
    """Say that another process holds it, and sleep until the next look."""
    print("refused", flush=True)
    time.sleep(seconds)


def main() -> None:
    uri, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    leases.time = SimpleNamespace(monotonic=time.monotonic, sleep=refused)
    print("ready", flush=True)
    with ExitStack() as stack:
        if len(sys.argv) > 4:
            stack.enter_context(time_machine.travel(timedelta(seconds=float(sys.argv[4])), tick=True))
        held = stack.enter_context(leases.lease(uri, name, seconds))
        print("held", held.number, time.monotonic(), flush=True)
        sys.stdin.readline()
        print("lost" if held.lost else "kept", time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
