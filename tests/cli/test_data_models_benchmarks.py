from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glmstore.benchmarks import BENCHMARKS, Benchmark, BenchmarkData, BenchmarkSpec
from glmstore.store import FeatureStore

Invoke = Callable[..., Any]
CONTENT = b"sequence,label\nACGT,1.0\n"
URL = "https://data.example.org/study/tiny.csv"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Register a benchmark of three items whose one file lies in a mirror; return the file."""
    spec = BenchmarkSpec(
        name="tiny",
        title="Three items",
        family="MPRA regression",
        label_kind="regression",
        label="activity",
        metrics=("pearson_r",),
        split="official",
        sequence_length=4,
        organism="synthetic",
        sources=({"url": URL, "sha256": hashlib.sha256(CONTENT).hexdigest(), "licence": "CC0-1.0"},),
        citation="none",
    )
    items = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "sequence": ["ACGT", "TTTT", "GGGG"],
            "label": [1.0, 2.0, 3.0],
            "split": ["train", "valid", "test"],
            "cluster": ["a", "b", "c"],
        }
    )

    def load(fetcher: Any) -> BenchmarkData:
        fetcher.fetch(spec.sources[0].url, spec.sources[0].sha256)
        return BenchmarkData(items, {"noise_ceiling_pearson_r": 0.9})

    monkeypatch.setitem(BENCHMARKS._entries, "tiny", Benchmark(spec, load))
    monkeypatch.setenv("GLMSTORE_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    path = tmp_path / "mirror" / "data.example.org" / "study" / "tiny.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def listed(glmstore: Invoke) -> dict[str, Any]:
    (source,) = json.loads(glmstore("data", "list", "tiny", "--json").stdout)
    return source


def test_sources_are_listed_with_where_they_can_be_had(glmstore: Invoke, tiny: Path) -> None:
    source = listed(glmstore)
    assert (source["url"], source["place"], source["problem"]) == (URL, "mirror", None)
    assert source["path"] == str(tiny)
    table = glmstore("data", "list", "tiny").stdout
    assert "data.example.org" in table
    assert "CC0-1.0" in table


def test_a_source_that_cannot_be_had_is_listed_with_the_reason(glmstore: Invoke, tiny: Path) -> None:
    tiny.unlink()
    source = listed(glmstore)
    assert source["place"] is None
    assert "GLMSTORE_OFFLINE is set" in source["problem"]
    result = glmstore("data", "list", "tiny")
    assert result.exit_code == 0
    assert "not to be had" in result.stdout
    assert f"note: {URL}: not in the mirror" in result.stderr


def test_pull_verifies_and_prints_the_file(glmstore: Invoke, tiny: Path) -> None:
    result = glmstore("data", "pull", "tiny")
    assert result.exit_code == 0
    assert result.stdout == f"tiny  {tiny}\n"


def test_pull_of_a_wrong_file_is_an_error_that_names_it(
    glmstore: Invoke, refused: Invoke, tiny: Path
) -> None:
    tiny.write_bytes(b"something else")
    said = refused("data", "pull", "tiny")
    assert str(tiny) in said
    assert "expected sha256" in said


def test_pull_of_what_nobody_has_says_where_to_put_it(refused: Invoke, tiny: Path) -> None:
    tiny.unlink()
    said = refused("data", "pull", "tiny")
    assert "GLMSTORE_MIRROR" in said
    assert "data.example.org/study/tiny.csv" in said


def test_check_exits_with_1_when_a_file_is_not_the_pinned_one(glmstore: Invoke, tiny: Path) -> None:
    good = glmstore("data", "check", "tiny", "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)[0]["verdict"] == "ok"
    tiny.write_bytes(b"something else")
    bad = glmstore("data", "check", "tiny", "--json")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)[0]["verdict"].startswith("wrong: expected sha256")
    assert f"error: {tiny}: wrong" in bad.stderr


@pytest.mark.parametrize(
    "command", [["data", "list"], ["data", "pull"], ["data", "check"], ["benchmarks", "show"]]
)
def test_an_unknown_benchmark_is_named_with_a_suggestion(refused: Invoke, command: list[str]) -> None:
    assert "Did you mean sortseq_lac?" in refused(*command, "sortsec_lac")


def test_a_benchmark_is_registered_and_embedded_by_name(glmstore: Invoke, store: Path, tiny: Path) -> None:
    done = json.loads(glmstore("embed", "tiny", "--model", "kmer1", "--json").stdout)
    assert (done["asked"], done["computed"]) == (3, 3)
    assert FeatureStore.open(store, create=False).benchmarks()["name"].to_list() == ["tiny"]


def test_a_benchmark_whose_file_is_missing_leaves_no_store_behind(
    glmstore: Invoke, store: Path, tiny: Path
) -> None:
    tiny.unlink()
    result = glmstore("embed", "tiny", "--model", "kmer1")
    assert result.exit_code == 2
    assert "cannot get" in result.stderr
    assert not store.exists()


def test_facts_are_shown_once_the_store_holds_the_benchmark(glmstore: Invoke, tiny: Path) -> None:
    assert json.loads(glmstore("benchmarks", "show", "tiny", "--json").stdout)["facts"] is None
    glmstore("embed", "tiny", "--model", "kmer1")
    shown = json.loads(glmstore("benchmarks", "show", "tiny", "--json").stdout)
    assert shown["facts"] == {"noise_ceiling_pearson_r": 0.9}
    assert "noise ceiling pearson r" in glmstore("benchmarks", "show", "tiny").stdout


def test_a_benchmark_that_only_the_store_knows_is_shown(
    glmstore: Invoke, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glmstore("embed", "tiny", "--model", "kmer1")
    monkeypatch.delitem(BENCHMARKS._entries, "tiny")
    assert json.loads(glmstore("benchmarks", "show", "tiny", "--json").stdout)["title"] == "Three items"
    assert glmstore("embed", "tiny", "--model", "kmer2").exit_code == 0


def test_every_benchmark_is_listed(glmstore: Invoke) -> None:
    names = [b["name"] for b in json.loads(glmstore("benchmarks", "list", "--json").stdout)]
    assert names == BENCHMARKS.names()
    table = glmstore("benchmarks", "list").stdout
    assert all(name in table for name in names)


def test_a_derived_model_is_shown_by_its_derived_name(glmstore: Invoke) -> None:
    spec = json.loads(glmstore("models", "show", "rand_init:gpn-mini:3", "--json").stdout)
    assert spec["control"] == "random_twin"
    assert spec["twin_of"] == "gpn-mini"
    assert "rand_init:<model>:<seed>" in glmstore("models", "list").stdout
