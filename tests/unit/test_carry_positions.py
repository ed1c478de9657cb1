"""Positions of logs go from Promtail to Alloy and back: none lost, none invented, whenever it was interrupted."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from files.log_agent import carry_positions as carry

SCRIPT = Path(carry.__file__)
set_hypothesis_home_dir(str(SCRIPT.parents[2] / ".cache" / "hypothesis"))
JOURNAL = "s=0f3a;i=2b1;b=77aa;m=1c;t=5f;x=9d"
WEB, DB, GONE = "a" * 64, "b" * 64, "c" * 64

# As the agents' own library writes them.
PROMTAIL = r"""positions:
  / lead: "2"
  ? "/\Lx\U0001F600 \a"
  : "2"
  !!binary L2JhZP8=: "1"
  ? '/long name long name long name long name long name long name long name long name
    long name long name long name long name long name long name long name long name
    long name long name long name long name '
  : "1"
  ? |-
    /nl
    x
  : "1"
  "/tab\tx": "2"
  '/trail ': "2"
  /var/l"o'g: "7"
  /var/log/a.log: "123"
  '/var/log/x y: z #1.log': "5"
  /é/ü: "0"
  cursor-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: "1700000000"
  cursor-journal: s=abc;i=1;b=2;m=3;t=4;x=5
"""
ALLOY = r"""positions:
  ? path: /var/l"o'g
    labels: '{}'
  : "7"
  ? path: !!binary L2JhZP8=
    labels: '{}'
  : "1"
  ? path: '/q''uo: te q''uo: te q''uo: te q''uo: te q''uo: te q''uo: te q''uo: te
      q''uo: te q''uo: te'
    labels: '{}'
  : "1"
  ? path: cursor-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    labels: '{__meta_docker_container_id="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      __meta_docker_container_label_com_docker_compose_project="shop", __meta_docker_container_name="/web"}'
  : "1700000000"
  ? path: |-
      /nl
      x
    labels: '{}'
  : "1"
  ? path: cursor-loki.source.journal.j
    labels: ""
  : s=abc;i=1;b=2;m=3;t=4;x=5
  ? path: "/\Lx\U0001F600 \a"
    labels: '{}'
  : "2"
