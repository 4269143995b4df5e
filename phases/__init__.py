"""The plan's phases, compiled from a site: data, in the order of the table of contents.

`compile` gives the phases, `render` what the product would write, `checklist` which box of the plan is which step or gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inventory.model import Site
from orchestrator.model.action import Await, JunosChange
from orchestrator.model.check import Check
from orchestrator.model.phase import Phase
from orchestrator.tools import junos
from orchestrator.tools import workstation as _workstation
from orchestrator.tools.text import dump
from phases import cilium_config, gitops, machine_config, mesh, network, preflight, repository, talos

PER_CLUSTER = (talos, network, gitops)
ORDER = (preflight, *PER_CLUSTER, mesh)
"""The table of contents: one module a phase."""


def compile(site: Site) -> tuple[Phase, ...]:  # noqa: A001 - the word of the domain; the builtin is not used here
    """The phase instances of a site. A site of one cluster has no mesh."""
    each = tuple(module.phase(site, cluster) for module in PER_CLUSTER for cluster in site.clusters)
    return (preflight.phase(site), *each, *((mesh.phase(site),) if len(site.clusters) > 1 else ()))


def workstation(site: Site) -> tuple[Check, ...]:
    """What `doctor` asks: this workstation and the credentials that the site names."""
    return preflight.of_workstation(site)


def programs(site: Site) -> tuple[str, ...]:
    """The programs that have to be on PATH."""
    return _workstation.programs(site)


def checks(phases: tuple[Phase, ...]) -> Iterator[tuple[str, Check]]:
    """Every question of these phases with what it is: precondition, identity, goal, wait, verification or gate."""
    for phase in phases:
        yield from (("precondition", check) for check in phase.preconditions)
        yield from (("identity", check) for check in phase.identity)
        for step in phase.steps:
            yield "goal", step.goal
            yield from (("wait", action.check) for action in step.actions if isinstance(action, Await))
            yield from (("verification", a.verify) for a in step.actions if isinstance(a, JunosChange) and a.verify is not None)
        yield from (("gate", check) for check in phase.gates)


def render(site: Site) -> Mapping[str, str]:
    """Path -> text of everything that is written for the site and holds no secret: Talos patches, Cilium's values, the gateway's
    lines, the Git tree (with the mesh's values where there is one)."""
    files: dict[str, str] = {}
    for cluster in site.clusters:
        root = f".bootstrap/clusters/{cluster.name}/"
        files |= {f"talos/{cluster.name}/{path.removeprefix(root)}": text for path, text in machine_config.files(site, cluster).items()}
        files[f"helm/{cluster.name}/cilium-values.yaml"] = dump(cilium_config.values(site, cluster))
        if site.gateway is not None and cluster.bgp is not None:
            files[f"gateway/{cluster.name}.set"] = junos.rendered(site, cluster)
        files |= {f"git/{path}": text for path, text in repository.files(site, cluster).items()}
        if len(site.clusters) > 1:
            files[f"git/{repository.mesh_path(cluster.name)}"] = repository.mesh_file(cilium_config.mesh_connected(site, cluster))
    return files
