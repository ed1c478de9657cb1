"""Run the alert catalogue through promtool: the rules' syntax and lint, and every alert's own test cases.

What is recorded for the objectives has tests of its own, ``slo.yml``. The rule files and the tests are generated into a
temporary folder, as the playbook generates them. Alerts in LogQL must not be among Prometheus' rules, and their cases
(``alerts.log_cases``) are for a Loki. ``PROMTOOL`` names the program; without it, it comes from the newest Prometheus
archive of the test mirror (``make mirror``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ansible.module_utils
import yaml

ROOT = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

from ansible.module_utils.watchkeeper import alerts as catalogue  # noqa: E402
from ansible.module_utils.watchkeeper import slo  # noqa: E402
from ansible.module_utils.watchkeeper.settings import documented, read_settings  # noqa: E402

RUNBOOKS_URL = "https://example.org/runbooks"


def find_promtool() -> Path:
    """Return ``$PROMTOOL``, or promtool unpacked from the mirror's newest Prometheus archive to .cache/bin."""
    if "PROMTOOL" in os.environ:
        return Path(os.environ["PROMTOOL"])
    archives = list((ROOT / ".cache" / "mirror" / "prometheus").glob("*/prometheus-*.tar.gz"))
    if not archives:
        sys.exit("no promtool: set PROMTOOL, or run `make mirror` first")
    newest = max(archives, key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)])
    promtool = ROOT / ".cache" / "bin" / f"promtool-{newest.parent.name}"
    if not promtool.exists():
        promtool.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(newest) as archive:
            member = next(member for member in archive if Path(member.name).name == "promtool")
            source = archive.extractfile(member)
            assert source is not None
            partial = promtool.with_suffix(".partial")
            with partial.open("wb") as target:
                shutil.copyfileobj(source, target)
        partial.chmod(0o755)
        partial.rename(promtool)
    return promtool


class Run:
    """Promtool over one temporary folder, and the count of what passed."""

    def __init__(self, promtool: Path, folder: Path) -> None:
        self.promtool = promtool
        self.folder = folder
        option = documented(ROOT, "watchkeeper")[slo.VARIABLE]
        self.slos = slo.read_slos(read_settings(ROOT, {}), option)
        self.passed = 0
        self.failed = 0

    def expect(self, name: str, good: bool, details: str = "") -> None:
        """Count a check, and tell when it failed."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {name}\n{details}", file=sys.stderr)

    def call(self, *arguments: str | Path) -> tuple[int, str]:
        """Return promtool's exit code and all of its output."""
        command = [self.promtool, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        return done.returncode, done.stdout + done.stderr

    def write(self, name: str, content: object) -> Path:
        """Write data as YAML and return the file's path."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def check_rules(self, alerts: Sequence[catalogue.Alert]) -> None:
        """Write the rule files of these alerts; promtool must accept them and find every rule that is in PromQL."""
        rules = catalogue.render_rules(alerts, RUNBOOKS_URL)
        recording = slo.recording_rules(self.slos, slo.windows_of(alerts))
        rules[slo.RECORDING_GROUP] = {"groups": [recording]}
        paths = [self.write(f"{group}.yml", content) for group, content in rules.items()]
        code, output = self.call("check", "rules", "--lint=all", "--lint-fatal", *paths)
        found = sum(int(number) for number in re.findall(r"(\d+) rules? found", output))
        count = len(catalogue.in_language(alerts, catalogue.PROMQL)) + len(recording["rules"])
        self.expect(f"promtool accepts the rules and finds all {count}", (code, found) == (0, count), output)

    def cases_pass(self, alert: catalogue.Alert, rule: catalogue.Alert) -> tuple[bool, str]:
        """Run the cases of an alert against a rule: alone, so that promtool need not evaluate the others."""
        (content,) = catalogue.render_rules([rule], RUNBOOKS_URL).values()
        if rule.group == slo.GROUP:
            content["groups"].insert(0, slo.recording_rules(self.slos, slo.windows_of([rule])))
        self.write("rule.yml", content)
        tests = self.write("tests.yml", catalogue.render_tests(alert, "rule.yml", RUNBOOKS_URL))
        code, output = self.call("test", "rules", tests)
        return code == 0, output


def main() -> int:
    """Run all checks and return the exit code."""
    every = catalogue.load_catalogue(ROOT / "files" / "alerts")
    alerts = catalogue.in_language(every, catalogue.PROMQL)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(find_promtool(), Path(folder))
        run.check_rules(every)
        for tests in yaml.safe_load_all((ROOT / "tests" / "rules" / "slo.yml").read_text(encoding="utf-8")):
            code, output = run.call("test", "rules", run.write("tests.yml", tests))
            run.expect("what is recorded for the objectives", code == 0, output)
        for alert in alerts:
            good, output = run.cases_pass(alert, alert)
            run.expect(f"{alert.name}: {len(alert.cases)} cases", good, output)

        # Overrides must reach Prometheus: cases written for the default must fail with another limit, wait or severity.
        overrides = {
            "HighCPUUsage": {"threshold": 99},
            "HostDown": {"for": "1h"},
            "ServiceDown": {"severity": "warning"},
        }
        changed = {
            alert.name: alert
            for alert in catalogue.apply_overrides(every, {**overrides, "Watchdog": {"enabled": False}})
        }
        run.expect("a disabled alert has no rule", "Watchdog" not in changed)
        run.check_rules(list(changed.values()))
        for alert in alerts:
            if alert.name in overrides:
                good, _ = run.cases_pass(alert, changed[alert.name])
                run.expect(f"{alert.name}: the override changes what fires", not good)

    cases = sum(len(alert.cases) for alert in alerts)
    checks = sum(len(case.checks) for alert in alerts for case in alert.cases)
    print(
        f"rules: {len(alerts)} alerts, {cases} cases, {checks} moments checked; {len(every) - len(alerts)} are in LogQL"
    )
    print(f"{run.passed} passed, {run.failed} failed")
    return 1 if run.failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())
