"""`python -m lab`: start, stop, status, log, dump, save, resume and serve a lab. Source: design.md 8 "Command line".

`start` returns when everything answers. Exit codes: 0, 1 for an error, 3 for a site or world file that is wrong, 64 for usage.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

DEFAULT_SITE = Path(__file__).parents[1] / "inventory" / "sites" / "ten-weeks" / "site.yaml"
STOP_SECONDS = 10.0


class LabError(Exception):
    """Something to say to the operator in one line."""


def main(argv: list[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return 64 if end.code == 2 else int(end.code or 0)
    options.dir = Path(options.dir).absolute()
    try:
        code: int = options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bootstrap lab", description="The simulated platform.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--dir", required=True, help="the lab's folder")
        sub.set_defaults(run=run)
        return sub

    for name, run, text in (
        ("start", start, "start a lab; returns when all answers"),
        ("serve", serve, "run a lab in the foreground"),
    ):
        sub = command(name, run, text)
        sub.add_argument("--site", default=str(DEFAULT_SITE), help="site file (default: the plan's own site)")
        sub.add_argument("--seed", type=int, default=0, help="seed of everything that is random")
        sub.add_argument(
            "--speed", type=float, default=0.0, help="simulated seconds a second (default: what rehearse uses)"
        )
        sub.add_argument("--world", default="", help="world file: scripted faults and conditions")
        sub.add_argument("--at", default="blank", help="blank, kubernetes, or a phase that is to be finished")
        sub.add_argument(
            "--control-plane",
            nargs="?",
            default="",
            const=os.environ.get("KUBEBUILDER_ASSETS", "."),
            metavar="DIR",
            help="stand on the real etcd, kube-apiserver, kube-controller-manager and kube-scheduler in DIR (without DIR: $KUBEBUILDER_ASSETS)",
        )
        sub.add_argument("--cache", default="", help="where worlds made with --at PHASE are kept")
    command("stop", stop, "end a lab")
    command("status", status, "how the lab stands, as JSON")
    sub = command("log", log, "what was done to the lab")
    sub.add_argument("-o", "--output", choices=("text", "ndjson"), default="text")
    sub.add_argument("--writes", action="store_true", help="only what could change the world")
    command("dump", dump, "the world as canonical JSON, once it is quiet")
    for name, run, text in (
        ("save", save, "save the world to a folder"),
        ("resume", resume, "start a lab from a saved world"),
        ("snapshot", save, "the same as save"),
        ("restore", restore, "put a saved world back into a running lab"),
    ):
        sub = command(name, run, text)
        sub.add_argument(
            "--to" if run is save else "--from", dest="folder", required=True, help="the saved world's folder"
        )
    sub = command("fault", fault, "add faults to a running lab, or lift them")
    sub.add_argument("--add", default="", help="a world file")
    sub.add_argument("--lift", default=None, help="the name of one, or all")
    sub = commands.add_parser("catalogue", help="the named faults, as JSON", description="The named faults, as JSON.")
    sub.set_defaults(run=catalogue, dir=".")
    sub = command("power", power, "switch a machine on or off")
    sub.add_argument("node")
    sub.add_argument("state", choices=("on", "off"))
    return parser


def start(options: argparse.Namespace) -> int:
    """Daemonise, and wait until the lab says that it is ready."""
    folder: Path = options.dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _running(folder):
        raise LabError(f"a lab runs in {folder} already; end it with: bootstrap lab stop --dir {folder}")
    if options.at not in ("blank", "kubernetes"):
        return _start_at(options)
    return _launch(folder, _settings(options))


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    site = Path(options.site).absolute()
    if not site.is_file():
        raise LabError(f"no site file at {options.site}")
    return {
        "site": str(site / "site.yaml" if site.is_dir() else site),
        "seed": options.seed,
        "speed": options.speed,
        "world": str(Path(options.world).absolute()) if options.world else "",
        "at": options.at,
        "control_plane": _programs(options.control_plane),
    }


def _programs(folder: str) -> str:
    if not folder:
        return ""
    from lab.ground.plane import missing

    where = Path(folder).absolute()
    if lacking := missing(where):
        raise LabError(f"no {', '.join(lacking)} in {folder}; `make judge` builds them")
    return str(where)


def _launch(folder: Path, settings: dict[str, Any]) -> int:
    """Fork twice; the grandchild serves in a session of its own and tells through a pipe when it is ready."""
    (folder / "options.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _detach(folder)
        _serve(folder, settings, writing)
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    if answer != "ready":
        code = 3 if answer.startswith(("SiteErrors", "WorldFileError")) else 1
        print(f"lab: {answer or f'it ended before it was ready; see {folder}/lab.log'}", file=sys.stderr)
        return code
    return 0


def _detach(folder: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    errors = os.open(folder / "lab.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 2)
    os.umask(0o077)
    os.chdir(folder)


def _serve(folder: Path, settings: dict[str, Any], writing: int) -> None:
    from lab import daemon

    def ready(error: str) -> None:
        os.write(writing, error.encode() or b"ready")
        os.close(writing)

    daemon.serve(folder, {**settings, "speed": settings["speed"] or daemon.usual_speed(settings)}, ready)


def serve(options: argparse.Namespace) -> int:
    """Run in the foreground."""
    from lab import daemon

    folder: Path = options.dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    problems: list[str] = []

    def ready(error: str) -> None:
        if error:
            problems.append(error)
            print(f"lab: {error}", file=sys.stderr)
        else:
            print(f"lab: ready in {folder}", file=sys.stderr)

    settings = _settings(options)
    daemon.serve(folder, {**settings, "speed": settings["speed"] or daemon.usual_speed(settings)}, ready)
    return 1 if problems else 0


def _start_at(options: argparse.Namespace) -> int:
    from lab.phases import start_at

    return start_at(options, _settings(options), _launch)


def stop(options: argparse.Namespace) -> int:
    """End a lab; nothing to do where none runs."""
    folder: Path = options.dir
    pid = _pid(folder)
    try:
        _ask(folder, "stop")
    except LabError:
        if pid is None:
            return 0
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while pid is not None and _alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    if pid is not None and _alive(pid):
        os.kill(pid, signal.SIGKILL)
    return 0


def status(options: argparse.Namespace) -> int:
    """Print the lab's own view of itself."""
    print(json.dumps(_ask(options.dir, "status"), indent=2))
    return 0


