"""The catalogue and the lock file: whole, consistent, and clear about what they lack."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import (
    ARCHITECTURES,
    CatalogueError,
    Entry,
    Project,
    group_of,
    load_lock,
    suggestion,
)
from ansible.module_utils.watchkeeper.packing import pack
from ansible.module_utils.watchkeeper.settings import documented

from tests.unit.runs import ROOT

PROJECT = Project.load(ROOT)
LOCK: dict[str, Any] = yaml.safe_load((ROOT / "files" / "lock.yml").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = {
    "watchkeeper_download_timeout": 600,
    "watchkeeper_mirror_url": "",
    "watchkeeper_lock_file": "",
    "watchkeeper_allow_unpinned": [],
    "watchkeeper_python_index_url": "",
}
every_component = pytest.mark.parametrize("entry", list(PROJECT.components.values()), ids=lambda entry: entry.name)


@every_component
def test_entry_has_what_others_derive_from(entry: Entry) -> None:
    """Targets, units, the closing table, the mirror and the documentation read these fields."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.name)
    assert entry.title.strip() == entry.title != ""
    assert entry.documentation.startswith("https://")
    assert re.fullmatch(r"[a-z_]+", entry.group)
    assert entry.kind in ("archive", "binary", "python", "host")
    assert entry.state in ("present", "absent")
    assert entry.port == 0 or 1024 <= entry.port < 65536
    for path in (entry.ready, entry.ui, entry.metrics_path):
        assert path == "" or path.startswith("/")
    if entry.kind != "host":
        assert re.fullmatch(r"\d+\.\d+\.\d+", entry.version)
        assert entry.ready
        assert entry.port
    if entry.released:
        assert entry.url.startswith("https://")
        assert "{version}" in entry.url
        assert "{arch}" in entry.url.rsplit("/", 1)[1]
    assert bool(entry.requirements) == (entry.kind == "python")
    if entry.kind == "python":
        assert (ROOT / entry.requirements).is_file()
        assert (ROOT / entry.source / "__main__.py").is_file()


# What else a setting can choose: what the role of error tracking sees to, which is there for every choice.
ELSEWHERE = {"watchkeeper_error_tracker": {"external", "self_hosted"}}


@every_component
def test_a_choice_is_one_of_the_settings_values(entry: Entry) -> None:
    """What chooses between components knows each by its name, and the default is one of them or none."""
    if not entry.chosen_by:
        return
    setting = documented(ROOT, "watchkeeper")[entry.chosen_by]
    rivals = [other.name for other in PROJECT.components.values() if other.chosen_by == entry.chosen_by]
    assert set(setting["choices"]) == {*rivals, *ELSEWHERE.get(entry.chosen_by, set()), "none"}
    assert entry.chosen == setting["default"]
    assert {PROJECT.entry(name).group for name in rivals} == {entry.group}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, ["alloy"]),
        ({"watchkeeper_log_agent": "promtail"}, ["promtail"]),
        ({"watchkeeper_log_agent": "none"}, []),
        ({"watchkeeper_log_agent": "none", "promtail_state": "present"}, ["promtail"]),
        ({"alloy_state": "absent"}, []),
        ({"watchkeeper_log_agent": "promtail", "alloy_state": "present"}, ["promtail", "alloy"]),
    ],
)
def test_a_setting_chooses_between_components(variables: dict[str, Any], wanted: list[str]) -> None:
    """Unless the inventory says of one by itself whether a host has it."""
    assert [name for name in ("promtail", "alloy") if PROJECT.entry(name).wanted(variables)] == wanted


# What has been found nowhere: such a host has to choose another version, or to allow the file unpinned.
UNPINNED = {"loki": {"arm64"}, "promtail": {"arm64"}}


@every_component
def test_instances_can_be_rendered(entry: Entry) -> None:
    """Every template of an entry reads keys that are documented with their defaults; a proof needs a place."""
    if entry.instances is None:
        assert not entry.samples or entry.port
        return
    option = documented(ROOT, entry.name)[entry.instances.variable]
    item = {name: inner.get("default", "required") for name, inner in option["options"].items()}
    [question] = entry.instances.questions(entry.job, entry.port, option, [item])
    assert question.path.startswith("/")
    assert question.job == entry.job
    if entry.instances.detail:
        assert option["options"][entry.instances.detail.list]["default"] == []
        assert entry.instances.detail.key in option["options"]


@pytest.mark.parametrize("field", ["port", "title"])
def test_entries_do_not_collide(field: str) -> None:
    """Two components share no port."""
    values = [getattr(entry, field) for entry in PROJECT.components.values() if getattr(entry, field)]
    assert len(values) == len(set(values))


def test_a_job_is_shared_with_the_users_applications_only() -> None:
    """They are asked for the same metrics as the app that stands for them."""
    jobs = Counter(job for entry in PROJECT.components.values() for job in entry.jobs)
    assert [job for job, number in jobs.items() if number > 1] == ["backend"]


