"""Workloads, nodes, volumes and garbage on the lab's own API server, in jumping time."""

from __future__ import annotations

from typing import Any

import pytest

from lab.ctl.behaviour import Behaviour, Exit
from lab.ctl.kubelet import Kubelet, Kubelets
from lab.ctl.objects import condition, condition_status
from lab.kube.port import KubeError
from tests.unit.ctl_ground import Ground, play, workload

DEPLOYMENTS, SETS, DAEMONS, STATEFUL = (
    f"apps/v1/{p}" for p in ("deployments", "replicasets", "daemonsets", "statefulsets")
)
JOBS, NODES, PODS, CLAIMS = "batch/v1/jobs", "v1/nodes", "v1/pods", "v1/persistentvolumeclaims"


def job(name: str, **spec: Any) -> dict[str, Any]:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work:1"}]}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": pod, **spec}}


def test_a_deployment_makes_pods_that_become_ready() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 3))
        await ground.clock.run(0.2)
        assert await ground.pods() == []  # controllers are late
        await ground.clock.run(15)
        found = await ground.get(DEPLOYMENTS, "web")
        status = found["status"]
        assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
        assert condition(found, "Progressing")["reason"] == "NewReplicaSetAvailable"  # type: ignore[index]
        assert {p["spec"]["nodeName"] for p in await ground.pods()} == {"n1", "n2"}
        assert await ground.events("web") == ["ScalingReplicaSet"]

    play(test)


def test_a_rollout_keeps_enough_pods_and_can_be_undone() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 4))
        await ground.clock.run(15)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}}}
        await ground.port.patch(DEPLOYMENTS, "web", image, "default")
        for _ in range(40):
            await ground.clock.run(0.5)
            ready = sum(condition_status(p, "Ready") == "True" for p in await ground.pods())
            assert ready >= 3
        assert {p["spec"]["containers"][0]["image"] for p in await ground.pods()} == {"app:2"}
        found = await ground.get(DEPLOYMENTS, "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
        image["spec"]["template"]["spec"]["containers"][0]["image"] = "app:1"
        await ground.port.patch(DEPLOYMENTS, "web", image, "default")
        await ground.clock.run(30)
        found = await ground.get(DEPLOYMENTS, "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        assert len((await ground.port.list(SETS, "default"))[0]) == 2

    play(test)


def test_a_rollout_that_is_stuck_says_so() -> None:
    async def test(ground: Ground) -> None:
        ground.hub.behaviours.register(Behaviour(image="broken", ready=lambda _: "connection refused"))
        made = workload("Deployment", "web", 1, progressDeadlineSeconds=60)
        made["spec"]["template"]["spec"]["containers"][0]["image"] = "broken:1"
        await ground.port.create(DEPLOYMENTS, made)
        await ground.clock.run(90)
        found = await ground.get(DEPLOYMENTS, "web")
        assert condition(found, "Progressing")["reason"] == "ProgressDeadlineExceeded"  # type: ignore[index]
        assert "Unhealthy" in await ground.events((await ground.pods())[0]["metadata"]["name"])

    play(test)


def test_deleting_a_deployment_takes_its_pods_along() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await ground.clock.run(15)
        await ground.port.delete(DEPLOYMENTS, "web", "default")
        await ground.clock.run(15)
        assert await ground.pods() == []
        assert (await ground.port.list(SETS, "default"))[0] == []

    play(test)


def test_a_foreground_deletion_waits_for_dependents() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 1))
        await ground.clock.run(15)
        await ground.port.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
        assert (await ground.get(DEPLOYMENTS, "web"))["metadata"]["finalizers"] == ["foregroundDeletion"]
        await ground.clock.run(20)
        assert await ground.port.get(DEPLOYMENTS, "web", "default") is None
        assert await ground.pods() == []

    play(test)


def test_an_orphaning_deletion_leaves_the_pods() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(SETS, workload("ReplicaSet", "web", 1))
        await ground.clock.run(15)
        await ground.port.delete(SETS, "web", "default", propagation="Orphan")
        await ground.clock.run(15)
        assert await ground.port.get(SETS, "web", "default") is None
        assert "ownerReferences" not in (await ground.pods())[0]["metadata"]

    play(test)


