"""A run whose process and worker are killed does not stay Running, and its GPU slot comes back."""

import asyncio
import time

import pytest
from prefect.client.orchestration import get_client

LEASE_S = 60 + 15  # of the slot, and how often the server looks for expired ones

pytestmark = pytest.mark.slow


def test_a_killed_run_becomes_crashed_and_its_gpu_slot_comes_back(service, until, silent_s):
    with get_client(sync_client=True) as client:
        run = until(
            "the killed run is final",
            lambda: (r := client.read_flow_run(service.killed_run)).state.is_final() and r,
            silent_s + 30 - (time.monotonic() - service.killed_at),
        )
    assert run.state.is_crashed()
    assert "No sign of life" in run.state.message
    crashed_after = time.monotonic() - service.killed_at
    until("the slot is free", lambda: slots_in_use() == 0, LEASE_S + 15)
    slot_after = time.monotonic() - service.killed_at
    print(f"Crashed {crashed_after:.0f} s, slot free {slot_after:.0f} s after the kill")


def test_the_pool_of_the_killed_worker_takes_the_next_run(service):
    said = service.prefect("deployment", "run", "sleeper/zombie", "--param", "seconds=0", "--watch")
    assert "Completed" in said


def slots_in_use() -> int:
    async def ask() -> int:
        async with get_client() as client:
            return (await client.read_global_concurrency_limit_by_name("gpu")).active_slots

    return asyncio.run(ask())
