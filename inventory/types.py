"""The types of a site's values: each takes the text of the file, and says in one error what it allows.

Every type is annotated with its Kind, which also accepts the finished value, and gives the JSON Schema that editors complete and
check by. Wrong text raises WrongValue with what is allowed and, where a small change would mend it, the nearest text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, NoReturn, get_args
from urllib.parse import SplitResult, urlsplit

from inventory.selection import nearest
from inventory.structure import WrongValue, duration_text

MAX_TEXT = 1000  # characters of one value

LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
HOST_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
HOST = rf"{HOST_LABEL}(\.{HOST_LABEL})*"
WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


def wrong(
    allowed: str, near: str | None = None, *, message: str = "the value is not allowed", hint: str | None = None
) -> NoReturn:
    """Raise the one error of a value; `allowed` completes "allowed: ..."."""
    raise WrongValue(allowed, near, message=message, hint=hint)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A type by its text: `parse` makes the value, `show` gives the text of a value that is one of `done` already."""

    parse: Callable[[str], Any]
    allowed: str
    json: Mapping[str, Any]
    done: tuple[type, ...] = ()
    show: Callable[[Any], str] = str

    def schema(self, of: Any) -> dict[str, Any]:
        """The JSON Schema of the text."""
        return dict(self.json)

    def read(self, value: object, of: Any) -> Any:
        """The value that a text stands for, or that `value` already is. Raises WrongValue."""
        if isinstance(value, str):
            text = str(value)
        elif isinstance(value, self.done) and isinstance(value, bool) is (bool in self.done):
            text = self.show(value)
        else:
            wrong(self.allowed)
        if len(text) > MAX_TEXT:
            wrong(f"up to {MAX_TEXT} characters", message="the value is too long")
        return self.parse(text)


def text(
    pattern: str, allowed: str, *, near: Callable[[str], str] | None = None, longest: int = MAX_TEXT, **json: Any
) -> Kind:
    """A text that matches `pattern` as a whole. `near` proposes a mended text, which is named if it matches."""
    rule = re.compile(pattern)

    def fits(value: str) -> bool:
        return len(value) <= longest and rule.fullmatch(value) is not None

    def parse(value: str) -> str:
        if fits(value):
            return value
        mended = near(value) if near else value
        wrong(allowed, nearest(value, [mended]) if mended != value and fits(mended) else None)

    limit = {"maxLength": longest} if longest < MAX_TEXT else {}
    return Kind(parse, allowed, {"type": "string", "pattern": f"^({pattern})$", **limit, **json})


def whole(low: int, high: int, *, barred: Mapping[int, str] | None = None) -> Kind:
    """A whole number from `low` to `high`; `barred` are those inside that are not allowed, with the reason."""
    allowed = f"a whole number from {low} to {high}" if low < high else str(low)

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", value, re.ASCII) or not low <= int(value) <= high:
            wrong(allowed)
        if barred and int(value) in barred:
            wrong(allowed, message=barred[int(value)])
        return int(value)

    return Kind(parse, allowed, {"type": "integer", "minimum": low, "maximum": high}, done=(int,))


def positive(high: float) -> Kind:
    """A number above zero, up to `high`."""
    allowed = f"a number above 0, up to {high:g}"

    def parse(value: str) -> float:
        if (
            not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,20})?(e-?[0-9]{1,2})?", value, re.ASCII)
            or not 0 < float(value) <= high
        ):
            wrong(allowed)
        return float(value)

    return Kind(parse, allowed, {"type": "number", "exclusiveMinimum": 0, "maximum": high}, done=(int, float))


class Choice:
    """One of the values of the Literal or StrEnum that it annotates."""

    def schema(self, of: Any) -> dict[str, Any]:
        """The values as an enumeration."""
        return {"type": "string", "enum": list(self._options(of))}

    def read(self, value: object, of: Any) -> Any:
        """The member whose text `value` is. Raises WrongValue."""
        options = self._options(of)
        if not isinstance(value, str) or value not in options:
            wrong(_either(options), nearest(value, options) if isinstance(value, str) else None)
        return of(value) if isinstance(of, type) else value

    @staticmethod
    def _options(of: Any) -> tuple[str, ...]:
        members = tuple(of) if isinstance(of, type) and issubclass(of, Enum) else get_args(of)
        return tuple(str(member) for member in members)


