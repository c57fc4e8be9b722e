from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import polars as pl
import pytest

from glmstore.errors import TableError, UnknownNameError
from glmstore.results import PredictionRow, ResultRow
from glmstore.store import FeatureStore
from glmstore.store import results as results_module
from glmstore.store.schema import PREDICTIONS, RESULTS, SCHEMAS


def predictions(cell_key: str, n: int = 4, seed: int = 0, shift: float = 0.0) -> pl.DataFrame:
    rows = [
        {
            "cell_key": cell_key,
            "seed": seed,
            "item_id": f"i{i}",
            "seq_key": "0" * 32,
            "cluster": f"c{i}",
            "label": float(i),
            "prediction": i + shift,
        }
        for i in range(n)
    ]
    return pl.DataFrame(rows)


def test_the_tables_hold_every_field_of_the_rows() -> None:
    assert SCHEMAS[RESULTS].names == ["write_id", *ResultRow.model_fields]
    assert SCHEMAS[PREDICTIONS].names == ["write_id", *PredictionRow.model_fields]


def test_rows_and_predictions_come_back_as_written(any_store: FeatureStore, result_row) -> None:
    failed = result_row(
        "c2", metric="-", value=None, ci_low=None, ci_high=None, status="failed", error="no class 1"
    )
    any_store.write_results([result_row("c1"), result_row("c1", "r2"), failed], predictions("c1"))
    frame = any_store.results()
    assert [ResultRow(**row) for row in frame.iter_rows(named=True)] == [
        result_row("c1"),
        result_row("c1", "r2"),
        failed,
    ]
    assert any_store.predictions(["c1"]).equals(predictions("c1"))
    assert any_store.predictions(["c2", "c3"]).height == 0
    assert any_store.results(cell_key="c1", metric="r2").height == 1


def test_a_new_store_has_no_results(any_store: FeatureStore) -> None:
    assert any_store.results().columns == list(ResultRow.model_fields)
    assert any_store.predictions(["c1"]).columns == list(PredictionRow.model_fields)
    assert any_store.completed(["c1"]) == set()
    any_store.write_results([])
    assert any_store.results().height == 0


def test_a_cell_is_completed_when_all_its_rows_are_ok(store: FeatureStore, result_row) -> None:
    store.write_results(
        [result_row("good"), result_row("half"), result_row("half", "r2", None, status="failed")]
    )
    assert store.completed(["good", "half", "absent"]) == {"good"}
    assert store.completed([]) == set()


def test_writing_a_cell_again_replaces_its_rows_and_predictions(any_store: FeatureStore, result_row) -> None:
    any_store.write_results([result_row("c1"), result_row("c1", "r2"), result_row("c2")], predictions("c1"))
    any_store.write_results([result_row("c1", value=0.7)], predictions("c1", n=2, shift=1.0))
    frame = any_store.results()
    assert frame.select("cell_key", "metric", "value").sort("cell_key").rows() == [
        ("c1", "pearson_r", 0.7),
        ("c2", "pearson_r", 0.5),
    ]
    assert any_store.predictions(["c1"]).equals(predictions("c1", n=2, shift=1.0))
    any_store.write_results([result_row("c1")])
    assert any_store.predictions(["c1"]).height == 0


def test_the_later_write_wins_even_if_its_clock_is_behind(
    store: FeatureStore, result_row, monkeypatch
) -> None:
    store.write_results([result_row("c1", value=0.1)])
    monkeypatch.setattr("glmstore.store.schema.time.time_ns", lambda: 1_000)
    store.write_results([result_row("c1", value=0.2)])
    assert store.results()["value"].to_list() == [0.2]


def test_a_cell_is_never_completed_before_its_predictions_are_there(
    store: FeatureStore, result_row, monkeypatch
) -> None:
    order: list[tuple[str, set[str], int]] = []
    append = results_module.ResultTables._append

    def spying(self, name, frame, write_id):
        append(self, name, frame, write_id)
        order.append((name, store.completed(["c1"]), store.predictions(["c1"]).height))

    monkeypatch.setattr(results_module.ResultTables, "_append", spying)
    store.write_results([result_row("c1")], predictions("c1"))
    store.write_results([result_row("c1")], predictions("c1", n=2))
    assert order == [
        ("predictions", set(), 0),
        ("results", {"c1"}, 4),
        ("predictions", {"c1"}, 4),
        ("results", {"c1"}, 2),
    ]


def test_predictions_whose_rows_never_came_stay_unseen(store: FeatureStore, result_row, monkeypatch) -> None:
    append = results_module.ResultTables._append

    def dies(self, name, frame, write_id):
        if name == "results":
            raise KeyboardInterrupt
        append(self, name, frame, write_id)

    with monkeypatch.context() as patch:
        patch.setattr(results_module.ResultTables, "_append", dies)
        with pytest.raises(KeyboardInterrupt):
            store.write_results([result_row("c1")], predictions("c1"))
    assert store.completed(["c1"]) == set()
    assert store.predictions(["c1"]).height == 0
    store.write_results([result_row("c1")], predictions("c1"))
    assert store.predictions(["c1"]).equals(predictions("c1"))


def test_results_are_selected_by_any_field_and_by_no_other(store: FeatureStore, result_row) -> None:
    store.write_results([result_row("c1", model="a"), result_row("c2", model="b' OR '1'='1")])
    assert store.results(model="b' OR '1'='1")["cell_key"].to_list() == ["c2"]
    assert store.results(model="a", benchmark="y").height == 0
    with pytest.raises(UnknownNameError, match="Did you mean model"):
        store.results(modell="a")


def test_cell_keys_with_quotes_are_data(store: FeatureStore, result_row) -> None:
    key = "x'); DELETE FROM results; --"
    store.write_results([result_row(key)], predictions(key))
    assert store.completed([key]) == {key}
    assert store.predictions([key]).height == 4


def test_predictions_that_fit_no_row_are_refused_and_nothing_is_written(
    store: FeatureStore, result_row
) -> None:
    with pytest.raises(TableError, match="c2 come without a result row"):
        store.write_results([result_row("c1")], predictions("c2"))
    with pytest.raises(TableError, match="exactly the columns"):
        store.write_results([result_row("c1")], predictions("c1").drop("cluster"))
    missing = predictions("c1").with_columns(prediction=pl.lit(None, pl.Float64))
    with pytest.raises(TableError, match="lack their prediction"):
        store.write_results([result_row("c1")], missing)
    with pytest.raises(TableError, match="metric pearson_r twice"):
        store.write_results([result_row("c1"), result_row("c1")])
    with pytest.raises(TableError, match="without result rows"):
        store.write_results([], predictions("c1"))
    assert store.results().height == 0


def test_writers_that_create_the_table_at_once_lose_nothing(tmp_path: Path, result_row) -> None:
    """Four connections, each sure at first that it has to make the table, many times over."""
    for trial in range(25):
        uri = tmp_path / str(trial)
        stores = [FeatureStore.open(uri) for _ in range(4)]
        together = Barrier(4)

        def write(number: int, stores=stores, together=together) -> None:
            together.wait(timeout=30)
            stores[number].write_results([result_row(f"c{number}")])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert FeatureStore.open(uri).results().height == 4
