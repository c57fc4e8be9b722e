from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from glmstore.cli import main_app
from glmstore.errors import StoreNotWritableError
from glmstore.report.html import build_report, render_report
from glmstore.report.publish import summary_of_store
from glmstore.report.record import load_figures, load_summary, save_figure, save_summary
from glmstore.report.summary import Figure, SuiteSummary
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

if TYPE_CHECKING:
    from conftest import Lab

SUMMARY = SuiteSummary(
    name="demo",
    started="2026-11-21T08:00:00+00:00",
    seconds=312.4,
    computed_cells=42,
    reused_cells=3,
    failed_cells=1,
    left_out=(("gue_tf_0", "neither mirror nor network has <it>"),),
    notes=("Few seeds: two.",),
    seeds=(0, 1),
)
AGAIN = "# the whole run; what the store holds is not computed again "
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(16))
VOID = {"meta", "br", "img", "link", "hr", "input", "path", "use", "rect"}


class Outline(HTMLParser):
    """Checks that tags close in order, and keeps text, ids and whatever a browser would fetch."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [given["href"][1:]] if tag == "a" and (given.get("href") or "").startswith("#") else []
        self.fetched += [v for k in ("src", "srcset", "data") if (v := given.get(k))]
        self.fetched += [given["href"]] if tag in {"link", "image"} and given.get("href") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [v for k, v in attrs if k == "id" and v]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    assert parsed.open == []
    return parsed


@pytest.fixture
def filled(lab: Lab) -> Lab:
    lab.benchmark("mpra", noise_ceiling_pearson_r=0.9123, duplicates_merged=12)
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=0.3)
    search = {
        "trials": 8,
        "pruned": 3,
        "valid_score": 0.61234,
        "chosen": {"learning_rate": 0.001, "width": 128},
    }
    lab.cell("mpra", "gpn-mini", head="mlp", **search)
    lab.cell("mpra", "gpn-mini", head="lora", view="-", n_train=6000, adapters=["lora:gpn-mini-mpra-seed0"])
    lab.cell("mpra", "kmer4", control="sequence", error="HeadError: <b>no</b>")
    lab.benchmark("cagi5_f9", label_kind="variant_effect")
    lab.cell("cagi5_f9", "gpn-mini", head="llr", view="-", seeds=1)
    lab.cell(
        "cagi5_f9", "rand_init:gpn-mini:0", head="llr", view="-", seeds=1, control="random_twin", noise=9
    )
    view = FeatureView(model="gpn-mini", revision="ab" * 32, layer=5, pooling="mean")
    origin = Provenance(
        model_spec={},
        weights_sha256="cd" * 32,
        tokenizer_sha256=None,
        dim=3,
        code_version="0.1.0",
        precision="float32",
    )
    lab.store.declare(view, origin)
    lab.store.write(view, lab.store.add_sequences(["ACGT"]), np.ones((1, 3)))
    return lab


def test_the_report_is_whole_html_that_asks_no_server_for_anything(filled: Lab) -> None:
    page = render_report(filled.store, SUMMARY, [Figure("Saliency", "A logo.", PNG)])
    parsed = outline(page)
    assert parsed.fetched
    assert all(value.startswith("data:image/png;base64,") for value in parsed.fetched)
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)
    assert "<script" not in page
    assert "@import" not in page


def test_every_section_is_there_and_linked(filled: Lab) -> None:
    parsed = outline(render_report(filled.store, SUMMARY))
    sections = ["summary", "run", "benchmarks", "leaderboard", "tuning", "lora", "zero-shot", "attribution"]
    assert parsed.links == [*sections, "provenance", "reproduce"]
    assert set(parsed.links) <= set(parsed.ids)


def test_ids_are_unique_although_every_plot_brings_its_own(filled: Lab) -> None:
    ids = outline(render_report(filled.store, SUMMARY)).ids
    assert len(ids) == len(set(ids))


def test_the_summary_says_what_beat_what_and_what_was_left_out(filled: Lab) -> None:
    text = outline(render_report(filled.store, SUMMARY)).text
    assert "gpn-mini, ridge on L5 mean : pearson_r 0." in text
    assert "beats its random twin by 0." in text
    assert "falls short of one-hot under the same head by 0." in text
    assert "gue_tf_0 neither mirror nor network has <it>" in text
    assert "42 cells of model × benchmark × head and 0 feature vectors were computed in 5 min 12 s" in text
    assert "Few seeds: two." in text


def test_failures_are_shown_and_what_users_wrote_is_escaped(filled: Lab) -> None:
    page = render_report(filled.store, SUMMARY)
    assert "HeadError: &lt;b&gt;no&lt;/b&gt;" in page
    assert "<b>no</b>" not in page


def test_tuning_lora_zero_shot_and_provenance_show_their_numbers(filled: Lab) -> None:
    text = outline(render_report(filled.store, SUMMARY)).text
    assert "mpra gpn-mini mlp L5 mean 8 3 0.6123 learning_rate = 0.001 , width = 128" in text
    assert "trained on 6,000 items: lora:gpn-mini-mpra-seed0" in text
    zero_shot = text[text.index("Correlations keep their sign") :]
    assert "Title of cagi5_f9" in zero_shot
    assert "cd" * 32 in text
    assert "layer 5, mean, forward" in text


def test_effects_of_known_sites_stand_in_the_attribution_section(filled: Lab) -> None:
    filled.cell("mpra", "onehot", head="gia:CRP", control="sequence", site_effects=(0.5, 0.1))
    text = outline(render_report(filled.store, SUMMARY)).text
    section = text[text.index("Effect of known sites") : text.index("Provenance of every view")]
    assert "CRP mpra 0.500 [0.400, 0.600] 0.100 [0.000, 0.200] 300" in section
    assert "gia effect [95 % CI]" in section


def test_zero_shot_scores_say_what_they_are_set_against(filled: Lab) -> None:
    said = {"set_against": "absolute effect", "expected_sign": "negative"}
    filled.cell("cagi5_f9", "gpn-mini", head="cosine", view="-", seeds=1, **said)
    text = outline(render_report(filled.store, SUMMARY)).text
    assert "cosine is set against the absolute effect; a score that works has a negative correlation." in text


def test_the_noise_ceiling_stands_among_the_facts_of_the_benchmark(filled: Lab) -> None:
    text = outline(render_report(filled.store, SUMMARY)).text
    assert "noise ceiling pearson r 0.9123" in text
    assert "duplicates merged 12" in text


def test_an_empty_store_gives_a_report_that_says_so(lab: Lab) -> None:
    text = outline(render_report(lab.store, SUMMARY)).text
    assert "No model has a finished result yet." in text
    assert "No figure was made." in text


def test_the_same_store_gives_the_same_page(filled: Lab) -> None:
    assert render_report(filled.store, SUMMARY) == render_report(filled.store, SUMMARY)


def test_the_report_is_replaced_whole_and_leaves_nothing_else_behind(filled: Lab, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    for _ in range(2):
        assert build_report(filled.store, suite_summary=SUMMARY, figures=[], out=out) == out
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_is_a_named_error(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreNotWritableError, match=r"report\.html"):
        build_report(lab.store, suite_summary=SUMMARY, figures=[], out=tmp_path / "file" / "report.html")


def test_figures_and_the_summary_survive_until_the_next_report(tmp_path: Path) -> None:
    figure = Figure("GIA of the CRP site", "Boxes: 300 backgrounds.", PNG)
    save_figure(tmp_path / "figures", figure)
    save_summary(tmp_path, SUMMARY)
    assert load_figures(tmp_path / "figures") == [figure]
    assert load_summary(tmp_path) == SUMMARY


def test_nothing_stored_means_no_figures_and_no_summary(tmp_path: Path) -> None:
    assert load_figures(tmp_path / "absent") == []
    assert load_summary(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "command", "untold"),
    [
        ("demo", "make demo", "Not on record: the models asked for (--model)."),
        ("full", "make demo SUITE=full", "Not on record: the models asked for (--model)."),
        ("mpra", "glmstore run mpra --seeds 2", "Not on record: the models asked for (--model)."),
        ("cagi5", "glmstore run cagi5", "the models asked for (--model); how many seeds (--seeds)."),
        (
            "forgotten",
            "glmstore run forgotten",
            "the models asked for (--model); how many seeds (--seeds).",
        ),
        (
            *("cells", "glmstore run 'my cells.csv' --sequence COLUMN --label log2 --split part --seeds 2"),
            "the file's folder; which column holds the sequences (COLUMN); the models asked for (--model).",
        ),
        ("stored results", "glmstore leaderboard --all-metrics --json", ""),
    ],
)
def test_the_report_tells_how_to_make_it_again_and_what_of_that_it_does_not_know(
    lab: Lab, name: str, command: str, untold: str
) -> None:
    lab.benchmark("mpra")
    lab.benchmark("cagi5", label_kind="variant_effect")
    own = {"title": "my cells.csv", "family": "own table", "label": "log2", "split": "column 'part'"}
    lab.benchmark("cells", described=own)
    text = outline(render_report(lab.store, SUMMARY.model_copy(update={"name": name}))).text
    section = text.partition("Reproduce and cite ")[2]
    assert section.removeprefix(AGAIN).startswith(f"{command} glmstore ")
    assert section.startswith(AGAIN) == bool(untold)
    assert untold in section
    assert ("Not on record" in section) == bool(untold)


def test_a_run_that_recorded_its_command_line_is_made_again_by_it(lab: Lab) -> None:
    command = "glmstore run cells.csv --sequence seq --label HepG2 --seeds 1"
    told = SUMMARY.model_copy(update={"name": "cells", "command": command})
    section = outline(render_report(lab.store, told)).text.partition("Reproduce and cite ")[2]
    assert section.startswith(f"{AGAIN}{command} glmstore ")
    assert "Not on record" not in section


def test_a_store_without_results_is_said_to_have_none_and_shows_no_zeros(lab: Lab) -> None:
    text = outline(render_report(lab.store, summary_of_store(lab.store))).text
    assert "This store holds no results yet." in text
    assert "No model has a finished result yet." in text
    assert not re.search(r"\b0 (cells|failed|probe seeds|s wall)", text)
    assert "Probe seeds" not in text
    assert "The store holds no benchmark." in text


def test_a_report_of_a_store_alone_tells_of_no_run(filled: Lab) -> None:
    text = outline(render_report(filled.store, summary_of_store(filled.store))).text
    assert "no run left a summary beside it" in text
    assert "cells found in the store" in text
    for told_of_runs in ("cells computed", "wall time", "were computed in", "was left out"):
        assert told_of_runs not in text


def test_the_report_command_says_that_a_store_is_empty_and_writes_a_page_that_does_too(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    FeatureStore.open(str(store))
    result = CliRunner().invoke(
        main_app(), ["report", "--store", str(store), "--out", str(tmp_path / "r.html")]
    )
    assert result.exit_code == 0, result.output
    assert "The store holds no results yet." in result.stderr
    assert "This store holds no results yet." in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_table_of_ones_own_is_asked_for_no_organism_citation_or_licence(lab: Lab) -> None:
    own = {"family": "own table", "organism": "not given", "citation": "none: a user's own table"}
    lab.benchmark("cells", described=own)
    text = outline(render_report(lab.store, SUMMARY)).text
    assert "Own table. Label: log2 RNA/DNA." in text
    assert "not given" not in text
    assert "Licence" not in text


@pytest.mark.parametrize(
    ("leaks", "shown"),
    [
        ((0, 0, 0), "leaked between parts none (exact, near) "),
        ((0, 3, 0), "leaked train to test near 3 other leaks between parts none (exact, near) "),
        ((2, 3, 1), "leaked valid to test near 1 "),
    ],
)
def test_leaks_that_are_none_take_one_line(lab: Lab, leaks: tuple[int, ...], shown: str) -> None:
    names = ("leaked_train_to_test_exact", "leaked_train_to_test_near", "leaked_valid_to_test_near")
    lab.benchmark("mpra", rows=240, **dict(zip(names, leaks, strict=True)))
    text = outline(render_report(lab.store, SUMMARY)).text
    facts = text[text.index("rows 240") : text.index("A. Author 2020.")]
    assert shown in facts
    assert facts.count("leak") == (sum(map(bool, leaks)) + (not all(leaks)))


def test_the_page_opens_with_the_best_control_and_colours_no_gain_below_it(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=3.0, one_hot=3.0)
    lab.cell("mpra", "onehot", head="cnn", noise=0.1, control="sequence")
    page = render_report(lab.store, SUMMARY)
    body = page[page.index("<body>") :]
    assert 'class="above"' not in body
    assert body.index("is worse than the best sequence control, 0.") < body.index("beats its random twin by")
    assert "Δ best<br>control" in body


def test_columns_of_controls_that_nothing_was_held_against_are_left_out(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=3.0, one_hot=3.0)
    assert "<th>Δ k-mers</th>" not in render_report(lab.store, SUMMARY)
    lab.cell("mpra", "kmer4", control="sequence")
    assert "<th>Δ k-mers</th>" in render_report(lab.store, SUMMARY)
