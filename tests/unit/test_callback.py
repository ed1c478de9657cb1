"""The stdout callback, as real runs of ansible-playbook print it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")

# Answers for `component` and `preflight` as the inventory's variables tell them, without any engine.
STUB = """
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        told = task_vars.get("told", {}).get(self._task.args.get("name", "preflight"), {})
        if "error" in told:
            raise AnsibleActionFail(told["error"])
        return dict(told)
"""


def ready(name: str, **more: Any) -> dict[str, Any]:
    """Return the result of a component task that changed nothing."""
    component = {
        "name": name,
        "title": "x",
        "version": "1.2.3",
        "state": "ready",
        "actions": [],
        "previous_version": "1.2.3",
    }
    return {"changed": False, "component": component | {"url": f"http://m:9090/{name}"} | more}


def changed(name: str, *actions: str, **more: Any) -> dict[str, Any]:
    """Return the result of a component task that changed something."""
    return ready(name, actions=list(actions), **more) | {"changed": True}


CONVERGE: list[dict[str, Any]] = [
    {"name": "Check the inventory", "preflight": {}},
    {"name": "Converge node_exporter", "component": {"name": "node_exporter"}},
    {"name": "Converge Prometheus", "component": {"name": "prometheus"}, "when": "'prometheus' in told"},
]


class Bench:
    """A folder with an inventory, a playbook and the stubs, and the means to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "action_plugins").mkdir()
        for name in ("component", "preflight"):
            (folder / "action_plugins" / f"{name}.py").write_text(STUB, encoding="utf-8")
        (folder / "ansible.cfg").write_text("[defaults]\nnocows = true\n", encoding="utf-8")
        self.log = folder / "run.log"

    def prepare(self, hosts: dict[str, Any], tasks: list[dict[str, Any]], **play: Any) -> list[str]:
        """Write the inventory (`hosts` maps names to what the stubs tell) and the playbook; return the command."""
        common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"hosts": {name: {"told": told, **common} for name, told in hosts.items()}}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        plays = [{"name": "Converge", "hosts": "all", "gather_facts": False, "tasks": tasks, **play}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
        return [str(PLAYBOOK), "-i", "hosts.yml", "play.yml"]

    def environment(self, **more: str) -> dict[str, str]:
        """Return a clean environment for a run."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL") if key in os.environ}
        own = {
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "callback"),
            "ANSIBLE_STDOUT_CALLBACK": "watchkeeper",
            "ANSIBLE_LOG_PATH": str(self.log),
            "TERM": "xterm",
        }
        return {"LC_ALL": "C.UTF-8", **kept, **own, **more}

    def run(self, hosts: dict[str, Any], tasks: list[dict[str, Any]], *options: str, **settings: Any) -> str:
        """Run the playbook without a terminal and return stdout, then stderr."""
        environment = self.environment(**settings.pop("env", {}))
        command = [*self.prepare(hosts, tasks, **settings), *options]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert "Callback dispatch" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def on_terminal(self, hosts: dict[str, Any], tasks: list[dict[str, Any]], **env: str) -> str:
        """Run the playbook on a terminal and return all that it wrote there."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            self.prepare(hosts, tasks),
            cwd=self.folder,
            env=self.environment(**env),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            seen = b""
            while True:
                try:
                    block = os.read(ours, 65536)
                except OSError:
                    break
                if not block:
                    break
                seen += block
        os.close(ours)
        return seen.decode()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty bench."""
    return Bench(tmp_path)


def table_of(output: str) -> list[list[str]]:
    """Return the cells of the closing table, which are two blanks or more apart."""
    lines = output.split("HOST  ", 1)[1].splitlines()
    body = lines[1 : lines.index("")]
    return [re.split(r"  +", line) for line in body]


def recap_of(output: str) -> dict[str, dict[str, int]]:
    """Return the counts per host, read the way other tools read them."""
    lines = output.split("PLAY RECAP", 1)[1].splitlines()
    found = {}
    for line in lines:
        counts = re.findall(r"(\w+)=(\d+)", line)
        if counts:
            found[line.split(" : ")[0].strip()] = {key: int(number) for key, number in counts}
    return found


def test_one_line_per_change_and_the_table(bench: Bench) -> None:
    """A run that changes something: its lines, the table in the order of the catalogue, notes and counts."""
    hosts = {
        "node10": {"node_exporter": ready("node_exporter"), "preflight": {"components": ["node_exporter"]}},
        "node2": {"node_exporter": changed("node_exporter", "started", previous_version="")},
        "monitor": {
            "preflight": {"components": ["node_exporter", "prometheus"], "notes": ["receiver default notifies nobody"]},
            "node_exporter": ready("node_exporter", state="absent", version=""),
            "prometheus": changed(
                "prometheus", "release 3.13.2 installed", "restarted", version="3.13.2", login="admin"
            ),
        },
    }
    output = bench.run(hosts, CONVERGE)
    body = output.split("HOST  ")[0]
    assert "\n" in body
    assert re.search(r"^monitor +Prometheus +changed: release 3\.13\.2 installed, restarted$", body, re.M)
    assert re.search(r"^node2 +Node exporter +changed: started$", body, re.M)
    assert [line for line in body.splitlines() if line and "changed: " not in line] == ["==> Converge"]
    assert table_of(output) == [
        ["monitor", "Node exporter", "absent"],
        ["monitor", "Prometheus", "3.13.2 (was 1.2.3)", "changed → ready", "http://m:9090/prometheus", "admin"],
        ["node2", "Node exporter", "1.2.3", "changed → ready", "http://m:9090/node_exporter", "none"],
        ["node10", "Node exporter", "1.2.3", "ready", "http://m:9090/node_exporter", "none"],
    ]
    starts = {line.index("http") for line in output.splitlines() if "http" in line}
    assert len(starts) == 1, "the columns are aligned"
    assert "- receiver default notifies nobody (monitor)" in output
    recap = recap_of(output)
    assert list(recap) == ["monitor", "node2", "node10"]
    assert recap["monitor"] == {
        "ok": 3,
        "changed": 1,
        "unreachable": 0,
        "failed": 0,
        "skipped": 0,
        "rescued": 0,
        "ignored": 0,
    }
    assert recap["node10"]["changed"] == 0
    assert "\x1b" not in output
    assert "PLAY RECAP" in bench.log.read_text(encoding="utf-8")
    assert "changed=1" in bench.log.read_text(encoding="utf-8")


def test_failures_are_told_whole_and_once(bench: Bench) -> None:
    """The same failure on many hosts: one line each while it runs, one whole message with the hosts at the end."""
    trouble = {"error": "node_exporter did not become ready\nlast words: cannot bind"}
    hosts: dict[str, Any] = {f"node{number}": {"node_exporter": trouble} for number in (1, 2, 10)}
    hosts["monitor"] = {
        "preflight": {"components": ["node_exporter", "prometheus"]},
        "node_exporter": {"error": "another reason"},
        "prometheus": ready("prometheus"),
    }
    output = bench.run(hosts, CONVERGE)
    assert len(re.findall(r"^node\d+ +Node exporter +FAILED: node_exporter did not become ready …$", output, re.M)) == 3
    closing = output.split("\nFailures\n")[1]
    assert closing.count("last words: cannot bind") == 1
    assert "- node1, node2, node10: Node exporter\n    node_exporter did not become ready\n    last words" in closing
    assert "- monitor: Node exporter\n    another reason\n" in closing
    assert table_of(output) == [
        ["monitor", "Node exporter", "failed"],
        ["monitor", "Prometheus", "not run"],
        ["node1", "Node exporter", "failed"],
        ["node2", "Node exporter", "failed"],
        ["node10", "Node exporter", "failed"],
    ]
    assert recap_of(output)["node10"] | {"ok": 0} == {
        "ok": 0,
        "changed": 0,
        "unreachable": 0,
        "failed": 1,
        "skipped": 0,
        "rescued": 0,
        "ignored": 0,
    }


def test_a_failure_of_the_whole_fleet_is_no_flood(bench: Bench) -> None:
    """Beyond a few hosts the same failure is one line, and the closing lines name the hosts."""
    hosts = {f"node{number}": {"node_exporter": {"error": "all of us"}} for number in range(9)}
    output = bench.run(hosts, CONVERGE[1:2], "--forks", "9")
    told = output.split("HOST  ")[0]
    assert len(re.findall(r"^node\d +Node exporter +FAILED: all of us$", told, re.M)) == 5
    assert told.count("Node exporter: FAILED on more hosts (-v tells each)\n") == 1
    assert "- node0, node1, node2, node3, node4, node5, node6, node7, node8: Node exporter\n    all of us\n" in output


def test_a_refused_inventory_ends_with_its_message(bench: Bench) -> None:
    """A preflight that fails with any_errors_fatal: no table of what never started, the message in full."""
    hosts = {
        "node1": {"preflight": {"error": "2 things are wrong; nothing has been changed:\n- one\n- two"}},
        "node2": {"preflight": {"components": ["node_exporter"]}, "node_exporter": ready("node_exporter")},
    }
    output = bench.run(hosts, CONVERGE, any_errors_fatal=True)
    assert "HOST  " not in output
    assert "- node1: Check the inventory\n" in output
    assert "    2 things are wrong; nothing has been changed:\n    - one\n    - two\n" in output
    assert recap_of(output)["node1"]["failed"] == 1


def test_check_mode_and_diff(bench: Bench) -> None:
    """What would change is named so, with its diff."""
    would = changed("node_exporter", "release 1.2.3 installed", previous_version="1.0.0")
    would["diff"] = [{"before": "a\n", "after": "b\n", "before_header": "x", "after_header": "x"}]
    output = bench.run({"node1": {"node_exporter": would}}, CONVERGE, "--check", "--diff")
    assert "would change: release 1.2.3 installed" in output
    assert "--- before: x\n+++ after: x\n" in output
    assert "-a\n+b\n" in output
    assert table_of(output)[0][2:4] == ["1.2.3 (now 1.0.0)", "would change"]
    assert "check mode: nothing has been changed" in output


def test_a_result_in_full_holds_neither_arguments_nor_secrets(bench: Bench) -> None:
    """-vvv shows results; never the invocation, never what no_log hides, whatever CI says."""
    result = changed("node_exporter", "started") | {
        "answer": 42,
        "invocation": {"module_args": {"token": "planted-secret"}},
    }
    tasks: list[dict[str, Any]] = [
        *CONVERGE,
        {"name": "Hide", "ansible.builtin.command": "echo {{ told.token }}", "no_log": True},
        {"name": "Hide too", "ansible.builtin.command": "sh -c 'echo {{ told.token }}; exit 3'", "no_log": True},
    ]
    output = bench.run(
        {"node1": {"node_exporter": result, "token": "planted-secret"}}, tasks, "-vvv", "--diff", env={"CI": "true"}
    )
    assert "answer: 42" in output
    assert "task: Converge node_exporter" in output
    assert "invocation" not in output
    # What ansible-core itself tells with -vvv on a local connection is not the callback's.
    told = "\n".join(line for line in output.splitlines() if not line.startswith("<node1>"))
    assert "planted-secret" not in told
    assert "no_log" in told.split("Failures")[1]


@pytest.mark.parametrize(("variable", "value"), [("", ""), ("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")])
def test_a_terminal_gets_a_live_line_unless_it_is_told_to_be_plain(bench: Bench, variable: str, value: str) -> None:
    """On a terminal the run tells what it does, and takes it back; NO_COLOR, CI and TERM=dumb leave that out."""
    env = {variable: value} if variable else {}
    output = bench.on_terminal({"node1": {"node_exporter": ready("node_exporter")}}, CONVERGE, **env)
    assert ("node1  Node exporter …converging" in output) == (not variable)
    assert ("\x1b[K" in output) == (not variable)
    # What stays on the screen: every line without what was overwritten.
    visible = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert ("…" in re.sub(r"\r\x1b\[K[^\r\n]*\r(?=\r\x1b\[K)", "", visible)) is False
    assert re.search(r"node1 +Node exporter +1\.2\.3 +ready", visible)


def test_a_long_table_shows_what_moved(bench: Bench) -> None:
    """Beyond forty rows: what changed or failed, and a count per component; quiet hosts share one line of counts."""
    hosts: dict[str, Any] = {f"node{number}": {"node_exporter": ready("node_exporter")} for number in range(42)}
    hosts["node7"] = {"node_exporter": changed("node_exporter", "reloaded")}
    hosts["node8"] = {"node_exporter": {"error": "broken"}}
    tasks = CONVERGE[1:2]
    output = bench.run(hosts, tasks, "--forks", "20")
    rows = output.split("HOST  ", 1)[1].splitlines()[1:]
    assert [re.split("  +", row)[:2] for row in rows[:2]] == [["node8", "Node exporter"], ["node7", "Node exporter"]]
    assert rows[2] == "Node exporter  40 ready, 1 changed → ready, 1 failed"
    assert list(recap_of(output)) == ["node7", "node8", "40 more hosts"]


def test_other_playbooks_stay_readable(bench: Bench) -> None:
    """Plain tasks, loops, blocks, handlers, includes and skipped tasks, as verify and prepare use them."""
    (bench.folder / "roles" / "inner" / "tasks").mkdir(parents=True)
    (bench.folder / "roles" / "inner" / "tasks" / "main.yml").write_text(
        "- name: Inside\n  ansible.builtin.debug: {msg: from the role}\n", encoding="utf-8"
    )
    command = "ansible.builtin.command"
    tasks: list[dict[str, Any]] = [
        {"name": "Say", "ansible.builtin.debug": {"msg": "a message"}},
        {"name": "Show", "ansible.builtin.debug": {"var": "told"}},
        {"name": "Include", "ansible.builtin.include_role": {"name": "inner"}, "loop": [1]},
        {"name": "Skip", command: "true", "when": "told is undefined"},
        {"name": "Change", command: "true", "notify": "Handle"},
        {"name": "Stay", command: "true", "changed_when": False},
        {"name": "Loop", command: "true", "loop": ["a", "b"], "changed_when": "item == 'b'"},
        {"name": "Ignore", command: "false", "ignore_errors": True},
        {
            "name": "Block",
            "block": [{"name": "Try", command: "sh -c 'echo tried >&2; false'"}],
            "rescue": [{"name": "Rescue", "ansible.builtin.debug": {"msg": "rescued it"}}],
        },
        {"name": "Flush", "ansible.builtin.meta": "flush_handlers"},
        {"name": "Loop badly", command: "sh -c 'exit {{ item }}'", "loop": [0, 3]},
    ]
    handlers = [{"name": "Handle", command: "true"}]
    output = bench.run({"node1": {"x": 1}}, tasks, handlers=handlers)
    lines = output.splitlines()
    for line in (
        "node1: a message",
        "node1: from the role",
        "node1: Change: changed",
        "node1: Loop (item=b): changed",
        "node1: Ignore: FAILED (ignored): ",
        "node1: Try: FAILED: ",
        "node1: rescued it",
        "node1: Handle: changed",
        "node1: Loop badly (item=0): changed",
        "node1: Loop badly (item=3): FAILED: ",
    ):
        assert any(shown.startswith(line) for shown in lines), output
    assert "x: 1" in output
    for silent in ("Skip", "Stay", "item=a", "Include", "One or more items failed", "HOST "):
        assert silent not in output
    closing = output.split("\nFailures\n")[1]
    assert "- node1: Loop badly (item=3) (" in closing
    assert "Try" not in closing, "what a rescue answered is no failure of the run"
    assert "Ignore" not in closing
    recap = recap_of(output)["node1"]
    assert (recap["failed"], recap["rescued"], recap["ignored"]) == (1, 1, 1)


def test_an_assertion_shows_what_was_asserted(bench: Bench) -> None:
    """An assertion that fails, with its expression; options of the default output behave."""
    tasks: list[dict[str, Any]] = [
        {"name": "Hold", "ansible.builtin.assert": {"that": ["true"]}},
        {"name": "Skip", "ansible.builtin.command": "true", "when": "told is undefined"},
        {"name": "Prove", "ansible.builtin.assert": {"that": ["1 == 2"], "fail_msg": "one is not two"}},
    ]
    quiet = bench.run({"node1": {}}, tasks)
    assert "Hold" not in quiet
    assert "node1: Prove: FAILED: one is not two …" in quiet
    assert "    one is not two\n    assertion: 1 == 2" in quiet
    shown = {"ANSIBLE_DISPLAY_OK_HOSTS": "true", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    talkative = bench.run({"node1": {}}, tasks, env=shown)
    assert "node1: Hold: ok" in talkative
    assert "node1: Skip: skipped" in talkative
    split = subprocess.run(
        bench.prepare({"node1": {}}, tasks),
        cwd=bench.folder,
        env=bench.environment(ANSIBLE_DISPLAY_FAILED_STDERR="true"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "one is not two" in split.stderr
    assert "one is not two" not in split.stdout


def test_an_unreachable_host(bench: Bench) -> None:
    """A host that cannot be reached has its row, its message and its count."""
    tasks: list[dict[str, Any]] = [
        {"name": "Reach", "ansible.builtin.command": "true", "changed_when": False},
        CONVERGE[1],
    ]
    command = bench.prepare({"node1": {"node_exporter": ready("node_exporter")}, "gone": {}}, tasks)
    inventory = yaml.safe_load((bench.folder / "hosts.yml").read_text(encoding="utf-8"))
    inventory["all"]["hosts"]["gone"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (bench.folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    done = subprocess.run(
        command, cwd=bench.folder, env=bench.environment(), capture_output=True, text=True, check=False
    )
    assert re.search(r"^gone: Reach: UNREACHABLE: .*(ssh|Connection refused)", done.stdout, re.M), (
        done.stdout + done.stderr
    )
    assert "- gone: Reach (" in done.stdout
    assert recap_of(done.stdout)["gone"]["unreachable"] == 1
    assert table_of(done.stdout) == [
        ["node1", "Node exporter", "1.2.3", "ready", "http://m:9090/node_exporter", "none"]
    ]
