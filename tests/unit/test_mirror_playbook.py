"""playbooks/mirror.yml, run against a loopback server."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.watchkeeper.catalogue import Project

from tests.harness import catalogue
from tests.harness import mirror as harness

from .checkout import ROOT, Checkout, checkout, sha256

PROJECT = Project.load(ROOT)


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


def test_an_executable_is_mirrored_like_an_archive(project: Checkout) -> None:
    """A component whose upstream releases bare executables is in the mirror under upstream's file name."""
    url = f"{project.url}/ok/up/tool/{{version}}/tool-v{{version}}-linux-{{arch}}"
    project.catalogue(tool={"kind": "binary", "version": "4.0.0", "url": url})
    pin = {"sha256": project.serve("up/tool/4.0.0/tool-v4.0.0-linux-amd64", b"tool"), "source": "made up"}
    project.write("files/lock.yml", {"tool": {"4.0.0": {"amd64": pin}}})
    done = project.play("mirror")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(project.root / "mirror")["tool/4.0.0/tool-v4.0.0-linux-amd64"] == b"tool"


def test_no_release_for_whom_nobody_installs_one(project: Checkout) -> None:
    """A component that a host has only when it says so does not count there, nor one that is the host's own."""
    project.catalogue(agent={"version": "2.0.0", "state": "absent"}, own={"kind": "host"})
    hosts = {"all": {"hosts": {"node1": {"agent_version": "1.9.0"}}}}
    assert project.play("mirror", inventory=hosts).returncode == 0
    assert {path.split("/")[1] for path in tree(project.root / "mirror")} == {"2.0.0"}


def wheel(project: Checkout, name: str, tag: str) -> tuple[str, str]:
    """Put a wheel of version 1.0 on the server; return its file name and its checksum."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"TAG = '{tag}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    file = project.served / "files" / f"{name}-1.0-{tag}.whl"
    file.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    return file.name, sha256(file.read_bytes())


# Which files of the project `my-fast` hosts with Debian's Pythons take, and which they do not.
TAKEN = [
    "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64",
    "cp311-cp311-manylinux_2_28_aarch64",
    "cp313-cp313-manylinux_2_17_x86_64",
    "cp38-abi3-manylinux_2_17_aarch64",
]
LEFT = [
    "cp310-cp310-manylinux_2_17_x86_64",
    "cp313-cp313t-manylinux_2_17_x86_64",
    "cp311-cp311-musllinux_1_2_x86_64",
    "cp311-cp311-win_amd64",
    "cp311-cp311-manylinux_2_17_i686",
]


@pytest.fixture
def application(project: Checkout) -> Checkout:
    """A Python application with two requirements, and the index that has their wheels."""
    project.catalogue(app={"kind": "python", "requirements": "requirements/app.lock"})
    made = {"plain": ["py3-none-any"], "my_fast": [*TAKEN, *LEFT], "pip": ["py3-none-any"]}
    locks = {"app": "# made up\n", "pip": ""}
    for name, tags in made.items():
        wheels = [wheel(project, name, tag) for tag in tags]
        links = "".join(f'<a href="../../files/{file}#sha256={digest}">{file}</a>\n' for file, digest in wheels)
        stranger = f'<a href="../../files/{name}-1.0-py2.py3-none-any.whl#sha256={"0" * 64}">not locked</a>'
        source = f'<a href="../../files/{name}-1.0.tar.gz#sha256={"1" * 64}">source</a>'
        project.serve(f"index/{name.replace('_', '-')}/index.html", f"<html>{links}{stranger}{source}</html>".encode())
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in [*(item[1] for item in wheels), "1" * 64])
        locks["pip" if name == "pip" else "app"] += (
            f"{name}==1.0 ; python_full_version < '3.12'{hashes}\n    # via app\n"
        )
    (project.root / "requirements").mkdir()
    for lock, text in locks.items():
        (project.root / "requirements" / f"{lock}.lock").write_text(text, encoding="utf-8")
    return project


def mirror(project: Checkout, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook with the made-up package index."""
    index = {"watchkeeper_python_index_url": f"{project.url}/ok/index"}
    return project.play("mirror", *options, **{**index, **variables})