@every_component
def test_default_version_is_pinned(entry: Entry) -> None:
    """What runs without further words has checksums for both architectures, or is named here."""
    if entry.released:
        pins = LOCK[entry.name][entry.version]
        missing = UNPINNED.get(entry.name, set())
        assert set(pins) == set(ARCHITECTURES) - missing
        assert all(f"None was found for {arch}" in pin["source"] for arch in missing for pin in pins.values())
        assert PROJECT.artefact(entry.name, "", SETTINGS).version == entry.version


def test_lock_entries_are_whole() -> None:
    """Each checksum is one, is nobody else's, and says where it was read."""
    seen: dict[str, str] = {}
    for name, versions in LOCK.items():
        assert name in PROJECT.components
        for version, pins in versions.items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version)
            assert set(pins) <= set(ARCHITECTURES)
            for arch, pin in pins.items():
                assert set(pin) == {"sha256", "source"}
                assert re.fullmatch(r"[0-9a-f]{64}", pin["sha256"])
                assert len(pin["source"]) > 10
                assert seen.setdefault(pin["sha256"], f"{name} {version} {arch}") == f"{name} {version} {arch}"


@every_component
def test_urls(entry: Entry) -> None:
    """Upstream's address carries version and architecture; a mirror's has a form of its own and the same file name."""
    if not entry.released:
        return
    upstream = entry.archive_url("9.8.7", "arm64")
    file = upstream.rsplit("/", 1)[1]
    assert "9.8.7" in upstream
    assert "arm64" in file
    assert "{" not in upstream
    for mirror in ("https://mirror.example.com/releases", "https://mirror.example.com/releases/"):
        found = entry.archive_url("9.8.7", "arm64", mirror)
        assert found == f"https://mirror.example.com/releases/{entry.name}/9.8.7/{file}"


def test_artefact_of_an_archive() -> None:
    """Address and checksum for each architecture that the lock file knows."""
    artefact = PROJECT.artefact("prometheus", "", {**SETTINGS, "watchkeeper_download_timeout": "30"})
    assert artefact.kind == "archive"
    assert artefact.timeout == 30
    pins = LOCK["prometheus"][artefact.version]
    assert {arch: source.sha256 for arch, source in artefact.sources.items()} == {
        arch: pins[arch]["sha256"] for arch in ARCHITECTURES
    }
    assert artefact.sources["amd64"].url.startswith("https://github.com/prometheus/prometheus/releases/download/v")


def test_an_older_pinned_version_can_be_chosen() -> None:
    """Any version with a checksum will do."""
    assert PROJECT.artefact("prometheus", "3.13.1", SETTINGS).version == "3.13.1"


def test_artefact_of_a_python_application(tmp_path: Path) -> None:
    """Its version is of its requirements and its code: another state of either is another release."""
    for name in ("app", "pip"):
        (tmp_path / f"{name}.lock").write_text(f"{name}==1.0.0 --hash=sha256:0\n", encoding="utf-8")
    entry = Entry("app", "App", "python", "monitoring", version="1.0.0", port=9000, requirements="app.lock")
    project = Project(tmp_path, {"app": entry})
    plain = project.artefact("app", "", SETTINGS)
    assert (plain.kind, plain.index) == ("python", "https://pypi.org/simple/")
    assert re.fullmatch(r"1\.0\.0-[0-9a-f]{8}", plain.version)
    assert plain.version.endswith(plain.package[:8])
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "__main__.py").write_text("print('first')\n", encoding="utf-8")
    coded = Project(tmp_path, {"app": replace(entry, source="code")}).artefact("app", "", SETTINGS)
    assert coded.version != plain.version
    mirror = {**SETTINGS, "watchkeeper_mirror_url": "https://mirror.example.com/"}
    assert project.artefact("app", "", mirror).index == "https://mirror.example.com/python/simple/"
    other = project.artefact("app", "", {**mirror, "watchkeeper_python_index_url": "https://pypi.example.com"})
    assert other.index == "https://pypi.example.com"


def test_a_package_depends_on_its_files_alone(tmp_path: Path) -> None:
    """So that it is the same release from every checkout; what Python leaves behind does not count."""
    shas = []
    for name in ("one", "two"):
        source = tmp_path / name / "app"
        source.mkdir(parents=True)
        (source / "__init__.py").write_text("", encoding="utf-8")
        (source / "sub").mkdir()
        (source / "sub" / "a.py").write_text("A = 1\n", encoding="utf-8")
        lock = tmp_path / f"{name}.lock"
        lock.write_text("x==1\n", encoding="utf-8")
        (tmp_path / "pip.lock").write_text("pip==1\n", encoding="utf-8")
        if name == "two":
            (source / "__pycache__").mkdir()
            (source / "__pycache__" / "a.pyc").write_bytes(b"x")
            os.utime(source / "__init__.py", (1, 1))
        package = pack(lock, source)
        shas.append(package.sha256)
    assert shas[0] == shas[1]
    with tarfile.open(fileobj=io.BytesIO(package.content)) as archive:
        names = [member.name for member in archive]
    assert names == ["package/requirements.lock", "package/pip.lock", "package/app/__init__.py", "package/app/sub/a.py"]