def _either(options: tuple[str, ...]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


# --- booleans and numbers -------------------------------------------------------------------------------------------------------

_FLAGS = {"true": True, "false": False}


def _flag(value: str) -> bool:
    if value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    near = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}.get(value.lower())
    wrong("true or false", near or nearest(value, _FLAGS))


Flag = Annotated[
    bool, Kind(_flag, "true or false", {"type": "boolean"}, done=(bool,), show=lambda value: str(value).lower())
]
Port = Annotated[int, whole(1, 65535)]
NodePort = Annotated[int, whole(30000, 32767)]
Asn = Annotated[
    int,
    whole(
        1, 4294967294, barred={23456: "AS 23456 stands for others (RFC 6793)", 65535: "AS 65535 is reserved (RFC 7300)"}
    ),
]

# --- durations ------------------------------------------------------------------------------------------------------------------

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"([0-9]{1,7}(\.[0-9]{1,6})?(ms|s|m|h|d)){1,5}|[0-9]{1,7}(\.[0-9]{1,6})?"
MAX_DURATION = timedelta(days=366)


def _duration(value: str) -> timedelta:
    if not re.fullmatch(_DURATION, value, re.ASCII):
        wrong("a time above 0, as 90s, 5m, 1h30m or 3d", _mended_duration(value))
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", value) or [(value, "s")]
    total = timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    if not timedelta(0) < total <= MAX_DURATION:
        wrong(f"a time above 0, up to {MAX_DURATION.days}d")
    return total


def _mended_duration(value: str) -> str | None:
    found = re.fullmatch(r"([0-9]{1,7}) ?(sec|second|min|minute|hour|hr|day)s?", value.strip().lower(), re.ASCII)
    return f"{found[1]}{found[2][0]}" if found else None


Duration = Annotated[
    timedelta,
    Kind(
        _duration,
        "a time, as 90s, 5m, 1h30m or 3d",
        {"anyOf": [{"type": "string", "pattern": f"^({_DURATION})$"}, {"type": "number", "exclusiveMinimum": 0}]},
        done=(timedelta, int, float),
        show=lambda value: duration_text(value) if isinstance(value, timedelta) else str(value),
    ),
]

# --- addresses ------------------------------------------------------------------------------------------------------------------

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_ADDRESS = "an address, as 10.25.11.11 or fd00::11"
_NETWORK = "a network in CIDR form, as 10.25.20.0/26"


def _address(value: str) -> Address:
    try:
        made = ipaddress.ip_address(value)
    except ValueError:
        head = value.partition("/")[0]
        wrong(_ADDRESS, head if head != value and _is_address(head) else None)
    if isinstance(made, ipaddress.IPv6Address) and made.scope_id:
        wrong(_ADDRESS, value.partition("%")[0], message="an address of a site has no scope")
    return made


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _network(value: str) -> Network:
    if "/" not in value:
        wrong(_NETWORK, message="the network lacks its prefix length")
    if not re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]{1,3}", value, re.ASCII):
        wrong(_NETWORK)
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(value, strict=False)
    except ValueError:
        wrong(_NETWORK)
    wrong(_NETWORK, str(loose), message="the address has bits beyond the prefix length")


