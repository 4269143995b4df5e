"""Where a cluster's local files lie, relative to the site's folder, which is the working directory of every command."""

from __future__ import annotations

from orchestrator.model.data import dataclass


@dataclass(frozen=True, slots=True)
class Local:
    """The files of one cluster below `.bootstrap/clusters/`. All can be had again from the platform and the secrets bundle."""

    cluster: str

    @property
    def root(self) -> str:
        return f".bootstrap/clusters/{self.cluster}"

    @property
    def talosconfig(self) -> str:
        return f"{self.root}/talosconfig"

    @property
    def kubeconfig(self) -> str:
        return f"{self.root}/kubeconfig"

    @property
    def admin_kubeconfig(self) -> str:
        """As talosctl writes it, before its context is renamed."""
        return f"{self.root}/admin.kubeconfig"

    @property
    def bundle(self) -> str:
        """Where new Talos secrets stand for the moment between their making and their keeping."""
        return f"{self.root}/bundle.yaml"

    @property
    def generated(self) -> str:
        return f"{self.root}/gen"

    @property
    def stamp(self) -> str:
        """The digest of what the generated machine configs were made from."""
        return f"{self.root}/nodes/inputs"

    @property
    def values(self) -> str:
        return f"{self.root}/cilium-values.yaml"

    @property
    def snapshot(self) -> str:
        return f"{self.root}/etcd-first.snapshot"

    def patch(self, name: str) -> str:
        return f"{self.root}/patches/{name}.yaml"

    def node(self, name: str) -> str:
        return f"{self.root}/nodes/{name}.yaml"

    def evidence(self, name: str) -> str:
        return f"{self.root}/{name}"