def test_a_daemon_set_runs_on_every_node_and_rolls() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DAEMONS, workload("DaemonSet", "agent", None))
        await ground.clock.run(15)
        status = (await ground.get(DAEMONS, "agent"))["status"]
        assert (status["desiredNumberScheduled"], status["numberReady"]) == (3, 3)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}}}
        await ground.port.patch(DAEMONS, "agent", image, "default")
        await ground.clock.run(40)
        assert {p["spec"]["containers"][0]["image"] for p in await ground.pods()} == {"app:2"}
        assert (await ground.get(DAEMONS, "agent"))["status"]["updatedNumberScheduled"] == 3

    play(test, nodes=3)


def test_a_stateful_set_goes_in_order_with_its_claims() -> None:
    async def test(ground: Ground) -> None:
        ground.provisioners.add("lab.example.com/disk")
        await ground.port.create(
            "storage.k8s.io/v1/storageclasses",
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "disk"},
                "provisioner": "lab.example.com/disk",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        )
        claim = {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "disk",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        made = workload("StatefulSet", "db", 2, serviceName="db", volumeClaimTemplates=[claim])
        await ground.port.create(STATEFUL, made)
        await ground.clock.run(30)
        assert sorted(p["metadata"]["name"] for p in await ground.pods()) == ["db-0", "db-1"]
        bound = await ground.get(CLAIMS, "data-db-1")
        assert bound["status"]["phase"] == "Bound"
        assert (await ground.get(STATEFUL, "db"))["status"]["readyReplicas"] == 2
        pods = {p["metadata"]["name"]: p for p in await ground.pods()}
        ready = condition(pods["db-0"], "Ready")
        assert ready is not None
        assert ready["lastTransitionTime"] <= pods["db-1"]["metadata"]["creationTimestamp"]

    play(test)


def test_a_claim_waits_for_a_provisioner_that_runs() -> None:
    async def test(ground: Ground) -> None:
        storage = {
            "metadata": {"name": "disk"},
            "provisioner": "late",
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
        }
        await ground.port.create("storage.k8s.io/v1/storageclasses", storage)
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "disk",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        made = {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
        await ground.port.create(CLAIMS, made)
        await ground.clock.run(10)
        assert (await ground.get(CLAIMS, "c"))["status"]["phase"] == "Pending"
        assert await ground.events("c") == ["ExternalProvisioning"]
        ground.provisioners.add("late")
        await ground.clock.run(10)
        assert (await ground.get(CLAIMS, "c"))["status"]["phase"] == "Bound"
        await ground.port.delete(CLAIMS, "c", "default")
        await ground.clock.run(10)
        assert (await ground.port.list("v1/persistentvolumes"))[0] == []

    play(test)


def test_jobs_end_well_or_badly() -> None:
    async def test(ground: Ground) -> None:
        ground.hub.behaviours.register(Behaviour(owner="Job/bad", exits=lambda _: Exit(1, 1.0, "no")))
        await ground.port.create(JOBS, job("good", completions=2))
        await ground.port.create(JOBS, job("bad", backoffLimit=1))
        await ground.clock.run(60)
        good, bad = await ground.get(JOBS, "good"), await ground.get(JOBS, "bad")
        assert (good["status"]["succeeded"], condition_status(good, "Complete")) == (2, "True")
        assert (bad["status"]["failed"], condition_status(bad, "Failed")) == (2, "True")
        assert condition(bad, "Failed")["reason"] == "BackoffLimitExceeded"  # type: ignore[index]
        assert (await ground.events("good"))[-1] == "Completed"

    play(test)


def test_a_finished_job_expires() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(JOBS, job("brief", ttlSecondsAfterFinished=30))
        await ground.clock.run(20)
        assert condition_status(await ground.get(JOBS, "brief"), "Complete") == "True"
        await ground.clock.run(60)
        assert await ground.port.get(JOBS, "brief", "default") is None

    play(test)


def test_a_cron_job_makes_jobs_on_time() -> None:
    async def test(ground: Ground) -> None:
        template = {"spec": job("x")["spec"]}
        cron = {
            "metadata": {"name": "tick", "namespace": "default"},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": template},
        }
        await ground.port.create("batch/v1/cronjobs", cron)
        await ground.clock.run(1600)
        jobs = (await ground.port.list(JOBS, "default"))[0]
        assert len(jobs) == 3  # successfulJobsHistoryLimit
        found = await ground.get("batch/v1/cronjobs", "tick")
        assert found["status"]["lastScheduleTime"] == "2026-01-05T08:25:00Z"

    play(test)


def test_without_a_cni_nodes_are_not_ready_and_pods_wait() -> None:
    async def test(ground: Ground) -> None:
        node = await ground.get(NODES, "n1")
        ready = condition(node, "Ready")
        assert ready is not None
        assert "cni plugin not initialized" in ready["message"]
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 1))
        hosted = workload("DaemonSet", "agent", None)
        hosted["spec"]["template"]["spec"] |= {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}
        await ground.port.create(DAEMONS, hosted)
        await ground.clock.run(20)
        (waiting,) = await ground.pods("app=web")
        scheduled = condition(waiting, "PodScheduled")
        assert scheduled is not None
        assert scheduled["message"].startswith(
            "0/2 nodes are available: 2 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
        )
        assert (await ground.get(DAEMONS, "agent"))["status"]["numberReady"] == 2
        for kubelet in ground.kubelets.values():
            kubelet.cni_ready = True
        await ground.clock.run(20)
        assert condition_status(await ground.get(NODES, "n1"), "Ready") == "True"
        assert (await ground.get(DEPLOYMENTS, "web"))["status"]["readyReplicas"] == 1

    play(test, cni_ready=False)


