"""Defaults of built-in kinds that are set by code, in place on objects in printed form.

Source: k8s.io/kubernetes/pkg/apis/*/v1/defaults.go (v1.33, default feature gates).
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

from lab.kube import quantity
from lab.kube.schema import crd

Json = dict[str, Any]
Default = Callable[[Json], None]
TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"
RBAC: Final = "rbac.authorization.k8s.io"


# --------------------------------------------------------------------------------------------------------------- pods
def tag_of(image: str) -> str:
    """The tag of an image, "latest" where it names neither tag nor digest. Source: pkg/util/parsers."""
    name, at, _ = image.partition("@")
    last = name.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    return tag if colon else "" if at else "latest"


def containers_of(spec: Json) -> Iterator[Json]:
    """All containers of a pod spec."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def pod_spec(spec: Json) -> None:
    """What pods and their templates share."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("schedulerName", "default-scheduler")
    for container in containers_of(spec):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)
    if spec.get("overhead"):
        _round_up(spec["overhead"])


def _container(container: Json) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if tag_of(container.get("image", "")) == "latest" else "IfNotPresent"
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if source.get("fieldRef") is not None:
            source["fieldRef"].setdefault("apiVersion", "v1")
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(key) is not None:
            _probe(container[key])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and handler.get("httpGet") is not None:
            _http_get(handler["httpGet"])
    for amounts in (container.get("resources") or {}).values():
        if isinstance(amounts, dict):
            _round_up(amounts)


def _round_up(amounts: Json) -> None:
    for name, amount in amounts.items():
        if isinstance(amount, str) and amount[-1:] in "nu":
            amounts[name] = quantity.render(quantity.value_of(f"{quantity.milli(amount)}m"))


def _probe(probe: Json) -> None:
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(key):
            probe[key] = value
    if probe.get("httpGet") is not None:
        _http_get(probe["httpGet"])
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


def _http_get(action: Json) -> None:
    action["path"] = action.get("path") or "/"
    action["scheme"] = action.get("scheme") or "HTTP"


def _volume(volume: Json) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for key in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(key) is not None and volume[key].get("defaultMode") is None:
            volume[key]["defaultMode"] = 420
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _field_ref(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _field_ref(item)
        token = source.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
    if volume.get("hostPath") is not None and volume["hostPath"].get("type") is None:
        volume["hostPath"]["type"] = ""
    _remote_volume(volume)
    if volume.get("ephemeral") is not None:
        claim = (volume["ephemeral"].get("volumeClaimTemplate") or {}).get("spec")
        if claim is not None:
            _claim_spec(claim)


def _field_ref(item: Json) -> None:
    if item.get("fieldRef") is not None:
        item["fieldRef"].setdefault("apiVersion", "v1")


def _remote_volume(volume: Json) -> None:
    """Defaults of sources that a node mounts from elsewhere; those of persistent volumes too."""
    iscsi = volume.get("iscsi")
    if iscsi is not None:
        iscsi.setdefault("iscsiInterface", "default")
    rbd = volume.get("rbd")
    if rbd is not None:
        for key, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
            rbd.setdefault(key, value)
    azure = volume.get("azureDisk")
    if azure is not None:
        for key, other in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
            if azure.get(key) is None:
                azure[key] = other
    scale_io = volume.get("scaleIO")
    if scale_io is not None:
        scale_io.setdefault("storageMode", "ThinProvisioned")
        scale_io.setdefault("fsType", "xfs")


def pod(obj: Json) -> None:
    """A pod."""
    spec, status = obj["spec"], obj["status"]
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    pod_spec(spec)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        resources = container.get("resources") or {}
        if resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for name, amount in resources["limits"].items():
                requests.setdefault(name, amount)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            for port in container.get("ports") or ():
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


def _template(holder: Json) -> None:
    template = holder.get("template")
    if template is not None:
        pod_spec(template["spec"])


# ----------------------------------------------------------------------------------------------------------- workloads
def _set(holder: Json, **values: Any) -> None:
    for key, value in values.items():
        if holder.get(key) is None:
            holder[key] = value


def deployment(obj: Json) -> None:
    """apps/v1 Deployment."""
    spec = obj["spec"]
    _template(spec)
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")


def daemon_set(obj: Json) -> None:
    """apps/v1 DaemonSet."""
    spec = obj["spec"]
    notes = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = {TEMPLATE_GENERATION: "0"} | notes
    _template(spec)
    _set(spec, revisionHistoryLimit=10)
    strategy = spec["updateStrategy"]
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _set(strategy, rollingUpdate={})
        _set(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)


def stateful_set(obj: Json) -> None:
    """apps/v1 StatefulSet."""
    spec = obj["spec"]
    _template(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        persistent_volume_claim(claim)
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        _set(strategy, rollingUpdate={})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        _set(strategy["rollingUpdate"], partition=0)
    _set(spec, persistentVolumeClaimRetentionPolicy={}, replicas=1, revisionHistoryLimit=10)
    for key in ("whenDeleted", "whenScaled"):
        policy = spec["persistentVolumeClaimRetentionPolicy"]
        policy[key] = policy.get(key) or "Retain"


def replica_set(obj: Json) -> None:
    """apps/v1 ReplicaSet."""
    _template(obj["spec"])
    _set(obj["spec"], replicas=1)


def replication_controller(obj: Json) -> None:
    """v1 ReplicationController."""
    spec = obj["spec"]
    _template(spec)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)
    _set(spec, replicas=1)


def _job_spec(spec: Json) -> None:
    _template(spec)


def job(obj: Json) -> None:
    """batch/v1 Job."""
    spec = obj["spec"]
    _job_spec(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(spec, parallelism=1)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = labels  # one map, as in Go: what is added to the template's is added here too
    _set(spec, completionMode="NonIndexed", suspend=False, manualSelector=False)
    policy = spec.get("podFailurePolicy")
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"
    _set(spec, podReplacementPolicy="Failed" if policy is not None else "TerminatingOrFailed")


def cron_job(obj: Json) -> None:
    """batch/v1 CronJob."""
    spec = obj["spec"]
    _job_spec(spec["jobTemplate"]["spec"])
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    _set(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)


UP: Final = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
DOWN: Final = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def autoscaler(obj: Json) -> None:
    """autoscaling/v1 and v2 HorizontalPodAutoscaler."""
    spec = obj["spec"]
    _set(spec, minReplicas=1)
    if obj.get("apiVersion") != "autoscaling/v2":
        return
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = copy.deepcopy(UP) | (behavior.get("scaleUp") or {})
        behavior["scaleDown"] = copy.deepcopy(DOWN) | (behavior.get("scaleDown") or {})


# ------------------------------------------------------------------------------------------------------ core, the rest
def service(obj: Json) -> None:
    """v1 Service."""
    spec = obj["spec"]
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    spec["type"] = sort = spec.get("type") or "ClusterIP"
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (0, "", None):
            port["targetPort"] = port.get("port", 0)
    reachable = sort in ("LoadBalancer", "NodePort") or (sort == "ClusterIP" and spec.get("externalIPs"))
    if reachable and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and sort in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec["internalTrafficPolicy"] = "Cluster"
    if sort == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def secret(obj: Json) -> None:
    """v1 Secret; what came as text goes to the data."""
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj["data"] = {**(obj.get("data") or {}), key: base64.b64encode(value.encode()).decode()}
    obj["type"] = obj.get("type") or "Opaque"


def namespace(obj: Json) -> None:
    """v1 Namespace."""
    name = obj["metadata"].get("name")
    if name:
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": name}
    obj["status"]["phase"] = obj["status"].get("phase") or "Active"


def node(obj: Json) -> None:
    """v1 Node; podCIDR is the first of podCIDRs."""
    spec, status = obj["spec"], obj["status"]
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = dict(status["capacity"])
    for key in ("capacity", "allocatable"):
        if status.get(key):
            _round_up(status[key])


def persistent_volume(obj: Json) -> None:
    """v1 PersistentVolume."""
    spec = obj["spec"]
    obj["status"]["phase"] = obj["status"].get("phase") or "Pending"
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    _set(spec, volumeMode="Filesystem")
    if spec.get("hostPath") is not None and spec["hostPath"].get("type") is None:
        spec["hostPath"]["type"] = ""
    _remote_volume(spec)


def _claim_spec(spec: Json) -> None:
    _set(spec, volumeMode="Filesystem")


def persistent_volume_claim(obj: Json) -> None:
    """v1 PersistentVolumeClaim."""
    _claim_spec(obj["spec"])
    obj["status"]["phase"] = obj["status"].get("phase") or "Pending"


def endpoints(obj: Json) -> None:
    """v1 Endpoints."""
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def limit_range(obj: Json) -> None:
    """v1 LimitRange."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") == "Container":
            default, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
            for source, target in (
                (item.get("max") or {}, default),
                (default, request),
                (item.get("min") or {}, request),
            ):
                for name, amount in source.items():
                    target.setdefault(name, amount)
            for key, value in (("default", default), ("defaultRequest", request)):
                if value:
                    item[key] = value


