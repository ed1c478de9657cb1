"""`make lock`: what upstream publishes becomes pins, and nothing that is pinned is overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.locking import LockError, merge, parse_checksums, render

from .checkout import Checkout, checkout

ONE, TWO = "1" * 64, "2" * 64
HEADER = "---\n# What this file is.\n#\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with two components; upstream publishes checksums of both and of a newer `agent`."""
    with checkout(tmp_path) as made:
        made.catalogue(
            agent={"version": "2.0.0"}, server={"version": "3.0.0"}, app={"kind": "python", "requirements": "x.lock"}
        )
        for name, version, arches in (
            ("agent", "2.0.0", ("amd64", "arm64")),
            ("agent", "10.0.0", ("amd64", "armv7")),
            ("server", "3.0.0", ("amd64", "arm64")),
        ):
            pins = made.release(name, version, *arches)
            lines = [f"{pin['sha256']}  {name}-{version}.linux-{arch}.tar.gz\n" for arch, pin in pins.items()]
            made.serve(f"up/{name}/v{version}/sha256sums.txt", "".join(lines).encode())
        (made.root / "files" / "lock.yml").write_text(HEADER, encoding="utf-8")
        yield made


def read(project: Checkout) -> dict[str, Any]:
    """Return the lock file's content."""
    return dict(yaml.safe_load((project.root / "files" / "lock.yml").read_text(encoding="utf-8")) or {})


def test_the_catalogue_is_pinned_then_one_more_version(project: Checkout) -> None:
    """Without arguments the catalogue's versions; with them that one, in the order of versions. Then no change."""
    file = project.root / "files" / "lock.yml"
    check = project.play("lock", "--check", "--diff")
    assert "would change: agent 2.0.0 (amd64, arm64), server 3.0.0 (amd64, arm64)" in check.stdout
    assert "+agent:" in check.stdout
    assert file.read_text(encoding="utf-8") == HEADER
    done = project.play("lock")
    assert done.returncode == 0, done.stdout + done.stderr
    lock = read(project)
    assert list(lock) == ["agent", "server"]
    assert lock["agent"]["2.0.0"]["arm64"] == {
        "sha256": project.release("agent", "2.0.0", "arm64")["arm64"]["sha256"],
        "source": f"{project.url}/ok/up/agent/v2.0.0/sha256sums.txt",
    }
    assert file.read_text(encoding="utf-8").startswith(HEADER + "agent:\n  2.0.0:\n    amd64:\n      sha256: ")
    assert "changed=0" in project.play("lock").stdout

    newer = project.play("lock", watchkeeper_lock_component="agent", watchkeeper_lock_version="10.0.0")
    assert "changed: agent 10.0.0 (amd64)" in newer.stdout, newer.stdout + newer.stderr
    assert list(read(project)["agent"]) == ["2.0.0", "10.0.0"]
    assert read(project)["server"] == lock["server"]
    assert list(file.parent.glob(".*")) == []


def test_a_contradiction_is_an_error(project: Checkout) -> None:
    """A pin that upstream contradicts stays as it is, and nothing else is written either."""
    wrong = {"server": {"3.0.0": {"arm64": {"sha256": ONE, "source": "a book"}}}}
    file = project.write("files/lock.yml", wrong)
    before = file.read_bytes()
    done = project.play("lock")
    assert done.returncode == 2
    for words in ("server 3.0.0 for arm64", ONE, "a book", f"{project.url}/ok/up/server/v3.0.0/sha256sums.txt"):
        assert words in done.stdout
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("component", "version", "words"),
    [
        ("agent", "9.9.9", "up/agent/v9.9.9/sha256sums.txt answered 404"),
        ("agnet", "", "there is no component 'agnet'; did you mean 'agent'?"),
        ("app", "", "app has no release that the lock file could pin"),
        ("", "9.9.9", "a version needs the component"),
    ],
)
def test_what_cannot_be_pinned(project: Checkout, component: str, version: str, words: str) -> None:
    """Each ends with its reason and without a change."""
    done = project.play("lock", watchkeeper_lock_component=component, watchkeeper_lock_version=version)
    assert done.returncode == 2
    assert words in done.stdout
    assert (project.root / "files" / "lock.yml").read_text(encoding="utf-8") == HEADER


def test_what_upstream_publishes() -> None:
    """Lines of sha256sum in both modes; anything else is refused, with its address."""
    text = f"{ONE}  a.tar.gz\n\n{TWO.upper()} *b.tar.gz\n"
    assert parse_checksums(text, "here") == {"a.tar.gz": ONE, "b.tar.gz": TWO}
    for bad in ("<html>", f"{ONE[:-1]}  a.tar.gz", f"{ONE}  a b"):
        with pytest.raises(LockError, match="here holds the line"):
            parse_checksums(bad, "here")
    address = "https://example.org/b.tar.gz.sha256"
    assert parse_checksums(f"{TWO.upper()}\n", address) == {"b.tar.gz": TWO}
    assert parse_checksums(f"{ONE}  a.tar.gz\n", address) == {"a.tar.gz": ONE}
    with pytest.raises(LockError):
        parse_checksums(f"{TWO}\n", "https://example.org/sha256sums.txt")


def test_a_pin_gets_a_better_source_and_keeps_its_value() -> None:
    """A pin that upstream confirms takes upstream as its source; other versions and architectures stay."""
    lock = {"agent": {"1.0.0": {"arm64": {"sha256": TWO, "source": "x"}, "amd64": {"sha256": ONE, "source": "a book"}}}}
    merged = merge(lock, "agent", "1.0.0", {"amd64": {"sha256": ONE, "source": "upstream"}})
    assert merged["agent"]["1.0.0"] == {
        "arm64": {"sha256": TWO, "source": "x"},
        "amd64": {"sha256": ONE, "source": "upstream"},
    }
    assert lock["agent"]["1.0.0"]["amd64"]["source"] == "a book", "the argument is left alone"


def test_comments_are_not_lost() -> None:
    """The comments at the top stay; a file with others is refused."""
    assert render(HEADER + "\nagent: {}\n", {"server": {}}) == HEADER + "\nserver: {}\n"
    assert render("", {"server": {}}) == "---\nserver: {}\n"
    with pytest.raises(LockError, match="comments below"):
        render(HEADER + "agent: {}\n  # why\n", {})


def test_the_projects_own_lock_file_survives() -> None:
    """A rewrite of files/lock.yml keeps its header and its content."""
    text = (Path(__file__).resolve().parents[2] / "files" / "lock.yml").read_text(encoding="utf-8")
    rewritten = render(text, yaml.safe_load(text))
    assert yaml.safe_load(rewritten) == yaml.safe_load(text)
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in rewritten.splitlines() if line.startswith("#")] == header