def log(options: argparse.Namespace) -> int:
    """Print the record, oldest first."""
    for entry in _ask(options.dir, "log", "writes" if options.writes else "all"):
        if options.output == "ndjson":
            print(json.dumps(entry))
        else:
            mark = ("!" if entry["mutates"] else " ") + (" " if entry["ok"] else "x")
            detail = " ".join(entry["argv"]) if "argv" in entry else entry["request"]
            print(f"{entry['at']} {mark} {entry['via']:4} {entry['actor']}: {detail}")
    return 0


def dump(options: argparse.Namespace) -> int:
    """Print the world."""
    answer = _ask(options.dir, "dump")
    print("\n".join(answer["lines"]))
    if answer["busy"]:
        print(f"lab: the world did not become quiet: {', '.join(answer['busy'])}", file=sys.stderr)
    return 1 if answer["busy"] else 0


def save(options: argparse.Namespace) -> int:
    """Save a running lab's world."""
    _ask(options.dir, "save", str(Path(options.folder).absolute()))
    return 0


def restore(options: argparse.Namespace) -> int:
    """Put a saved world into a running lab."""
    _ask(options.dir, "restore", str(Path(options.folder).absolute()))
    return 0


def resume(options: argparse.Namespace) -> int:
    """Start a lab from a saved world, on the same ports where they are free."""
    folder: Path = options.dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _running(folder):
        raise LabError(f"a lab runs in {folder} already")
    saved = Path(options.folder).absolute()
    own = folder / "options.json"
    if not own.is_file():
        raise LabError(f"{folder} has never been a lab: start one there first, or resume where the world was saved")
    settings = json.loads(own.read_text(encoding="utf-8"))
    return _launch(folder, {**settings, "saved": str(saved)})


def fault(options: argparse.Namespace) -> int:
    """Change the scripted faults of a running lab; prints how often each has hit."""
    if options.lift is not None:
        _ask(options.dir, "lift", "" if options.lift == "all" else options.lift)
    if options.add:
        import yaml

        document = yaml.safe_load(Path(options.add).read_text(encoding="utf-8"))
        print(json.dumps(_ask(options.dir, "faults", json.dumps(document))))
    return 0


def catalogue(_options: argparse.Namespace) -> int:
    """Print the named faults, in the order of the plan."""
    from lab.catalogue import load

    print(json.dumps([entry.to_json() for entry in load()]))
    return 0


def power(options: argparse.Namespace) -> int:
    """Pull a machine's plug, or put it in again."""
    _ask(options.dir, "power", options.node, options.state)
    return 0


def _ask(folder: Path, verb: str, *words: str) -> Any:
    from lab.control import ask

    try:
        port, token = (folder / "control").read_text(encoding="utf-8").split()
        return ask(int(port), token, verb, list(words))
    except (OSError, ValueError):
        raise LabError(f"no lab runs in {folder}") from None
    except RuntimeError as error:
        raise LabError(str(error)) from None


def _running(folder: Path) -> bool:
    pid = _pid(folder)
    return pid is not None and _alive(pid)


def _pid(folder: Path) -> int | None:
    try:
        return int((folder / "daemon.pid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
