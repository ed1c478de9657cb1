"""playbooks/mirror.yml, run against a loopback server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .checkout import Checkout, checkout, sha256


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with two components: `agent` on every node, `server` on the group monitoring."""
    with checkout(tmp_path) as made:
        made.catalogue(agent={"version": "2.0.0"}, server={"version": "3.0.0", "group": "monitoring"})
        lock = {
            "agent": {
                "1.9.0": made.release("agent", "1.9.0", "amd64", "arm64"),
                "2.0.0": made.release("agent", "2.0.0", "amd64", "arm64"),
            },
            "server": {"3.0.0": made.release("server", "3.0.0", "amd64")},
        }
        made.write("files/lock.yml", lock)
        yield made


INVENTORY: dict[str, Any] = {
    "all": {
        "children": {
            "monitoring": {"hosts": {"monitor": {}}},
            "old": {"hosts": {"node1": {}, "node2": {}}, "vars": {"agent_version": "{{ '1.9' ~ '.0' }}"}},
            "gone": {"hosts": {"node3": {"agent_state": "absent", "agent_version": "0.1.0"}}},
        }
    }
}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_version_in_use_is_mirrored_once(project: Checkout) -> None:
    """The catalogue's versions and the hosts' own, for each pinned architecture; then nothing more to do or to ask."""
    target = project.root / "mirror"
    done = project.play("mirror", inventory=INVENTORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    files = tree(target)
    assert sorted(files) == [
        "agent/1.9.0/agent-1.9.0.linux-amd64.tar.gz",
        "agent/1.9.0/agent-1.9.0.linux-arm64.tar.gz",
        "agent/1.9.0/sha256sums.txt",
        "agent/2.0.0/agent-2.0.0.linux-amd64.tar.gz",
        "agent/2.0.0/agent-2.0.0.linux-arm64.tar.gz",
        "agent/2.0.0/sha256sums.txt",
        "server/3.0.0/server-3.0.0.linux-amd64.tar.gz",
        "server/3.0.0/sha256sums.txt",
    ]
    assert files["server/3.0.0/server-3.0.0.linux-amd64.tar.gz"] == b"server 3.0.0 amd64"
    line = f"{sha256(b'server 3.0.0 amd64')}  server-3.0.0.linux-amd64.tar.gz\n"
    assert files["server/3.0.0/sha256sums.txt"].decode() == line
    assert len(project.asked) == 5

    again = project.play("mirror", inventory=INVENTORY)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "changed=0" in again.stdout
    assert len(project.asked) == 5, "files that are right are not asked for again"

    (target / "agent/2.0.0/agent-2.0.0.linux-arm64.tar.gz").write_bytes(b"rotten")
    (target / "agent/1.9.0/sha256sums.txt").unlink()
    mended = project.play("mirror", inventory=INVENTORY)
    assert "changed=1" in mended.stdout
    assert len(project.asked) == 6
    assert tree(target) == files


def test_a_mirror_made_from_a_mirror(project: Checkout) -> None:
    """What one run has filled serves the next one, by way of the variable that points everything at a mirror."""
    settings = {"all": {"hosts": {"node1": {}}, "vars": {"watchkeeper_mirror_dir": str(project.served / "first")}}}
    assert project.play("mirror", inventory=settings).returncode == 0
    project.asked.clear()
    second = project.root / "second"
    done = project.play(
        "mirror",
        watchkeeper_mirror_url=f"{project.url}/ok/first/",
        watchkeeper_mirror_dir=str(second),
        watchkeeper_mirror_components=["agent"],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.asked == [f"/ok/first/agent/2.0.0/agent-2.0.0.linux-{arch}.tar.gz" for arch in ("amd64", "arm64")]
    assert list(tree(second)) == [
        "agent/2.0.0/agent-2.0.0.linux-amd64.tar.gz",
        "agent/2.0.0/agent-2.0.0.linux-arm64.tar.gz",
        "agent/2.0.0/sha256sums.txt",
    ]


def test_listing_asks_nobody(project: Checkout) -> None:
    """`--tags list` tells URL, checksum and path of every archive, and fetches nothing; so does check mode."""
    done = project.play("mirror", "--tags", "list")
    assert done.returncode == 0, done.stdout + done.stderr
    name = "agent-2.0.0.linux-arm64.tar.gz"
    whole = f"{project.url}/ok/up/agent/v2.0.0/{name}  {sha256(b'agent 2.0.0 arm64')}  agent/2.0.0/{name}"
    assert whole in [line.strip() for line in done.stdout.splitlines()]
    check = project.play("mirror", "--check")
    assert "would change: agent/2.0.0/agent-2.0.0.linux-amd64.tar.gz" in check.stdout
    assert not (project.root / "mirror").exists()
    assert project.asked == []


@pytest.mark.parametrize("fault", ["corrupt", "missing", "truncated"])
def test_a_wrong_archive_leaves_nothing(project: Checkout, fault: str) -> None:
    """An archive that is not what the lock file says ends the run; nothing of it stays, nor an empty folder."""
    assert project.play("mirror", watchkeeper_mirror_dir=str(project.served / "first")).returncode == 0
    target = project.root / "mirror"
    done = project.play(
        "mirror", watchkeeper_mirror_url=f"{project.url}/{fault}/first", watchkeeper_mirror_components=["server"]
    )
    assert done.returncode == 2, done.stdout + done.stderr
    words = {"corrupt": "the lock file says", "missing": "answered 404", "truncated": "is truncated"}
    assert words[fault] in done.stdout
    assert f"{project.url}/{fault}/first/server/3.0.0/server-3.0.0.linux-amd64.tar.gz" in done.stdout
    assert not target.exists()
    # What was there and right stays when another archive is wrong.
    assert project.play("mirror", watchkeeper_mirror_components=["agent"]).returncode == 0
    kept = tree(target)
    done = project.play("mirror", watchkeeper_mirror_url=f"{project.url}/{fault}/first")
    assert done.returncode == 2
    assert tree(target) == kept


def test_an_unpinned_version_is_refused_first(project: Checkout) -> None:
    """A version without a checksum ends the run before anything is fetched; one allowed unpinned is left out."""
    hosts = {"all": {"hosts": {"node1": {"agent_version": "7.7.7"}}}}
    done = project.play("mirror", inventory=hosts)
    assert done.returncode == 2
    assert "agent 7.7.7 has no checksum in the lock file" in done.stdout
    allowed = project.play("mirror", inventory=hosts, watchkeeper_allow_unpinned=["agent"])
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert "- agent 7.7.7 for amd64 has no checksum in the lock file and is not mirrored" in allowed.stdout
    assert project.asked == ["/ok/up/server/v3.0.0/server-3.0.0.linux-amd64.tar.gz"]
    unknown = project.play("mirror", watchkeeper_mirror_components=["agnet"])
    assert unknown.returncode == 2
    assert "there is no component 'agnet'; did you mean 'agent'?" in unknown.stdout