def test_a_machine_that_goes_away_is_noticed_and_returns() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DAEMONS, workload("DaemonSet", "agent", None))
        await ground.clock.run(15)
        before = (await ground.get(NODES, "n1"))["status"]["nodeInfo"]["bootID"]
        await ground.kubelets["n1"].stop()
        await ground.clock.run(45)
        assert condition_status(await ground.get(NODES, "n1"), "Ready") == "True"  # nobody has noticed yet
        await ground.clock.run(10)
        node = await ground.get(NODES, "n1")
        assert condition_status(node, "Ready") == "Unknown"
        assert {t["key"] for t in node["spec"]["taints"]} == {"node.kubernetes.io/unreachable"}
        lost = next(p for p in await ground.pods() if p["spec"]["nodeName"] == "n1")
        assert condition_status(lost, "Ready") == "False"
        await ground.kubelets["n1"].reboot()
        await ground.clock.run(15)
        node = await ground.get(NODES, "n1")
        assert (condition_status(node, "Ready"), "taints" in node["spec"]) == ("True", False)
        assert node["status"]["nodeInfo"]["bootID"] != before
        back = next(p for p in await ground.pods() if p["spec"]["nodeName"] == "n1")
        assert (condition_status(back, "Ready"), back["status"]["containerStatuses"][0]["restartCount"]) == ("True", 1)
        assert "Rebooted" in await ground.events("n1")

    play(test)


def test_a_kubelet_that_restarts_in_the_same_boot_takes_its_pods_up() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DAEMONS, workload("DaemonSet", "agent", None))
        await ground.clock.run(15)
        await ground.kubelets["n1"].stop()
        await ground.clock.run(5)
        await ground.kubelets["n1"].start()
        await ground.clock.run(15)
        assert {p["status"]["containerStatuses"][0]["restartCount"] for p in await ground.pods()} == {0}

    play(test)


def test_pods_of_a_lost_node_move_after_their_toleration() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await ground.clock.run(15)
        await ground.kubelets["n1"].stop()
        await ground.clock.run(200)
        assert {p["spec"]["nodeName"] for p in await ground.pods()} == {"n1", "n2"}
        await ground.clock.run(200)
        alive = [p for p in await ground.pods() if "deletionTimestamp" not in p["metadata"]]
        assert [p["spec"]["nodeName"] for p in alive] == ["n2", "n2"]

    play(test)


def test_a_service_has_the_ready_pods_as_endpoints() -> None:
    async def test(ground: Ground) -> None:
        service = {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }
        await ground.port.create("v1/services", service)
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await ground.clock.run(20)
        slices = (
            await ground.port.list("discovery.k8s.io/v1/endpointslices", "default", "kubernetes.io/service-name=web")
        )[0]
        assert [e["conditions"]["ready"] for e in slices[0]["endpoints"]] == [True, True]
        assert slices[0]["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
        assert len((await ground.get("v1/endpoints", "web"))["subsets"][0]["addresses"]) == 2

    play(test)


def test_a_namespace_gets_its_account_and_ends_empty() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create("v1/namespaces", {"metadata": {"name": "team"}})
        await ground.clock.run(3)
        assert (await ground.get("v1/configmaps", "kube-root-ca.crt", "team"))["data"] == {"ca.crt": "PEM"}
        await ground.get("v1/serviceaccounts", "default", "team")
        held = {"metadata": {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]}}
        await ground.port.create("v1/configmaps", held)
        await ground.port.delete("v1/namespaces", "team")
        await ground.clock.run(20)
        found = await ground.get("v1/namespaces", "team", "")
        assert condition_status(found, "NamespaceFinalizersRemaining") == "True"
        await ground.port.patch("v1/configmaps", "held", {"metadata": {"finalizers": None}}, "team")
        await ground.clock.run(10)
        assert await ground.port.get("v1/namespaces", "team") is None

    play(test)


