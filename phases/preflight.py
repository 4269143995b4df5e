"""Preflight: everything that can be known before a machine is touched, and the secrets that all clusters share.

Checks that must hold before anything is made are preconditions; what later phases rest on is asked again as a gate.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from inventory.model import Gateway, Node, Site
from inventory.references import SecretRef
from orchestrator.model.action import GitCommit, MakeSecret, WriteFile
from orchestrator.model.check import Answers, Check
from orchestrator.model.phase import Phase, Step
from orchestrator.model.query import FileRead, GitRead, Secret, SecretRead, StoreHead, Workstation
from orchestrator.model.setlines import awaits_confirmation, newest_commit
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools import factory, git, junos, kube, talosctl, workstation
from orchestrator.tools.answers import careful, dig, digest
from orchestrator.tools.talosctl import NodeState
from phases import repository, talos

DAYS = "1"
Recipe = Literal["password", "ca"]
STAMP = ".bootstrap/preflight"
SKEW_SECONDS = 300  # certificates and tokens are refused beyond; a guess that is stricter than Kubernetes and laxer than etcd


def phase(site: Site) -> Phase:
    """What the clusters share is made here, once, before any of them needs it (design.md section 3)."""
    return Phase(
        id="preflight",
        title="Preflight",
        week=1,
        days=DAYS,
        needs=(),
        steps=(*_shared_secrets(site), *_new_repository(site), _root(site), _passed(site)),
        gates=(_machines(site), _repository(site, "preflight/repository-answers"), *_gateway_gates(site)),
        preconditions=(
            *here(site),
            _credentials(site),
            *_forge(site),
            *_given_repository(site),
            *_store(site),
            _offer(site),
            *_gateway_before(site),
            *(_node(site, node) for node in site.nodes),
            _clocks(site),
        ),
        adr=("ADR-001",),
        summary="programs, credentials, machines, gateway, repository, store; the secrets that clusters share",
    )


def of_workstation(site: Site) -> tuple[Check, ...]:
    """What `bootstrap doctor` asks."""
    return (*here(site), _credentials(site), *_forge(site), *_given_repository(site))


def here(site: Site) -> tuple[Check, ...]:
    """This workstation alone."""
    names = workstation.programs(site)
    return (
        Check(
            id="preflight/workstation",
            title="this workstation to have room and a folder to write to",
            ask=(Workstation(),),
            judge=careful(workstation.judge_workstation),
            hint="df -h . && python3 --version",
        ),
        Check(
            id="preflight/programs",
            title=f"{', '.join(names)} to be on PATH",
            ask=workstation.on_path(site),
            judge=careful(partial(workstation.judge_on_path, names)),
            hint="bootstrap doctor",
        ),
        Check(
            id="preflight/versions",
            title="the programs to have the pinned versions",
            ask=workstation.VERSIONS,
            judge=careful(partial(workstation.judge_versions, site)),
            hint="bootstrap doctor",
            causes=("a newer talosctl generates configurations that older nodes refuse",),
            source="foundation.md 0",
        ),
    )


def given(site: Site) -> tuple[SecretRef, ...]:
    """References that must lead to something before the first step: nobody makes these."""
    found: list[SecretRef | None] = [site.git.token, site.git.private_key, site.git.known_hosts]
    if site.gateway is not None:
        found += [site.gateway.password, site.gateway.private_key, site.gateway.known_hosts]
    if site.store is not None:
        found += [site.store.access_key, site.store.secret_key]
    return tuple(dict.fromkeys(ref for ref in found if ref is not None))


def _credentials(site: Site) -> Check:
    refs = given(site)
    return Check(
        id="preflight/credentials",
        title=f"{len(refs)} credentials to be there",
        ask=tuple(SecretRead(Secret(str(ref))) for ref in refs),
        judge=careful(partial(judge_all_there, tuple(str(ref) for ref in refs))),
        hint="export the variable, or put the secret where the site says",
    )


def _forge(site: Site) -> tuple[Check, ...]:
    query = git.forge(site.git)
    if query is None:
        return ()
    return (
        Check(
            id="preflight/token",
            title="the Git token to be in scope and to last",
            ask=(query, Workstation()),
            judge=careful(partial(git.judge_token, site.git)),
            hint="make a token with scope repo (classic), or Administration and Contents read/write on the repository",
            causes=("the token expired", "it belongs to another organisation"),
            source="gitops-storage.md 3",
        ),
    )


def _given_repository(site: Site) -> tuple[Check, ...]:
    """Where no forge makes the repository it has to be there."""
    return (_repository(site, "preflight/repository-given"),) if git.forge(site.git) is None else ()


def _repository(site: Site, name: str) -> Check:
    return Check(
        id=name,
        title=f"{site.git.url} to answer",
        ask=(GitRead((f"{site.git.path.strip('/')}/",)),),
        judge=careful(git.judge_readable),
        hint=f"git ls-remote {site.git.url}",
        causes=("the repository does not exist yet: create it, empty", "the credentials are not accepted"),
        within=site.timing.unknown,
        hears_silence=True,
    )


def _store(site: Site) -> tuple[Check, ...]:
    store = site.store
    if store is None:
        return ()
    query = StoreHead(store.endpoint, store.region, store.bucket, Secret(str(store.access_key)), Secret(str(store.secret_key)))
    return (
        Check(
            id="preflight/store",
            title=f"bucket {store.bucket} at {store.endpoint} to answer",
            ask=(query,),
            judge=careful(judge_bucket),
            hint=f"mc ls ALIAS/{store.bucket}",
            causes=("the bucket does not exist", "the keys are not allowed to use it", "the clock of this workstation is wrong"),
        ),
    )


def _offer(site: Site) -> Check:
    return Check(
        id="preflight/factory",
        title=f"the Image Factory to offer Talos {site.versions.talos} with our extensions",
        ask=(factory.versions(site), factory.extensions(site)),
        judge=careful(partial(factory.judge_offer, site)),
        hint=f"curl -s {site.factory.url}/version/{site.versions.talos}/extensions/official",
        causes=("an extension is misspelt: the factory accepts it and fails later",),
        source="foundation.md 2",
    )


def _gateway_before(site: Site) -> tuple[Check, ...]:
    if site.gateway is None:
        return ()
    return (_as(site.gateway), _confirmed(site.gateway))


def _as(gateway: Gateway) -> Check:
    return Check(
        id="preflight/gateway",
        title=f"the gateway to be reachable, with AS {gateway.asn} and zone {gateway.zone}",
        ask=(junos.CONFIGURATION,),
        judge=careful(partial(junos.judge_global_as, gateway)),
        hint=f"ssh -p {gateway.port} {gateway.user}@{gateway.address} show configuration routing-options",
        causes=("the host key is not the one in known_hosts", "the AS that is set is never changed: put it into the site as gateway.asn"),
        source="foundation.md 7.1",
    )


def _confirmed(gateway: Gateway) -> Check:
    return Check(
        id="preflight/gateway-quiet",
        title="no change on the gateway to wait for its confirmation",
        ask=(junos.COMMITS,),
        judge=careful(judge_quiet),
        hint=f"ssh -p {gateway.port} {gateway.user}@{gateway.address} show system commit",
        within=timedelta(minutes=2 * gateway.confirm_minutes),  # until a change that nobody confirms has rolled back
        source="foundation.md 7.2",
    )


def _gateway_gates(site: Site) -> tuple[Check, ...]:
    if site.gateway is None:
        return ()
    return (
        Check(
            id="preflight/gateway-still",
            title="the gateway to answer",
            ask=(junos.CONFIGURATION,),
            judge=careful(partial(junos.judge_global_as, site.gateway)),
            hint=f"ssh -p {site.gateway.port} {site.gateway.user}@{site.gateway.address} show configuration routing-options",
            within=site.timing.unknown,
        ),
    )


def _machines(site: Site) -> Check:
    return Check(
        id="preflight/machines",
        title="every machine to be blank, ours, or not there yet",
        ask=tuple(query for node in site.nodes for query in talosctl.state_queries(node)),
        judge=careful(partial(talos.judge_not_foreign, site.nodes)),
        hint="compare the addresses in the site with the machines; the secrets bundle must be the one they were installed with",
        causes=("another installation owns a machine", "a secrets bundle is not the one of its cluster"),
        within=site.timing.unknown,
        hears_silence=True,
        source="design.md promise 13; foundation.md 1.1",
    )


def _node(site: Site, node: Node) -> Check:
    """One machine: who it is, whether its disks are as planned; silence is not an error, since it may not be booted yet."""
    return Check(
        id=f"preflight/node/{node.name}",
        title=f"{node.name} to be blank with its disks, ours, or not there yet",
        ask=(*talosctl.state_queries(node), *talosctl.blank_queries(node), SecretRead(Secret(str(site.cluster(node.cluster).talos_secrets)))),
        judge=careful(partial(judge_node, node)),
        hint=f"talosctl -n {talosctl.maintenance_address(node)} -e {talosctl.maintenance_address(node)} get disks --insecure",
        causes=("two machines are swapped", "a disk was replaced", "a data disk holds somebody's data", "another installation owns the machine"),
        hears_silence=True,
        source="foundation.md 1.1, 4.1; gitops-storage.md 8",
    )


def _clocks(site: Site) -> Check:
    return Check(
        id="preflight/clocks",
        title="the clocks to agree",
        ask=(Workstation(), factory.versions(site), *(query for node in site.nodes for query in talosctl.state_queries(node))),
        judge=careful(partial(judge_clocks, site.nodes)),
        hint="timedatectl status",
        causes=("this workstation's clock is off", "the machines do not reach their NTP server"),
        hears_silence=True,
    )


# --- shared secrets --------------------------------------------------------------------------------------------------


def _shared_secrets(site: Site) -> tuple[Step, ...]:
    ca = _made("cilium-ca", "make the CA that all clusters of the mesh share", site.cilium_ca, "ca", subject="Cilium CA")
    if site.gateway is None or site.gateway.bgp_password is None:
        return (ca,)
    return (ca, _made("bgp-password", "make the MD5 key of the BGP sessions", site.gateway.bgp_password, "password"))


def _made(name: str, title: str, ref: SecretRef, recipe: Recipe, subject: str = "") -> Step:
    secret = Secret(str(ref))
    return Step(
        id=f"preflight/{name}",
        title=title,
        days=DAYS,
        goal=Check(
            id=f"preflight/{name}",
            title=f"{ref} to hold it",
            ask=(SecretRead(secret),),
            judge=careful(kube.judge_secret_kept),
            hint=f"it is kept at {ref}",
            causes=("a secret that is made can only be kept at file: or op://",),
        ),
        actions=(MakeSecret(secret, recipe, subject=subject),),
    )


def _new_repository(site: Site) -> tuple[Step, ...]:
    query = git.forge(site.git)
    if query is None:
        return ()
    name = f"{site.git.owner}/{site.git.repository}"
    return (
        Step(
            id="preflight/repository",
            title=f"make the repository {name}, private",
            days=DAYS,
            goal=Check(
                id="preflight/repository",
                title=f"the forge to have {name}",
                ask=(query,),
                judge=careful(partial(git.judge_made, site.git)),
                hint=f"git ls-remote {site.git.url}",
                causes=("the token may not make repositories: make it by hand, empty", "it exists, and the token does not see it"),
                within=site.timing.unknown,
            ),
            actions=(git.creation(site.git),),
            holds=("git",),
        ),
    )


def _root(site: Site) -> Step:
    """The branch's first commit, so that clusters never race for it."""
    path = f"{site.git.path.strip('/')}/README.md"
    text = repository.readme(site)
    return Step(
        id="preflight/repository-root",
        title=f"begin branch {site.git.branch}",
        days=DAYS,
        goal=Check(
            id="preflight/repository-root",
            title=f"{path} to be in the repository",
            ask=(GitRead((path,)),),
            judge=careful(partial(git.judge_files, {path: (text,)})),
            hint=f"git ls-remote {site.git.url}",
            within=site.timing.unknown,
        ),
        actions=(GitCommit("Begin the platform's repository", {path: text}),),
        holds=("git",),
    )


