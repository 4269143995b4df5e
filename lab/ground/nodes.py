"""What a real kube-apiserver reaches instead of nodes: a proxy on a socket that leads to the kubelets' one endpoint.

The API server opens its connections to nodes with CONNECT there, so that no packet goes to an address that only the lab's world has.
Sources: k8s.io/apiserver/pkg/server/egressselector, k8s.io/kubernetes/pkg/kubelet/server/server.go, 1.33.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from lab.kube import streams
from lab.kube.http import HttpServer
from lab.kube.pki import ClusterCA
from lab.kube.port import KubePort
from lab.kube.streams import PodHost
from lab.kube.wire import Req, Resp, Stream, Upgrade

KUBELET_PORT = "10250"
PIECE_BYTES = 1 << 16
ROUTES = {"containerLogs": "log", "exec": "exec", "attach": "attach", "portForward": "portforward"}
NAMES = {"input": "stdin", "output": "stdout", "error": "stderr"}  # as a kubelet calls what the API's clients call otherwise


class NodeGate:
    """The socket at `path` and the kubelets behind it."""

    def __init__(self, path: Path, ca: ClusterCA, port: KubePort, pods: PodHost | None) -> None:
        self._path = path
        self._port = port
        self._pods = pods
        self._kubelets = HttpServer(self._handle, tls=ca.server_context())
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        await self._kubelets.start()
        self._server = await asyncio.start_unix_server(self._connected, self._path)

    async def stop(self) -> None:
        """Cut what is open and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._kubelets.stop()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            target = head.split(" ")[1]
            if target.rpartition(":")[2] != KUBELET_PORT:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _join(reader, writer, self._kubelets.port)
        writer.close()

    async def _handle(self, req: Req) -> Resp | Stream | Upgrade:
        route, *words = req.path.strip("/").split("/")
        if route not in ROUTES or len(words) < 2:
            return Resp(404, b"404 page not found\n", {"content-type": "text/plain"})
        pod = await self._port.get("v1/pods", words[1], words[0])
        if pod is None:
            return Resp(404, b"pod does not exist\n", {"content-type": "text/plain"})
        query = {NAMES.get(key, key): values for key, values in req.query.items()}
        if len(words) > 2:
            query["container"] = [words[2]]
        asked = Req(req.method, req.path, query, req.headers, req.body, req.user)
        return await streams.serve(asked, pod, ROUTES[route], self._pods)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Carry bytes both ways until both ends have closed."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
    finally:
        far_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