SiteAddress = Annotated[
    Address,
    Kind(
        _address,
        _ADDRESS,
        {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        done=(ipaddress.IPv4Address, ipaddress.IPv6Address),
    ),
]
SiteNetwork = Annotated[
    Network,
    Kind(
        _network,
        _NETWORK,
        {"type": "string", "pattern": r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
        done=(ipaddress.IPv4Network, ipaddress.IPv6Network),
    ),
]

# --- names ----------------------------------------------------------------------------------------------------------------------


def _label_like(value: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:63]


Name = Annotated[str, text(LABEL, "a DNS label: up to 63 of a-z, 0-9 and -, not at the ends", near=_label_like)]
MeshName = Annotated[
    str,
    # Source: cilium 1.18 pkg/clustermesh/types, ValidateClusterName
    text(
        LABEL,
        "up to 32 of a-z, 0-9 and -, not at the ends",
        near=lambda value: _label_like(value)[:32].rstrip("-"),
        longest=32,
    ),
]
DnsName = Annotated[
    str, text(rf"{LABEL}(\.{LABEL})*", "a DNS name in lower case, as cluster.local", near=str.lower, longest=253)
]
Word = Annotated[str, text(WORD, "letters, digits, dot, _ and -, not beginning with . or -", longest=100)]
JunosName = Annotated[
    str, text(r"[A-Za-z0-9][A-Za-z0-9_-]*", "letters, digits, _ and -, beginning with a letter or digit", longest=63)
]
JunosInterface = Annotated[
    str,
    text(
        r"([a-z]{2}-[0-9]{1,3}/[0-9]{1,3}/[0-9]{1,3}|(ae|reth)[0-9]{1,3}|irb|vlan)\.[0-9]{1,5}",
        "a logical interface of Junos, as ge-0/0/1.0 or irb.10",
        near=lambda value: f"{value}.0",
    ),
]
Branch = Annotated[
    str,
    # Source: git-check-ref-format(1), narrowed to what every host of Git accepts
    text(rf"(?!.*(\.\.|//|\.lock(/|$)|/$|\.$)){WORD}(/{WORD})*", "a branch name, as main", longest=200),
]
Folder = Annotated[
    str,
    text(
        rf"{WORD}(/{WORD})*",
        "a relative folder of letters, digits, dot, _ and -, without ..",
        near=lambda v: re.sub(r"^(\./|/)+", "", v).rstrip("/"),
        longest=200,
    ),
]
Extension = Annotated[
    str,
    text(
        r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*",
        "an extension as the factory names it, as siderolabs/iscsi-tools",
        near=lambda v: f"siderolabs/{v}",
    ),
]
Bucket = Annotated[
    str,
    # Source: Amazon S3, bucket naming rules
    text(
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "3 to 63 of a-z, 0-9, dot and -, not at the ends",
        near=lambda v: v.lower().replace("_", "-"),
    ),
]
PersonName = Annotated[str, text(r"[^\s<>\-][^<>\n]*", "a name on one line, without < and >", longest=100)]
Email = Annotated[str, text(rf"[A-Za-z0-9_][A-Za-z0-9._+-]*@{HOST}", "a mail address", longest=254)]
Hardware = Annotated[
    str,
    text(
        r"[A-Za-z0-9][A-Za-z0-9 ._:/+*?-]*",
        "letters, digits, spaces and ._:/+*?-, beginning with a letter or digit",
        longest=128,
        type=["string", "number"],
    ),
]
DiskSize = Annotated[
    str,
    # Source: Talos 1.11 machine configuration, install.diskSelector.size
    text(
        r"(<=|>=|<|>|==) ?[0-9]+(\.[0-9]+)? ?([KMGTP]i?)?B",
        "a comparison as '<= 512GB' or '>= 1TB'",
        near=lambda v: re.sub(r"(?i)^([0-9.]+ ?)([kmgtp]i?)b?$", lambda m: f"== {m[1]}{m[2].upper()}B", v),
    ),
]


def _version(prefix: str, example: str) -> Kind:
    near = (lambda v: v.removeprefix("v")) if not prefix else (lambda v: f"v{v}")
    return text(
        rf"{prefix}(0|[1-9][0-9]{{0,4}})\.(0|[1-9][0-9]{{0,4}})\.(0|[1-9][0-9]{{0,4}})(-[0-9A-Za-z.]{{1,30}})?",
        f"a full version, as {example}",
        near=near,
    )


VVersion = Annotated[str, _version("v", "v1.11.2")]
PlainVersion = Annotated[str, _version("", "1.33.5")]


def _mac(value: str) -> str:
    allowed = "a MAC address of one network card, as aa:bb:cc:dd:ee:01"
    digits = re.sub(r"[:.-]", "", value.lower())
    spelled = ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
    if not re.fullmatch(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", value.lower(), re.ASCII):
        wrong(allowed, spelled if re.fullmatch(r"[0-9a-f]{12}", digits, re.ASCII) else None)
    if spelled == "00:00:00:00:00:00" or int(spelled[:2], 16) & 1:
        wrong(allowed, message="the MAC address belongs to no single card")
    return spelled


Mac = Annotated[
    str, Kind(_mac, "a MAC address", {"type": "string", "pattern": "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"})
]

# --- where things answer --------------------------------------------------------------------------------------------------------


def _host(value: str) -> str:
    """A name or an address; what looks like an address must be one."""
    allowed = "a host name or an address"
    if _is_address(value) and "%" not in value:
        return value
    if not re.fullmatch(HOST, value, re.ASCII) or len(value) > 253 or re.fullmatch(r"[0-9.]+", value, re.ASCII):
        wrong(allowed, _host_of_url(value))
    return value


def _host_of_url(value: str) -> str | None:
    try:
        host = urlsplit(value).hostname if "://" in value else value.partition(":")[0]
    except ValueError:
        return None
    return host if host and host != value and re.fullmatch(HOST, host, re.ASCII) else None


def _registry(value: str) -> str:
    name, colon, port = value.rpartition(":") if re.search(r":[0-9]+$", value) else (value, "", "")
    if not re.fullmatch(HOST, name, re.ASCII) or (colon and not 0 < int(port[:6]) <= 65535):
        wrong("the host of a registry, as factory.talos.dev or registry.example.org:5000", _host_of_url(value))
    return value


def url(*schemes: str) -> Kind:
    """A URL with one of `schemes`, a host, and no password in it."""
    allowed = f"a URL with {_either(tuple(f'{scheme}://' for scheme in schemes))}"

    def parse(value: str) -> str:
        parts = split_url(value)
        if parts is None or parts.scheme not in schemes or not re.fullmatch(r"[\x21-\x7e]+", value, re.ASCII):
            wrong(allowed, _mended_url(value, schemes))
        if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
            hint = "give them by reference, under their own key"
            wrong("a URL without credentials", message="the URL holds credentials", hint=hint)
        if parts.query or parts.fragment:
            wrong("a URL without ? and #")
        return value

    return Kind(parse, allowed, {"type": "string", "pattern": f"^({'|'.join(schemes)})://[^\\s?#]+$"})


def split_url(value: str) -> SplitResult | None:
    """The parts of a URL that has a host and a possible port, else None."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    named = host is not None and (re.fullmatch(HOST, host, re.ASCII) is not None or _is_address(host))
    return parts if named and port != 0 else None


def _mended_url(value: str, schemes: tuple[str, ...]) -> str | None:
    scp = re.fullmatch(r"([A-Za-z0-9_.-]+@)([A-Za-z0-9.-]+):(?!/)(.+)", value)
    if scp and "ssh" in schemes:
        return f"ssh://{scp[1]}{scp[2]}/{scp[3]}"
    scheme, _, rest = value.partition("://")
    near = nearest(scheme, schemes) if rest else None
    candidate = f"{near}://{rest}" if near else f"{schemes[0]}://{value}"
    fits = split_url(candidate) is not None and re.fullmatch(r"[\x21-\x7e]+", candidate) is not None
    return candidate if fits and "@" not in candidate else None


Host = Annotated[
    str, Kind(_host, "a host name or an address", {"type": "string", "pattern": r"^[A-Za-z0-9:.][A-Za-z0-9:.-]*$"})
]
Registry = Annotated[
    str,
    Kind(_registry, "the host of a registry", {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?$"}),
]
HttpUrl = Annotated[str, url("https", "http")]
HttpsUrl = Annotated[str, url("https")]
GitUrl = Annotated[str, url("https", "ssh", "http")]