"""


@dataclass
class Host:
    """A host's folders, and the two agents as far as their positions go."""

    root: Path
    files: list[Any] = field(default_factory=lambda: ["nginx", "app"])
    journals: list[str] = field(default_factory=lambda: ["journal"])
    docker: list[Any] = field(default_factory=list)
    ticks: int = 1_700_000_000

    @property
    def positions(self) -> Path:
        """Where Promtail keeps its positions."""
        return self.root / "promtail" / "positions.yaml"

    def component(self, name: str) -> Path:
        """Where a component of Alloy keeps its positions."""
        return self.root / "alloy" / f"loki.source.{name}" / "positions.yml"

    def carry(self, to: str) -> int:
        """Do what runs before the start of an agent."""
        plan = {
            "to": to,
            "promtail": str(self.positions),
            "alloy": str(self.root / "alloy"),
            "files": self.files,
            "journals": self.journals,
            "docker": self.docker,
        }
        path = self.root / f"{to}.json"
        path.write_text(json.dumps(plan))
        return carry.main([str(path)])

    def write(self, path: Path, text: str) -> None:
        """Write as an agent does, later than all before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.ticks += 1
        os.utime(path, (self.ticks, self.ticks))

    def promtail_runs(self, **changes: int | str) -> None:
        """Let Promtail read on in some files."""
        self.promtail_saves({**self.promtail(), **{name: str(value) for name, value in changes.items()}})

    def promtail_saves(self, positions: Mapping[str, str]) -> None:
        """Let Promtail save its positions."""
        self.write(self.positions, yaml.safe_dump({"positions": dict(positions)}))

    def alloy_saves(self, name: str, positions: Mapping[tuple[str, str], str]) -> None:
        """Let a component of Alloy save its positions."""

        def one(text: str) -> str:
            return "'" + text.replace("'", "''") + "'"

        pairs = [f"  ? path: {one(path)}\n    labels: {one(labels)}\n  : {one(v)}\n" for (path, labels), v in
                 positions.items()]  # fmt: skip
        self.write(self.component(name), "positions:\n" + "".join(pairs) if pairs else "positions: {}\n")

    def promtail(self) -> dict[str, str]:
        """Return what Promtail will know, as YAML is read by others."""
        if not self.positions.exists():
            return {}
        data = yaml.safe_load(self.positions.read_text())
        assert data.keys() == {"positions"}
        return dict(data["positions"])

    def alloy(self, name: str) -> dict[tuple[str, str], str]:
        """Return what a component of Alloy will know, as YAML is read by others."""
        return alloy_positions(self.component(name).read_text()) if self.component(name).exists() else {}

    def log(self, name: str, content: bytes) -> str:
        """Write a log and return its path."""
        path = self.root / name
        path.write_bytes(content)
        return str(path)


def alloy_positions(text: str) -> dict[tuple[str, str], str]:
    """Read a component's positions with a whole YAML parser; mappings as keys are beyond its usual form."""
    loader = yaml.SafeLoader(text)
    try:
        document = loader.get_single_node()
        assert document
        ((key, positions),) = document.value
        assert key.value == "positions"
        found = {}
        for entry, value in positions.value:
            fields = loader.construct_mapping(entry)
            assert fields.keys() == {"path", "labels"}
            found[fields["path"], fields["labels"]] = value.value
        return found
    finally:
        loader.dispose()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host on which no agent ever ran."""
    return Host(tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a way to start something that answers as Docker does for its containers."""
    servers: list[tuple[socketserver.UnixStreamServer, threading.Thread]] = []

    def start(listing: Any, status: int = 200) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(listing).encode() if self.path == "/containers/json?all=1" else b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "socket"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        path = tmp_path / f"docker{len(servers)}.sock"
        server = socketserver.UnixStreamServer(str(path), Answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"unix://{path}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def container(identifier: str, name: str, **labels: str) -> dict[str, Any]:
    """Return what Docker lists of a container."""
    given = {key.replace("__", "."): value for key, value in labels.items()}
    return {"Id": identifier, "Names": [f"/{name}"], "Labels": given, "HostConfig": {"NetworkMode": "bridge"}}


def container_key(identifier: str, name: str, project: str = "") -> tuple[str, str]:
    """Return Alloy's key of a container whose target keeps the usual labels."""
    between = f'__meta_docker_container_label_com_docker_compose_project="{project}", ' if project else ""
    labels = f'{{__meta_docker_container_id="{identifier}", {between}__meta_docker_container_name="/{name}"}}'
    return f"cursor-{identifier}", labels


def journal_key(name: str = "journal") -> tuple[str, str]:
    """Return Alloy's key of a journal."""
    return f"cursor-loki.source.journal.{name}", ""


# --- the form ---------------------------------------------------------------------------------------------------------


def test_what_promtail_writes_is_read() -> None:
    """Every way in which its library writes a text."""
    assert carry.Yaml(PROMTAIL).promtail() == {
        "/ lead": "2",
        "/\u2028x\U0001f600 \a": "2",
        "/bad\udcff": "1",
        "/" + "long name " * 20: "1",
        "/nl\nx": "1",
        "/tab\tx": "2",
        "/trail ": "2",
        "/var/l\"o'g": "7",
        "/var/log/a.log": "123",
        "/var/log/x y: z #1.log": "5",
        "/é/ü": "0",
        f"cursor-{WEB}": "1700000000",
        "cursor-journal": "s=abc;i=1;b=2;m=3;t=4;x=5",
    }


def test_what_alloy_writes_is_read() -> None:
    """Keys of path and labels, over several lines as well."""
    assert carry.Yaml(ALLOY).alloy() == {
        ("/var/l\"o'g", "{}"): "7",
        ("/bad\udcff", "{}"): "1",
        ("/" + " ".join(["q'uo: te"] * 9), "{}"): "1",
        container_key(WEB, "web", "shop"): "1700000000",
        ("/nl\nx", "{}"): "1",
        journal_key("j"): "s=abc;i=1;b=2;m=3;t=4;x=5",
        ("/\u2028x\U0001f600 \a", "{}"): "2",
    }


@pytest.mark.parametrize("text", ["positions: {}\n", "# a comment\n\npositions: {} # none\n"])
def test_no_positions_are_read(text: str) -> None:
    """An agent that has read nothing says so."""
    assert carry.Yaml(text).promtail() == {}
    assert carry.Yaml(text).alloy() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\0\0\0",
        "positions:\n",
        "positions: 5\n",
        "other: {}\n",
        "positions: {}\nother: {}\n",
        'positions:\n  /a: "1"\n  /b: "2\n',
        'positions:\n  /a: "1"\n  /a: "2"\n',
        'positions:\n  /a: "1"\n /b: "2"\n',
        'positions:\n  /a: "1"\n    /b: "2"\n',
        "positions:\n  /a:\n",
        'positions:\n  /a "1"\n',
        "positions:\n  /a: [1]\n",
        "positions:\n  /a: &x 1\n",
        'positions:\n  /a: "\\q"\n',
        'positions:\n  /a: "\\ud83d\\ude00"\n',
        "positions:\n  /a: 1 :\n",
        "positions:\n  !!binary L2JhZP8: 1\n",
        "positions:\n- /a\n",
        "<<<<<<< HEAD\npositions: {}\n",
    ],
)
def test_what_is_not_certain_is_an_error(text: str) -> None:
    """Half a file, another file, or a file that someone edited into something else."""
    with pytest.raises(carry.CarryError, match=r"^line [0-9]"):
        carry.Yaml(text).promtail()


