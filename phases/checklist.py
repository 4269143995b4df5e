"""The plan's check boxes of days 1-14, and what stands for each: steps, gates, or a person's approval.

`{infra}` and `{apps}` are the site's first and second cluster. `note` says where the plan differs from what is right, with the row of
the reference's table. The plan is `implementation-timeline.md`; its text is kept word for word, so that a test can compare.
"""

from __future__ import annotations

from orchestrator.model.data import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """One check box. `stands_for` are ids of steps or checks; an id with `*` stands for all nodes."""

    days: str
    text: str
    stands_for: tuple[str, ...]
    note: str = ""


BOXES: tuple[Box, ...] = (
    Box("1-2", "Download Talos 1.11.2 ISO", ("talos@{infra}/boot",), "the schematic comes first, and the ISO is that schematic's (foundation.md 13, row 1)"),
    Box("1-2", "Create Talos schematic with system extensions", ("preflight/factory", "talos@{infra}/schematic")),
    Box(
        "1-2",
        "Install Talos on infra nodes (10.25.11.11-13)",
        ("talos@{infra}/boot", "talos@{infra}/apply-config/*", "preflight/node/*"),
        "disks by serial, not by path; MAC and disk are confirmed before (row 32)",
    ),
    Box(
        "1-2",
        "Apply Talos machine configs",
        ("talos@{infra}/patches", "talos@{infra}/secrets", "talos@{infra}/keep-secrets", "talos@{infra}/configs", "talos@{infra}/apply-config/*"),
        "secrets once, --insecure, one node a call, files made by machineconfig patch (rows 2, 3, 4, 5, 6, 7)",
    ),
    Box(
        "1-2",
        "Verify cluster formation",
        ("talos@{infra}/etcd-bootstrap", "talos@{infra}/etcd", "talos@{infra}/api", "talos@{infra}/nodes", "talos@{infra}/diagnostics", "talos@{infra}/etcd-snapshot", "network@{infra}/health"),
        "the plan has no bootstrap of etcd; health passes only after the CNI (rows 9, 10)",
    ),
    Box("1-2", "Configure kubectl access", ("talos@{infra}/talosconfig", "talos@{infra}/kubeconfig"), "the generated context is renamed (rows 8, 11)"),
    Box(
        "3-4",
        "Deploy Cilium 1.18+ with BGP control plane",
        ("network@{infra}/cilium-ca", "network@{infra}/cilium", "network@{infra}/rollout", "network@{infra}/kinds"),
        "by Helm before Flux, pinned below 1.19 (rows 12, 13, 33)",
    ),
    Box("3-4", "Configure LB IPAM pools", ("network@{infra}/pools", "network@{infra}/pools-free"), "outside of the node network (row 16)"),
    Box(
        "3-4",
        "Configure BGP peering with Juniper SRX320",
        ("network@{infra}/bgp-key", "network@{infra}/bgp", "network@{infra}/gateway", "network@{infra}/sessions-cluster", "network@{infra}/sessions-gateway"),
        "both sides, cilium.io/v2, commit confirmed (row 17)",
    ),
    Box("3-4", "Enable ClusterMesh (prepare for multi-cluster)", ("preflight/cilium-ca", "network@{infra}/cilium-ca", "network@{infra}/cilium"), "name, id and shared CA at the first install (row 14)"),
    Box(
        "3-4",
        "Verify pod networking",
        ("network@{infra}/status", "network@{infra}/nodes-ready", "network@{infra}/dns", "network@{infra}/connectivity-test"),
        "with the privileged label, a deadline and clean-up (row 18)",
    ),
    Box("5-7", "Create Git repository structure", ("preflight/repository-root", "gitops@{infra}/layout")),
    Box("5-7", "Bootstrap Flux on infra cluster", ("gitops@{infra}/flux-bootstrap", "gitops@{infra}/controllers"), "once, after Cilium (gitops-storage.md 15, rows 1, 2, 3, 4, 5)"),
    Box("5-7", "Configure Git repository sync", ("gitops@{infra}/flux-bootstrap", "gitops@{infra}/reconciled")),
    Box(
        "5-7",
        "Create Kustomization layers (CRDs, Operators, etc.)",
        ("gitops@{infra}/layout", "gitops@{infra}/layers", "gitops@{infra}/cilium-adopted", "gitops@{infra}/release"),
        "with dependsOn and health (gitops-storage.md 15, row 6)",
    ),
    Box("5-7", "Test Flux reconciliation", ("gitops@{infra}/reconcile-test",)),
    Box("8-9", "Install Talos on apps nodes (10.25.11.14-16)", ("talos@{apps}/schematic", "talos@{apps}/boot", "talos@{apps}/apply-config/*")),
    Box(
        "8-9",
        "Apply Talos machine configs (different PodCIDR!)",
        ("talos@{apps}/patches", "talos@{apps}/secrets", "talos@{apps}/configs", "talos@{apps}/apply-config/*"),
        "pod and service networks and pools of its own (row 15)",
    ),
    Box("8-9", "Verify cluster formation", ("talos@{apps}/etcd-bootstrap", "talos@{apps}/etcd", "talos@{apps}/api", "talos@{apps}/nodes", "network@{apps}/health")),
    Box("8-9", "Configure kubectl access (separate context)", ("talos@{apps}/talosconfig", "talos@{apps}/kubeconfig")),
    Box("10-11", "Deploy Cilium with different cluster ID (id: 2)", ("network@{apps}/cilium-ca", "network@{apps}/cilium", "network@{apps}/rollout")),
    Box("10-11", "Configure LB IPAM pools (different range)", ("network@{apps}/pools", "network@{apps}/pools-free")),
    Box("10-11", "Configure BGP peering with SRX320", ("network@{apps}/bgp", "network@{apps}/gateway", "network@{apps}/sessions-gateway")),
    Box("10-11", "Enable ClusterMesh", ("network@{apps}/cilium-ca", "mesh/ca", "mesh/apiservers"), "in Git, once Flux owns Cilium (rows 19, 20)"),
    Box("12-14", "Bootstrap Flux on apps cluster", ("gitops@{apps}/flux-bootstrap", "gitops@{apps}/layers", "gitops@{apps}/reconcile-test")),
    Box("12-14", "Connect ClusterMesh (infra ↔ apps)", ("mesh/connect",), "in Git, with an endpoint for every node (row 19)"),
    Box("12-14", "Verify cross-cluster connectivity", ("mesh/status-{infra}", "mesh/status-{apps}", "mesh/connectivity-test-{apps}"), "the data decides, not the exit code (rows 21, 22)"),
    Box("12-14", "Test global service", ("mesh/global-service-test",), "under cluster.local of the calling cluster (row 23)"),
)


def ids(box: Box, infra: str, apps: str) -> tuple[str, ...]:
    """What a box stands for on a site with these clusters."""
    return tuple(name.replace("{infra}", infra).replace("{apps}", apps) for name in box.stands_for)
