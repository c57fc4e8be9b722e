"""The Prefect UI as a person uses it: a deployment is opened, run from its form, and its outcome looked at.

`SCREENSHOTS=FOLDER` keeps what was seen; infra/images/ was made that way.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

pytestmark = pytest.mark.slow

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 90_000
RUN_MS = 120_000


@pytest.fixture
def page(service) -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium: infra/apt.sh installs it where apt-get can be used as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{service.url}/deployments")
        yield page
        browser.close()


@pytest.fixture
def keep(page: Page, tmp_path: Path):
    """Return a function that saves what is on the screen, once it stands still."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))

    def save(name: str) -> None:
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size > 10_000

    return save


def test_a_run_started_from_its_form_completes_and_shows_its_artifact(service, page: Page, keep):
    maintain = page.get_by_role("link", name="maintain-store", exact=True).first
    expect(maintain).to_be_visible(timeout=PATIENCE_MS)
    keep("deployments")

    maintain.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    expect(page.get_by_text("Feature store: a directory or s3://bucket/prefix.")).to_be_visible()
    expect(page.get_by_text("Only show what would be computed and stored")).to_be_visible()
    keep("form")

    page.get_by_role("spinbutton").first.fill("2")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("scheduled to start").first).to_be_visible()
    page.get_by_role("button", name="Runs", exact=True).click()
    run = page.get_by_role("link", name="maintain lab/store", exact=True).first
    expect(run).to_be_visible(timeout=RUN_MS)  # a run has its name once it is Running
    run.click()
    page.wait_for_url(re.compile("/runs/flow-run/"))
    expect(page.get_by_text("Completed").first).to_be_visible(timeout=RUN_MS)
    keep("run")

    page.get_by_text("Artifacts", exact=True).first.click()
    page.mouse.move(700, 600)
    page.mouse.wheel(0, 1500)  # the list is fetched once it is in sight
    page.get_by_role("link").filter(has_text="in 2 tables").click()
    page.wait_for_url(re.compile("/artifacts/artifact/"))
    expect(page.get_by_text("Files 6 → 2 in 2 tables")).to_be_visible()
    expect(page.get_by_text("files_before").first).to_be_visible()
    keep("artifact")
