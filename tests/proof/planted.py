"""Two hundred secrets, and every form in which a program may show one."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

COUNT = 200
SIGNS = string.ascii_letters + string.digits + "!#$%&'\"()*+,-./:;<=>?@[]^_`{|}~\\ äß"


def secrets(count: int = COUNT) -> list[str]:
    """The same ones each time: words, tokens, passphrases with every sign, keys of several lines."""
    chance = random.Random(200)
    found: list[str] = []
    for number in range(count):
        match number % 5:
            case 0:
                found.append("".join(chance.choices(string.ascii_letters + string.digits, k=chance.randrange(12, 40))))
            case 1:
                found.append("".join(chance.choices(SIGNS, k=chance.randrange(12, 60))).strip().ljust(12, "x"))
            case 2:
                found.append("ghp_" + "".join(chance.choices(string.ascii_letters + string.digits, k=36)))
            case 3:
                found.append(base64.b64encode(chance.randbytes(32)).decode())
            case 4:
                body = base64.b64encode(chance.randbytes(chance.randrange(100, 200))).decode()
                lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
                found.append(f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----")
    return found


def forms(secret: str) -> Iterator[tuple[str, str]]:
    """(name of the form, the text that shows the secret)."""
    raw = secret.encode()
    yield "plain", secret
    yield "quoted", f"password='{secret}'"
    yield "json", json.dumps({"value": secret})
    yield "json, all signs", json.dumps({"value": secret}, ensure_ascii=False)
    yield "url", f"https://host/?token={quote(secret, safe='')}&x=1"
    yield "form", f"a=b&secret={quote_plus(secret)}"
    yield "basic", "Basic " + base64.b64encode(b"user:" + raw).decode()
    for offset in range(3):
        yield f"base64 at {offset}", base64.b64encode(b"-" * offset + raw + b"+").decode()
    yield "base64, url signs", base64.urlsafe_b64encode(raw).decode()
    yield "shell", "'" + secret.replace("'", "'\\''") + "'"
    yield "yaml", "key: '" + secret.replace("'", "''") + "'"


def traces(secret: str) -> list[str]:
    """Texts of which none may be left: the secret in each form, without what stands around it; each line of a key."""
    lines = [line for line in secret.splitlines() if "-----" not in line] if "\n" in secret else [secret]
    found: list[str] = []
    for line in filter(lambda one: len(one) >= 8, lines):
        raw = line.encode()
        found += [line, quote(line, safe=""), quote_plus(line), json.dumps(line)[1:-1], line.replace("'", "'\\''"), line.replace("'", "''")]
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
            core = whole[(0, 2, 3)[offset] : len(whole) - 1]
            found += [core, core.replace("+", "-").replace("/", "_")]
    return found


def leaks(text: str, planted: list[str]) -> list[str]:
    """Which of the planted secrets `text` shows."""
    return [secret for secret in planted if any(trace in text for trace in traces(secret))]