@pytest.mark.parametrize(
    "text",
    [
        'positions:\n  /a: "1"\n',
        'positions:\n  ? path: /a\n  : "1"\n',
        'positions:\n  ? path: /a\n    labels: "{}"\n',
        'positions:\n  ? path: /a\n    labels: "{}"\n    more: "{}"\n  : "1"\n',
        'positions:\n  ? path: /a\n    path: /a\n  : "1"\n',
        'positions:\n  ? path: /a\n    labels: "{}"\n  : "1"\n  ? labels: "{}"\n    path: /a\n  : "2"\n',
    ],
)
def test_an_alloy_file_that_is_not_certain_is_an_error(text: str) -> None:
    """Keys without one of the two, twice, or of another kind."""
    with pytest.raises(carry.CarryError, match=r"^line [0-9]"):
        carry.Yaml(text).alloy()


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(
        st.sampled_from([*"/.:#-?'\"\\{}[]&*!|>%@`~, \n\t\r", "é", "😀", "\u2028", "\x85", "word " * 9, "true"])
    ).map("".join),
)
FAST = settings(database=None, deadline=None, max_examples=50)


@FAST
@given(st.dictionaries(NAMES, NAMES))
def test_any_promtail_text_comes_through(positions: dict[str, str]) -> None:
    """What is written is read the same, here and by a whole parser of YAML."""
    text = carry.promtail_yaml(positions)
    assert yaml.safe_load(text)["positions"] == positions
    assert carry.Yaml(text).promtail() == positions


@FAST
@given(st.dictionaries(st.tuples(NAMES, NAMES), NAMES))
def test_any_alloy_text_comes_through(positions: dict[tuple[str, str], str]) -> None:
    """The same for keys of path and labels."""
    text = carry.alloy_yaml(positions)
    assert alloy_positions(text) == positions
    assert carry.Yaml(text).alloy() == positions


@FAST
@given(st.dictionaries(NAMES.filter(lambda name: "\x85" not in name), st.from_regex(r"[0-9]{1,9}", fullmatch=True)))
def test_any_promtail_file_is_read(positions: dict[str, str]) -> None:
    """As a library of the same family writes it: folded, quoted, escaped."""
    assert carry.Yaml(yaml.safe_dump({"positions": positions}, allow_unicode=True)).promtail() == positions


def test_a_name_that_is_no_utf_8_comes_through() -> None:
    """Names of files are bytes."""
    name = os.fsdecode(b"/caf\xe9.log")
    text = carry.promtail_yaml({name: "1"})
    assert yaml.safe_load(text)["positions"] == {b"/caf\xe9.log": "1"}
    assert carry.Yaml(text).promtail() == {name: "1"}


# --- there and back ---------------------------------------------------------------------------------------------------


