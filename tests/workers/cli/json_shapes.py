"""What docs/json.schema.json says of the documents that `relais … --json` prints."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from tests.machines.tools import ROOT

DOCS = ROOT / "docs"
SCHEMAS: dict[str, Any] = json.loads((DOCS / "json.schema.json").read_text())


def faults_of(command: str, document: object) -> list[str]:
    """What does not fit the description of a command's document, each with where."""
    validator = Draft202012Validator({**SCHEMAS, "$ref": f"#/commands/{command}"}, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)]
