"""Try for a lease with a clock that is off: ``infra.chaos.contender URI NAME LEASE_S FOR_S SHIFT_S [hold]``.

Prints ``held AT`` when it got the lease and ``tried N`` at the end; AT is of a clock that is the same in all
processes and that nothing here shifts. With ``hold`` it keeps the lease until it is killed.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import time_machine

from glmstore.leases import try_lease


def main(uri: str, name: str, lease_s: float, for_s: float, shift_s: float, *, hold: bool = False) -> None:
    """Try four times a second until it is got, while everything in Python is told a time that is off."""
    tries, end, held = 0, time.monotonic() + for_s, None
    with time_machine.travel(timedelta(seconds=shift_s), tick=True):
        while held is None and time.monotonic() < end:
            with try_lease(uri, name, lease_s) as held:
                tries += 1
                if held is not None:
                    _say(f"held {time.monotonic()}")
                    time.sleep(for_s if hold else 0)
            time.sleep(0.25)
    _say(f"tried {tries}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6]), hold=sys.argv[6:] == ["hold"])
