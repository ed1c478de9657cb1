"""The engine's contract, property by property, each in a process of its own against a real program."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.declaration import (
    Artefact,
    Declaration,
    DeclarationError,
    OwnedFile,
    Proof,
    Source,
    Unit,
    declare,
)
from ansible.module_utils.watchkeeper.packing import pack
from ansible.module_utils.watchkeeper.release import architecture

from tests.unit.runs import ROOT

from .conftest import Host, Mirror

PIP = sorted((ROOT / ".cache" / "mirror" / "python").glob("**/pip-*.whl"))

# Every point at which a run can be killed, in the order of an upgrade.
UPGRADE_STEPS = ["release", "candidate", "check", "configuration", "run", "unit", "restart", "prove", "state", "tidy"]
RELOAD_STEPS = ["candidate", "check", "configuration", "run", "link", "reload", "prove", "state", "tidy"]


def test_first_converge_runs_and_second_changes_nothing(host: Host) -> None:
    """A bare host ends with a proven program; the next run costs no request and no restart."""
    first = host.converge(host.declare())
    assert first["changed"], first
    assert first["actions"][0] == "release 1.0.0 installed"
    assert first["actions"][-1] == "started"
    assert host.answer() == ("1.0.0", "first")
    pid = host.systemctl("show", "demo.service")
    Mirror.requests.clear()
    second = host.converge(host.declare())
    assert second["changed"] is False
    assert second["actions"] == []
    assert Mirror.requests == []
    assert host.systemctl("show", "demo.service") == pid
    assert "UnitFileState=enabled" in pid


def test_configuration_change_reloads(host: Host) -> None:
    """A change of configuration keeps the process and is in force when the run ends."""
    host.converge(host.declare("first"))
    before = host.systemctl("show", "demo.service")
    outcome = host.converge(host.declare("second"))
    assert outcome["actions"] == ["configuration changed: demo.conf", "reloaded"]
    assert host.answer() == ("1.0.0", "second")
    assert host.systemctl("show", "demo.service") == before


def test_command_line_change_restarts(host: Host) -> None:
    """A change of the command line is a new process."""
    host.converge(host.declare())
    before = host.systemctl("show", "demo.service")
    outcome = host.converge(host.declare(arguments=("--more",)))
    assert outcome["actions"] == ["unit changed", "restarted"]
    assert host.systemctl("show", "demo.service") != before


def test_without_reload_every_change_restarts(host: Host) -> None:
    """A program that cannot reload is restarted."""
    host.converge(host.declare(reload=False))
    assert host.converge(host.declare("second", reload=False))["actions"][-1] == "restarted"
    assert host.answer() == ("1.0.0", "second")


def test_upgrade_keeps_the_old_release_beside_the_new_one(host: Host) -> None:
    """Several releases stay on the host; the data directory is left alone."""
    host.converge(host.declare())
    (host.data / "series").write_text("precious", encoding="utf-8")
    outcome = host.converge(host.declare(version="2.0.0"))
    assert outcome["previous_version"] == "1.0.0"
    assert host.answer() == ("2.0.0", "first")
    assert {path.name for path in Path(host.layout.opt, "demo").iterdir()} == {"1.0.0", "2.0.0"}
    assert (host.data / "series").read_text(encoding="utf-8") == "precious"


def test_only_three_releases_are_kept(host: Host) -> None:
    """Old releases go, those in use and the one to roll back to stay."""
    for number in range(1, 6):
        host.converge(host.declare(version=f"{number}.0.0"))
    kept = {path.name for path in Path(host.layout.opt, "demo").iterdir()}
    assert kept == {"3.0.0", "4.0.0", "5.0.0"}


def test_refused_candidate_leaves_everything_alone(host: Host) -> None:
    """The checker's own words come back and the running program has not noticed."""
    host.converge(host.declare())
    tree = host.tree()
    outcome = host.converge(host.declare("syntax error"))
    assert "line 1: syntax error near 'syntax error'" in outcome["failed"]
    assert "what was running still runs" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")
    assert host.tree() == tree
    assert host.converge(host.declare())["changed"] is False


def test_checker_follows_paths_into_the_candidate(host: Host) -> None:
    """A path to a file of its own leads the checker to the candidate's file, and the program to the live one."""
    host.converge(host.declare(secrets={"token": "first"}))
    want = host.declare("see {config}/secrets/token", secrets={"token": "second"})
    follow = ("/bin/sh", "-c", "grep -q second $(cut -d' ' -f2 {config}/demo.conf)")
    assert host.converge(dataclasses.replace(want, checks=(follow,)))["actions"][-1] == "reloaded"
    _version, config = host.answer()
    assert Path(config.split()[1]).read_text(encoding="utf-8") == "second"


def test_new_check_judges_an_unchanged_configuration(host: Host) -> None:
    """A check that is new is run once, also when there is nothing else to do."""
    host.converge(host.declare())
    pid = host.systemctl("show", "demo.service")
    good = dataclasses.replace(host.declare(), checks=(("/bin/grep", "first", "{config}/demo.conf"),))
    assert host.converge(good)["changed"] is False
    bad = dataclasses.replace(host.declare(), checks=(("/bin/grep", "--", "second", "{config}/demo.conf"),))
    assert "refused by `grep -- second <candidate>/demo.conf`" in host.converge(bad)["failed"]
    assert "refused by" in host.converge(bad, check_mode=True)["failed"]
    assert host.systemctl("show", "demo.service") == pid
    assert host.converge(good)["changed"] is False


