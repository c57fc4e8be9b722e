"""A run whose process and worker are killed ends Crashed, whenever that was, and its GPU slot comes back."""

import pytest
from prefect.client.orchestration import get_client

pytestmark = pytest.mark.slow
LATE_S = 120
"""How much later Prefect may notice on a busy machine; it looks every five seconds."""


@pytest.fixture
def ended(until):
    """Return a function that waits for the end of a run."""
    with get_client(sync_client=True) as client:

        def wait(run, seconds: float):
            def final_state():
                state = client.read_flow_run(run).state
                return state if state.is_final() else None

            return until("the run is final", final_state, seconds)

        yield wait


def gpu_slots() -> tuple[int, int]:
    """Return how many GPU slots are taken, and how many there are."""
    with get_client(sync_client=True) as client:
        pool = client.request("GET", "/work_pools/{name}", path_params={"name": "gpu"}).json()
    return pool["active_slots"], pool["concurrency_limit"]


def test_after_a_crash_of_everything_no_run_stays_running(service):
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(service.run_of_crash)
        (called,) = [r for r in client.read_flow_runs() if r.name in service.said and r.id != run.id]
    for state in (run.state, called.state):
        assert state.is_crashed()
        assert "gone when the service started" in state.message
    assert f"Marked as Crashed, for their processes are gone: {run.name}, {called.name}" in service.said


def test_after_a_crash_automations_are_untouched_and_with_them_their_clocks(service, automations_now):
    assert automations_now() == service.automations
    assert len(service.automations) == 5


def test_a_killed_run_becomes_crashed_and_its_gpu_slot_comes_back(service, ended, silent_s):
    state = ended(service.killed_run, silent_s + LATE_S)
    assert state.is_crashed()
    assert "No sign of life" in state.message
    crashed_after = (state.timestamp - service.killed_at).total_seconds()
    assert 0 < crashed_after < silent_s + LATE_S
    assert gpu_slots() == (0, 1)
    print(f"Crashed {crashed_after:.0f} s after the kill")


def test_the_gpu_pool_takes_the_next_run_in_the_slot_of_the_killed_one(service):
    said = service.prefect("deployment", "run", "sleeper/zombie", "--param", "seconds=0", "--watch")
    assert "Completed" in said


def test_a_run_killed_before_its_first_heartbeat_becomes_crashed(service, ended, silent_s):
    state = ended(service.silent_from_start, silent_s + LATE_S)
    assert state.is_crashed()
    assert "No sign of life" in state.message


def test_a_run_killed_before_it_began_becomes_crashed(service, ended, unbegun_s):
    with get_client(sync_client=True) as client:
        names = {state.name for state in client.read_flow_run_states(service.killed_unbegun)}
    assert "Running" not in names
    state = ended(service.killed_unbegun, unbegun_s + LATE_S)
    assert state.is_crashed()
    assert "Did not begin" in state.message
    print(f"Crashed {(state.timestamp - service.killed_at).total_seconds():.0f} s after the kill")
