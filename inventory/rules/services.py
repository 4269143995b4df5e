"""Rules of what the clusters talk to: the gateway, Git, secrets, the connectivity test's targets, and waits.

Sources: foundation.md 5.5 and 7, gitops-storage.md 3 (flux bootstrap), design.md 5 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from inventory.findings import Finding, Keys, Rule
from inventory.structure import duration_text
from inventory.types import split_url

if TYPE_CHECKING:
    from inventory.model import Git, Site
    from inventory.references import SecretRef

STATE = ".bootstrap"  # the state folder; it may be deleted at any time, so nothing that must survive lives there


def gateway_and_clusters_peer(site: Site) -> Iterator[Finding]:
    """With a gateway every cluster has its side of BGP; without one, none has."""
    for number, cluster in enumerate(site.clusters):
        if site.gateway is not None and cluster.bgp is None:
            yield Finding(
                ("clusters", number, "bgp"),
                f"the site has a gateway, and cluster {cluster.name} has no `bgp`",
                allowed="bgp: {asn: ...}",
            )
        elif site.gateway is None and cluster.bgp is not None:
            yield Finding(
                ("clusters", number, "bgp"),
                "BGP needs a gateway to peer with",
                found="bgp without `gateway`",
                allowed="a site with `gateway`",
                hint="without one, leave `bgp` out: pools are announced on the node network",
            )
        elif cluster.bgp is not None and not cluster.pools:
            yield Finding(
                ("clusters", number, "pools"), "BGP would have nothing to advertise", allowed="at least one pool"
            )


def systems_differ(site: Site) -> Iterator[Finding]:
    """The gateway's group is of type external: the cluster's autonomous system is another one."""
    for number, cluster in enumerate(site.clusters):
        if site.gateway is not None and cluster.bgp is not None and cluster.bgp.asn == site.gateway.asn:
            yield Finding(
                ("clusters", number, "bgp", "asn"),
                "the cluster's autonomous system is the gateway's",
                allowed=f"any but {site.gateway.asn}",
            )


def gateway_has_credentials(site: Site) -> Iterator[Finding]:
    """The login has a password or a key."""
    if site.gateway is not None and site.gateway.password is None and site.gateway.private_key is None:
        yield Finding(
            ("gateway",),
            "the gateway's login has no credentials",
            found="neither",
            allowed="`password` or `private_key`",
        )


def git_has_what_its_provider_needs(site: Site) -> Iterator[Finding]:
    """flux bootstrap's arguments and credentials for the provider, and the workstation's for the URL."""
    git = site.git
    needed = {
        "github": ("owner", "repository", "token"),
        "gitea": ("owner", "repository", "hostname", "token"),
        "git": (),
    }[git.provider]
    for key in needed:
        if getattr(git, key) is None:
            yield Finding(("git", key), f"provider {git.provider} needs `{key}`", allowed=_FORMS[key])
    ssh = git.url.startswith("ssh:")
    for key in ("private_key", "known_hosts") if ssh else ("token",):
        if getattr(git, key) is None and key not in needed:
            yield Finding(
                ("git", key), f"a repository at {git.url.partition(':')[0]}:// needs `{key}`", allowed=_FORMS[key]
            )


def git_can_be_read_by_flux(site: Site) -> Iterator[Finding]:
    """Provider git reads as the workstation writes: a key over SSH, a token over HTTPS."""
    git = site.git
    if git.provider != "git":
        return
    ssh = git.url.startswith("ssh:")
    if ssh != (git.auth == "deploy-key"):
        yield Finding(
            ("git", "auth"),
            f"over {'SSH' if ssh else 'HTTPS'} Flux reads with a {'key' if ssh else 'token'}",
            found=git.auth,
            allowed="deploy-key" if ssh else "token",
        )


def git_url_is_the_repository(site: Site) -> Iterator[Finding]:
    """The URL at the provider's host is that of `owner` and `repository`; and nothing secret goes over plain HTTP."""
    git, parts = site.git, split_url(site.git.url)
    host = (parts.hostname or "") if parts else ""
    if git.url.startswith("http:") and not _is_loopback(host):
        yield Finding(
            ("git", "url"),
            "the token would go over the network in plain text",
            allowed="https:// or ssh://",
            nearest=f"https{git.url.removeprefix('http')}",
        )
    elif parts and git.owner and git.repository and host == _provider_host(git):
        right = f"/{git.owner}/{git.repository}"
        if parts.path.removesuffix("/").removesuffix(".git") != right:
            base = git.url.removesuffix(parts.path)
            yield Finding(
                ("git", "url"),
                "the URL is not that of `owner` and `repository`",
                allowed=f"{base}{right}.git",
                nearest=f"{base}{right}.git",
            )


def _provider_host(git: Git) -> str | None:
    if git.provider == "github":
        return git.hostname or "github.com"
    return git.hostname.partition(":")[0] if git.provider == "gitea" and git.hostname else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def made_secrets_can_be_kept(site: Site) -> Iterator[Finding]:
    """What the product makes is written to a file or to 1Password; an environment variable keeps nothing."""
    for keys, reference in _made(site):
        if not reference.keeps:
            yield Finding(
                keys,
                "the secret is made once and kept there, which this reference cannot",
                allowed="file:PATH or op://VAULT/ITEM/FIELD",
            )


