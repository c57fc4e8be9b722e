"""Try for a lease with a clock that is off: ``infra.chaos.contender URI NAME LEASE_S FOR_S SHIFT_S``.

Prints how often it tried and how often it got the lease.
"""

from __future__ import annotations

import sys
import time

from glmstore.leases import try_lease


def main(uri: str, name: str, lease_s: float, for_s: float, shift_s: float) -> None:
    """Try four times a second, for so long."""
    now = time.time
    time.time = lambda: now() + shift_s
    tries = held = 0
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        with try_lease(uri, name, lease_s) as got:
            tries, held = tries + 1, held + (got is not None)
        time.sleep(0.25)
    sys.stdout.write(f"{tries} {held}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