def test_promtails_positions_come_to_alloy(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Each component gets what it will ask for, under the key under which it asks."""
    access = host.log("access.log", b"one\ntwo\nthree\n")
    host.promtail_saves({access: "8", "cursor-journal": JOURNAL, "cursor-unknown": "s=1"})
    assert host.carry("alloy") == 0
    assert host.alloy("file.nginx") == host.alloy("file.app") == {(access, "{}"): "8"}
    assert host.alloy("journal.journal") == {journal_key(): JOURNAL}
    assert capsys.readouterr().out == "3 positions were carried from Promtail to Alloy.\n"


def test_alloys_positions_come_to_promtail(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """All components into the one file."""
    access, app = host.log("access.log", b"one\n"), host.log("app.log", b"one\ntwo\n")
    host.alloy_saves("file.nginx", {(access, "{}"): "4", (app, '{job="old"}'): "4"})
    host.alloy_saves("file.app", {(app, "{}"): "8"})
    host.alloy_saves("file.gone", {("/gone.log", "{}"): "1"})
    host.alloy_saves("journal.journal", {journal_key(): JOURNAL, ("cursor-loki.source.journal.journal", "{}"): "s=0"})
    assert host.carry("promtail") == 0
    assert host.promtail() == {access: "4", app: "8", "cursor-journal": JOURNAL}
    assert capsys.readouterr().out == "3 positions were carried from Alloy to Promtail.\n"


LOGS = st.dictionaries(
    NAMES.map("/nowhere/{}".format), st.integers(min_value=0, max_value=2**63 - 1).map(str), max_size=5
)


@settings(FAST, max_examples=25)
@given(LOGS, st.sampled_from([{}, {"cursor-journal": JOURNAL}]))
def test_there_and_back_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, logs: dict[str, str], cursor: dict[str, str]
) -> None:
    """What both agents know is the same after two switches, whatever the names."""
    host = Host(tmp_path_factory.mktemp("host"))
    host.promtail_saves({**logs, **cursor})
    assert host.carry("alloy") == 0
    for path in (host.root / "alloy").glob("*/positions.yml"):
        host.write(path, path.read_text() + "# saved by Alloy\n")
    host.positions.unlink()
    assert host.carry("promtail") == 0
    assert host.promtail() == {**logs, **cursor}


def test_nothing_to_carry_leaves_nothing_behind(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """The first agent of a host."""
    assert host.carry("alloy") == 0
    assert host.carry("promtail") == 0
    assert sorted(path.name for path in host.root.iterdir()) == ["alloy.json", "promtail.json"]
    assert capsys.readouterr() == ("", "")


def test_a_restart_carries_nothing(host: Host) -> None:
    """What Alloy read since the switch is not undone by Promtail's old positions."""
    log = host.log("a.log", b"1\n2\n3\n4\n")
    host.promtail_saves({log: "2"})
    host.carry("alloy")
    host.alloy_saves("file.nginx", {(log, "{}"): "6"})
    os.utime(host.positions, (host.ticks + 9, host.ticks + 9))
    assert host.carry("alloy") == 0
    assert host.alloy("file.nginx") == {(log, "{}"): "6"}
    host.component("file.nginx").unlink()
    host.component("file.app").unlink()
    host.carry("alloy")
    assert host.alloy("file.nginx") == {}, "who removes positions wants to read from the beginning"


def test_many_switches(host: Host) -> None:
    """Each agent goes on where the other one stopped."""
    log = host.log("a.log", b"x\n" * 100)
    host.promtail_saves({log: "2", "cursor-journal": "s=1"})
    for round_ in range(1, 5):
        host.carry("alloy")
        assert host.alloy("file.nginx") == {(log, "{}"): str(round_ * 20 - 18)}
        host.alloy_saves("file.nginx", {(log, "{}"): str(round_ * 20 - 8)})
        host.alloy_saves("journal.journal", {journal_key(): f"s=alloy{round_}"})
        # The other component was given the file as well, and is behind since.
        host.files = [{"name": "nginx", "paths": [log]}, {"name": "app", "paths": ["/app/*.log"]}]
        host.carry("promtail")
        assert host.promtail() == {log: str(round_ * 20 - 8), "cursor-journal": f"s=alloy{round_}"}
        host.promtail_runs(**{log: round_ * 20 + 2})
        host.carry("promtail")
        assert host.promtail()[log] == str(round_ * 20 + 2), "a restart undid what Promtail read"


def test_the_clock_does_not_matter_after_the_first_switch(host: Host) -> None:
    """A host whose clock went back."""
    log = host.log("a.log", b"x\n" * 100)
    host.promtail_saves({log: "2"})
    host.carry("alloy")
    host.ticks -= 10_000
    host.alloy_saves("file.nginx", {(log, "{}"): "10"})
    host.alloy_saves("file.app", {(log, "{}"): "10"})
    host.carry("promtail")
    assert host.promtail() == {log: "10"}
    host.ticks -= 10_000
    host.promtail_saves({log: "20"})
    host.carry("alloy")
    assert host.alloy("file.nginx") == {(log, "{}"): "20"}


@pytest.mark.parametrize(("first", "expected"), [("alloy", "20"), ("promtail", "10")])
def test_without_a_record_the_later_one_counts(host: Host, first: str, expected: str) -> None:
    """Both have positions, and nothing was ever carried here."""
    log = host.log("a.log", b"x\n" * 100)
    for agent in (first, {"alloy": "promtail", "promtail": "alloy"}[first]):
        if agent == "alloy":
            host.alloy_saves("file.nginx", {(log, "{}"): "10"})
        else:
            host.promtail_saves({log: "20"})
    host.carry("alloy")
    assert host.alloy("file.nginx") == {(log, "{}"): expected}


def test_alloy_that_never_read_is_not_carried_back(host: Host) -> None:
    """Its start failed: what Promtail alone knows stays known."""
    before = {"/a.log": "1", "cursor-journal": JOURNAL, "cursor-other": "s=2", f"cursor-{GONE}": "17"}
    host.promtail_saves(before)
    host.carry("alloy")
    host.carry("promtail")
    assert host.promtail() == before
    host.promtail_runs(**{"/a.log": 9})
    host.carry("alloy")
    assert host.alloy("file.app") == {("/a.log", "{}"): "9"}


def test_promtail_that_never_read_is_not_carried_back(host: Host) -> None:
    """The same the other way round; components of other sources keep what they know."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "5", ("/b.log", '{job="x"}'): "5"})
    host.carry("promtail")
    before = host.component("file.nginx").read_bytes()
    host.carry("alloy")
    assert host.component("file.nginx").read_bytes() == before


def test_a_new_source_is_no_news(host: Host) -> None:
    """A component that Alloy never had does not make its old positions new, nor does one that is gone."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "5"})
    host.alloy_saves("file.app", {("/a.log", "{}"): "5"})
    host.carry("promtail")
    host.ticks -= 100
    host.promtail_saves({"/a.log": "50"})
    host.files.append("third")
    host.carry("promtail")
    assert host.promtail() == {"/a.log": "50"}
    host.component("file.app").unlink()
    host.carry("promtail")
    assert host.promtail() == {"/a.log": "50"}


def test_alloys_folder_was_removed(host: Host) -> None:
    """What Promtail was given is then all that is known."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "5"})
    host.carry("promtail")
    shutil.rmtree(host.root / "alloy")
    host.carry("alloy")
    assert host.alloy("file.nginx") == {("/a.log", "{}"): "5"}


def test_what_the_last_agent_did_not_know_is_forgotten(host: Host) -> None:
    """A file that was removed and made anew since starts from its beginning; a component that is left is emptied."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "5", ("/old.log", "{}"): "7"})
    host.alloy_saves("journal.journal", {journal_key(): JOURNAL})
    host.carry("promtail")
    host.promtail_saves({"/a.log": "50"})
    host.carry("alloy")
    assert host.alloy("file.nginx") == {("/a.log", "{}"): "50"}
    assert host.component("journal.journal").read_text() == "positions: {}\n"


# --- interruptions ----------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Stands for the end of the program at some point."""


@pytest.mark.parametrize("step", range(1, 6))
def test_killed_on_the_way_to_alloy(host: Host, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """At every write: the next start completes it, and a return to Promtail keeps what that knows."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "1"})
    host.carry("promtail")
    known = {"/a.log": "10", "/b.log": "20", "cursor-journal": JOURNAL}
    host.promtail_saves(known)

    left, real = step, carry.replace

    def killed(path: str, text: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError
        real(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(carry, "replace", killed)
        with pytest.raises(KilledError):
            host.carry("alloy")
    assert host.carry("promtail") == 0
    assert host.promtail() == known
    assert host.carry("alloy") == 0
    files = {("/a.log", "{}"): "10", ("/b.log", "{}"): "20"}
    assert host.alloy("file.nginx") == host.alloy("file.app") == files
    assert host.alloy("journal.journal") == {journal_key(): JOURNAL}


def test_an_interruption_that_nothing_completes_stops_both(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the components were written, and what they were written from is gone."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "1"})
    host.write(host.root / "alloy" / "carried.json", '{"source": {}, "own": {}, "unfinished": true}')
    for agent in ("alloy", "promtail"):
        assert host.carry(agent) == 1
        assert "is gone since" in capsys.readouterr().err


def test_killed_on_the_way_to_promtail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the positions and the record."""
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "1"})
    monkeypatch.setattr(carry, "write_record", lambda *_: (_ for _ in ()).throw(KilledError))
    with pytest.raises(KilledError):
        host.carry("promtail")
    monkeypatch.undo()
    assert host.carry("promtail") == 0
    assert host.promtail() == {"/a.log": "1"}
    assert host.carry("alloy") == 0
    assert host.alloy("file.nginx") == {("/a.log", "{}"): "1"}