def _passed(site: Site) -> Step:
    """Says for which site the checks above were passed; another address or version asks them again."""
    shown = site.model_dump(mode="json")
    inputs = digest({key: value for key, value in shown.items() if key not in ("timing", "connectivity")})
    return Step(
        id="preflight/passed",
        title="note that preflight passed for this site",
        days=DAYS,
        goal=Check(
            id="preflight/passed",
            title="preflight to have passed for this very site",
            ask=(FileRead(STAMP, text=True),),
            judge=careful(partial(talos.judge_texts, (f"{inputs}\n",))),
            hint="bootstrap up --phase preflight",
        ),
        actions=(WriteFile(STAMP, f"{inputs}\n"),),
    )


# --- judges ----------------------------------------------------------------------------------------------------------


def judge_all_there(names: tuple[str, ...], answers: Answers) -> Verdict:
    """Every reference leads to something."""
    if any(not isinstance(dig(answer.body, "exists"), bool) for answer in answers):
        return unknown("whether the secrets are there is not known")
    missing = [name for name, answer in zip(names, answers, strict=True) if not answer.body["exists"]]
    return unmet(f"nothing at {', '.join(missing)}", permanent=True) if missing else met(f"{len(names)} credentials")


def judge_bucket(answers: Answers) -> Verdict:
    """The bucket is there and ours to use."""
    status = answers[0].status
    if status in (200, 204):
        return met("the bucket answers")
    if status in (403, 404, 401, 400, 301):
        words = {403: "refuses the keys", 401: "refuses the keys", 404: "has no such bucket", 301: "is of another region", 400: "does not accept the request"}
        return unmet(f"the store {words[status]} ({status})", permanent=True)
    return unknown(f"the store answered {status}")