def made_secrets_are_apart(site: Site) -> Iterator[Finding]:
    """Each secret that the product makes has a place of its own, outside of the state folder."""
    made = (
        *_made(site),
        *(
            ((("gateway", "bgp_password"), site.gateway.bgp_password),)
            if site.gateway and site.gateway.bgp_password
            else ()
        ),
    )
    seen = {reference.identity: keys for keys, reference in _given(site)}
    for keys, reference in made:
        if not reference.keeps:
            continue
        other = seen.setdefault(reference.identity, keys)
        if other != keys:
            yield Finding(
                keys,
                f"the place is already that of {_dotted(other)}",
                allowed="a place of its own: each secret is made for itself",
            )
        elif reference.scheme == "file" and STATE in PurePosixPath(reference.rest).parts:
            yield Finding(
                keys,
                f"the secret would live in {STATE}/, which may be deleted",
                allowed="a file outside of it",
                hint="file:secrets/NAME is a good place",
            )


def _made(site: Site) -> tuple[tuple[Keys, SecretRef], ...]:
    bundles: list[tuple[Keys, SecretRef]] = [
        (("clusters", n, "talos_secrets"), cluster.talos_secrets) for n, cluster in enumerate(site.clusters)
    ]
    return (*bundles, (("cilium_ca",), site.cilium_ca))


def _given(site: Site) -> Iterator[tuple[Keys, SecretRef]]:
    """References that are only read."""
    sections = (
        ("gateway", site.gateway, ("password", "private_key", "known_hosts")),
        ("git", site.git, ("token", "private_key", "known_hosts")),
        ("store", site.store, ("access_key", "secret_key")),
    )
    for section, value, names in sections:
        for name in names if value is not None else ():
            reference = getattr(value, name)
            if reference is not None:
                yield (section, name), reference


def _dotted(keys: Keys) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in keys).removeprefix(".")


def connectivity_has_all_targets(site: Site) -> Iterator[Finding]:
    """With one target missing the test would ask the Internet: all four or none."""
    test = site.connectivity
    targets = ("external_target", "external_ip", "external_other_ip", "external_cidr")
    missing = [name for name in targets if getattr(test, name) is None]
    if missing and len(missing) < len(targets):
        yield Finding(
            ("connectivity", missing[0]),
            f"the test needs all its targets, and `{missing[0]}` is missing",
            allowed="all four external_*, or none to skip tests to the world",
        )
    if test.external_ip is not None and test.external_ip == test.external_other_ip:
        yield Finding(
            ("connectivity", "external_other_ip"),
            "the other address is the same one",
            allowed="another address in `external_cidr`",
        )
    for name in ("external_ip", "external_other_ip"):
        address = getattr(test, name)
        if address is not None and test.external_cidr is not None and address not in test.external_cidr:
            yield Finding(
                ("connectivity", name),
                "the address is not in `external_cidr`",
                allowed=f"an address in {test.external_cidr}",
            )


def polls_fit_into_waits(site: Site) -> Iterator[Finding]:
    """A question is asked at least once before a deadline."""
    waits = {
        name: value
        for name in type(site.timing).model_fields
        if name != "poll" and isinstance(value := getattr(site.timing, name), timedelta)
    }
    shortest = min(waits, key=lambda name: waits[name])
    if site.timing.poll > waits[shortest]:
        yield Finding(
            ("timing", "poll"),
            f"`{shortest}` would pass before the second question",
            found=duration_text(site.timing.poll),
            allowed=f"up to {duration_text(waits[shortest])}",
        )


_FORMS = {
    "owner": "the organisation or user that owns the repository",
    "repository": "the repository's name",
    "hostname": "the host of the server",
    "token": "a reference, as env:GIT_TOKEN",
    "private_key": "a reference, as file:secrets/git.key",
    "known_hosts": "a reference, as file:secrets/git.known_hosts",
}
_GIT = frozenset({"git"})
RULES = (
    Rule(
        "gateway-and-clusters-peer",
        gateway_and_clusters_peer,
        "foundation.md 6 and 7",
        frozenset({"gateway", "clusters"}),
    ),
    Rule("systems-differ", systems_differ, "foundation.md 7.1"),
    Rule("gateway-has-credentials", gateway_has_credentials, "foundation.md 7.2", frozenset({"gateway"})),
    Rule("git-has-what-its-provider-needs", git_has_what_its_provider_needs, "gitops-storage.md 3", _GIT),
    Rule("git-can-be-read-by-flux", git_can_be_read_by_flux, "gitops-storage.md 3", _GIT),
    Rule("git-url-is-the-repository", git_url_is_the_repository, "gitops-storage.md 3", _GIT),
    Rule("made-secrets-can-be-kept", made_secrets_can_be_kept, "foundation.md 3.1 and 8.2"),
    Rule("made-secrets-are-apart", made_secrets_are_apart, "foundation.md 3.1, design.md 7"),
    Rule(
        "connectivity-has-all-targets", connectivity_has_all_targets, "foundation.md 5.5", frozenset({"connectivity"})
    ),
    Rule("polls-fit-into-waits", polls_fit_into_waits, "design.md 8", frozenset({"timing"})),
)
