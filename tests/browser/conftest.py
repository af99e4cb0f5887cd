"""JupyterLab and the site in a real browser: `make browser` runs these, `make test` doesn't."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from sapbert_utils.course.profiles import REPOSITORY

collect_ignore_glob = [] if os.environ.get("BROWSER") else ["test_*.py"]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser():
    """Chromium; a failure, not a skip, where there is none."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.fail("no Chromium on this machine: install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of `make lab` on the smoke profile, which saves nothing that it was not told to save."""
    place = tmp_path_factory.mktemp("lab")
    settings = place / "settings" / "@jupyterlab" / "docmanager-extension" / "plugin.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"autosave": false}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=''",
               "--ServerApp.allow_root=True", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"]
    variables = os.environ | {"SAPBERT_RUNS": str(place / "runs"), "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
                              "JUPYTERLAB_WORKSPACES_DIR": str(place / "workspaces")}
    with (place / "log").open("w") as log:
        server = subprocess.Popen(["make", "lab", "PROFILE=smoke", f"ARGS={' '.join(options)}"], cwd=REPOSITORY,
                                  env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _wait(f"http://127.0.0.1:{port}", server, place / "log")
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _wait(address: str, server: subprocess.Popen, log: Path) -> str:
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{address}/api", timeout=5):
                return address
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(1)
    raise AssertionError(f"no answer in two minutes: {log.read_text()}")
