"""What only a real Grafana can show: that it takes our dashboards and draws them, and whom it lets in."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.release import unpack

from tests.unit.grafana_fixture import LACKING, PASSWORD, REAL, Grafana, configuration, release, running
from tests.unit.live import Program, answers, archive, free_port, lacking, wait_until

pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "files" / "dashboards").glob("*.json"))
BROWSERS = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
# What Grafana writes in a panel's place.
TROUBLE = ("Panel plugin not found", "Plugin not registered", "Error loading", "was not found", "Unexpected error")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prometheus, which measures itself."""
    if why := lacking("prometheus"):
        pytest.skip(why)
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    packed = archive("prometheus")
    assert packed
    unpack(packed, folder / "release")
    jobs = [{"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}), encoding="utf-8")
    command = [str(folder / "release" / "prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder}/data"]
    with Program([*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "log", answers(port)):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    """A real Grafana with our dashboards, which shows them to everybody."""
    folder = tmp_path_factory.mktemp("grafana")
    boards = folder / "dashboards" / "Watchkeeper"
    boards.mkdir(parents=True)
    for file in BOARDS:
        shutil.copy(file, boards)
    more: dict[str, Any] = {"auth__anonymous": {"enabled": True}, "users": {"allow_sign_up": False}}
    ini = configuration(folder, **more)
    source = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy", "url": prometheus}
    options = {"path": str(boards.parent), "foldersFromFilesStructure": True}
    provisioned: dict[str, dict[str, Any]] = {
        "datasources/sources.yml": {"datasources": [{**source, "isDefault": True, "editable": False}]},
        "dashboards/boards.yml": {"providers": [{"name": "watchkeeper", "type": "file", "options": options}]},
    }
    for path, content in provisioned.items():
        file = folder / "provisioning" / path
        file.write_text(yaml.safe_dump({"apiVersion": 1, **content}), encoding="utf-8")
    with running(release(REAL, folder), ini) as found:
        yield found


def panels(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel of a dashboard, those in rows too."""
    return [inner for panel in content["panels"] for inner in (panel, *panel.get("panels", []))]


def test_every_dashboard_is_taken_as_it_is(server: Grafana) -> None:
    wanted = {board["uid"]: board for board in (json.loads(file.read_text(encoding="utf-8")) for file in BOARDS)}

    def found() -> set[str]:
        return {item["uid"] for item in server.ask("GET", "/api/search?type=dash-db")[1]}

    wait_until(lambda: found() == set(wanted), "every dashboard", lambda: server.program.log)
    for uid, board in wanted.items():
        answer = server.ask("GET", f"/api/dashboards/uid/{uid}")[1]
        assert answer["meta"]["provisioned"] is True
        assert answer["meta"]["folderTitle"] == "Watchkeeper"
        assert [panel["title"] for panel in panels(answer["dashboard"])] == [panel["title"] for panel in panels(board)]
    for trouble in ("failed to", "more than once", "no database write permissions"):
        assert trouble not in server.program.log


def test_people_log_in_with_the_password_of_the_file(server: Grafana) -> None:
    good = {"user": "admin", "password": PASSWORD}
    assert server.ask("POST", "/login", good, login="")[1]["message"] == "Logged in"
    assert server.ask("POST", "/login", {**good, "password": "wrong"}, login="")[0] == 401
    assert server.ask("POST", "/api/orgs", {"name": "x"}, login="")[0] in (401, 403)
    assert server.ask("POST", "/api/user/signup", {"email": "a@example.org"}, login="")[0] == 401


def test_every_dashboard_is_drawn(server: Grafana, tmp_path: Path) -> None:
    browser = next((path for name in BROWSERS if name and (path := shutil.which(name))), "")
    if not browser:
        pytest.skip("needs the program chromium")
    pictures = Path(os.environ.get("WATCHKEEPER_SCREENSHOTS", tmp_path))
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--virtual-time-budget=30000", f"--user-data-dir={tmp_path}/profile"]
    for file in BOARDS:
        content = json.loads(file.read_text(encoding="utf-8"))
        address = f"{server.url}/d/{content['uid']}?kiosk&from=now-5m&to=now"
        # As high as all rows, since Grafana draws only what is in view.
        height = 200 + 40 * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels(content))
        size = f"--window-size=1920,{max(1080, height)}"
        picture = pictures / f"{file.stem}.png"
        subprocess.run([*command, size, f"--screenshot={picture}", address], check=True, timeout=120)
        assert picture.read_bytes().startswith(b"\x89PNG")
        dumped = subprocess.run([*command, size, "--dump-dom", address], capture_output=True, check=True, timeout=120)
        page = html.unescape(dumped.stdout.decode())
        missing = [panel["title"] for panel in panels(content) if panel.get("title") and panel["title"] not in page]
        assert not missing, f"{file.stem}: not drawn: {missing}"
        assert not [words for words in TROUBLE if words in page], file.stem