@pytest.mark.parametrize("behaviour", ["crash", "never-ready"])
def test_bad_version_is_rolled_back(host: Host, behaviour: str) -> None:
    """A version that crashes, or never gets ready, ends with the old one proven and the new one's last words."""
    host.converge(host.declare())
    (host.data / "series").write_text("precious", encoding="utf-8")
    outcome = host.converge(host.declare(version="2.0.0", behaviour=behaviour, timeout=2))
    assert "demo 2.0.0 did not become ready" in outcome["failed"]
    assert "Rolled back to 1.0.0, which is ready." in outcome["failed"]
    if behaviour == "crash":
        assert "fatal: this version crashes at start" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")
    assert (host.data / "series").read_text(encoding="utf-8") == "precious"
    assert host.converge(host.declare())["changed"] is False
    assert host.converge(host.declare(version="3.0.0"))["changed"]
    assert host.answer() == ("3.0.0", "first")


def test_refused_reload_is_rolled_back(host: Host) -> None:
    """A configuration that the checker accepts and the program refuses at its reload does not stay."""
    host.converge(host.declare())
    outcome = host.converge(host.declare("refuse-reload"))
    assert "it refused the new configuration at the reload" in outcome["failed"]
    assert "Rolled back to 1.0.0" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(host.declare())["changed"] is False


def test_failed_first_installation_leaves_nothing_live(host: Host) -> None:
    """Where there is no earlier state the unit goes again, and the next good run converges."""
    outcome = host.converge(host.declare(version="2.0.0", behaviour="crash"))
    assert "no earlier state" in outcome["failed"]
    assert not Path(host.layout.systemd, "demo.service").exists()
    assert not any(name.startswith(("run-", "config-")) for name in host.tree())
    assert host.converge(host.declare())["changed"]
    assert host.answer() == ("1.0.0", "first")


@pytest.mark.parametrize("step", UPGRADE_STEPS)
def test_upgrade_killed_at_any_step(host: Host, step: str) -> None:
    """Whatever dies then comes back whole, old or new, never a mixture; the next run converges."""
    host.converge(host.declare("first"))
    want = host.declare("second", version="2.0.0")
    assert host.converge(want, kill_at=step) == {"killed": True}
    states = {("1.0.0", "first"), ("2.0.0", "second")}
    assert host.answer() in states
    host.systemctl("crash", "demo.service")
    assert host.answer() in states
    host.systemctl("daemon-reload")
    host.systemctl("restart", "demo.service")
    assert host.answer() in states
    assert "failed" not in host.converge(want)
    assert host.answer() == ("2.0.0", "second")
    assert host.converge(want)["changed"] is False
    assert not any(name.startswith(".") for name in host.tree())


@pytest.mark.parametrize("step", UPGRADE_STEPS)
def test_other_wish_after_a_killed_run(host: Host, step: str) -> None:
    """A run that follows a killed one may want something else, or the old state again."""
    host.converge(host.declare("first"))
    host.converge(host.declare("second", version="2.0.0"), kill_at=step)
    assert "failed" not in host.converge(host.declare("first"))
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(host.declare("first"))["changed"] is False


@pytest.mark.parametrize("step", RELOAD_STEPS)
def test_reload_killed_at_any_step(host: Host, step: str) -> None:
    """The same for a change that a reload carries."""
    host.converge(host.declare("first"))
    want = host.declare("second")
    assert host.converge(want, kill_at=step) == {"killed": True}
    assert host.answer() in {("1.0.0", "first"), ("1.0.0", "second")}
    assert "failed" not in host.converge(want)
    assert host.answer() == ("1.0.0", "second")
    assert host.converge(want)["changed"] is False


def test_bad_version_after_a_killed_run_returns_to_the_proven_one(host: Host) -> None:
    """What was never proven is no state to roll back to."""
    host.converge(host.declare("first"))
    host.converge(host.declare("second", version="2.0.0"), kill_at="restart")
    outcome = host.converge(host.declare("third", version="3.0.0", behaviour="crash"))
    assert "Rolled back to 1.0.0, which is ready." in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "answered 404"),
        ("truncated", "truncated"),
        ("corrupt", "nothing was unpacked"),
        ("hang", "did not answer within"),
    ],
)
def test_download_faults(host: Host, fault: str, words: str) -> None:
    """A mirror that misbehaves ends the run before the first change."""
    host.converge(host.declare())
    outcome = host.converge(host.declare(version="2.0.0", fault=fault))
    assert words in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")
    assert {path.name for path in Path(host.layout.opt, "demo").iterdir()} == {"1.0.0"}
    assert host.converge(host.declare())["changed"] is False


