"""Exact versions of what the project needs, and the search for their vulnerabilities."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SEPARATE = {"audit", "bench", "docs"}  # extras with an environment of their own
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]


def direct() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    assert extras.keys() > SEPARATE
    shared = [line for name in extras.keys() - SEPARATE for line in extras[name]]
    return [Requirement(line) for line in PROJECT["dependencies"] + shared]


def test_constraints_are_exact_public_versions_in_order() -> None:
    assert len(PINS) > 50
    for line in PINS:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line  # no +cpu, URL or -e
    names = [line.partition("==")[0] for line in PINS]
    assert names == sorted({*names})


def test_constraints_contain_each_direct_dependency_within_its_range() -> None:
    versions = dict(line.split("==") for line in PINS)
    for requirement in direct():
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), requirement


def add_package(site: Path, name: str, version: str, *requires: str, url: str = "") -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    if url:
        (folder / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {}}))


def call(script: str, *args: str, site: Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a script of `.ci/` with the packages of a folder before those of the environment."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, str(ROOT / ".ci" / script), *args]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that needs the package `Upper_Case`, which needs others."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["Upper_Case[more]>=1"]\n'
        '[project.optional-dependencies]\ndev = ["tool"]\nbench = ["large"]\n'
    )
    site = tmp_path / "site"
    add_package(site, "Upper_Case", "2.13.0+cpu", "low", "only-more; extra == 'more'",
                "only-other; extra == 'other'", "only-old; python_version < '3.11'")  # fmt: skip
    for name in ("low", "only_more", "only_other", "only_old", "tool", "large", "stray"):
        add_package(site, name, "1.0", "upper-case")
    return tmp_path


def test_constraints_are_what_the_project_needs(project: Path) -> None:
    done = call("constraints.py", site=project / "site", cwd=project)
    pins = [line for line in done.stdout.splitlines() if line[0] != "#"]
    assert pins == ["low==1.0", "only-more==1.0", "tool==1.0", "upper-case==2.13.0"], done


def test_constraints_name_what_is_not_installed(project: Path) -> None:
    (project / "site/tool-1.0.dist-info/METADATA").unlink()
    (project / "site/tool-1.0.dist-info").rmdir()
    done = call("constraints.py", site=project / "site", cwd=project)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: not installed: tool. Run `make test-extras`.\n"


@pytest.mark.parametrize("url", ["file:///home/me/low", "git+https://example.org/low"])
def test_constraints_refuse_versions_that_nobody_else_has(url: str, project: Path) -> None:
    (project / "site/low-1.0.dist-info").rename(project / "site/other")
    add_package(project / "site", "low", "1.0", url=url)
    done = call("constraints.py", site=project / "site", cwd=project)
    assert done.returncode == 1
    assert "error: low comes from a folder or a file" in done.stderr


def audited(project: Path, output: str, code: int = 0, error: str = "") -> tuple[int, str]:
    """Audits the project with a pip-audit that answers this; returns exit code and output."""
    fake = project / "pip-audit"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"file = sys.argv[1].removeprefix('--requirement=')\n"
        f"open({str(project / 'asked')!r}, 'w').write(open(file).read())\n"
        f"print({output!r}); print({error!r}, file=sys.stderr); sys.exit({code})\n"
    )
    fake.chmod(0o755)
    done = call("audit.py", str(fake), site=project / "site", cwd=project)
    assert not done.stderr
    return done.returncode, done.stdout


def answer(**packages: Any) -> str:
    entries = [{"name": name, "version": "1.0", **found} for name, found in packages.items()]
    return json.dumps({"dependencies": entries, "fixes": []})


CLEAN: dict[str, Any] = {"vulns": []}
UNKNOWN = {"skip_reason": "Dependency not found"}
BAD = {"vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2", "fix_versions": []}]}


def test_an_audit_asks_for_public_versions(project: Path) -> None:
    assert audited(project, answer(low=CLEAN, tool=CLEAN)) == (
        0, "audit: 2 packages, none with known vulnerabilities\n",
    )  # fmt: skip
    assert "upper-case==2.13.0" in (project / "asked").read_text().split()


def test_an_audit_lists_vulnerabilities_and_fails(project: Path) -> None:
    assert audited(project, answer(low=BAD, tool=CLEAN), 1) == (1, (
        "audit: low 1.0: CVE-1, mended in 1.1\n"
        "audit: low 1.0: CVE-2, mended in no version\n"
        "audit: 2 packages, 1 with known vulnerabilities\n"
    ))  # fmt: skip


def test_an_audit_names_what_the_database_does_not_know(project: Path) -> None:
    code, text = audited(project, answer(low=UNKNOWN, tool=CLEAN))
    assert (code, text) == (
        0, "audit: 1 packages, none with known vulnerabilities; not audited: low\n",
    )  # fmt: skip


@pytest.mark.parametrize(("output", "error", "reason"), [
    (answer(low=UNKNOWN, tool=UNKNOWN), "No known vulnerabilities found", "Dependency not found"),
    ("", "Traceback\nConnectionError: no network", "ConnectionError: no network"),
    ("", "", "no output"),
    (answer(), "", "no package was audited"),
])  # fmt: skip
def test_an_audit_that_was_not_made_says_so(
    output: str, error: str, reason: str, project: Path
) -> None:
    assert audited(project, output, 1, error) == (
        0, f"audit: NOT MADE, vulnerabilities are unknown: {reason}\n",
    )  # fmt: skip


def test_a_missing_tool_fails(project: Path) -> None:
    done = call("audit.py", str(project / "none"), site=project / "site", cwd=project)
    assert done.returncode == 1
    assert "No such file" in done.stderr