def judge_quiet(answers: Answers) -> Verdict:
    """Nobody's commit waits for its confirmation."""
    answer = answers[0]
    if answer.rc != 0 or not newest_commit(answer.stdout).lstrip().startswith("0 "):
        return unknown("the gateway did not show its commits")
    return unmet("a change waits for its confirmation") if awaits_confirmation(answer.stdout) else met("no change is pending")


def judge_node(node: Node, answers: Answers) -> Verdict:
    """Blank as planned, ours, or silent. Answers: its two states, `blank_queries`, whether the secrets bundle exists."""
    state = talosctl.node_state(answers[0], answers[1])
    if state is NodeState.MAINTENANCE:
        return talosctl.judge_blank(node, answers[2:6])
    if state is NodeState.FOREIGN:
        return unmet(f"{node.name} is configured with other secrets", permanent=True, foreign=True)
    if state is NodeState.LOCKED:
        if dig(answers[6].body, "exists") is False:
            return unmet(f"{node.name} is configured, and there is no secrets bundle that it could be ours by", permanent=True, foreign=True)
        return met(f"{node.name} is configured; whether with our secrets is asked before anything is applied")
    if state is NodeState.UNREAD:
        return unknown(f"{node.name} cannot be classed")
    return met(f"{node.name}: {state.value}")


def judge_clocks(nodes: tuple[Node, ...], answers: Answers) -> Verdict:
    """This workstation against the factory's Date, and no node that waits for its time. Answers: Workstation, the factory's, states."""
    here_now, there = dig(answers[0].body, "now"), dig(answers[1].extra, "headers", "date")
    if not isinstance(here_now, str):
        return unknown("this workstation does not tell its time")
    if there is not None:
        skew = abs((_time(here_now) - _time(str(there))).total_seconds())
        if skew > SKEW_SECONDS:
            return unmet(f"this workstation is {int(skew)} s off", permanent=True)
    late = [node.name for i, node in enumerate(nodes) if any('"name": "time"' in answer.stdout for answer in answers[2 + 2 * i : 4 + 2 * i])]
    return unmet(f"the time is not in sync on {', '.join(late)}") if late else met("the clocks agree")


def _time(text: str) -> datetime:
    """RFC 3339, or an HTTP date. Raises ValueError."""
    if text[:1].isdigit():
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
