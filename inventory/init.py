"""New sites: the plan's own as a template, or a minimal one derived from a few answers.

Nothing here writes: the functions return the texts of the files, and `cli` puts them down. What can be derived is derived (the node
network from the first node, the default route, the provider from the repository's URL, free networks for pods and services);
`questions` says what is still open, so that a terminal asks that alone and `--non-interactive` refuses by the same list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from ipaddress import IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING

from inventory.schema import FILE_NAME, MODELINE, json_schema_text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from inventory.model import Network

SITE = "site.yaml"
IGNORED = "# State and secrets of this site: never committed.\n/.bootstrap/\n/secrets/\n"
# Private networks off Talos' defaults, of which a /16 each is taken; the second is for nodes that live in 10.0.0.0/8 as a whole.
PODS = (IPv4Network("10.40.0.0/13"), IPv4Network("172.24.0.0/14"))
SERVICES = (IPv4Network("10.48.0.0/13"), IPv4Network("172.28.0.0/14"))


@dataclass(frozen=True, slots=True)
class NewNode:
    """One machine: `identity` is a MAC address or a serial number, `disk` a serial number or `type: nvme` and the like."""

    name: str
    address: str
    identity: str = ""
    disk: str = ""
    worker: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What the operator said so far; an empty text is an open question or derived."""

    name: str = ""
    nodes: tuple[NewNode, ...] = ()
    vip: str = ""
    git_url: str = ""
    network: str = ""
    route: str = ""
    nameserver: str = ""
    ntp: str = ""
    pool: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An answer that cannot be derived: `key` is the field of Answers (or `node NAME identity|disk`)."""

    key: str
    text: str
    example: str


def templates() -> tuple[str, ...]:
    """Names of the example sites that ship with the product."""
    return tuple(sorted(entry.name for entry in _sites().iterdir() if entry.is_dir()))


def from_template(name: str = "ten-weeks") -> dict[str, str]:
    """The files of an example site by relative path, with the schema and a .gitignore. Raises KeyError for an unknown name."""
    if name not in templates():
        raise KeyError(name)
    return {**dict(_texts(_sites() / name, "")), **_company()}


def minimal(answers: Answers) -> dict[str, str]:
    """The files of a site with one cluster. Raises ValueError naming the open questions."""
    open_ = questions(answers)
    if open_:
        raise ValueError("; ".join(question.text for question in open_))
    return {SITE: _site_text(answers), **_company()}


def node(text: str) -> NewNode:
    """A machine from one text: `NAME=ADDRESS[,IDENTITY[,DISK]][,worker]`. Raises ValueError naming the form."""
    name, equals, rest = text.partition("=")
    parts = [part.strip() for part in rest.split(",")]
    worker = parts[-1] == "worker"
    parts = parts[:-1] if worker else parts
    if not (equals and name.strip() and parts and parts[0]) or len(parts) > 3:
        raise ValueError(f"a node is given as NAME=ADDRESS,MAC-or-SERIAL,DISK[,worker], not as {text[:80]!r}")
    address, identity, disk = (*parts, "", "")[:3]
    return NewNode(name.strip(), address, identity, disk, worker)


def questions(answers: Answers) -> tuple[Question, ...]:
    """What cannot be derived from the answers so far, in the order to ask."""
    return tuple(_open(answers))


def _open(answers: Answers) -> Iterator[Question]:
    if not answers.name:
        yield Question("name", "name of the cluster and of the site", "home")
    if not answers.nodes:
        yield Question(
            "nodes",
            "the machines, as NAME=ADDRESS,MAC-or-SERIAL,DISK",
            "home-1=192.168.1.21,aa:bb:cc:dd:ee:01,type: nvme",
        )
    for new in answers.nodes:
        if not new.identity:
            yield Question(
                f"node {new.name} identity", f"MAC address or serial number of {new.name}", "aa:bb:cc:dd:ee:01"
            )
        if not new.disk:
            yield Question(
                f"node {new.name} disk",
                f"disk of {new.name} that Talos takes whole: its serial number, or `type: nvme`",
                "type: nvme",
            )
    if len(_planes(answers)) > 1 and not answers.vip:
        yield Question("vip", "an unused address on the node network for the Kubernetes API", "192.168.1.20")
    if not answers.git_url:
        yield Question("git_url", "URL of the Git repository that Flux reconciles", "https://github.com/me/cluster.git")


def _planes(answers: Answers) -> tuple[NewNode, ...]:
    return tuple(new for new in answers.nodes if not new.worker)


def _site_text(answers: Answers) -> str:
    """The site file: what was answered, what was derived, and a comment where the operator may want to look twice."""
    home = _network(answers)
    route = answers.route or str(home.network_address + 1)
    pods, services = _free(home)
    endpoint = (
        f"{{vip: {_quoted(answers.vip)}}}" if answers.vip else f"{{host: {_quoted(_planes(answers)[0].address)}}}"
    )
    pool = [f"    pools: [{{name: {answers.name}-lb, cidr: {_quoted(answers.pool)}}}]"] if answers.pool else []
    lines = [
        MODELINE,
        f"# One cluster: {answers.name}. `bootstrap validate` checks this file.",
        "schema: 1",
        f"name: {_quoted(answers.name)}",
        "",
        "network:",
        f"  cidrs: [{_quoted(str(home))}]",
        f"  gateway: {_quoted(route)}",
        f"  nameservers: [{_quoted(answers.nameserver or route)}]",
        f"  ntp: [{_quoted(answers.ntp or 'time.cloudflare.com')}]",
        "",
        "clusters:",
        f"  - name: {_quoted(answers.name)}",
        f"    endpoint: {endpoint}",
        f"    pods: [{_quoted(str(pods))}]",
        f"    services: [{_quoted(str(services))}]",
        "    cilium: {id: 1}",
        *(
            pool
            or [
                "    pools: []  # a free part of the node network, as [{name: lb, cidr: ...}], gives Services addresses"
            ]
        ),
        f"    talos_secrets: file:secrets/{answers.name}.talos.yaml",
        "",
        "nodes:",
        *(line for new in answers.nodes for line in _node_lines(answers.name, new)),
        "",
        "git:",
        *(f"  {line}" for line in _git_lines(answers.git_url)),
        "",
        "cilium_ca: file:secrets/cilium-ca.yaml",
    ]
    return "\n".join(lines) + "\n"


def _node_lines(cluster: str, new: NewNode) -> list[str]:
    identity = "mac" if re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", new.identity) else "serial"
    field, colon, value = new.disk.partition(":")
    disk = (
        (field.strip(), value.strip())
        if colon and field.strip() in ("serial", "wwid", "model", "size", "type")
        else ("serial", new.disk)
    )
    return [
        f"  - name: {_quoted(new.name)}",
        f"    cluster: {_quoted(cluster)}",
        *(["    role: worker"] if new.worker else []),
        f"    address: {_quoted(new.address)}",
        f"    {identity}: {_quoted(new.identity)}",
        f"    install_disk: {{{disk[0]}: {_quoted(disk[1])}}}",
    ]


def _git_lines(url: str) -> list[str]:
    """The provider follows from the URL: GitHub by its host, otherwise plain Git over what the URL says."""
    github = re.fullmatch(r"https://github\.com/([A-Za-z0-9._-]+)/([A-Za-z0-9._-]+?)(\.git)?/?", url)
    if github:
        return [
            "provider: github",
            f"owner: {_quoted(github[1])}",
            f"repository: {_quoted(github[2])}",
            f"url: {_quoted(url)}",
            "token: env:GITHUB_TOKEN",
        ]
    if url.startswith("ssh://"):
        return [
            "provider: git",
            f"url: {_quoted(url)}",
            "private_key: file:secrets/git.key",
            "known_hosts: file:secrets/git.known_hosts",
        ]
    return ["provider: git", f"url: {_quoted(url)}", "auth: token", "token: env:GIT_PASSWORD"]


def _network(answers: Answers) -> Network:
    """The given network, or the /24 (/64) around the first node. Raises ValueError when the address is none."""
    if answers.network:
        return ip_network(answers.network)
    first = ip_address(answers.nodes[0].address)
    return ip_network(f"{first}/{24 if first.version == 4 else 64}", strict=False)


def _free(home: Network) -> tuple[Network, Network]:
    """Networks for pods and services that do not meet the nodes'."""
    if home.version == 6:
        candidates = [ip_network(f"fd{number:02x}:c1::/56") for number in range(16, 20)]
        pods = next(net for net in candidates if not _meets(net, home))
        return pods, ip_network(f"fd{int(pods.network_address) >> 112 & 0xFF:02x}:5e::/112")
    return _first_free(PODS, home), _first_free(SERVICES, home)


def _first_free(ranges: tuple[IPv4Network, ...], home: Network) -> IPv4Network:
    return next(net for wide in ranges for net in wide.subnets(new_prefix=16) if not _meets(net, home))


def _meets(net: Network, home: Network) -> bool:
    return int(net.network_address) <= int(home.broadcast_address) and int(home.network_address) <= int(
        net.broadcast_address
    )


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


def _quoted(value: str) -> str:
    """A YAML scalar that reads back as `value`, on one line."""
    if (_PLAIN.fullmatch(value) and value.lower() != "null") or re.fullmatch(
        r"(https|ssh)://[A-Za-z0-9@._:/-]+", value
    ):
        return value
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
    return f'"{escaped}"'


def _company() -> dict[str, str]:
    return {FILE_NAME: json_schema_text(), ".gitignore": IGNORED}


def _sites() -> Traversable:
    return resources.files("inventory") / "sites"


def _texts(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield f"{prefix}{entry.name}", entry.read_text(encoding="utf-8")