def test_a_write_that_fails_leaves_the_file(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no temporary one beside it."""
    host.promtail_saves({"/a.log": "1"})
    host.component("file.nginx").parent.mkdir(parents=True)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(carry.CarryError, match="cannot be written: No space left"):
        carry.replace(str(host.positions), "half")
    assert host.promtail() == {"/a.log": "1"}
    assert os.listdir(host.positions.parent) == ["positions.yaml"]


def test_only_the_account_reads_them(host: Host) -> None:
    """As the agents themselves have it."""
    host.promtail_saves({"/a.log": "1", "cursor-journal": JOURNAL})
    before = os.umask(0)
    try:
        host.carry("alloy")
        host.alloy_saves("file.nginx", {("/a.log", "{}"): "2"})
        host.positions.unlink()
        host.carry("promtail")
    finally:
        os.umask(before)
    written = [host.component("file.app"), host.component("journal.journal"), host.positions]
    written += [host.root / "alloy" / "carried.json", host.root / "promtail" / "carried.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert stat.S_IMODE(host.component("file.app").parent.stat().st_mode) == 0o750


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"positions:\n  /a: '1\n", b"\xff\xfe", b"positions:\n  /a: 1.5\n"])
def test_damaged_positions_stop_the_start(host: Host, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    """Nothing is written, and the message says which file."""
    host.positions.parent.mkdir()
    host.positions.write_bytes(content)
    assert host.carry("alloy") == 1
    assert f"{host.positions} is damaged" in capsys.readouterr().err
    assert not (host.root / "alloy").exists()


@pytest.mark.parametrize("name", ["file.app", "journal.journal", "docker.containers"])
def test_damaged_components_stop_the_start(host: Host, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Of each kind; Promtail's positions stay as they were."""
    host.docker = ["containers"]
    host.promtail_saves({"/a.log": "1"})
    host.alloy_saves("file.nginx", {("/a.log", "{}"): "2"})
    host.write(host.component(name), "positions:\n  ? path: /a")
    assert host.carry("promtail") == 1
    assert f"{host.component(name)} is damaged" in capsys.readouterr().err
    assert host.promtail() == {"/a.log": "1"}


def test_positions_that_cannot_be_read_stop_the_start(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory is as unreadable to root as to others."""
    host.positions.mkdir(parents=True)
    assert host.carry("alloy") == 1
    assert f"{host.positions} cannot be read" in capsys.readouterr().err


def test_a_damaged_record_stops_the_start(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Who ran last would be a guess."""
    host.promtail_saves({"/a.log": "1"})
    host.write(host.root / "alloy" / "carried.json", "{")
    assert host.carry("alloy") == 1
    assert "carried.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"to": "agent"}', '{"to": "alloy"}', '{"to": "alloy", "promtail": "/p", "alloy": "/a", "files": [1]}'],
)
def test_a_plan_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Is named, with status 1."""
    (tmp_path / "carry.json").write_text(text)
    assert carry.main([str(tmp_path / "carry.json")]) == 1
    assert str(tmp_path / "carry.json") in capsys.readouterr().err


def test_as_a_program(host: Host) -> None:
    """As the unit runs it, with no locale and nothing but the standard library."""
    name = os.fsdecode("/logs/é\udcff😀.log".encode("utf-8", "surrogateescape"))
    host.write(host.positions, carry.promtail_yaml({name: "3"}))
    host.carry("promtail")
    host.carry("alloy")
    (host.root / "alloy" / "carried.json").unlink()
    for path in (host.root / "alloy").glob("*/positions.yml"):
        path.unlink()
    run = [sys.executable, "-I", "-S", "-X", "utf8=0", str(SCRIPT), str(host.root / "alloy.json")]
    done = subprocess.run(run, env={"LC_ALL": "POSIX"}, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"2 positions were carried from Promtail to Alloy.\n", b"")
    assert carry.Yaml(host.component("file.app").read_text()).alloy() == {(name, "{}"): "3"}
    assert subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, check=False).returncode == 2


def test_it_reads_as_python_3_9() -> None:
    """The oldest on a managed host."""
    ast.parse(SCRIPT.read_text(), feature_version=(3, 9))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "position", "expected"),
    [
        (b"one\ntwo\nthr", 11, 8),
        (b"one\ntwo\nthr", 9, 8),
        (b"one\ntwo\n", 8, 8),
        (b"one\ntwo\n", 7, 4),
        (b"one\ntwo\n", 4, 4),
        (b"one\ntwo\n", 2, 0),
        (b"one\ntwo\n", 0, 0),
        (b"one\ntwo\n", -3000, 0),
        (b"one\ntwo\n", 9, 9),
        (b"", 0, 0),
        (b"", 5, 5),
        (b"a\n" + b"x" * 200_000, 150_000, 2),
        (b"x" * 200_000, 150_000, 0),
        (b"\n" * 70_000, 65_537, 65_537),
    ],
)
@pytest.mark.parametrize("to", ["alloy", "promtail"])
def test_a_position_is_at_the_start_of_a_line(
    host: Host, to: str, content: bytes, position: int, expected: int
) -> None:
    """Moved back where it is inside of one; beyond the end it stays."""
    log = host.log("a.log", content)
    if to == "alloy":
        host.promtail_saves({log: str(position)})
    else:
        host.alloy_saves("file.nginx", {(log, "{}"): str(position)})
    assert host.carry(to) == 0
    found = host.promtail() if to == "promtail" else {path: v for (path, _), v in host.alloy("file.nginx").items()}
    assert found == {log: str(expected)}


def test_a_pipe_is_not_opened(host: Host) -> None:
    """It would wait for a writer."""
    os.mkfifo(host.root / "pipe.log")
    host.promtail_saves({str(host.root / "pipe.log"): "7"})
    assert host.carry("alloy") == 0
    assert host.alloy("file.app") == {(str(host.root / "pipe.log"), "{}"): "7"}


def test_a_log_that_cannot_be_looked_at_keeps_its_position(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent will not read it either."""
    (host.root / "file").write_text("")
    log = str(host.root / "file" / "a.log")
    host.promtail_saves({log: "7", "/nul\0.log": "3"})
    assert host.carry("alloy") == 0
    assert host.alloy("file.app") == {(log, "{}"): "7", ("/nul\0.log", "{}"): "3"}
    assert "its position stays 7" in capsys.readouterr().err


def test_a_file_goes_to_the_sources_that_read_it(host: Host) -> None:
    """To all where none says so: too much does no harm, too little doubles a log."""
    host.files = [
        {"name": "nginx", "paths": ["/var/log/nginx/*.log"]},
        {"name": "app", "paths": ["/srv/**/*.{json,log}", "/var/log/nginx/error.log"]},
    ]
    positions = {
        "/var/log/nginx/access.log": "1",
        "/var/log/nginx/error.log": "2",
        "/srv/a/b/c.json": "3",
        "/else": "4",
    }
    host.promtail_saves(positions)
    host.carry("alloy")
    found = {
        name: {path: value for (path, _), value in host.alloy(f"file.{name}").items()} for name in ("nginx", "app")
    }
    assert found["nginx"] == {key: positions[key] for key in positions if "nginx" in key or key == "/else"}
    assert found["app"] == {key: positions[key] for key in positions if "access" not in key}


def test_of_two_that_read_a_file_the_one_behind_counts(host: Host) -> None:
    """Nothing is lost; one that only was given the position once does not count."""
    host.files = [{"name": "nginx", "paths": ["/var/*.log"]}, {"name": "app", "paths": ["/var/a*"]}]
    host.files.append({"name": "all", "paths": ["/srv/*"]})
    host.alloy_saves("file.nginx", {("/var/a.log", "{}"): "100"})
    host.alloy_saves("file.app", {("/var/a.log", "{}"): "90"})
    host.alloy_saves("file.all", {("/var/a.log", "{}"): "5", ("/home/x", "{}"): "6"})
    host.carry("promtail")
    assert host.promtail() == {"/var/a.log": "90", "/home/x": "6"}


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("/var/log/*.log", ["/var/log/a.log", "/var/log/.log"], ["/var/log/a/b.log", "/var/log/alog"]),
        ("/srv/**/*.log", ["/srv/a.log", "/srv/a/b/c.log"], ["/srva.log", "/srv/a.logs"]),
        ("/srv/**", ["/srv/a", "/srv/a/b.c", "/srv"], ["/srva"]),
        ("/srv/a**b", ["/srv/ab", "/srv/axb"], ["/srv/a/b"]),
        ("/a?c", ["/abc"], ["/a/c", "/ac"]),
        ("/[a-c]x[!0-9]", ["/axy"], ["/dxy", "/ax1"]),
        ("/[^a]", ["/b"], ["/a", "//"]),
        ("/{a,b{c,d}}.log", ["/a.log", "/bc.log", "/bd.log"], ["/b.log", "/{a.log"]),
        (r"/\*.log", ["/*.log"], ["/a.log"]),
        ("/a+(b).log", ["/a+(b).log"], ["/aab.log"]),
        ("/a,b}", ["/a,b}"], ["/a"]),
        ("/[", ["/["], ["/a"]),
    ],
)
def test_globs_are_those_of_the_agents(glob: str, yes: list[str], no: list[str]) -> None:
    """As the agents' library has them."""
    expression = carry.glob_expression(glob)
    assert [path for path in yes if not expression.fullmatch(path)] == []
    assert [path for path in no if expression.fullmatch(path)] == []


