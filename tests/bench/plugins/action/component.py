"""The project's `component` up to the point of sending: the host's answer is made up."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[4]

if TYPE_CHECKING:
    from plugins.action.component import ActionModule as Real
else:
    spec = importlib.util.spec_from_file_location("watchkeeper_component", ROOT / "plugins" / "action" / "component.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    Real = module.ActionModule


class ActionModule(Real):
    """Renders and declares, and tells how much it would have sent."""

    def _execute_module(self, _module: str, module_args: dict[str, Any], **_more: Any) -> dict[str, Any]:
        name = module_args["name"]
        answer = {"name": name, "version": "", "state": "ready", "actions": [], "previous_version": ""}
        return {"changed": False, "component": answer, "sent": len(json.dumps(module_args, default=str))}
