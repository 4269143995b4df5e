"""Refusals and help of every wrapped tool, against what the real ones printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.programs import cobra

RECORDED = Path(__file__).parents[2].parent / "shared" / "recorded"
TOOLS = ("talosctl", "helm", "cilium", "flux", "hubble")
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/recorded is not here"),
]
# The tool itself refuses these, after it has parsed its command line.
BY_THE_TOOL = ("multiple nodes", "nodes are not set")


def cases() -> list[tuple[str, str]]:
    if not RECORDED.is_dir():
        return []
    return [(tool, case.name) for tool in TOOLS for case in sorted((RECORDED / tool).iterdir())]


@pytest.mark.parametrize(("tool", "case"), cases())
def test_a_command_line_is_taken_or_refused_as_by_the_real_tool(tool: str, case: str) -> None:
    folder = RECORDED / tool / case
    stdout, stderr = (folder / "stdout").read_text(), (folder / "stderr").read_text()
    got = cobra.parse(tool, json.loads((folder / "argv").read_text()))
    if isinstance(got, cobra.Refusal):
        assert str(got.rc) == (folder / "rc").read_text().strip()
        assert got.stderr.startswith(stderr.split("\n\nUsage:")[0].rstrip())
        assert bool(got.stdout) == bool(stdout)
    elif not any(text in stderr for text in BY_THE_TOOL):
        assert "lines of help text cut" not in stdout + stderr
        assert "unknown flag" not in stderr
        assert "unknown command" not in stderr


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["helm", "status"], 'Error: "helm status" requires 1 argument\n\nUsage:  helm status RELEASE_NAME [flags]\n'),
        (["talosctl", "apply-config", "--dry-run=maybe"], 'invalid argument "maybe" for "--dry-run" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["talosctl", "apply-config", "--timeout", "5"], 'invalid argument "5" for "--timeout" flag: time: missing unit in duration "5"'),
        (["talosctl", "apply-config", "-f"], "flag needs an argument: 'f' in -f"),
        (["talosctl", "apply-config", "--file"], "flag needs an argument: --file"),
        (["flux", "reconcile", "source", "git", "a", "--timeout=x"], '✗ invalid argument "x" for "--timeout" flag: time: invalid duration "x"'),
    ],
)
def test_texts_of_refusals(argv: list[str], text: str) -> None:
    got = cobra.parse(argv[0], argv)
    assert isinstance(got, cobra.Refusal)
    assert got.rc == 1
    assert got.stderr.startswith(text)


def test_flags_come_typed_with_their_defaults() -> None:
    argv = ["talosctl", "-n", "a,b", "--nodes=c", "apply", "-if", "x.yaml", "--timeout", "1h30m", "-p", "a,b", "-p", "c"]
    got = cobra.parse("talosctl", argv)
    assert isinstance(got, cobra.Parsed)
    assert got.command == ("apply-config",)
    assert got.flags["nodes"] == ["a", "b", "c"]
    assert got.flags["config-patch"] == ["a,b", "c"]
    assert got.flags["timeout"] == 5400.0
    assert got.flags["insecure"] is True
    assert got.flags["mode"] == "auto"
    assert "mode" not in got.given