# ------------------------------------------------------------------------------------------------------- other groups
def network_policy(obj: Json) -> None:
    """networking.k8s.io/v1 NetworkPolicy."""
    spec = obj["spec"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            _set(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def ingress_class(obj: Json) -> None:
    """networking.k8s.io/v1 IngressClass."""
    parameters = obj["spec"].get("parameters")
    if parameters is not None:
        _set(parameters, scope="Cluster")


def binding(obj: Json) -> None:
    """RoleBinding and ClusterRoleBinding."""
    reference = obj["roleRef"]
    reference["apiGroup"] = reference.get("apiGroup") or RBAC
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = RBAC


def storage_class(obj: Json) -> None:
    """storage.k8s.io/v1 StorageClass."""
    _set(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def csi_driver(obj: Json) -> None:
    """storage.k8s.io/v1 CSIDriver."""
    spec = obj["spec"]
    _set(
        spec,
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        requiresRepublish=False,
        seLinuxMount=False,
    )
    _set(spec, fsGroupPolicy="ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def priority_class(obj: Json) -> None:
    """scheduling.k8s.io/v1 PriorityClass."""
    _set(obj, preemptionPolicy="PreemptLowerPriority")


def endpoint_slice(obj: Json) -> None:
    """discovery.k8s.io/v1 EndpointSlice."""
    for port in obj.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _webhook(webhook: Json) -> None:
    _set(webhook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
    if webhook.get("namespaceSelector") is None:
        webhook["namespaceSelector"] = {}
    if webhook.get("objectSelector") is None:
        webhook["objectSelector"] = {}
    service_reference = (webhook.get("clientConfig") or {}).get("service")
    if service_reference is not None:
        _set(service_reference, port=443)
    for rule in webhook.get("rules") or ():
        _set(rule, scope="*")


def validating_webhooks(obj: Json) -> None:
    """ValidatingWebhookConfiguration."""
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)


def mutating_webhooks(obj: Json) -> None:
    """MutatingWebhookConfiguration."""
    for webhook in obj.get("webhooks") or ():
        _webhook(webhook)
        _set(webhook, reinvocationPolicy="Never")


def _match_resources(found: Json) -> None:
    _set(found, matchPolicy="Equivalent")
    for key in ("namespaceSelector", "objectSelector"):
        if found.get(key) is None:
            found[key] = {}
    for rule in (*(found.get("resourceRules") or ()), *(found.get("excludeResourceRules") or ())):
        _set(rule, scope="*")


def admission_policy(obj: Json) -> None:
    """ValidatingAdmissionPolicy."""
    spec = obj["spec"]
    _set(spec, failurePolicy="Fail")
    if spec.get("matchConstraints") is not None:
        _match_resources(spec["matchConstraints"])


def admission_binding(obj: Json) -> None:
    """ValidatingAdmissionPolicyBinding."""
    if (obj.get("spec") or {}).get("matchResources") is not None:
        _match_resources(obj["spec"]["matchResources"])


def flow_schema(obj: Json) -> None:
    """flowcontrol FlowSchema."""
    spec = obj["spec"]
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or 1000


def priority_level(obj: Json) -> None:
    """flowcontrol PriorityLevelConfiguration."""
    spec = obj["spec"]
    if spec.get("exempt") is not None:
        _set(spec["exempt"], nominalConcurrencyShares=0, lendablePercent=0)
    if spec.get("limited") is not None:
        _set(spec["limited"], nominalConcurrencyShares=30, lendablePercent=0)
        queuing = (spec["limited"].get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            for key, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
                queuing[key] = queuing.get(key) or value


def _pod_template(obj: Json) -> None:
    _template(obj)


BY_RESOURCE: Final[dict[tuple[str, str], Default]] = {
    ("", "pods"): pod,
    ("", "podtemplates"): _pod_template,
    ("", "services"): service,
    ("", "secrets"): secret,
    ("", "namespaces"): namespace,
    ("", "nodes"): node,
    ("", "persistentvolumes"): persistent_volume,
    ("", "persistentvolumeclaims"): persistent_volume_claim,
    ("", "endpoints"): endpoints,
    ("", "limitranges"): limit_range,
    ("", "replicationcontrollers"): replication_controller,
    ("apps", "deployments"): deployment,
    ("apps", "daemonsets"): daemon_set,
    ("apps", "statefulsets"): stateful_set,
    ("apps", "replicasets"): replica_set,
    ("batch", "jobs"): job,
    ("batch", "cronjobs"): cron_job,
    ("autoscaling", "horizontalpodautoscalers"): autoscaler,
    ("networking.k8s.io", "networkpolicies"): network_policy,
    ("networking.k8s.io", "ingressclasses"): ingress_class,
    (RBAC, "rolebindings"): binding,
    (RBAC, "clusterrolebindings"): binding,
    ("storage.k8s.io", "storageclasses"): storage_class,
    ("storage.k8s.io", "csidrivers"): csi_driver,
    ("scheduling.k8s.io", "priorityclasses"): priority_class,
    ("discovery.k8s.io", "endpointslices"): endpoint_slice,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): validating_webhooks,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): mutating_webhooks,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): admission_policy,
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): admission_binding,
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): flow_schema,
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): priority_level,
    ("apiextensions.k8s.io", "customresourcedefinitions"): crd.default,
}
