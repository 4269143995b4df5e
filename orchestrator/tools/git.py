"""The repository: which of its files are ours, and what the forge tells of the token. Source: gitops-storage.md 3, 5; design.md promise 13."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from inventory.model import Git
from orchestrator.model.action import HttpCall
from orchestrator.model.check import Answers
from orchestrator.model.query import HttpGet, Secret, Value
from orchestrator.model.verdict import Verdict, met, unknown, unmet
from orchestrator.tools.answers import dig

Accepted = Mapping[str, tuple[str, ...]]


def sha256(text: str) -> str:
    """As commits' trailers name a file."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def judge_files(accepted: Accepted, answers: Answers) -> Verdict:
    """Our files are in the repository. Answer: GitRead.

    A file of ours that somebody changed or removed since is kept as it is and named as drift; one that we never wrote and that
    says something else is not ours. `accepted` are the texts that a path may have (a later step may have moved it on)."""
    body = answers[0].body
    if not isinstance(dig(body, "files"), Mapping) or "head" not in body:
        return unknown("the repository could not be read")
    files, rendered = body["files"], dig(body, "rendered", default={})
    absent: list[str] = []
    stale: list[str] = []
    drift: list[str] = []
    foreign: list[str] = []
    for path, texts in accepted.items():
        there = files.get(path)
        if there in texts:
            continue
        if there is None:
            (drift if path in rendered else absent).append(path)
        elif rendered.get(path) == sha256(there):
            stale.append(path)
        else:
            (drift if path in rendered else foreign).append(path)
    if foreign:
        return unmet(f"the repository has files that are not ours: {', '.join(foreign)}", permanent=True, foreign=True)
    if absent or stale:
        return unmet(f"{len(absent)} files to add, {len(stale)} to update", add=absent, update=stale)
    kept = f"; {len(drift)} changed by somebody else and kept: {', '.join(drift)}" if drift else ""
    return met(f"{len(accepted)} files{kept}", drift=drift)


_REFUSED = re.compile(r"authentication failed|permission denied|could not read username|access denied|not found|does not exist|\b40[134]\b", re.IGNORECASE)


def judge_readable(answers: Answers) -> Verdict:
    """The repository answers with the credentials of the site. Answer: GitRead; its silence is heard for git's own words."""
    answer = answers[0]
    if answer.unreachable is not None:
        if _REFUSED.search(answer.unreachable):
            return unmet(answer.unreachable, permanent=True)
        return unknown(answer.unreachable)
    if not isinstance(answer.body, Mapping) or "head" not in answer.body:
        return unknown("the repository could not be read")
    return met(f"head {str(answer.body['head'])[:8]}" if answer.body["head"] else "empty")


def forge(git: Git) -> HttpGet | None:
    """The question to the forge's API about the repository, with the token; None where the provider has no API that we know."""
    if git.provider == "git" or git.token is None:
        return None
    return HttpGet(f"{api_base(git)}/repos/{git.owner}/{git.repository}", headers=_authorization(git))


def creation(git: Git) -> HttpCall:
    """Make the repository, private, empty. Source: POST /orgs/{org}/repos and /user/repos of GitHub and Gitea."""
    owner = "user" if git.personal else f"orgs/{git.owner}"
    body = json.dumps({"name": git.repository, "private": True, "auto_init": False})
    return HttpCall("POST", f"{api_base(git)}/{owner}/repos", body, headers={**_authorization(git), "Content-Type": "application/json"})


def _authorization(git: Git) -> dict[str, Value]:
    return {"Authorization": Secret(str(git.token), prefix="token " if git.provider == "gitea" else "Bearer ")}


def api_base(git: Git) -> str:
    """github.com has a host of its own for the API; GitHub Enterprise and Gitea serve it below the site's."""
    parts = urlsplit(git.url)
    if git.provider == "gitea":
        return f"{parts.scheme}://{parts.netloc}/api/v1"
    return "https://api.github.com" if parts.hostname == "github.com" else f"{parts.scheme}://{parts.netloc}/api/v3"


def judge_made(git: Git, answers: Answers) -> Verdict:
    """The forge has the repository. Answer: the forge's."""
    answer = answers[0]
    if answer.status == 404:
        return unmet(f"the forge has no repository {git.owner}/{git.repository} that this token sees")
    if answer.status in (401, 403):
        return unmet(f"the forge refuses the token ({answer.status})", permanent=True)
    if answer.status != 200 or not isinstance(answer.body, Mapping):
        return unknown(f"the forge answered {answer.status}")
    return met(f"{git.owner}/{git.repository} is there")


def judge_token(git: Git, answers: Answers) -> Verdict:
    """The token may do what flux bootstrap does, and has not ended. Answers: the forge's about the repository, Workstation.

    A repository that is not there yet is made later; what the token may do stands in the headers all the same."""
    answer, here = answers
    if answer.status in (401, 403):
        return unmet(f"the forge refuses the token ({answer.status})", permanent=True)
    if answer.status not in (200, 404) or not isinstance(answer.body, Mapping):
        return unknown(f"the forge answered {answer.status}")
    headers = dig(answer.extra, "headers", default={})
    scopes = {scope.strip() for scope in str(headers.get("x-oauth-scopes", "")).split(",")} - {""}
    if git.provider == "github" and scopes and "repo" not in scopes:  # a fine-grained token names no scopes
        return unmet(f"the token has scopes {', '.join(sorted(scopes))}, wanted repo", permanent=True)
    if dig(answer.body, "permissions", "push", default=True) is False:
        return unmet("the token may not push", permanent=True)
    ends = str(headers.get("github-authentication-token-expiration", ""))[:10]
    today = str(dig(here.body, "now", default=""))[:10]
    if ends and today and ends <= today:
        return unmet(f"the token ended on {ends}", permanent=True)
    return met(f"token in scope{f', ends {ends}' if ends else ''}", expires=ends)
