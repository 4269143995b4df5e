"""The Image Factory: schematic ids, image names, and what its HTTP API answers. Source: foundation.md 2."""

from __future__ import annotations

import hashlib

from inventory.model import Site
from orchestrator.model.check import Answers
from orchestrator.model.query import HttpGet
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig


def schematic(site: Site) -> str:
    """The canonical YAML: 4 blanks of indentation, the list's order as given (it changes the id), a trailing newline."""
    extensions = site.factory.extensions
    if not extensions:
        return "customization: {}\n"
    lines = ["customization:", "    systemExtensions:", "        officialExtensions:", *(f"            - {name}" for name in extensions)]
    return "\n".join(lines) + "\n"


def schematic_id(site: Site) -> str:
    """The factory's id of the schematic: SHA-256 of its canonical YAML."""
    return hashlib.sha256(schematic(site).encode()).hexdigest()


def installer(site: Site) -> str:
    """The image that nodes install from; of the same schematic as the ISO, else the installed system lacks the extensions."""
    name = "metal-installer-secureboot" if site.factory.secure_boot else "metal-installer"
    return f"{site.factory.registry}/{name}/{schematic_id(site)}:{site.versions.talos}"


def _platform(site: Site) -> str:
    return f"metal-{site.factory.architecture}{'-secureboot' if site.factory.secure_boot else ''}"


def iso_url(site: Site) -> str:
    """What the machines are booted from."""
    return f"{site.factory.url.rstrip('/')}/image/{schematic_id(site)}/{site.versions.talos}/{_platform(site)}.iso"


def known(site: Site) -> HttpGet:
    """Whether the factory has the schematic: its iPXE script is a few lines, where the ISO is hundreds of megabytes."""
    return HttpGet(f"{site.factory.url.rstrip('/')}/pxe/{schematic_id(site)}/{site.versions.talos}/{_platform(site)}")


def judge_known(site: Site, answers: Answers) -> Verdict:
    """The factory knows the schematic under the id that was computed here."""
    answer = answers[0]
    if answer.status == 200 and schematic_id(site) in answer.stdout:
        return met(f"schematic {schematic_id(site)[:12]}; ISO {iso_url(site)}", schematic=schematic_id(site), iso=iso_url(site))
    if answer.status == 404:
        return unmet(f"the factory does not know schematic {schematic_id(site)[:12]} yet")
    if answer.status == 200:
        return unknown("the factory's answer does not name the schematic")
    return unknown(f"the factory answered {answer.status}: {answer.stdout.strip()[:120]}")


def versions(site: Site) -> HttpGet:
    return HttpGet(f"{site.factory.url.rstrip('/')}/versions")


def extensions(site: Site) -> HttpGet:
    return HttpGet(f"{site.factory.url.rstrip('/')}/version/{site.versions.talos}/extensions/official")


def judge_offer(site: Site, answers: Answers) -> Verdict:
    """The factory builds this Talos with these extensions: a wrong name is accepted at POST and fails when an image is built."""
    offered, catalogue = answers
    for answer in answers:
        if answer.status != 200 or not isinstance(answer.body, list):
            return unknown(f"the factory answered {answer.status}")
    if not all(isinstance(version, str) and version.startswith("v") for version in offered.body):
        return unknown("the factory's versions cannot be read")
    if site.versions.talos not in offered.body:
        return unmet(f"the factory has no Talos {site.versions.talos}", permanent=True)
    names = {dig(extension, "name") for extension in catalogue.body}
    missing = [name for name in site.factory.extensions if name not in names]
    if missing:
        return unmet(f"no extension {', '.join(missing)} for Talos {site.versions.talos}", permanent=True)
    return met(f"Talos {site.versions.talos} with {len(site.factory.extensions)} extensions")
