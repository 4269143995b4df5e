"""The Image Factory: schematics by content, versions, official extensions, and whether an image can be had.

Source: foundation.md 2; https://github.com/siderolabs/image-factory, `pkg/schematic`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from lab.faults import Happening
from lab.kube.http import HttpServer
from lab.kube.wire import ConnectionCutError, Req, Resp
from lab.talos import goyaml

if TYPE_CHECKING:
    from lab.world import World

VERSIONS = (
    "v1.9.5", "v1.10.0", "v1.10.7", "v1.11.0", "v1.11.1", "v1.11.2", "v1.11.3", "v1.11.4", "v1.11.5", "v1.11.6", "v1.12.0",
)  # fmt: skip
EXTENSIONS = {
    "siderolabs/amd-ucode": "20250917",
    "siderolabs/amdgpu": "20250917-v1.11.2",
    "siderolabs/binfmt-misc": "v1.11.2",
    "siderolabs/btrfs": "v1.11.2",
    "siderolabs/drbd": "9.2.14-v1.11.2",
    "siderolabs/gvisor": "20250505.0",
    "siderolabs/i915": "20250917-v1.11.2",
    "siderolabs/intel-ucode": "20250812",
    "siderolabs/iscsi-tools": "v0.2.0",
    "siderolabs/nvme-cli": "v2.14",
    "siderolabs/qemu-guest-agent": "10.0.2",
    "siderolabs/tailscale": "1.88.1",
    "siderolabs/util-linux-tools": "2.41.1",
    "siderolabs/zfs": "2.3.3-v1.11.2",
}
KEYS = {
    "overlay": None,
    "customization": {
        "extraKernelArgs": None,
        "meta": None,
        "systemExtensions": {"officialExtensions": None},
        "secureboot": {"includeWellKnownCertificates": None},
    },
}
INSTALLER = re.compile(
    r"(?P<host>[^/]+)/(?:metal-installer|metal-installer-secureboot|installer)/(?P<id>[0-9a-f]{64}):(?P<version>\S+)"
)
PXE_PATH = re.compile(r"/pxe/(?P<id>[0-9a-f]{64})/(?P<version>[^/]+)/metal-(?:amd64|arm64)(?:-secureboot)?")
IMAGE_PATH = re.compile(r"/image/(?P<id>[0-9a-f]{64})/(?P<version>[^/]+)/(?P<file>[^/]+)")


def schematic_id(text: str) -> str:
    """The id of a schematic: SHA-256 of its canonical YAML. Raises ValueError on YAML that is no schematic."""
    return hashlib.sha256(canonical(text).encode()).hexdigest()


def canonical(text: str) -> str:
    """The schematic as the factory stores it: known keys in the factory's order, indent of four."""
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("yaml: unmarshal errors: cannot unmarshal into schematic.Schematic")
    ordered = _ordered(value, KEYS, "")
    ordered.setdefault("customization", {})
    return goyaml.dump(ordered)


def _ordered(value: dict[str, Any], keys: dict[str, Any], path: str) -> dict[str, Any]:
    for key in value:
        if key not in keys:
            raise ValueError(
                f"yaml: unmarshal errors: field {key} not found in type schematic.{path.title() or 'Schematic'}"
            )
    result: dict[str, Any] = {}
    for key, inner in keys.items():
        if value.get(key):
            result[key] = _ordered(value[key], inner, key) if inner and isinstance(value[key], dict) else value[key]
    return result


