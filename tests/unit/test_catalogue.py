"""The catalogue and the lock file: whole, consistent, and clear about what they lack."""

from __future__ import annotations

import re
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
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry.version)
    assert re.fullmatch(r"[a-z_]+", entry.group)
    assert 1024 <= entry.port < 65536
    for path in (entry.ready, entry.ui, entry.metrics_path):
        assert path == "" or path.startswith("/")
    assert entry.ready
    assert entry.kind in ("archive", "python")
    if entry.kind == "archive":
        assert entry.url.startswith("https://")
        assert "{version}" in entry.url
        assert "{arch}" in entry.url.rsplit("/", 1)[1]
        assert entry.requirements == ""
    else:
        assert (ROOT / entry.requirements).is_file()


@pytest.mark.parametrize("field", ["port", "job", "title"])
def test_entries_do_not_collide(field: str) -> None:
    """Two components share no port and no job."""
    values = [getattr(entry, field) for entry in PROJECT.components.values() if getattr(entry, field)]
    assert len(values) == len(set(values))


@every_component
def test_default_version_is_pinned(entry: Entry) -> None:
    """What runs without further words has checksums for both architectures."""
    if entry.kind == "archive":
        assert set(LOCK[entry.name][entry.version]) == set(ARCHITECTURES)
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
    if entry.kind != "archive":
        return
    upstream = entry.archive_url("9.8.7", "arm64")
    file = upstream.rsplit("/", 1)[1]
    assert "9.8.7" in file
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
    """The locked requirements themselves are what is installed."""
    (tmp_path / "app.lock").write_text("app==1.0.0 --hash=sha256:0\n", encoding="utf-8")
    entry = Entry("app", "App", "python", "1.0.0", "monitoring", 9000, requirements="app.lock")
    project = Project(tmp_path, {"app": entry})
    plain = project.artefact("app", "", SETTINGS)
    assert (plain.kind, plain.pip_arguments) == ("python", ())
    assert re.fullmatch(r"1\.0\.0-[0-9a-f]{8}", plain.version)
    assert plain.requirements == "app==1.0.0 --hash=sha256:0\n"
    other = project.artefact("app", "", {**SETTINGS, "watchkeeper_python_index_url": "https://pypi.example.com"})
    assert other.pip_arguments == ("--index-url", "https://pypi.example.com")


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
    with pytest.raises(CatalogueError, match=r"known: alertmanager, blackbox_exporter, "):
        PROJECT.entry("zzz")


def test_suggestion() -> None:
    """One name that is close, else all of them in order."""
    assert suggestion("nodse", {"nodes": 1, "monitoring": 2}) == "; did you mean 'nodes'?"
    assert suggestion("x", ["b", "a"]) == "; known: a, b"


def test_components_of_a_host() -> None:
    """Groups decide, in the order of a rollout; who scrapes comes after what it scrapes."""
    assert PROJECT.components_of(["web"], {}) == ["node_exporter"]
    assert PROJECT.components_of(["monitoring"], {})[-1] == "prometheus"
    assert set(PROJECT.components_of(["watch"], {"monitoring": "watch"})) == set(PROJECT.components)
    assert PROJECT.components_of(["web"], {"nodes": "linux"}) == []
    assert PROJECT.components_of(["linux"], {"nodes": "linux"}) == ["node_exporter"]


def test_group_of_a_part() -> None:
    """The user's name, else the part's own, else all hosts for the nodes."""
    assert group_of("monitoring", {}) == "monitoring"
    assert group_of("monitoring", {"monitoring": "watch"}) == "watch"
    assert group_of("nodes", {}) == "all"
