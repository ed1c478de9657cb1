"""A set of files on a host is exactly what was declared last, whenever a run was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.watchkeeper.owned_files import HostFile, HostPath, Outcome, OwnedFilesError, converge


def files(folder: Path, **contents: str) -> list[HostPath]:
    """Declare files; `a__b` is b in the directory a."""
    return [
        HostFile(path=str(folder / name.replace("__", "/")), owner="", group="", mode=0o640, content=content)
        for name, content in contents.items()
    ]


def there(folder: Path) -> dict[str, str]:
    """Return all files below a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


class KilledError(BaseException):
    """Stands for the end of a run at some point."""


def test_a_killed_run_leaves_nothing_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each write and each removal: the next run, with another set, brings exactly that."""
    before = files(tmp_path / "own", one="1", sub__two="2", gone="3")
    after = files(tmp_path / "own", one="changed", other__four="4")
    for point in range(1, 40):
        place = str(tmp_path / "own" / "record.json")
        converge(place, before)
        left = point

        def counting(real: Any) -> Any:
            def call(*given: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    raise KilledError
                return real(*given)

            return call

        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "rmdir", "mkdir"):
                patch.setattr(os, name, counting(getattr(os, name)))
            try:
                converge(place, after)
                finished = True
            except KilledError:
                finished = False
        converge(place, files(tmp_path / "own", last="5"))
        assert there(tmp_path / "own").keys() == {"record.json", "last"}
        converge(place, [])
        assert not (tmp_path / "own").exists()
        if finished:
            assert point > 10
            return
    raise AssertionError("more steps than this test knows")


def test_a_strangers_file_is_not_overwritten(tmp_path: Path) -> None:
    """Nor is anything else written then; the same content is taken over."""
    (tmp_path / "b").write_text("mine")
    place = str(tmp_path / "record.json")
    with pytest.raises(OwnedFilesError, match=r"/b is there already and was not written by this role"):
        converge(place, files(tmp_path, a="1", b="2"))
    assert there(tmp_path) == {"b": "mine"}
    said = converge(place, files(tmp_path, a="1", b="mine"))
    assert sorted(action.split(" /")[0] for action in said.actions) == ["created", "permissions restored of"]
    converge(place, [])
    assert there(tmp_path) == {}


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    """A directory or a link in the place of a file is somebody else's."""
    (tmp_path / "a").symlink_to("/etc/hostname")
    with pytest.raises(OwnedFilesError, match=r"/a is there already and is no file"):
        converge(str(tmp_path / "record.json"), files(tmp_path, a="1"))


def test_unknown_accounts_are_named(tmp_path: Path) -> None:
    """Before anything is written, in check mode too."""
    for owner, group, words in (("nobody-here", "", "no account"), ("", "nobody-here", "no group")):
        wrong = [HostFile(str(tmp_path / "a"), owner, group, 0o644)]
        with pytest.raises(OwnedFilesError, match=f"this host has {words} 'nobody-here'"):
            converge(str(tmp_path / "record.json"), wrong, check_mode=True)
    numbers = [HostFile(str(tmp_path / "a"), str(os.geteuid()), str(os.getegid()), 0o600, "x")]
    assert converge(str(tmp_path / "record.json"), numbers).actions


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    """With the way out."""
    place = tmp_path / "record.json"
    for text in ("{", "[]", json.dumps({"files": {}})):
        place.write_text(text)
        with pytest.raises(OwnedFilesError, match="is damaged; remove it"):
            converge(str(place), [])


def test_directories_are_made_and_left_alone(tmp_path: Path) -> None:
    """Such as those for logs: neither their permissions nor what is in them is looked at later."""
    folder = HostPath(str(tmp_path / "log" / "shop"), "", "", 0o750)
    place = str(tmp_path / "record.json")
    assert converge(place, [folder]).actions == [f"created {folder.path}"]
    Path(folder.path).chmod(0o700)
    assert converge(place, [folder]) == Outcome()
    converge(place, [])
    assert Path(folder.path).is_dir()


def test_diff_of_what_goes(tmp_path: Path) -> None:
    """A public file is shown once more, a secret one never, also when it is secret no longer."""
    place = str(tmp_path / "record.json")
    [public] = files(tmp_path, a="shown")
    secret = HostFile(str(tmp_path / "b"), "", "", 0o640, "planted", secret=True)
    assert "planted" not in str(converge(place, [public, secret]).diff)
    [entry] = converge(place, [public, HostFile(secret.path, "", "", 0o640, "planted too", secret=True)]).diff
    assert (entry["before"], entry["after"]) == ("(secret)\n", "(secret, changed)\n")
    said = converge(place, [])
    assert sorted(entry["before"] for entry in said.diff) == ["(secret)\n", "shown"]