def test_wheels_of_a_python_application(application: Checkout) -> None:
    """The locked wheels for the hosts' Pythons and both architectures, pip's, and an index; then nothing to ask."""
    done = mirror(application)
    assert done.returncode == 0, done.stdout + done.stderr
    files = tree(application.root / "mirror")
    packages = [f"my_fast-1.0-{tag}.whl" for tag in TAKEN] + ["pip-1.0-py3-none-any.whl", "plain-1.0-py3-none-any.whl"]
    assert sorted(files) == [
        *(f"python/packages/{file}" for file in packages),
        "python/packages/sha256sums.txt",
        "python/simple/index.html",
        *(f"python/simple/{name}/index.html" for name in ("my-fast", "pip", "plain")),
        "python/wheels.json",
    ]
    assert "has no wheel" not in done.stdout
    asked = len(application.asked)
    again = mirror(application)
    assert "changed=0" in again.stdout
    assert len(application.asked) == asked
    (application.root / "mirror/python/packages/plain-1.0-py3-none-any.whl").write_bytes(b"rotten")
    (application.root / "mirror/python/simple/plain/index.html").unlink()
    assert "changed=1" in mirror(application).stdout
    assert application.asked[asked:] == ["/ok/files/plain-1.0-py3-none-any.whl"]
    assert tree(application.root / "mirror") == files


def test_pip_installs_from_the_mirror(application: Checkout) -> None:
    """What pip finds in the mirror's index satisfies the lock; and a mirror can be made from that mirror."""
    assert mirror(application, watchkeeper_mirror_dir=str(application.served / "first")).returncode == 0
    second = {"watchkeeper_mirror_url": f"{application.url}/ok/first", "watchkeeper_python_index_url": ""}
    done = mirror(application, watchkeeper_mirror_dir=str(application.served / "second"), **second)
    assert done.returncode == 0, done.stdout + done.stderr
    taken = application.root / "taken"
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-cache-dir",
        "--isolated",
        "--python-version=3.11",
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
    command += ["--platform=manylinux_2_28_aarch64", "--platform=any", "--dest", str(taken)]
    command += ["--index-url", f"{application.url}/ok/second/python/simple/"]
    command += ["--requirement", str(application.root / "requirements" / "app.lock")]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    assert pip.returncode == 0, pip.stdout + pip.stderr
    assert sorted(path.name for path in taken.iterdir()) == [
        f"my_fast-1.0-{TAKEN[1]}.whl",
        "plain-1.0-py3-none-any.whl",
    ]


def test_listing_wheels_fetches_none(application: Checkout) -> None:
    """`--tags list` and check mode read the index for the files' names; no wheel is fetched, nothing written."""
    index = application.url.replace("//", "//reader:planted-password@") + "/ok/index"
    done = mirror(application, "--tags", "list", watchkeeper_python_index_url=index)
    assert done.returncode == 0, done.stdout + done.stderr
    file = "python/packages/plain-1.0-py3-none-any.whl"
    line = next(line for line in done.stdout.splitlines() if line.strip().endswith(file))
    assert f"{application.url}/ok/files/plain-1.0-py3-none-any.whl  " in line
    assert file in mirror(application, "--check").stdout
    assert not [path for path in application.asked if path.endswith(".whl")]
    assert not (application.root / "mirror").exists()
    # A login in the index's address is nowhere in what is served.
    assert mirror(application, watchkeeper_python_index_url=index).returncode == 0
    assert "planted-password" not in done.stdout
    assert not [path for path, content in tree(application.root / "mirror").items() if b"planted" in content]


