"""Every command line of every example site is one that the real program accepts, names its target, and holds no secret or time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inventory
import phases
from orchestrator.model.action import Command, JunosChange
from orchestrator.model.query import JunosShow, ToolQuery
from orchestrator.tools import READ_VERBS, is_private, is_read
from orchestrator.tools.reads import words

ROOT = Path(__file__).parents[2]
CLI = ROOT.parent / "shared" / "cli"
SITES = sorted((ROOT / "inventory" / "sites").glob("*/site.yaml"))
TARGETED = {"talosctl": {"-n", "--talosconfig"}, "helm": {"--kube-context"}, "cilium": {"--context"}, "flux": {"--context"}, "kubectl": {"--context"}}
LOCAL = ({"talosctl", "gen"}, {"talosctl", "machineconfig"}, {"talosctl", "validate"})
LISTS = ("stringSlice", "stringArray", "map", "intSlice")


def calls() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(what it is for, argv) over all sites, each argv once."""
    seen: set[tuple[str, ...]] = set()
    for path in SITES:
        compiled = phases.compile(inventory.load(path))
        found = [(step.id, action.argv) for phase in compiled for step in phase.steps for action in (*step.actions, *step.undo) if isinstance(action, Command)]
        found += [(check.id, query.argv) for _, check in phases.checks(compiled) for query in check.ask if isinstance(query, ToolQuery)]
        for name, argv in found:
            if argv not in seen:
                seen.add(argv)
                yield f"{path.parent.name}:{name}", argv


CALLS = tuple(calls())


def command_of(tool: dict[str, Any], argv: tuple[str, ...]) -> str:
    """The longest command path that stands at the head of the words, aliases included."""
    commands: dict[str, Any] = tool["commands"]
    path = ""
    for word in words(argv):
        longer = f"{path} {word}".strip()
        alias = next((name for name, c in commands.items() if name.rpartition(" ")[0] == path and word in c.get("aliases", ())), None)
        if longer not in commands and alias is None:
            break
        path = longer if longer in commands else str(alias)
    return path


def flags_of(tool: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """Name and shorthand -> flag, with those that are inherited."""
    found: dict[str, dict[str, Any]] = {}
    parents = [" ".join(path.split()[:i]) for i in range(len(path.split()) + 1)]
    for parent in parents:
        command = tool["commands"].get(parent, {})
        own = command.get("flags", []) if parent == path else []
        for flag in (*command.get("globalFlags", []), *command.get("persistent", []), *own):
            found[f"--{flag['name']}"] = flag
            if flag.get("short"):
                found[f"-{flag['short']}"] = flag
    return found


def problems(tool: dict[str, Any], argv: tuple[str, ...]) -> list[str]:
    """Why the real program would refuse this command line."""
    path = command_of(tool, argv)
    command = tool["commands"].get(path, {})
    flags = flags_of(tool, path)
    found, positional, given = [], 0, []
    at = 1
    depth = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if not word.startswith("-") or word == "-":
            depth += 1
            if depth > len(path.split()):
                positional += 1
            continue
        name, equals, _ = word.partition("=")
        flag = flags.get(name)
        if flag is None:
            found.append(f"{path}: unknown flag {name}")
            continue
        if name in given and not flag.get("repeat") and flag["type"] not in LISTS:
            found.append(f"{path}: {name} given twice")
        given.append(name)
        alone = flag["type"] == "bool" or "noOpt" in flag
        if alone and not equals:
            continue
        if not equals:
            at += 1
    limits = command.get("args", "any")
    kind, _, numbers = limits.partition(":")
    wanted = [int(n) for n in numbers.split("-")] if numbers else []
    fits = {"any": True, "none": positional == 0}.get(kind)
    if fits is None:
        low, high = {"exact": (wanted[0], wanted[0]), "min": (wanted[0], 99), "max": (0, wanted[0]), "range": (wanted[0], wanted[-1])}[kind]
        fits = low <= positional <= high
    return found if fits else [*found, f"{path}: {positional} arguments, wanted {limits}"]


@pytest.fixture(scope="module")
def tools() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in CLI.glob("*.json")}


@pytest.mark.shared
@pytest.mark.skipif(not CLI.is_dir(), reason="the programs' flags (../shared/cli) are not here")
@pytest.mark.parametrize(("name", "argv"), CALLS, ids=[name for name, _ in CALLS])
def test_the_real_program_accepts(name: str, argv: tuple[str, ...], tools: dict[str, dict[str, Any]]) -> None:
    assert command_of(tools[argv[0]], argv), f"{name}: no such command: {' '.join(argv)}"
    assert problems(tools[argv[0]], argv) == []


