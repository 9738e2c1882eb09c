"""Looks for known vulnerabilities in the installed versions, and always says what it found.

    python .ci/audit.py .venv-audit/bin/pip-audit

Ends with 1 if there are any. If the audit could not be made, because the database of
vulnerabilities cannot be reached, one line says why, and it ends with 0.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from constraints import direct, pins

SECONDS = 180  # for all packages


def audit(pip_audit: str) -> int:
    """Audits the versions without local labels, because no database knows torch 2.13.0+cpu."""
    versions = pins(direct())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(f"{name}=={version}" for name, version in versions.items()))
        options = ["--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
        command = [pip_audit, f"--requirement={file}", *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return not_made(f"no answer within {SECONDS} s")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return not_made((done.stderr.strip() or "no output").splitlines()[-1])
    return report(packages)


def report(packages: list[dict[str, Any]]) -> int:
    """Prints pip-audit's findings; it counts as a success what its database does not know."""
    skipped = {entry["name"]: entry["skip_reason"] for entry in packages if "skip_reason" in entry}
    if len(skipped) == len(packages):
        return not_made(next(iter(skipped.values()), "no package was audited"))
    bad = {f"{entry['name']} {entry['version']}": entry["vulns"] for entry in packages
           if entry.get("vulns")}  # fmt: skip
    for package, found in bad.items():
        for one in found:
            fixes = ", ".join(one["fix_versions"]) or "no version"
            print(f"audit: {package}: {one['id']}, mended in {fixes}")
    text = f"{len(bad)} with" if bad else "none with"
    unknown = f"; not audited: {', '.join(skipped)}" if skipped else ""
    print(f"audit: {len(packages) - len(skipped)} packages, {text} known vulnerabilities{unknown}")
    return int(bool(bad))


def not_made(reason: str) -> int:
    print(f"audit: NOT MADE, vulnerabilities are unknown: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1]))
