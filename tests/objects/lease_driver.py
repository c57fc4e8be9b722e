"""Take a lease, say so, and hold it for a while: `lease_driver.py URI NAME SECONDS HOLD [CLOCK_SHIFT]`."""

from __future__ import annotations

import sys
import time

from glmstore.leases import lease


def main() -> None:
    uri, name, seconds, hold = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    if len(sys.argv) > 5:
        shift, now = float(sys.argv[5]), time.time
        time.time = lambda: now() + shift
    print("ready", flush=True)
    with lease(uri, name, seconds) as held:
        print("held", held.number, time.monotonic(), flush=True)
        time.sleep(hold)
        print("lost" if held.lost else "kept", time.monotonic(), flush=True)


if __name__ == "__main__":
    main()
