"""What the role `uptime` declares at UptimeRobot: the monitors of each application, and who is told of them.

`settings` are the role's variables by their full names. Nothing here talks to UptimeRobot.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .uptimerobot_monitors import FREE
from .validation import allowed_url, problem

# What follows an application's name in the names of its monitors.
HOME, HEALTH, STATUS = "Homepage", "API Health", "API Status"
# What UptimeRobot takes for the days before the end of a certificate.
MOST_DAYS, LONGEST = 10, 365
TAG = re.compile(r"[a-z0-9][a-z0-9_-]*")
PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_-]*|\[\d+\])+")


def in_use(settings: Mapping[str, Any]) -> bool:
    """Tell whether there is anything for the role to keep at UptimeRobot."""
    declared = len(settings["uptime_applications"]) + len(settings["uptime_monitors"])
    return bool(settings["uptime_state"] == "present" and declared)


def monitors(settings: Mapping[str, Any], plan: str) -> list[dict[str, Any]]:
    """Return the monitors of the account, those of the applications first; `plan` is the label of its plan."""
    free = plan.lower() == FREE
    found = []
    for application in settings["uptime_applications"]:
        for one in _of_application(application):
            certificate = {} if free else _certificate(one, application, settings)
            found.append({**one, **certificate, "method": "GET", "timeout": settings["uptime_timeout"]})
    found += [dict(one) for one in settings["uptime_monitors"]]
    shared = {"interval": settings["uptime_interval"], "alert_contacts": contacts(settings)}
    return [one if one.get("state") == "absent" else {**shared, **one} for one in found]


def names(applications: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the monitors of applications."""
    return [str(one["name"]) for application in applications for one in _of_application(application)]


