"""The lab as a process of its own: builds or resumes a world in a folder, serves its control port, leaves the files that lead to it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import secrets as entropy
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from inventory import load as load_site
from inventory.model import Site
from lab import sitecopy, snapshot
from lab.build import build
from lab.control import Control
from lab.faults import parse as parse_faults
from lab.kube.pki import kubeconfig
from lab.programs import TOOLS
from lab.sitecopy import Credentials
from lab.world import World

GROUND_SPEED = 20.0  # real controllers do not know the lab's clock
GROUND_SCALE = 1.0  # so that a busy machine's real control plane is waited for
DEFAULT_SPEED = 300.0  # simulated seconds a second: a faster world would mostly wait for the product
WORLDS = 40  # put back between two looks for what is left of earlier ones
LOG = logging.getLogger("lab")


def usual_speed(options: dict[str, Any]) -> float:
    """The speed where none is asked for."""
    return GROUND_SPEED if options.get("control_plane") else DEFAULT_SPEED


class Daemon:
    """One running lab."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder = folder
        self.options = options
        self.world: World
        self.have: Credentials
        self.control: Control
        self.original: Site
        self._end = asyncio.Event()
        self._restored = 0  # worlds that were put back in this process
        self._leads_to: list[tuple[str, str]] | None = None  # URLs and CAs that the kubeconfig was written for

    async def run(self, ready: Callable[[str], None]) -> None:
        """Build, start, say `ready` (with an empty text, or an error), serve until told to stop."""
        try:
            await self._start()
        except Exception as error:
            LOG.exception("the lab does not start")
            ready(f"{type(error).__name__}: {error}")
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        _spare_collector()
        ready("")
        await self._end.wait()
        await self.control.stop()
        await self.world.stop()
        for name in ("control", "daemon.pid"):
            (self.folder / name).unlink(missing_ok=True)

    async def _start(self) -> None:
        folder, options = self.folder, self.options
        saved = Path(options["saved"]) if options.get("saved") else None
        state = snapshot.read(saved) if saved else None
        self.original = load_site(Path(options["site"]))
        if state is None:
            _clear(folder)
        self._make(state)
        if state is None and options["at"] == "kubernetes":
            for cluster in self.world.clusters.values():
                cluster.without_machines = True
            for machine in self.world.machines.values():
                machine.power(False)
        await self.world.start()
        self.control = Control(self.world, entropy.token_urlsafe(24), self._verbs())
        await self.control.start()
        self._leave_files()

    def _make(self, state: dict[str, Any] | None) -> None:
        """A world that has not started: a new one, or one as a snapshot says."""
        options = self.options
        self.world, self.have = build(
            self.folder,
            self.original,
            seed=options["seed"],
            speed=options["speed"],
            world_file=Path(options["world"]) if options.get("world") else None,
            ports=state["ports"] if state else None,
            credentials=Credentials(**state["credentials"]) if state else None,
            elapsed=state["elapsed"] if state else 0.0,
            control_plane=Path(options["control_plane"]) if options.get("control_plane") else None,
            blank=state is not None,
        )
        if state:
            snapshot.restore(self.world, state)
        for cluster in self.world.clusters.values():
            cluster.on_up.append(self._kubeconfig)

    def _leave_files(self) -> None:
        folder, world, original = self.folder, self.world, self.original
        changed = self._changed(original)
        site_folder = folder / "site"
        site_folder.mkdir(exist_ok=True, mode=0o700)
        (site_folder / "site.yaml").write_text(sitecopy.text(original, changed), encoding="utf-8")
        (folder / "changed.json").write_text(json.dumps(changed, indent=1) + "\n", encoding="utf-8")
        placed = sitecopy.place(
            original,
            site_folder,
            self.have,
            gateway_hosts=world.gateway.known_hosts() if world.gateway is not None else "",
            git_hosts=world.git.known_hosts(),
        )
        world.vaults.update(placed.vaults)
        world.printed = placed.printed
        self._shims()
        cache = folder / "cache"
        variables = {
            "LAB_DIR": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "KUBECACHEDIR": str(cache / "kube"),
            "HELM_CACHE_HOME": str(cache / "helm"),
            **placed.env,
        }
        _private(folder / "env", sitecopy.env_file(folder, variables))
        self._kubeconfig()
        _private(folder / "daemon.pid", f"{os.getpid()}\n")
        _private(folder / "control", f"{self.control.port} {self.control.token}\n")

    def _changed(self, site: Site) -> dict[str, Any]:
        world = self.world
        over_ssh = site.git.url.startswith(("ssh://", "git@")) or "@" in site.git.url.split("/", 1)[0]
        return sitecopy.addresses(
            site,
            factory=world.factory.url if world.factory else "",
            apis={name: c.url for name, c in world.clusters.items()},
            gateway_port=world.gateway.port if world.gateway is not None else 0,
            git_url=world.git.ssh_url if over_ssh else world.git.url,
            store=world.s3.url,
            scale=sitecopy.SCALE if world.control_plane is None else GROUND_SCALE,
        )

    def _shims(self) -> None:
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        shim = folder / ".shim"
        text = Path(__file__).with_name("shim.sh").read_text(encoding="utf-8")
        bash = shutil.which("bash") or "/bin/bash"  # found once, not by `env` at every call
        shim.write_text(text.replace("#!/usr/bin/env bash", f"#!{bash}", 1), encoding="utf-8")
        shim.chmod(0o755)
        for tool in (*TOOLS, *sorted(self.world.stand_ins)):
            link = folder / tool
            if not link.is_symlink():
                link.symlink_to(".shim")
        real = Path(sys.executable).with_name("kubectl")  # the wheel's, where this environment has it; else PATH's
        if real.is_file() and not (folder / "kubectl").is_symlink():
            (folder / "kubectl").symlink_to(real)

    def _kubeconfig(self) -> None:
        """Contexts called like the clusters, for people and judges: every cluster whose API has a CA by now."""
        up = [(name, cluster.url, cluster.ca) for name, cluster in self.world.clusters.items() if cluster.ca is not None]
        leads_to = [(url, ca.cert_pem) for _, url, ca in up]
        if leads_to == self._leads_to:
            return
        self._leads_to = leads_to
        contexts = [ca.client_context("lab-admin", ("system:masters",), context_name=name, server=url, cluster=name) for name, url, ca in up]
        text = kubeconfig(contexts) if contexts else _EMPTY_KUBECONFIG
        _private(self.folder / "kubeconfig", text)

    def _verbs(self) -> dict[str, Any]:
        return {
            "stop": self._stop,
            "status": self._status,
            "log": self._log,
            "dump": self._dump,
            "save": self._save,
            "restore": self._restore,
            "faults": self._faults,
            "lift": self._lift,
            "quiet": self._quiet,
            "power": self._power,
        }

    async def _stop(self, _words: list[str]) -> Any:
        self._end.set()
        return True

    async def _status(self, _words: list[str]) -> Any:
        world = self.world
        return {
            "pid": os.getpid(),
            "dir": str(self.folder),
            "seed": world.seed,
            "speed": world.clock.speed,
            "time": world.record.stamp(),
            "elapsed": round(world.clock.seconds(), 1),
            "calls": self.control.calls,
            "clusters": {n: {"api": c.url, "up": c.up} for n, c in world.clusters.items()},
            "machines": {
                n: {"address": m.address, "stage": m.stage(), "power": m.state.powered}
                for n, m in world.machines.items()
            },
            "changed": self._changed(world.site),
            "faults": world.faults.hits(),
        }

    async def _log(self, words: list[str]) -> Any:
        entries = self.world.record.writes() if "writes" in words else self.world.record.entries()
        return [e.public() for e in entries]

    async def _dump(self, _words: list[str]) -> Any:
        from lab import dump as dumping  # not needed to start

        busy = await self.world.quiet()
        return {"busy": busy, "lines": dumping.lines(await dumping.dump(self.world))}

    async def _save(self, words: list[str]) -> Any:
        state = snapshot.take(self.world, asdict(self.have), self._ports())
        snapshot.write(Path(words[0]), state)
        return True

    async def _restore(self, words: list[str]) -> Any:
        """Take over a saved world in this very process: ports, names and files stay, nothing of the present one does."""
        state = snapshot.read(Path(words[0]))
        self.control.cut()
        printed = self.world.printed
        await self.world.stop()
        self._make(state)
        self.world.printed = printed
        self.control.world = self.world
        await self.world.start()
        self._kubeconfig()
        self._restored += 1
        if self._restored % WORLDS == 0:
            gc.collect()  # worlds are full of cycles, and the collector hardly ever looks at what is old
        return True

    async def _faults(self, words: list[str]) -> Any:
        rules, conditions = parse_faults(json.loads(words[0]))
        for rule in rules:
            self.world.faults.add(rule)
        for condition in conditions:
            self.world.faults.conditions.append(condition)
            if condition.node in self.world.machines:
                self.world.machines[condition.node].begin(condition)
        return self.world.faults.hits()

    async def _lift(self, words: list[str]) -> Any:
        faults = self.world.faults
        faults.lift(words[0] if words else "")
        if not any(words):
            for condition in faults.conditions:
                if condition.node in self.world.machines:
                    self.world.machines[condition.node].mend(condition)
            faults.conditions.clear()
            for machine in self.world.machines.values():
                if machine.stuck:  # somebody pushes the button
                    machine.power(False)
                    machine.power(True)
        return True

    async def _quiet(self, _words: list[str]) -> Any:
        return await self.world.quiet()

    async def _power(self, words: list[str]) -> Any:
        self.world.machines[words[0]].power(words[1] == "on")
        return True

    def _ports(self) -> dict[str, int]:
        world = self.world
        ports = {"git": world.git.port, "git-ssh": world.git.ssh_port, "s3": world.s3.port}
        if world.factory is not None:
            ports["factory"] = world.factory.tcp_port
        if world.gateway is not None:
            ports["gateway"] = world.gateway.port
        return {**ports, **{f"api:{n}": c.tcp_port for n, c in world.clusters.items()}}


_EMPTY_KUBECONFIG = (
    "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\ncurrent-context: ''\npreferences: {}\n"
)


def _spare_collector() -> None:
    """Schemas and tables live as long as the process, and objects are trees: looking through them for cycles was a tenth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _clear(folder: Path) -> None:
    """Forget what an earlier lab left here: a new world begins without a record, a repository or host keys."""
    (folder / "record.ndjson").unlink(missing_ok=True)
    for part in ("git", "gateway", "cache", "ground"):
        shutil.rmtree(folder / part, ignore_errors=True)


def _private(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def serve(folder: Path, options: dict[str, Any], ready: Callable[[str], None]) -> None:
    """Run a lab in this process until it is told to stop."""
    logging.basicConfig(
        filename=folder / "lab.log", level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    logging.getLogger("lab").setLevel(logging.INFO)
    LOG.info("start %s %s", datetime.now().isoformat(), sys.version.split()[0])
    asyncio.run(Daemon(folder, options).run(ready))
