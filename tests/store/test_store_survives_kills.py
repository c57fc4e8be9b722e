"""Writers that are killed, or meet at the same keys; `make chaos` does more of it, in object storage too."""

import random
from collections import Counter
from pathlib import Path

from glmstore.store import FeatureStore
from infra.chaos.census import census
from infra.chaos.content import STEPS
from infra.chaos.nest import Mother, Nest, kill_in_the_middle

CHUNKS = range(32)
EVERYTHING = {(step, n) for n in CHUNKS for step in STEPS if step != "optimize"}
KILLS = 24
MOST_WRITERS = 120


def assert_whole(place: Path, nest: Nest) -> None:
    assert nest.acknowledged() >= EVERYTHING
    found = census(str(place), CHUNKS, nest.acknowledged())
    assert found.notes == []
    store = FeatureStore.open(place, create=False)
    rows = 250 * len(CHUNKS)
    assert store.sequences().height == rows
    assert store.views()["rows"].to_list() == [rows, rows]
    assert store.results().height == 2 * len(CHUNKS)


def test_no_kill_loses_an_acknowledged_row_or_shows_a_partial_one(tmp_path: Path) -> None:
    place, chance, killed = tmp_path / "store", random.Random(1), Counter[str]()
    with Mother() as mother, Nest(mother, str(place), tmp_path / "nest") as nest:
        for _ in range(MOST_WRITERS):
            undone = [n for n in CHUNKS if ("results", n) not in nest.acknowledged()]
            if (killed.total() >= KILLS and len(killed) >= 4) or not undone:
                break
            middle = kill_in_the_middle(nest, undone, chance)
            killed.update([middle[0]] if middle else [])
            found = census(str(place), CHUNKS, nest.acknowledged())
            assert found.notes == []
        assert killed.total() >= KILLS, killed
        # Where a kill falls is chance; that results come after their predictions is tested without any.
        assert len(killed) >= 3, killed
        assert nest.reap(nest.write(CHUNKS)) == 0
        assert_whole(place, nest)


def test_concurrent_writers_of_the_same_and_other_keys_lose_and_double_nothing(tmp_path: Path) -> None:
    with Mother() as mother, Nest(mother, str(tmp_path / "store"), tmp_path / "nest") as nest:
        running = [nest.write([*CHUNKS[first:], *CHUNKS[:first]]) for first in (0, 0, 3, 16)]
        assert [nest.reap(pid) for pid in running] == [0, 0, 0, 0]
        assert_whole(tmp_path / "store", nest)