def test_wrong_checksum_is_refused(host: Host) -> None:
    """An archive that is not the pinned one is not unpacked."""
    host.archive("1.0.0")
    outcome = host.converge(host.declare(sha256="0" * 64))
    assert "the lock file says 000" in outcome["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


def test_repinned_release_is_refused(host: Host) -> None:
    """A release that is there and a lock that says otherwise is for a person to look at."""
    host.converge(host.declare())
    outcome = host.converge(host.declare(sha256="1" * 64))
    assert "One of them is wrong" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")


def test_unsafe_archive_is_refused(host: Host) -> None:
    """A path that leaves the release folder is refused."""
    path = host.base / "mirror" / "demo-6.6.6.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("demo/../../../escaped")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    outcome = host.converge(host.declare(version="6.6.6", sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    assert "unsafe path" in outcome["failed"]


def test_damaged_release_is_installed_again(host: Host) -> None:
    """A binary that was touched does not count as installed."""
    host.converge(host.declare())
    program = Path(host.layout.opt, "demo", "1.0.0", "program")
    program.write_text("#!/bin/false\n", encoding="utf-8")
    outcome = host.converge(host.declare())
    assert outcome["actions"] == ["release 1.0.0 installed", "restarted"]
    assert host.answer() == ("1.0.0", "first")


def test_files_are_owned_exactly(host: Host) -> None:
    """A file that is no longer declared, or that somebody dropped there, disappears."""
    host.converge(host.declare(files={"rules/a.yml": "a", "rules/b.yml": "b"}))
    current = Path(host.layout.etc, "demo", "current", "config")
    assert sorted(path.name for path in (current / "rules").iterdir()) == ["a.yml", "b.yml"]
    outcome = host.converge(host.declare(files={"rules/a.yml": "a"}))
    assert outcome["actions"] == ["configuration changed: rules/b.yml", "reloaded"]
    assert [path.name for path in (current / "rules").iterdir()] == ["a.yml"]
    (current / "rules" / "stray.yml").write_text("stray", encoding="utf-8")
    assert host.converge(host.declare(files={"rules/a.yml": "a"}))["changed"]
    assert [path.name for path in (current / "rules").iterdir()] == ["a.yml"]
    assert host.converge(host.declare(files={"rules/a.yml": "a"}))["changed"] is False


def test_hand_edits_are_undone(host: Host) -> None:
    """Configuration and unit are what the declaration says, whoever edited them."""
    host.converge(host.declare())
    path = Path(host.layout.etc, "demo", "current", "config", "demo.conf")
    for text in ("edited", "edited again"):
        path.write_text(text, encoding="utf-8")
        assert host.converge(host.declare())["actions"] == ["configuration changed: demo.conf", "reloaded"]
        assert host.answer() == ("1.0.0", "first")
    unit = Path(host.layout.systemd, "demo.service")
    unit.write_text(unit.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert host.converge(host.declare())["actions"] == ["unit changed", "restarted"]
    assert host.converge(host.declare())["changed"] is False


def test_permissions_are_restored(host: Host) -> None:
    """A configuration that others may read is put right."""
    host.converge(host.declare(secrets={"token": "hunter2"}))
    secret = Path(host.layout.etc, "demo", "current", "config", "secrets", "token")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o640
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o750
    secret.chmod(0o644)
    assert "permissions restored" in host.converge(host.declare(secrets={"token": "hunter2"}))["actions"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o640


def test_names_of_configurations_are_not_for_everybody(host: Host) -> None:
    """They follow from what is in them, secrets too: who can list them can try out a password."""
    base = Path(host.layout.etc, "demo")
    base.mkdir(parents=True)
    base.chmod(0o755)
    host.converge(host.declare(secrets={"key": "one"}))
    assert stat.S_IMODE(base.stat().st_mode) == 0o750


def test_stopped_program_is_started(host: Host) -> None:
    """What should run runs after the run."""
    host.converge(host.declare())
    host.systemctl("stop", "demo.service")
    assert host.converge(host.declare())["actions"] == ["started"]
    assert host.answer() == ("1.0.0", "first")


def test_check_mode_on_a_bare_host(host: Host) -> None:
    """It says what would happen and does none of it."""
    outcome = host.converge(host.declare(), check_mode=True)
    assert outcome["changed"]
    assert "release 1.0.0 installed" in outcome["actions"]
    assert [item["after_header"].rsplit("/", 1)[1] for item in outcome["diff"]] == ["demo.conf", "demo.service"]
    assert host.tree() == []
    assert not list(Path(host.layout.opt).iterdir())
    assert Mirror.requests == []


def test_check_mode_lets_the_checker_judge(host: Host) -> None:
    """With the release on the host a bad configuration is found without touching anything."""
    host.converge(host.declare())
    outcome = host.converge(host.declare("syntax error"), check_mode=True)
    assert "line 1: syntax error" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")


def test_diff_masks_secrets(host: Host) -> None:
    """Old and new secrets stay out of diff and result, also when the file goes."""
    host.converge(host.declare(secrets={"token": "hunter2"}))
    changed = host.converge(host.declare(secrets={"token": "correct horse"}))
    gone = host.converge(host.declare())
    assert [item["after"] for item in changed["diff"]] == ["(secret, changed)\n"]
    assert [item["before"] for item in gone["diff"]] == ["(secret)\n"]
    everything = json.dumps([changed, gone])
    assert "hunter2" not in everything
    assert "correct horse" not in everything


def test_diff_does_not_show_identifiers(host: Host) -> None:
    """A changed flag shows as that flag, not as a page of new paths."""
    host.converge(host.declare())
    outcome = host.converge(host.declare(arguments=("--more",)))
    before, after = (outcome["diff"][0][key].splitlines() for key in ("before", "after"))
    assert [line.split("=")[0] for line in set(before) ^ set(after)] == ["ExecStart", "ExecStart"]


def kept_secret(host: Host) -> Path:
    """Where the host keeps the secret that it has made."""
    return Path(host.layout.store, "demo", "secrets", "key")


def test_secret_is_made_once_and_kept_like_data(host: Host) -> None:
    """Nobody gives it, nobody else reads it, and neither a run nor a removal changes it."""
    want = host.declare(generate=("key",))
    bare = host.converge(want, check_mode=True)
    assert "configuration changed: demo.conf, secrets/key" in bare["actions"]
    assert not kept_secret(host).exists()
    first = host.converge(want)
    made = kept_secret(host).read_text()
    assert len(made) >= 43
    assert host.get("/secret") == made
    assert made not in json.dumps(first)
    assert stat.S_IMODE(kept_secret(host).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept_secret(host).parent.stat().st_mode) == 0o700
    assert host.converge(want)["changed"] is False
    host.drive({"do": "remove"})
    host.converge(want)
    assert host.get("/secret") == made
    host.drive({"do": "remove", "purge": True, "data": [str(host.data)]})
    assert not kept_secret(host).exists()


def test_given_secret_takes_the_place_of_the_made_one(host: Host) -> None:
    """What a user gives counts; without it the host's own is there again."""
    host.converge(host.declare(generate=("key",), start_secrets=("key",)))
    made = host.get("/secret")
    host.converge(host.declare(generate=("key",), start_secrets=("key",), secrets={"key": "given"}))
    assert host.get("/secret") == "given"
    host.converge(host.declare(generate=("key",), start_secrets=("key",)))
    assert host.get("/secret") == made


def test_empty_secret_is_not_replaced(host: Host) -> None:
    """What it has encrypted would be lost: a person decides."""
    want = host.declare(generate=("key",))
    host.converge(want)
    kept_secret(host).write_text("")
    assert "is empty; put the secret back" in host.converge(want)["failed"]
    assert host.answer() == ("1.0.0", "first")


def test_start_secret_restarts(host: Host) -> None:
    """A secret that is read at the start only is in force when the run ends; others need a reload."""
    host.converge(host.declare(secrets={"key": "one", "other": "one"}, start_secrets=("key",)))
    before = host.systemctl("show", "demo.service")
    outcome = host.converge(host.declare(secrets={"key": "one", "other": "two"}, start_secrets=("key",)))
    assert outcome["actions"] == ["configuration changed: secrets/other", "reloaded"]
    assert host.systemctl("show", "demo.service") == before
    outcome = host.converge(host.declare(secrets={"key": "two", "other": "two"}, start_secrets=("key",)))
    assert outcome["actions"] == ["configuration changed: secrets/key", "restarted"]
    assert host.get("/secret") == "two"


@pytest.mark.parametrize("wish", ["one", "two"])
@pytest.mark.parametrize("step", ["link", "restart", "prove", "state", "tidy"])
def test_start_secret_after_a_killed_run(host: Host, step: str, wish: str) -> None:
    """Whatever the next run wants, the program has started with it when that run ends."""
    host.converge(host.declare(secrets={"key": "one"}, start_secrets=("key",)))
    killed = host.converge(host.declare(secrets={"key": "two"}, start_secrets=("key",)), kill_at=step)
    assert killed == {"killed": True}
    assert "failed" not in host.converge(host.declare(secrets={"key": wish}, start_secrets=("key",)))
    assert host.get("/secret") == wish


def test_start_secret_of_a_bad_change_is_taken_back(host: Host) -> None:
    """The way back restarts too, else the program would go on with the new secret."""
    host.converge(host.declare("first", secrets={"key": "one"}, start_secrets=("key",)))
    bad = host.converge(host.declare("never-ready", secrets={"key": "two"}, start_secrets=("key",)))
    assert "Rolled back to 1.0.0, which is ready." in bad["failed"]
    assert host.get("/secret") == "one"


def test_taken_port_is_named(host: Host) -> None:
    """A stranger on the port ends the run before the swap, and the message says who."""
    host.converge(host.declare())
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        outcome = host.converge(host.declare(port=int(stranger.getsockname()[1])))
    assert "is taken by python" in outcome["failed"]
    assert f"process {os.getpid()}" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")


def test_rollback_on_request_and_forth_again(host: Host) -> None:
    """The state before the present one comes back, proven, and can be left again."""
    host.converge(host.declare("first"))
    host.converge(host.declare("second", version="2.0.0"))
    outcome = host.drive({"do": "rollback"})
    assert outcome["actions"] == ["rolled back from 2.0.0 to 1.0.0"]
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(host.declare("first"))["changed"] is False
    host.drive({"do": "rollback"})
    assert host.answer() == ("2.0.0", "second")


def test_rollback_to_a_broken_release_returns_to_the_present_one(host: Host) -> None:
    """A rollback that fails leaves what ran before it, proven."""
    host.converge(host.declare("first"))
    host.converge(host.declare("second", version="2.0.0"))
    Path(host.layout.opt, "demo", "1.0.0", "program").unlink()
    outcome = host.drive({"do": "rollback"})
    assert "demo 1.0.0 did not become ready" in outcome["failed"]
    assert "Rolled back to 2.0.0, which is ready." in outcome["failed"]
    assert host.answer() == ("2.0.0", "second")
    assert host.converge(host.declare("second", version="2.0.0"))["changed"] is False


def test_rollback_needs_an_earlier_state(host: Host) -> None:
    """Without one it says so."""
    host.converge(host.declare())
    assert "no earlier state" in host.drive({"do": "rollback"})["failed"]


def test_removal_leaves_the_data(host: Host) -> None:
    """Absent means absent, but data goes only by its own word."""
    host.converge(host.declare())
    (host.data / "series").write_text("precious", encoding="utf-8")
    assert host.drive({"do": "remove"})["changed"]
    assert not Path(host.layout.etc, "demo").exists()
    assert not Path(host.layout.opt, "demo").exists()
    assert not Path(host.layout.systemd, "demo.service").exists()
    assert (host.data / "series").read_text(encoding="utf-8") == "precious"
    with pytest.raises(AssertionError, match="nothing answers"):
        host.answer()
    assert host.drive({"do": "remove"})["changed"] is False
    assert host.drive({"do": "remove", "data": [str(host.data)], "purge": True})["changed"]
    assert not host.data.exists()


def test_purge_refuses_a_shallow_path(host: Host) -> None:
    """A wrong word does not cost a file system."""
    host.converge(host.declare())
    outcome = host.drive({"do": "remove", "data": ["/var/lib"], "purge": True})
    assert "refusing to purge /var/lib" in outcome["failed"]
    assert host.answer() == ("1.0.0", "first")


def test_foreign_unit_of_the_same_name_is_not_removed(host: Host) -> None:
    """Removing a component that is not ours touches nothing."""
    unit = Path(host.layout.systemd, "demo.service")
    unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert host.drive({"do": "remove"})["changed"] is False
    assert unit.exists()


def test_pushed_archive_needs_no_network(host: Host) -> None:
    """Without leave to fetch, the host asks for the archive, and takes the one that is brought."""
    want = host.declare()
    asked = host.converge(want, pull=False)
    assert asked["needs_archive"]
    assert host.tree() == []
    outcome = host.converge(want, pull=False, archive=str(host.base / "mirror" / "demo-1.0.0.tar.gz"))
    assert outcome["changed"]
    assert Mirror.requests == []
    assert host.answer() == ("1.0.0", "first")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk_leaves_the_old_state(host: Host) -> None:
    """No room for the candidate: the run says so and the old state serves."""
    etc = Path(host.layout.etc)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(etc)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a tmpfs")
    try:
        host.converge(host.declare())
        outcome = host.converge(host.declare(files={"big": "x" * 500_000}))
        assert "No space left on device" in outcome["failed"]
        assert host.answer() == ("1.0.0", "first")
        assert not any(name.startswith(".candidate") for name in host.tree())
        assert host.converge(host.declare())["changed"] is False
        subprocess.run(["mount", "-o", "remount,ro", str(etc)], check=True)
        outcome = host.converge(host.declare("second"))
        assert "Read-only file system" in outcome["failed"]
        assert host.answer() == ("1.0.0", "first")
    finally:
        host.systemctl("stop", "demo.service")
        subprocess.run(["umount", str(etc)], check=True)


def test_two_runs_at_once(host: Host) -> None:
    """A second run on the same component steps back."""
    with Path(host.layout.locks, "watchkeeper-demo.lock").open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        outcome = host.converge(host.declare())
    assert "another run is converging it" in outcome["failed"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/./b", "a//b", ""])
def test_owned_files_stay_inside(path: str) -> None:
    """A path that leaves the configuration directory is no declaration."""
    with pytest.raises(DeclarationError, match="relative path inside"):
        OwnedFile(path, "")


def test_probe_ignores_proxies(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the host's environment is not for loopback."""
    monkeypatch.setenv("no_proxy", "")
    want = host.declare(fault="ok")
    host.converge(want)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert host.converge(want)["changed"] is False
    monkeypatch.undo()
    assert urllib.request.getproxies().get("http") != "http://127.0.0.1:9"


def publish(folder: Path, wheel: Path) -> None:
    """Give a wheel its page in the package index of the test's server."""
    project = wheel.name.partition("-")[0]
    (folder / "simple").mkdir(exist_ok=True)
    with (folder / "simple" / project).open("a", encoding="utf-8") as page:
        page.write(f'<a href="/ok/{wheel.name}">{wheel.name}</a>\n')


def wheel(folder: Path, version: str) -> str:
    """Publish a wheel of a library that knows its version and return its line in a locked requirements set."""
    info = f"release-{version}.dist-info"
    files = {
        "release.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: release\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"release-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            # With a time of its own the wheel would be another one in each test.
            archive.writestr(zipfile.ZipInfo(name), text)
        archive.writestr(
            zipfile.ZipInfo(f"{info}/RECORD"), "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        )
    publish(folder, path)
    return f"release=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def python_application(host: Host, version: str, requirements: str, pip: str = "") -> tuple[Declaration, str]:
    """Declare the demo component as a Python application from the test's index; return its packed files too."""
    if not PIP:
        pytest.skip("pip's wheel is not in the test mirror (make mirror)")
    shutil.copy(PIP[-1], host.base / "mirror")
    publish(host.base / "mirror", PIP[-1])
    source, lock = host.base / f"source-{version}" / "demo", host.base / f"{version}.lock"
    source.mkdir(parents=True)
    program = (Path(__file__).parent / "program.py").read_text(encoding="utf-8").replace("@BEHAVIOUR@", "")
    program = program.replace('"@VERSION@"', "release.VERSION").replace("import signal\n", "import release, signal\n")
    (source / "__main__.py").write_text(program, encoding="utf-8")
    lock.write_text(requirements, encoding="utf-8")
    locked = pip or (ROOT / "requirements" / "pip.lock").read_text(encoding="utf-8")
    lock.with_name("pip.lock").write_text(locked, encoding="utf-8")
    package = pack(lock, source)
    packed = host.base / f"{version}.tar.gz"
    packed.write_bytes(package.content)
    plain = host.declare(version=version)
    want = declare(
        plain.manifest,
        Artefact(
            "python",
            version,
            package=package.sha256,
            index=f"{host.mirror}/ok/simple/",
        ),
        Unit("Demo", ("{release}/bin/python", "-m", "demo", "{config}/demo.conf", str(host.port))),
        [OwnedFile("demo.conf", "first\n")],
        [("{release}/bin/python", "-m", "demo", "check", "{config}/demo.conf")],
        layout=host.layout,
    )
    return want, str(packed)


def test_python_application_lives_in_an_environment_of_its_own(host: Host) -> None:
    """A locked set is installed with its hashes, upgraded beside the old one, and left alone when it is there."""
    first, packed = python_application(host, "1.0.0", wheel(host.base / "mirror", "1.0.0"))
    asked = host.converge(first)
    assert asked["needs_archive"] is True
    assert not list(Path(host.layout.opt).iterdir())
    assert host.converge(first, archive=packed)["actions"][0] == "release 1.0.0 installed"
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(first)["changed"] is False
    second, packed = python_application(host, "2.0.0", wheel(host.base / "mirror", "2.0.0"))
    assert host.converge(second, archive=packed)["actions"][-1] == "restarted"
    assert host.answer() == ("2.0.0", "first")
    assert {path.name for path in Path(host.layout.opt, "demo").iterdir()} == {"1.0.0", "2.0.0"}


@pytest.mark.parametrize(
    ("pip", "words"),
    [
        ("", "the lock file of pip pins no pip"),
        (f"pip==26.3 --hash=sha256:{'0' * 64}\n", "which its lock file does not know"),
        (f"pip==0.1.2 --hash=sha256:{'0' * 64}\n", "has no pip-0.1.2-py3-none-any.whl"),
    ],
)
def test_pip_is_pinned_like_all_it_installs(host: Host, pip: str, words: str) -> None:
    """It comes from the same index, and what is not the locked one does not run."""
    want, packed = python_application(host, "1.0.0", wheel(host.base / "mirror", "1.0.0"), f"# pip\n{pip}")
    assert words in host.converge(want, archive=packed)["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


def test_another_package_than_the_declared_one_is_refused(host: Host) -> None:
    """What the controller brings is checked like a download."""
    want, packed = python_application(host, "1.0.0", wheel(host.base / "mirror", "1.0.0"))
    Path(packed).write_bytes(b"something else")
    assert "is not the package of 1.0.0" in host.converge(want, archive=packed)["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ("release==1.0.0\n", "hashes"),
        (f"release==1.0.0 --hash=sha256:{'0' * 64}\n", "DO NOT MATCH THE HASHES"),
        (f"pip==1.0.0 --hash=sha256:{'0' * 64}\n", "No matching distribution"),
    ],
)
def test_python_application_without_true_hashes_is_refused(host: Host, requirements: str, words: str) -> None:
    """What is not locked, or is not what was locked, is not installed, and nothing of it stays."""
    wheel(host.base / "mirror", "1.0.0")
    want, packed = python_application(host, "1.0.0", requirements)
    outcome = host.converge(want, archive=packed)
    assert words in outcome["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


def test_an_executable_alone_is_a_release(host: Host) -> None:
    """It gets the component's name; a wrong checksum stops it like an archive."""
    text = (Path(__file__).parent / "program.py").read_text(encoding="utf-8")
    text = f"#!{sys.executable}\n" + text.replace("@VERSION@", "1.0.0").replace("@BEHAVIOUR@", "")
    (host.base / "mirror" / "demo-linux").write_text(text, encoding="utf-8")
    for sha256 in ("0" * 64, hashlib.sha256(text.encode()).hexdigest()):
        plain = host.declare()
        want = declare(
            plain.manifest,
            Artefact("binary", "1.0.0", {architecture(): Source(f"{host.mirror}/ok/demo-linux", sha256)}),
            Unit("Demo", ("{release}/demo", "{config}/demo.conf", str(host.port))),
            [OwnedFile("demo.conf", "first\n")],
            [("{release}/demo", "check", "{config}/demo.conf")],
            layout=host.layout,
        )
        outcome = host.converge(want)
        assert ("failed" in outcome) == (sha256[0] == "0" == sha256[-1])
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(want)["changed"] is False


def proving(host: Host, config: str, *samples: str, path: str = "/metrics") -> Declaration:
    """Declare the demo component with samples that must not be zero."""
    return dataclasses.replace(host.declare(config, reload=False), proofs=(Proof(host.url + path, samples),))


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ("demo_up", "demo_up is 0 at http://127.0.0.1"),
        ('demo_parts{part="b"}', 'demo_parts{part="b"} is 0 at http://127.0.0.1'),
        ("demo_parts", "demo_parts is 0 at http://127.0.0.1"),
        ("demo_missing", "demo_missing is not among the metrics of http://127.0.0.1"),
        ('demo_parts{part="c"}', 'demo_parts{part="c"} is not among the metrics'),
    ],
)
def test_what_is_measured_must_answer(host: Host, sample: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the state before comes back, which is not asked again: the measured thing may be what is broken."""
    monkeypatch.setenv("WATCHKEEPER_TEST_PROOF_SECONDS", "0.5")
    fine = proving(host, "up", "demo_up", 'demo_parts{part="a"}')
    assert host.converge(fine)["changed"] is True
    outcome = host.converge(proving(host, "down", sample))
    assert words in outcome["failed"]
    assert "it runs, but what it measures does not answer" in outcome["failed"]
    assert "Rolled back to 1.0.0, which is ready." in outcome["failed"]
    assert host.answer() == ("1.0.0", "up")
    assert host.converge(fine)["changed"] is False


def test_first_installation_without_an_answer_is_taken_away(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather nothing than an exporter that measures nothing."""
    monkeypatch.setenv("WATCHKEEPER_TEST_PROOF_SECONDS", "0.5")
    outcome = host.converge(proving(host, "down", "demo_up", path="/nowhere"))
    assert "answered 404: no such page" in outcome["failed"]
    assert "the unit has been removed again" in outcome["failed"]


def test_an_answer_is_asked_of_changes_only(host: Host) -> None:
    """A run that changes nothing passes while a database is down."""
    want = proving(host, "up", "demo_up")
    host.converge(want)
    silent = dataclasses.replace(want, proofs=(Proof(host.url + "/nowhere", ("demo_up",)),))
    assert host.converge(silent)["changed"] is False


def zipped(host: Host, name: str, members: dict[str, str], mode: int = 0o100755) -> Declaration:
    """Declare the demo component as a program that upstream zips; `members` are the archive's files."""
    path = host.base / "mirror" / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in members.items():
            info = zipfile.ZipInfo(member)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return zip_of(host, path)


def zip_of(host: Host, path: Path) -> Declaration:
    """Declare the demo component as what is in a file that is called a zip."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return declare(
        host.declare().manifest,
        Artefact("binary", "1.0.0", {architecture(): Source(f"{host.mirror}/ok/{path.name}", sha256)}),
        Unit("Demo", ("{release}/demo", "{config}/demo.conf", str(host.port))),
        [OwnedFile("demo.conf", "first\n")],
        [("{release}/demo", "check", "{config}/demo.conf")],
        layout=host.layout,
    )


def program() -> str:
    """Return the text of the test's program."""
    text = (Path(__file__).parent / "program.py").read_text(encoding="utf-8")
    return f"#!{sys.executable}\n" + text.replace("@VERSION@", "1.0.0").replace("@BEHAVIOUR@", "")


@pytest.mark.parametrize("member", ["demo-linux-amd64", "bin/something-else"])
@pytest.mark.parametrize("pushed", [False, True])
def test_a_zipped_program_is_a_release(host: Host, member: str, pushed: bool) -> None:
    """The one file of the archive gets the component's name, whatever its own and whatever mode was packed."""
    want = zipped(host, "demo-linux.zip", {member: program()}, mode=0o100644 if pushed else 0)
    archive = {"archive": str(host.base / "mirror" / "demo-linux.zip"), "pull": False} if pushed else {}
    outcome = host.converge(want, **archive)
    assert "failed" not in outcome, outcome
    assert outcome["actions"][0] == "release 1.0.0 installed"
    release = Path(host.layout.release_dir("demo", "1.0.0"))
    assert sorted(path.name for path in release.iterdir()) == [".release.json", "demo"]
    assert stat.S_IMODE((release / "demo").stat().st_mode) == 0o755
    assert host.answer() == ("1.0.0", "first")
    assert host.converge(want)["changed"] is False


@pytest.mark.parametrize(
    ("members", "mode", "words"),
    [
        ({}, 0o100755, "holds 0 files, but must hold one, the program; nothing was unpacked"),
        ({"folder/": ""}, 0o100755, "holds 0 files"),
        ({"demo": "x", "LICENSE": "y"}, 0o100755, "holds 2 files, but must hold one"),
        ({"../demo": "x"}, 0o100755, "holds the unsafe path '../demo'; nothing was unpacked"),
        ({"/etc/demo": "x"}, 0o100755, "holds the unsafe path '/etc/demo'"),
        ({"demo": "/etc/passwd"}, 0o120777, "holds 'demo', which is no plain file; nothing was unpacked"),
    ],
)
def test_a_zip_of_another_shape_is_refused(host: Host, members: dict[str, str], mode: int, words: str) -> None:
    """What is not one plain file leaves nothing on the host."""
    outcome = host.converge(zipped(host, "odd.zip", members, mode))
    assert f"{host.mirror}/ok/odd.zip {words}" in outcome["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


@pytest.mark.parametrize("damage", ["no zip", "bytes", "method", "password"])
def test_a_damaged_zip_is_refused(host: Host, damage: str) -> None:
    """Though its checksum is the pinned one."""
    path = host.base / "mirror" / "damaged.zip"
    zipped(host, path.name, {"demo": program()})
    content = bytearray(path.read_bytes())
    # The entry's header in the list at the end of the archive, and the one before the entry itself.
    listed, own = content.rindex(b"PK\x01\x02"), content.index(b"PK\x03\x04")
    if damage == "no zip":
        content = bytearray(b"not an archive")
    elif damage == "bytes":
        content[len(content) // 2] ^= 0xFF
    elif damage == "method":
        content[listed + 10] = content[own + 8] = 97
    else:
        content[listed + 8] |= 1
        content[own + 6] |= 1
    path.write_bytes(bytes(content))
    outcome = host.converge(zip_of(host, path))
    assert "damaged.zip cannot be unpacked: " in outcome["failed"]
    assert not list(Path(host.layout.opt, "demo").iterdir())


# Every point at which a run that replaces a component can be killed.
REPLACING_STEPS = [*UPGRADE_STEPS, "replaced", "stopped", "unit removed"]
SWITCHED_STEPS = REPLACING_STEPS[REPLACING_STEPS.index("unit") :]


def old(host: Host, **more: Any) -> Declaration:
    """Declare the component that is to be replaced."""
    return host.declare("old", name="other", **more)


def new(host: Host, config: str = "new", **more: Any) -> Declaration:
    """Declare the one that replaces it."""
    return host.declare(config, replaces=("other",), **more)


def left_of(host: Host, name: str) -> list[str]:
    """Return what there is of a component besides its data."""
    layout = host.layout
    places = [Path(layout.etc, name), Path(layout.opt, name), Path(layout.systemd, f"{name}.service")]
    places.append(Path(layout.tmpfiles, f"watchkeeper-{name}.conf"))
    return [path.name for path in places if path.exists()]


def test_a_replaced_component_goes_once_the_new_one_is_proven(host: Host) -> None:
    """In one execution; its data stays, and the next run has nothing to do."""
    host.converge(old(host))
    (host.data_of("other") / "positions").write_text("precious", encoding="utf-8")
    foreseen = host.converge(new(host), check_mode=True)
    assert foreseen["actions"][-1] == "other removed, its work is done here now"
    assert host.running() == ["other"]
    outcome = host.converge(new(host))
    assert outcome["actions"] == foreseen["actions"]
    assert host.running() == ["demo"]
    assert left_of(host, "other") == []
    assert (host.data_of("other") / "positions").read_text(encoding="utf-8") == "precious"
    assert "UnitFileState=disabled" in host.systemctl("show", "other.service")
    again = host.converge(new(host))
    assert (again["changed"], again["actions"]) == (False, [])


def test_the_other_one_has_stopped_before(host: Host) -> None:
    """They may even have the same port: systemd ends the one before it starts the other."""
    host.converge(old(host, port=host.port))
    assert "failed" not in host.converge(new(host))
    assert host.answer() == ("1.0.0", "new")
    lines = Path(host.layout.systemd, "demo.service").read_text(encoding="utf-8").splitlines()
    assert "Conflicts=other.service" in lines[: lines.index("[Service]")]
    assert "Before=other.service" in lines[: lines.index("[Service]")]


def test_two_that_replace_each_other_agree_on_their_order(host: Host) -> None:
    """After each other, systemd would call a restart cyclic and refuse it."""
    orders = {line for line in old(host, replaces=("demo",)).unit.splitlines() if line.endswith("=demo.service")}
    assert orders == {"Conflicts=demo.service", "After=demo.service"}


@pytest.mark.parametrize("behaviour", ["crash", "never-ready"])
def test_a_bad_replacement_leaves_the_other_one_running(host: Host, behaviour: str) -> None:
    """It is started again, and the message says so."""
    host.converge(old(host))
    outcome = host.converge(new(host, version="2.0.0", behaviour=behaviour, timeout=1))
    assert "demo 2.0.0 did not become ready" in outcome["failed"]
    assert "the unit has been removed again. other, which it was to replace, runs again." in outcome["failed"]
    assert host.running() == ["other"]
    assert host.converge(old(host))["changed"] is False
    # What is left of the attempt goes with the next run of the one that does its work.
    assert host.converge(old(host, replaces=("demo",)))["actions"][-1] == "demo removed, its work is done here now"
    assert left_of(host, "demo") == []


def test_a_refused_replacement_stops_nothing(host: Host) -> None:
    """The checker judges before anything is switched."""
    host.converge(old(host))
    outcome = host.converge(new(host, "syntax error"))
    assert "what was running still runs" in outcome["failed"]
    assert host.running() == ["other"]


@pytest.mark.parametrize(
    ("step", "wish"), [*((step, "on") for step in REPLACING_STEPS), *((step, "back") for step in SWITCHED_STEPS)]
)
def test_replacing_killed_at_any_step(host: Host, step: str, wish: str) -> None:
    """After one more run exactly one of the two runs, whichever is then wanted, and nothing is left of the other."""
    host.converge(old(host, replaces=("demo",)))
    assert host.converge(new(host), kill_at=step) == {"killed": True}
    assert len(host.running()) == 1
    want, runs, gone = (
        (new(host), "demo", "other") if wish == "on" else (old(host, replaces=("demo",)), "other", "demo")
    )
    assert "failed" not in host.converge(want)
    assert host.running() == [runs]
    assert left_of(host, gone) == []
    assert host.converge(want)["changed"] is False


@pytest.mark.parametrize("step", SWITCHED_STEPS)
def test_bad_replacement_after_a_killed_run(host: Host, step: str) -> None:
    """Who was proven last runs: the old one, also when it is the killed run that stopped it, or the new one."""
    host.converge(old(host))
    host.converge(new(host), kill_at=step)
    bad = host.converge(new(host, version="2.0.0", behaviour="crash"))
    proven = step in SWITCHED_STEPS[SWITCHED_STEPS.index("tidy") :]
    if proven:
        assert "Rolled back to 1.0.0, which is ready." in bad["failed"]
    else:
        assert "other, which it was to replace, runs again." in bad["failed"]
    assert host.running() == ["demo" if proven else "other"]
    assert "failed" not in host.converge(new(host))
    assert host.running() == ["demo"]
    assert left_of(host, "other") == []


def test_the_one_that_ran_and_was_proven_comes_back(host: Host) -> None:
    """Both were proven here once, and a killed run has left both: what ran before the bad change runs after it."""
    host.converge(new(host))
    back = old(host, replaces=("demo",))
    host.converge(back, kill_at="replaced")
    bad = host.converge(new(host, version="2.0.0", behaviour="crash"))
    assert "Rolled back to 1.0.0, which is ready. other, which it was to replace, runs again." in bad["failed"]
    assert host.running() == ["other"]
    assert "failed" not in host.converge(back)
    assert (host.running(), left_of(host, "demo")) == (["other"], [])


def test_one_that_does_not_come_back_is_named(host: Host) -> None:
    """A person has to know that neither runs."""
    host.converge(old(host))
    Path(host.layout.opt, "other", "1.0.0", "program").unlink()
    outcome = host.converge(new(host, version="2.0.0", behaviour="crash"))
    assert "other, which it was to replace, did NOT come back: " in outcome["failed"]
    assert "It needs a person now." in outcome["failed"]


def test_what_a_killed_run_has_left_goes_with_a_rollback_too(host: Host) -> None:
    """An old run is proven again, and does the work of the other one as well."""
    host.converge(new(host, "first"))
    host.converge(new(host, "second", version="2.0.0"))
    host.converge(old(host, replaces=("demo",)), kill_at="prove")
    assert host.running() == ["other"]
    outcome = host.drive({"do": "rollback"})
    assert outcome["actions"] == [
        "rolled back from 2.0.0 to 1.0.0",
        "other removed, its work is done here now",
    ]
    assert host.running() == ["demo"]
    assert host.answer() == ("1.0.0", "first")
    assert left_of(host, "other") == []


def test_a_unit_of_somebody_else_is_not_removed(host: Host) -> None:
    """It stops, because the two must not run side by side, and starts again when the new one is bad."""
    unit = Path(host.layout.systemd, "other.service")
    unit.write_text("[Service]\nExecStart=/bin/sleep 1000\n", encoding="utf-8")
    host.systemctl("restart", "other.service")
    bad = host.converge(new(host, version="2.0.0", behaviour="crash"))
    assert "other, which it was to replace, runs again." in bad["failed"]
    assert host.running() == ["other"]
    outcome = host.converge(new(host))
    assert "other removed, its work is done here now" not in outcome["actions"]
    assert host.running() == ["demo"]
    assert unit.exists()
    assert host.converge(new(host))["changed"] is False


def test_both_are_locked(host: Host) -> None:
    """A run that converges the other one at the same time is not disturbed."""
    host.converge(old(host))
    with Path(host.layout.locks, "watchkeeper-other.lock").open("w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        outcome = host.converge(new(host))
    assert outcome["failed"] == "other: another run is converging it on this host right now"
    assert host.running() == ["other"]


def test_replacing_is_part_of_a_run(host: Host) -> None:
    """So that the unit changes with it; runs that replace nothing keep the names they had before there was this."""
    plain, replacing = host.declare(), new(host, "first")
    assert plain.run != replacing.run
    assert "replaces" not in plain.manifest.to_dict()
    assert Declaration.from_dict(*replacing.to_dict()) == replacing
    host.converge(plain)
    assert host.converge(replacing)["actions"] == ["unit changed", "restarted"]


def test_nothing_replaces_itself(host: Host) -> None:
    """That would be a unit that conflicts with itself."""
    with pytest.raises(DeclarationError, match="component demo: replaces: a component cannot replace itself"):
        host.declare(replaces=("demo",))
