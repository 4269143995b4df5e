"""Syntax of names, labels, ports and their like, with the real server's words.

Source: k8s.io/apimachinery/pkg/util/validation (v0.33) validation.go. Each check answers a list of complaints, empty when right.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

Check = Callable[[str], list[str]]

_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD: Final = rf"\*\.{_SUBDOMAIN}"
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)


def max_len(length: int) -> str:
    """Too long, in the words of util/validation."""
    return f"must be no more than {length} characters"


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """Source: RegexError."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def in_range(low: int, high: int) -> str:
    """Source: InclusiveRangeError."""
    return f"must be between {low} and {high}, inclusive"


def qualified_name(value: str) -> list[str]:
    """A label's key and its like: an optional prefix and a name."""
    return list(_qualified_name(value))


@lru_cache(maxsize=4096)
def _qualified_name(value: str) -> tuple[str, ...]:
    """Remembered: the same few hundred keys stand on every object and are judged at every write."""
    prefix, slash, name = value.rpartition("/")
    words = (
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character"
    )
    if "/" in prefix:
        shape = regex_error(
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            _QUALIFIED, "MyName", "my.name", "123-abc",
        )  # fmt: skip
        return (f"{shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    found = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found += [f"prefix part {text}" for text in dns1123_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        found.append(f"name part {max_len(63)}")
    if not re.fullmatch(_QUALIFIED, name):
        found.append(regex_error(words, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return tuple(found)


def label_value(value: str) -> list[str]:
    """A label's value."""
    found = [max_len(63)] if len(value.encode()) > 63 else []
    if value and not re.fullmatch(_QUALIFIED, value):
        words = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        found.append(regex_error(words, f"({_QUALIFIED})?", "MyValue", "my_value", "12345"))
    return found


def dns1123_label(value: str) -> list[str]:
    """ "my-name"."""
    found = [max_len(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_LABEL, value):
        if re.fullmatch(_SUBDOMAIN, value):
            return [*found, "must not contain dots"]
        words = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
            "and must start and end with an alphanumeric character"
        )
        found.append(regex_error(words, _LABEL, "my-name", "123-abc"))
    return found


def dns1123_subdomain(value: str) -> list[str]:
    """ "example.com"."""
    found = [max_len(253)] if len(value.encode()) > 253 else []
    if not re.fullmatch(_SUBDOMAIN, value):
        found.append(regex_error(_SUBDOMAIN_WORDS, _SUBDOMAIN, "example.com"))
    return found


def dns1035_label(value: str) -> list[str]:
    """Names of services and of CRDs' parts."""
    found = [max_len(63)] if len(value.encode()) > 63 else []
    if not re.fullmatch(_LABEL_1035, value):
        words = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
        )
        found.append(regex_error(words, _LABEL_1035, "my-name", "abc-123"))
    return found


def wildcard_subdomain(value: str) -> list[str]:
    """ "*.example.com"."""
    found = [max_len(253)] if len(value.encode()) > 253 else []
    if not re.fullmatch(_WILDCARD, value):
        words = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        found.append(regex_error(words, _WILDCARD, "*.example.com"))
    return found


def config_map_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets."""
    found = [max_len(253)] if len(value.encode()) > 253 else []
    if not re.fullmatch(r"[-._a-zA-Z0-9]+", value):
        words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(regex_error(words, "[-._a-zA-Z0-9]+", "key.name", "KEY_NAME", "key-name"))
    return found + _dot_prefix(value)


def _dot_prefix(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def env_var_name(value: str) -> list[str]:
    """Names of environment variables, as strict as before 1.30."""
    found = []
    if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", value):
        words = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
            "and must not start with a digit"
        )
        found.append(regex_error(words, "[-._a-zA-Z][-._a-zA-Z0-9]*", "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return found + _dot_prefix(value)


def relaxed_env_var_name(value: str) -> list[str]:
    """Names of environment variables in 1.33."""
    words = "a valid environment variable name must consist only of printable ASCII characters other than '='"
    if not value:
        return ["environment variable name must be non-empty"]
    return [words] if any(not " " <= char <= "~" or char == "=" for char in value) else []


def port_name(value: str) -> list[str]:
    """IANA service names."""
    found = [max_len(15)] if len(value.encode()) > 15 else []
    if not re.fullmatch(r"[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value and "-" in (value[0], value[-1]):
        found.append("must not begin or end with a hyphen")
    return found


def port_number(value: int) -> list[str]:
    """A port from 1 to 65535."""
    return [] if 1 <= value <= 65535 else [in_range(1, 65535)]


def percent(value: str) -> list[str]:
    """ "25%"."""
    if re.fullmatch(r"[0-9]+%", value):
        return []
    words = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(words, "[0-9]+%", "1%", "93%")]


def http_header_name(value: str) -> list[str]:
    """Names of HTTP headers."""
    if re.fullmatch(r"[-A-Za-z0-9]+", value):
        return []
    words = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(words, "[-A-Za-z0-9]+", "X-Header-Name")]


IP_WORDS: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def is_ip(value: str) -> bool:
    """An IPv4 or IPv6 address as Go parses it (no zone)."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def ip(value: str) -> list[str]:
    """An address."""
    return [] if is_ip(value) else [IP_WORDS]


def is_cidr(value: str) -> bool:
    """ "10.0.0.0/8"; host bits may be set."""
    address, slash, length = value.partition("/")
    if not slash or not is_ip(address) or not re.fullmatch(r"\d{1,3}", length):
        return False
    return int(length) <= (128 if ":" in address else 32)


# Names of objects. Source: k8s.io/apimachinery/pkg/api/validation generic.go; `prefix` is a generateName.
def path_segment(value: str, *, prefix: bool = False) -> list[str]:
    """Names that are only a part of a URL, such as those of RBAC. Source: pkg/api/validation/path name.go."""
    if not prefix:
        for forbidden in (".", ".."):
            if value == forbidden:
                return [f"may not be '{forbidden}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in value]


def masked(value: str) -> str:
    """A generateName, made into what a name made of it could look like."""
    return f"{value[:-1]}a" if len(value) > 1 and value.endswith("-") else value