# --- containers -------------------------------------------------------------------------------------------------------


def test_containers_come_to_alloy(host: Host, engine: Callable[..., str]) -> None:
    """Under all labels of their targets; one that is gone is forgotten."""
    listing = [container(WEB, "web", com__docker__compose__project="shop", other="x"), container(DB, "db")]
    host.docker = [{"name": "containers", "host": engine(listing)}]
    host.promtail_saves({f"cursor-{WEB}": "1700000000", f"cursor-{DB}": "1700000001", f"cursor-{GONE}": "17"})
    assert host.carry("alloy") == 0
    assert host.alloy("docker.containers") == {
        container_key(WEB, "web", "shop"): "1700000000",
        container_key(DB, "db"): "1700000001",
    }


def test_containers_come_to_promtail(host: Host) -> None:
    """Without asking Docker. A renamed one has two keys: the later counts; of two sources the one behind."""
    host.docker = ["one", "two"]
    host.alloy_saves("docker.one", {container_key(WEB, "old"): "100", container_key(WEB, "new"): "300"})
    host.alloy_saves("docker.two", {container_key(WEB, "new"): "200", container_key(DB, "db"): "9"})
    assert host.carry("promtail") == 0
    assert host.promtail() == {f"cursor-{WEB}": "200", f"cursor-{DB}": "9"}