def lock_file(folder: Path, text: str) -> dict[str, Any]:
    """Return settings with a lock file of this text."""
    path = folder / "lock.yml"
    path.write_text(text, encoding="utf-8")
    return {**SETTINGS, "watchkeeper_lock_file": str(path)}


def test_another_lock_file(tmp_path: Path) -> None:
    """It replaces ours, it does not add to it; an architecture it lacks is not made up."""
    pin = f"{{amd64: {{sha256: {'a' * 64}, source: mine}}}}"
    settings = lock_file(tmp_path, f"prometheus: {{3.99.0: {pin}}}")
    artefact = PROJECT.artefact("prometheus", "3.99.0", settings)
    assert {arch: source.sha256 for arch, source in artefact.sources.items()} == {"amd64": "a" * 64}
    with pytest.raises(CatalogueError, match=r"prometheus 3\.13\.2 has no checksum in the lock file"):
        PROJECT.artefact("prometheus", "3.13.2", settings)
    settings["watchkeeper_allow_unpinned"] = ["prometheus"]
    sources = PROJECT.artefact("prometheus", "3.99.0", settings).sources
    assert {arch: source.sha256 for arch, source in sources.items()} == {"amd64": "a" * 64, "arm64": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no checksum in the lock file"),
        ("prometheus: {3.99.0: {}}", "has no checksum in the lock file"),
        ("prometheus: [", "is not valid YAML"),
        ("- prometheus", "must map components to versions"),
        ("prometheus: {3.99.0: {amd64: {sha256: ''}}}", "64 hex digits"),
        ("prometheus: {3.99.0: {amd64: {sha256: abc}}}", "64 hex digits"),
        ("prometheus: {3.99.0: {amd64: {source: here}}}", "prometheus 3.99.0 amd64"),
        ("prometheus: {3.99.0: {amd64: }}", "64 hex digits"),
    ],
)
def test_a_broken_lock_file_pins_nothing(tmp_path: Path, text: str, said: str) -> None:
    """An empty checksum above all does not mean that the archive need not be checked."""
    with pytest.raises(CatalogueError, match=re.escape(said)):
        PROJECT.artefact("prometheus", "3.99.0", lock_file(tmp_path, text))


def test_missing_lock_file(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(CatalogueError, match=r"nowhere\.yml cannot be read: No such file"):
        load_lock(ROOT, str(tmp_path / "nowhere.yml"))


def test_unpinned_is_refused_with_the_ways_out() -> None:
    """Three of them."""
    with pytest.raises(CatalogueError) as caught:
        PROJECT.artefact("alertmanager", "9.9.9", SETTINGS)
    for words in ("alertmanager 9.9.9", "alertmanager_version", "make lock", "watchkeeper_allow_unpinned"):
        assert words in str(caught.value)


def test_unknown_component() -> None:
    """A typing error gets a suggestion, anything else the list."""
    with pytest.raises(CatalogueError, match=r"there is no component 'promtheus'; did you mean 'prometheus'\?"):
        PROJECT.entry("promtheus")
    with pytest.raises(CatalogueError, match=r"known: alertmanager, alloy, app_observability, "):
        PROJECT.entry("zzz")


def test_suggestion() -> None:
    """One name that is close, else all of them in order."""
    assert suggestion("nodse", {"nodes": 1, "monitoring": 2}) == "; did you mean 'nodes'?"
    assert suggestion("x", ["b", "a"]) == "; known: a, b"


def test_components_of_a_host() -> None:
    """Groups decide, in the order of a rollout: logs have a place to go to first, the view from outside is last."""
    nodes = ["node_exporter", "promtail", "alloy"]
    assert PROJECT.components_of(["web"], {}) == nodes
    last = ["prometheus", "loki", "promtail", "alloy", "grafana", "uptime"]
    assert PROJECT.components_of(["monitoring"], {})[-6:] == last
    parts = {entry.group for entry in PROJECT.components.values()}
    assert set(PROJECT.components_of(["watch"], dict.fromkeys(parts, "watch"))) == set(PROJECT.components)
    assert PROJECT.components_of(["web"], {"nodes": "linux"}) == []
    assert PROJECT.components_of(["linux"], {"nodes": "linux"}) == nodes


def test_what_others_report_to_comes_early() -> None:
    """An application can only be told of an error tracker that is there, on whichever host."""
    assert [name for name, entry in PROJECT.components.items() if entry.early] == ["bugsink", "sentry"]


def test_group_of_a_part() -> None:
    """The user's name, else the part's own, else all hosts for the nodes."""
    assert group_of("monitoring", {}) == "monitoring"
    assert group_of("monitoring", {"monitoring": "watch"}) == "watch"
    assert group_of("nodes", {}) == "all"