def contacts(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return who is told of a monitor: the contacts that are named, and each integration of the role."""
    given = [dict(one) for one in settings["uptime_contacts"]]
    known = [one["contact"] for one in given]
    present = [one for one in settings["uptime_integrations"] if one.get("state", "present") == "present"]
    return given + [{"contact": one["name"]} for one in present if one["name"] not in known]


def affected(
    applications: Iterable[Mapping[str, Any]], hosts: Iterable[str], groups: Mapping[str, Sequence[str]]
) -> list[Mapping[str, Any]]:
    """Return the applications that a maintenance of hosts is about; one that names no hosts is on each of them."""
    wanted = set(hosts)
    found = []
    for application in applications:
        own = application.get("hosts") or []
        there = {host for name in own for host in groups.get(name, [name])}
        if not own or wanted & there:
            found.append(application)
    return found


def start_of(moment: str, zone: str) -> dict[str, str]:
    """Return day and time of a moment (RFC 3339, UTC) as a clock in a time zone shows them, to the minute."""
    # Python before 3.11 does not know the Z.
    time = datetime.datetime.strptime(moment[:16], "%Y-%m-%dT%H:%M").replace(tzinfo=datetime.timezone.utc)
    local = time.astimezone(zoneinfo.ZoneInfo(zone))
    return {"date": local.strftime("%Y-%m-%d"), "time": local.strftime("%H:%M")}


def _of_application(application: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what tells an application's three monitors apart."""
    name = application["name"]
    path = application.get("status_json_path") or "$.status"
    value = application.get("status_value") or "ok"
    keyword = {
        "type": "KEYWORD",
        # It alerts where the text is missing: the other sense would alert as long as all is well.
        "keyword_type": "ALERT_NOT_EXISTS",
        "keyword_value": application.get("status_keyword") or f'"{path.rsplit(".", 1)[-1]}":"{value}"',
    }
    check = {"property": path, "comparison": "equals", "target": value}
    api = {"type": "API", "config": {"apiAssertions": {"logic": "AND", "checks": [check]}}}
    status = {"auto": {**api, "fallback": keyword}, "api": api, "keyword": keyword}
    return [
        {"name": f"{name} - {HOME}", "type": "HTTP", "url": application["url"]},
        {"name": f"{name} - {HEALTH}", "type": "HTTP", "url": application["health_url"]},
        {
            "name": f"{name} - {STATUS}",
            "url": application["health_url"],
            **status[application.get("status_check") or "auto"],
        },
    ]


def _certificate(
    monitor: Mapping[str, Any], application: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what has UptimeRobot tell of a certificate that ends, by one monitor for each host."""
    days = settings["uptime_certificate_days"]
    home, own = urlsplit(application["url"]), urlsplit(monitor["url"])
    first = monitor["name"].endswith(HOME) or (monitor["name"].endswith(HEALTH) and own.netloc != home.netloc)
    if monitor["type"] != "HTTP" or own.scheme != "https" or not first:
        return {}
    if not days:
        return {"ssl_expiration_reminder": False}
    return {"ssl_expiration_reminder": True, "config": {"sslExpirationPeriodDays": sorted(days, reverse=True)}}


# What is wrong with the variables


def check_uptime(values: Mapping[str, Any], _options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Check the role's variables; no message shows a secret."""
    found = _applications(values) + _lists(values)
    days = values["uptime_certificate_days"]
    if len(days) > MOST_DAYS or not all(isinstance(day, int) and 0 <= day <= LONGEST for day in days):
        allowed = f"up to {MOST_DAYS} numbers of days from 0 to {LONGEST}"
        found.append(problem("uptime_certificate_days", days, allowed))
    if not TAG.fullmatch(values["uptime_tag"]):
        found.append(problem("uptime_tag", values["uptime_tag"], "lower-case letters, digits, '-' and '_'"))
    try:
        zoneinfo.ZoneInfo(values["uptime_timezone"])
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        found.append(problem("uptime_timezone", values["uptime_timezone"], "a time zone such as UTC or Europe/Berlin"))
    if set(values["uptime_probe_addresses"]) - {"ipv4", "ipv6"}:
        allowed = "left out: it is the answer to uptime_gather_probe_addresses"
        found.append(problem("uptime_probe_addresses", values["uptime_probe_addresses"], allowed))
    if values["uptime_state"] == "absent" or in_use(values):
        if not values["uptime_api_key"]:
            found.append(
                "uptime_api_key is empty, but uptime_applications, uptime_monitors or uptime_state needs it; set it in "
                "the vault, or UPTIMEROBOT_API_KEY in the environment of ansible-playbook, to the account's main key"
            )
        elif values["uptime_api_key"].startswith("ur"):
            found.append("uptime_api_key is a read-only key, which can change nothing; set the account's main key")
    return found


def _applications(values: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    for index, item in enumerate(values["uptime_applications"]):
        where = f"uptime_applications[{index}]"
        if item["name"].lower() in seen:
            found.append(problem(f"{where}.name", item["name"], "there once only"))
        seen.add(item["name"].lower())
        for key in ("url", "health_url"):
            if not item[key] or allowed_url(item[key]):
                found.append(problem(f"{where}.{key}", item[key], "a URL that starts with http:// or https://"))
            elif "@" in urlsplit(item[key]).netloc:
                found.append(problem(f"{where}.{key}", None, "without user and password", hidden=True))
        path = item.get("status_json_path")
        if path and not PATH.fullmatch(path):
            found.append(problem(f"{where}.status_json_path", path, "a path to one value, such as $.status"))
    return found


def _lists(values: Mapping[str, Any]) -> list[str]:
    """Check what is handed to the modules, which know its keys."""
    found = []
    for variable in ("uptime_monitors", "uptime_integrations"):
        found += [
            problem(f"{variable}[{index}]", None, "a mapping with at least name and type", hidden=True)
            for index, one in enumerate(values[variable])
            if not isinstance(one, Mapping) or not one.get("name") or not one.get("type")
        ]
    page = values["uptime_status_page"]
    if page and not page.get("name"):
        found.append(problem("uptime_status_page.name", None, "set, as the status page is found by it", hidden=True))
    return found