def test_targets_can_keep_other_labels(host: Host, engine: Callable[..., str]) -> None:
    """Sorted and quoted as Alloy has them."""
    labels = ["__meta_docker_container_network_mode", "__meta_docker_container_label_a_b", "__meta_docker_container_id"]
    host.docker = [
        {"name": "containers", "host": engine([container(WEB, "web", **{"a-b": 'q"\\\n\x01é'})]), "labels": labels}
    ]
    host.promtail_saves({f"cursor-{WEB}": "1"})
    assert host.carry("alloy") == 0
    ((_, found),) = host.alloy("docker.containers")
    assert found == (
        f'{{__meta_docker_container_id="{WEB}", __meta_docker_container_label_a_b="q\\"\\\\\\n\\x01é", '
        '__meta_docker_container_network_mode="bridge"}'
    )


def test_a_label_that_changes_cannot_be_carried(
    host: Host, engine: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Alloy would not find the position."""
    labels = ["__meta_docker_container_id", "__meta_docker_network_ip"]
    host.docker = [{"name": "containers", "host": engine([]), "labels": labels}]
    host.promtail_saves({f"cursor-{WEB}": "1"})
    assert host.carry("alloy") == 1
    assert "__meta_docker_network_ip" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["absent", "refused", "nonsense", "scheme"])
def test_docker_that_does_not_answer_stops_the_start(
    host: Host, engine: Callable[..., str], capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """All containers would be read again from their beginning; without positions of containers nobody is asked."""
    addresses: dict[str, Callable[[], str]] = {
        "absent": lambda: f"unix://{host.root}/none.sock",
        "refused": lambda: engine([], status=403),
        "nonsense": lambda: engine([{"Names": 5}]),
        "scheme": lambda: "ssh://host",
    }
    host.docker = [{"name": "containers", "host": addresses[fault]()}]
    host.promtail_saves({"/a.log": "1"})
    assert host.carry("alloy") == 0
    host.promtail_saves({"/a.log": "2", f"cursor-{WEB}": "1"})
    assert host.carry("alloy") == 1
    assert "containers" in capsys.readouterr().err
    assert host.alloy("file.app") == {("/a.log", "{}"): "1"}