def test_a_budget_stops_an_eviction() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}
        await ground.port.create(
            "policy/v1/poddisruptionbudgets", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
        )
        await ground.clock.run(20)
        status = (await ground.get("policy/v1/poddisruptionbudgets", "web"))["status"]
        assert (status["currentHealthy"], status["disruptionsAllowed"]) == (2, 0)
        name = (await ground.pods())[0]["metadata"]["name"]
        with pytest.raises(KubeError) as refused:
            await ground.port.create(
                PODS, {"metadata": {"name": name, "namespace": "default"}}, "default", subresource="eviction"
            )
        assert refused.value.status == 429

    play(test)


def test_a_crashing_container_backs_off() -> None:
    async def test(ground: Ground) -> None:
        ground.hub.behaviours.register(Behaviour(image="app", exits=lambda _: Exit(2, 1.0)))
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 1))
        await ground.clock.run(12)
        state = (await ground.pods())[0]["status"]["containerStatuses"][0]
        assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert state["lastState"]["terminated"]["exitCode"] == 2
        await ground.clock.run(60)
        assert (await ground.pods())[0]["status"]["containerStatuses"][0]["restartCount"] >= 2

    play(test)


def test_a_missing_secret_holds_a_pod() -> None:
    async def test(ground: Ground) -> None:
        made = workload("Deployment", "web", 1)
        made["spec"]["template"]["spec"]["volumes"] = [{"name": "s", "secret": {"secretName": "later"}}]
        await ground.port.create(DEPLOYMENTS, made)
        await ground.clock.run(15)
        (pod,) = await ground.pods()
        assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        assert "FailedMount" in await ground.events(pod["metadata"]["name"])
        await ground.port.create("v1/secrets", {"metadata": {"name": "later", "namespace": "default"}})
        await ground.clock.run(40)
        assert condition_status((await ground.pods())[0], "Ready") == "True"

    play(test)


def test_static_pods_have_mirrors() -> None:
    async def test(ground: Ground) -> None:
        static = {
            "metadata": {"name": "kube-apiserver", "namespace": "kube-system", "labels": {"k8s-app": "kube-apiserver"}},
            "spec": {
                "hostNetwork": True,
                "containers": [{"name": "kube-apiserver", "image": "kube-apiserver:v1.33.13"}],
            },
        }
        ground.kubelets["n1"].static_pods.append(static)
        ground.hub.touch("n1")
        await ground.clock.run(10)
        mirror = await ground.get(PODS, "kube-apiserver-n1", "kube-system")
        assert condition_status(mirror, "Ready") == "True"
        assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"

    play(test)


def test_an_idle_cluster_has_no_timer_but_leases() -> None:
    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await ground.clock.run(30)
        assert all(controller.idle for controller in (*ground.controllers, ground.hub))
        version = ground.api.store.version
        await ground.clock.run(25)
        assert ground.api.store.version - version <= 4  # two leases, renewed once or twice

    play(test)


def test_controllers_take_up_where_others_stopped() -> None:
    async def test(ground: Ground) -> None:
        for controller in reversed(ground.controllers):
            await controller.stop()
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await ground.clock.run(20)
        assert await ground.pods() == []
        for controller in ground.controllers:
            await controller.start()
        await ground.clock.run(20)
        assert (await ground.get(DEPLOYMENTS, "web"))["status"]["readyReplicas"] == 2

    play(test)


def test_another_life_of_the_kubelets_gives_no_address_twice() -> None:
    """As after a resume: the pods are there, and the one who gave them their addresses is not."""

    async def test(ground: Ground) -> None:
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "web", 3))
        await ground.clock.run(20)
        await ground.hub.stop()
        ground.hub = Kubelets(ground.api.local("kubelet"), ground.clock, ground.informers)
        for name, kubelet in list(ground.kubelets.items()):
            again = Kubelet(ground.port, ground.clock, kubelet.spec, kubelets=ground.hub, cni_ready=True)
            ground.kubelets[name] = again
            await again.start()
        await ground.clock.run(5)
        await ground.port.create(DEPLOYMENTS, workload("Deployment", "more", 3))
        await ground.clock.run(20)
        addresses = [p["status"]["podIP"] for p in await ground.pods()]
        assert len(addresses) == len(set(addresses)) == 6

    play(test)