@pytest.mark.shared
@pytest.mark.skipif(not CLI.is_dir(), reason="the programs' flags (../shared/cli) are not here")
def test_the_validator_refuses_what_the_real_programs_refuse(tools: dict[str, dict[str, Any]]) -> None:
    assert problems(tools["flux"], ("flux", "bootstrap", "git", "--oops=1"))
    assert problems(tools["talosctl"], ("talosctl", "gen", "config", "onlyname"))
    assert problems(tools["cilium"], ("cilium", "status", "--wait-durationn", "5m"))
    assert not problems(tools["helm"], ("helm", "list", "--all", "-o", "json"))


@pytest.mark.parametrize(("name", "argv"), CALLS, ids=[name for name, _ in CALLS])
def test_names_its_target(name: str, argv: tuple[str, ...]) -> None:
    if "version" in argv or any(local <= set(argv[:3]) for local in LOCAL):
        return
    flags = {word.partition("=")[0] for word in argv}
    assert flags & TARGETED[argv[0]], name


@pytest.mark.parametrize(("name", "argv"), CALLS, ids=[name for name, _ in CALLS])
def test_holds_no_secret_and_no_path_of_a_machine(name: str, argv: tuple[str, ...]) -> None:
    assert not re.search(r"op://|\benv:|\bexec:|\d{4}-\d\d-\d\dT|token=|password", " ".join(argv)), name
    assert not [word for word in argv if re.search(r"(?:^|[=@])/(?!dev/stdin$|srv/)", word)], name  # /srv: a site's own reference


def test_questions_only_read_and_commands_do_not_pass_for_questions() -> None:
    for path in SITES:
        compiled = phases.compile(inventory.load(path))
        for _, check in phases.checks(compiled):
            for query in check.ask:
                if isinstance(query, ToolQuery):
                    assert is_read(query.argv), query.argv
                    assert query.secret_output == is_private(query.argv), query.argv
                if isinstance(query, JunosShow):
                    assert query.command.startswith("show ")
        for phase in compiled:
            for step in phase.steps:
                for action in step.actions:
                    if isinstance(action, Command):
                        assert not is_read(action.argv), action.argv


@pytest.mark.parametrize(
    "line",
    [
        "talosctl -n 1.2.3.4 reboot",
        "talosctl -n 1.2.3.4 -e 1.2.3.4 reset --graceful=false",
        "talosctl service etcd restart",
        "talosctl -n 1 apply-config -f x",
        "talosctl get members -w",
        "talosctl health --run-e2e",
        "talosctl gen secrets -o -",
        "talosctl kubeconfig -",
        "talosctl etcd snapshot x",
        "talosctl etcd remove-member 1",
        "talosctl wipe disk sdb",
        "talosctl upgrade",
        "helm upgrade --install cilium cilium --dry-run",
        "helm rollback cilium",
        "helm uninstall cilium",
        "cilium install",
        "cilium connectivity test",
        "cilium clustermesh enable",
        "flux reconcile ks x",
        "flux suspend ks x",
        "flux bootstrap git",
        "flux get ks -w",
        "flux debug ks x --show-vars",
        "kubectl apply -f x",
        "kubectl delete secret x",
        "kubectl apply --dry-run=none -f x",
        "kubectl replace --raw /x",
        "kubectl delete --raw /x",
        "kubectl get pods -w",
        "kubectl exec x -- rm",
        "rm -rf /",
        "",
    ],
)
def test_is_no_read(line: str) -> None:
    assert not is_read(tuple(line.split()))


@pytest.mark.parametrize(
    "line",
    [
        "talosctl --talosconfig t -e 1 -n 2 get machinestatus -o json",
        "talosctl -n 1 -e 1 get disks --insecure",
        "talosctl service etcd",
        "talosctl -n 1 apply-config --dry-run -f x",
        "talosctl upgrade-k8s --to 1.33.6 --dry-run",
        "helm list --all -o json",
        "helm --kube-context infra get values cilium",
        "flux check --pre",
        "kubectl --context infra get nodes",
        "kubectl get --raw=/readyz",
        "kubectl apply --dry-run=server -f x",
    ],
)
def test_is_a_read(line: str) -> None:
    assert is_read(tuple(line.split()))


def test_read_verbs_are_words() -> None:
    assert all(verb and all(not word.startswith("-") for word in verb) for verbs in READ_VERBS.values() for verb in verbs)


def test_no_gateway_line_removes_anything() -> None:
    for path in SITES:
        for phase in phases.compile(inventory.load(path)):
            for step in phase.steps:
                for action in step.actions:
                    if isinstance(action, JunosChange):
                        assert all(line.startswith("set ") for line in action.lines)
                        assert not any("authentication-key" in line for line in action.lines)