def test_a_python_without_wheels_is_named(application: Checkout) -> None:
    """A requirement that has no wheel for one of the Pythons is a note, a version that is none an error."""
    done = mirror(application, "--tags", "list", watchkeeper_mirror_python_versions=["3.12"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "- my-fast==1.0 has no wheel for Python 3.12 on amd64, and none is mirrored" in done.stdout
    assert "Python 3.12 on arm64" not in done.stdout, "the wheel with the stable ABI is for that one"
    wrong = mirror(application, watchkeeper_mirror_python_versions=[3])
    assert wrong.returncode == 2
    assert "watchkeeper_mirror_python_versions: '3' is no version such as '3.11'" in wrong.stdout
    asked = len(application.asked)
    assert mirror(application, watchkeeper_mirror_python_versions=[]).returncode == 0
    assert len(application.asked) == asked


@pytest.mark.parametrize("fault", ["corrupt", "missing", "truncated"])
def test_a_wrong_wheel_leaves_nothing(application: Checkout, fault: str) -> None:
    """A wheel that is not what the lock says ends the run before there is an index that names it."""
    page = application.served / "index/plain/index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("../../files", f"/{fault}/files"), encoding="utf-8")
    done = mirror(application)
    assert done.returncode == 2, done.stdout + done.stderr
    words = {"corrupt": "the lock file says", "missing": "answered 404", "truncated": "is truncated"}
    assert words[fault] in done.stdout
    assert not [path for path in tree(application.root / "mirror") if "plain" in path or "simple" in path]


def test_an_index_that_cannot_be_read(application: Checkout) -> None:
    """The run says whose page it is, and nothing is written."""
    (application.served / "index/plain/index.html").unlink()
    done = mirror(application)
    assert done.returncode == 2
    assert "/ok/index/plain/ answered 404" in done.stdout
    assert not (application.root / "mirror").exists()


def test_a_zip_beside_the_mirror_is_taken(tmp_path: Path) -> None:
    """Under upstream's file name, whatever the archive's kind."""
    dest, version = tmp_path / "mirror", PROJECT.entry("loki").version
    for folder in (dest, tmp_path / "extra"):
        folder.mkdir()
    (tmp_path / "extra" / "loki-linux-amd64.zip").write_bytes(b"a zip")
    harness.write_lock(dest, {})
    harness.add_extras(dest, "amd64", PROJECT)
    assert (dest / "loki" / version / "loki-linux-amd64.zip").read_bytes() == b"a zip"
    found = harness.variables(dest, "http://127.0.0.1:1")
    assert found["loki_version"] == version
    assert "loki_state" not in found
    lock = yaml.safe_load((dest / "lock.yml").read_text(encoding="utf-8"))
    assert lock["loki"][version]["amd64"]["sha256"] == sha256(b"a zip")


@pytest.mark.parametrize(
    ("missing", "wanted"),
    [
        ([], {}),
        (["grafana", "cadvisor"], {"grafana_state": "absent", "cadvisor_state": "absent"}),
        (["loki"], {"loki_state": "absent"}),
        (["promtail"], {}),
        (["alloy"], {"watchkeeper_log_agent": "promtail"}),
        (["promtail", "alloy"], {"watchkeeper_log_agent": "none"}),
    ],
)
def test_a_run_does_without_what_the_mirror_has_not(missing: list[str], wanted: dict[str, str]) -> None:
    """And with another one, where a setting chooses."""
    assert harness.without(PROJECT, missing) == wanted


def test_the_demo_says_what_it_does_without(tmp_path: Path) -> None:
    """Of what its host would have; one that nothing would choose is not missed."""
    file = tmp_path / "variables.yml"
    demo = ROOT / "inventory" / "demo" / "hosts.yml"

    def said(*missing: str) -> str:
        variables = {"test_mirror_missing": list(missing), **harness.without(PROJECT, missing)}
        file.write_text(yaml.safe_dump(variables), encoding="utf-8")
        return catalogue.missing(str(file), str(demo))

    assert said("cadvisor", "loki", "promtail", "alloy", "grafana") == "Loki, Promtail, Alloy, Grafana"
    assert said("promtail") == said() == ""
