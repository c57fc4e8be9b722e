"""A run whose process and worker are killed does not stay Running, and its GPU slot comes back."""

import asyncio
from datetime import UTC, datetime

import pytest
from prefect.client.orchestration import get_client

LEASE_S = 60 + 15  # of the slot, and how often the server looks for expired ones

pytestmark = pytest.mark.slow


def test_a_killed_run_becomes_crashed_and_its_gpu_slot_comes_back(service, until, silent_s):
    with get_client(sync_client=True) as client:

        def final_state():
            state = client.read_flow_run(service.killed_run).state
            return state if state.is_final() else None

        state = until("the killed run is final", final_state, silent_s + 30)
    assert state.is_crashed()
    assert "No sign of life" in state.message
    crashed_after = (state.timestamp - service.killed_at).total_seconds()
    assert 0 < crashed_after < silent_s + 30
    until("the slot is free", lambda: slots_in_use() == 0, LEASE_S + 15)
    slot_after = (datetime.now(UTC) - service.killed_at).total_seconds()
    print(f"Crashed {crashed_after:.0f} s, slot seen free {slot_after:.0f} s after the kill")


def test_the_pool_of_the_killed_worker_takes_the_next_run(service):
    said = service.prefect("deployment", "run", "sleeper/zombie", "--param", "seconds=0", "--watch")
    assert "Completed" in said


def slots_in_use() -> int:
    async def ask() -> int:
        async with get_client() as client:
            return (await client.read_global_concurrency_limit_by_name("gpu")).active_slots

    return asyncio.run(ask())
