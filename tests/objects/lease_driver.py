"""Take a lease, say so, and hold it for a while: `lease_driver.py URI NAME SECONDS HOLD [CLOCK_SHIFT]`."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import timedelta

import time_machine

from glmstore.leases import lease


def main() -> None:
    uri, name, seconds, hold = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    print("ready", flush=True)
    with ExitStack() as stack:
        if len(sys.argv) > 5:
            stack.enter_context(time_machine.travel(timedelta(seconds=float(sys.argv[5])), tick=True))
        held = stack.enter_context(lease(uri, name, seconds))
        print("held", held.number, time.monotonic(), flush=True)
        time.sleep(hold)
        print("lost" if held.lost else "kept", time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