class Factory:
    """The factory of a world, over HTTP on loopback."""

    def __init__(self, world: World, *, tcp_port: int = 0) -> None:
        self.world = world
        self.schematics: dict[str, str] = {}
        self._server = HttpServer(self._handle, port=tcp_port)

    @property
    def name(self) -> str:
        """ "factory"."""
        return "factory"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def tcp_port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Listen."""
        if not self._server.running:
            await self._server.start()

    async def stop(self) -> None:
        """Refuse connections."""
        await self._server.stop()

    def snapshot(self) -> dict[str, Any]:
        """The stored schematics and the port."""
        return {"schematics": dict(self.schematics), "tcp_port": self._server.port}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the stored schematics."""
        self.schematics = dict(state["schematics"])

    def dump(self) -> dict[str, Any]:
        """The stored schematics, by id."""
        return {"schematics": dict(sorted(self.schematics.items()))}

    def busy(self) -> bool:
        """Never: it does nothing by itself."""
        return False

    def extensions(self, schematic: str) -> list[str]:
        """The names of a stored schematic's extensions."""
        value = yaml.safe_load(self.schematics.get(schematic, "")) or {}
        return list(((value.get("customization") or {}).get("systemExtensions") or {}).get("officialExtensions") or [])

    def extension_versions(self) -> dict[str, str]:
        """The tag of every official extension."""
        return dict(EXTENSIONS)

    def has_image(self, image: str) -> bool:
        """Whether a node can pull an installer image: a known release, or a stored schematic all of whose extensions exist."""
        match = INSTALLER.fullmatch(image)
        if match is None:
            return re.fullmatch(r"ghcr\.io/siderolabs/installer:v1\.\d+\.\d+", image) is not None
        known = match["id"] in self.schematics and match["version"] in VERSIONS
        return known and all(e in EXTENSIONS for e in self.extensions(match["id"]))

    async def _handle(self, req: Req) -> Resp:
        effect = self.world.faults.find(Happening("http:factory", req.method, object=req.path))
        if effect is not None:
            if effect.latency or effect.hang:
                await self.world.clock.sleep(1e9 if effect.hang else effect.latency)
            if effect.cut:
                raise ConnectionCutError
            if effect.status:
                self._note(req, effect.status, False)
                return _text(effect.status, effect.message or "error")
        resp, mutates = self._answer(req)
        self._note(req, resp.status, mutates and resp.status < 400)
        return resp

    def _note(self, req: Req, status: int, mutates: bool) -> None:
        self.world.record.add(
            actor="factory",
            via="http",
            what=f"{req.method} {req.path}",
            request=f"{req.method} {req.path} -> {status}",
            mutates=mutates,
            ok=status < 400,
        )

    def _answer(self, req: Req) -> tuple[Resp, bool]:
        """The answer, and whether something was stored."""
        if req.path == "/schematics" and req.method == "POST":
            try:
                text = canonical(req.body.decode())
            except (ValueError, UnicodeDecodeError) as error:
                return _text(400, f"error unmarshaling schematic: {error}"), False
            number = hashlib.sha256(text.encode()).hexdigest()
            new = number not in self.schematics
            self.schematics[number] = text
            return _json(201, {"id": number}), new
        if req.method not in ("GET", "HEAD"):
            return _text(405, "Method Not Allowed"), False
        if req.path == "/versions":
            return _json(200, list(VERSIONS)), False
        if match := re.fullmatch(r"/version/([^/]+)/extensions/official", req.path):
            if match[1] not in VERSIONS:
                return _text(404, "not found"), False
            return _json(200, [_extension(n, v) for n, v in EXTENSIONS.items()]), False
        if match := re.fullmatch(r"/schematics/([0-9a-f]{64})", req.path):
            stored = self.schematics.get(match[1])
            return (_text(200, stored) if stored else _text(404, "not found")), False
        if script := re.fullmatch(
            r"/pxe/(?P<id>[0-9a-f]{64})/(?P<version>[^/]+)/(?P<path>[a-z]+-(?P<arch>amd64|arm64)[a-z-]*)", req.path
        ):
            known = script["id"] in self.schematics and script["version"] in VERSIONS
            return (_text(200, _ipxe(script)) if known else _text(404, "not found")), False
        if script := PXE_PATH.fullmatch(req.path):
            known = script["id"] in self.schematics and script["version"] in VERSIONS
            return (
                _text(200, _pxe(self.url, script["id"], script["version"])) if known else _text(404, "not found")
            ), False
        if image := IMAGE_PATH.fullmatch(req.path):
            known = image["id"] in self.schematics and image["version"] in VERSIONS
            return (_text(200, "") if known else _text(404, "not found")), False
        return _text(404, "not found"), False


def _ipxe(script: re.Match[str]) -> str:
    """The boot script of a schematic, as the factory's PXE frontend writes it."""
    base = f"https://pxe.factory.talos.dev/image/{script['id']}/{script['version']}"
    kernel = (
        f"kernel {base}/kernel-{script['arch']} talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on"
    )
    return f"#!ipxe\n\nimgfree\n{kernel}\ninitrd {base}/initramfs-{script['arch']}.xz\nboot\n"


def _pxe(url: str, schematic: str, version: str) -> str:
    """The iPXE script of an image. Source: image-factory, `GET /pxe/:schematic/:version/:path`."""
    base = f"{url}/image/{schematic}/{version}"
    return f"#!ipxe\n\nimgfree\nkernel {base}/kernel-amd64 talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on\ninitrd {base}/initramfs-amd64.xz\nboot"


def _extension(name: str, version: str) -> dict[str, str]:
    ref = f"ghcr.io/{name}:{version}"
    return {"name": name, "ref": ref, "digest": "sha256:" + hashlib.sha256(ref.encode()).hexdigest()}


def _json(status: int, value: Any) -> Resp:
    return Resp(status, json.dumps(value).encode() + b"\n", {"content-type": "application/json"})


def _text(status: int, text: str) -> Resp:
    return Resp(status, text.encode() + b"\n", {"content-type": "text/plain; charset=utf-8"})
