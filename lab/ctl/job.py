"""Jobs and CronJobs. Sources: k8s.io/kubernetes/pkg/controller/{job,cronjob}, 1.33."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from lab.ctl.base import Controller, Keys, key_of, split_key
from lab.ctl.objects import (
    Object,
    ReadOnly,
    condition_status,
    controller_of,
    deleting,
    moment_of,
    owner_reference,
    pod_finished,
    pod_from_template,
    pod_ready,
    seconds_since,
    stamp,
)
from lab.ctl.replicaset import create_pod, delete_pod, post_status
from lab.kube.plain import clone
from lab.kube.port import KubeError

JOBS, CRONJOBS, PODS = "batch/v1/jobs", "batch/v1/cronjobs", "v1/pods"
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
FAILURE_BACKOFF = 10.0  # simulated seconds before a failed pod is replaced, doubled each time
TOO_FAR = 366 * 24 * 60  # minutes that a search for the next time of a schedule looks ahead


class Jobs(Controller):
    """Keys are "namespace/name" of Jobs."""

    name: ClassVar[str] = "job"
    component: ClassVar[str] = "job-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {JOBS: lambda obj: (key_of(obj),), PODS: _of_pod}

    async def reconcile(self, key: str) -> float | None:
        job = self.informers.of(JOBS).get(key)
        if job is None or deleting(job):
            return None
        if finished(job):
            return await self._expire(job)
        pods = self.informers.of(PODS).find("owner", job["metadata"]["uid"])
        succeeded = [p for p in pods if p.get("status", {}).get("phase") == "Succeeded"]
        failed = [p for p in pods if p.get("status", {}).get("phase") == "Failed"]
        active = [p for p in pods if not pod_finished(p) and not deleting(p)]
        if job["spec"].get("suspend"):
            await self._suspend(job, active)
            return None
        end = self._end(job, succeeded, failed, active)
        if end is not None:
            await self._finish(job, end, succeeded, failed, active)
            return 0.5
        wait = await self._scale(job, succeeded, failed, active)
        active = [
            p
            for p in self.informers.of(PODS).find("owner", job["metadata"]["uid"])
            if not pod_finished(p) and not deleting(p)
        ]
        await self._post(job, succeeded, failed, active, [])
        deadline = job["spec"].get("activeDeadlineSeconds")
        started = job.get("status", {}).get("startTime")
        if deadline is not None and started:
            left = deadline - seconds_since(self.clock, started) + 0.1
            wait = left if wait is None else min(left, wait)
        return max(wait, 0.1) if wait is not None else None

    def _end(
        self, job: ReadOnly, succeeded: Sequence[ReadOnly], failed: Sequence[ReadOnly], active: Sequence[ReadOnly]
    ) -> tuple[str, str, str] | None:
        """("Complete" | "Failed", reason, message) once it is decided."""
        spec = job["spec"]
        restarts = sum(
            s.get("restartCount", 0)
            for p in active
            if p["spec"].get("restartPolicy") == "OnFailure"
            for s in p.get("status", {}).get("containerStatuses") or ()
        )
        limit = spec.get("backoffLimit", 6)
        if len(failed) > limit or (restarts and restarts >= limit):
            return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline, started = spec.get("activeDeadlineSeconds"), job.get("status", {}).get("startTime")
        if deadline is not None and started and seconds_since(self.clock, started) >= deadline:
            return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
        completions = spec.get("completions")
        if completions is None and succeeded and not active:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        if completions is not None and len(succeeded) >= completions:
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
        return None

    async def _scale(
        self, job: Object, succeeded: Sequence[Object], failed: Sequence[Object], active: Sequence[Object]
    ) -> float | None:
        """Make pods that are wanted now; answers when the backoff of a failed one ends."""
        spec = job["spec"]
        parallelism = spec.get("parallelism", 1)
        completions = spec.get("completions")
        wanted = parallelism if completions is None else min(parallelism, completions - len(succeeded))
        if completions is None and succeeded:
            wanted = len(active)  # a work queue ends with its first success
        for pod in active[wanted:]:
            await delete_pod(self, job, pod)
        missing = wanted - len(active)
        if missing > 0 and failed:
            wait = FAILURE_BACKOFF * 2.0 ** min(len(failed) - 1, 5) - min(
                seconds_since(self.clock, _ended(pod)) for pod in failed
            )
            if wait > 0:
                return wait
        taken = {p["metadata"].get("annotations", {}).get(INDEX) for p in (*succeeded, *active)}
        free = iter([str(i) for i in range(completions or 0) if str(i) not in taken])
        for _ in range(missing):
            if await create_pod(self, job, new_pod(job, next(free, "") if _indexed(job) else None)):
                return FAILURE_BACKOFF
        return None

    async def _suspend(self, job: Object, active: Sequence[Object]) -> None:
        for pod in active:
            await delete_pod(self, job, pod)
        if condition_status(job, "Suspended") != "True":
            self.events.emit(job, "Suspended", "Job suspended")
            new = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}
            await self._post(job, [], [], [], [new])

    async def _finish(
        self,
        job: Object,
        end: tuple[str, str, str],
        succeeded: Sequence[Object],
        failed: Sequence[Object],
        active: Sequence[Object],
    ) -> None:
        kind, reason, message = end
        first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for pod in active:
            await delete_pod(self, job, pod)
        facts = {"status": "True", "reason": reason, "message": message}
        if condition_status(job, first) != "True":
            await self._post(job, succeeded, failed, active, [{"type": first, **facts}])
            return
        if active:
            return
        await self._post(job, succeeded, failed, [], [{"type": kind, **facts}])
        if kind == "Complete":
            self.events.emit(job, "Completed", "Job completed")
        else:
            self.events.emit(job, reason, message, "Warning")

    async def _post(
        self,
        job: Object,
        succeeded: Sequence[Object],
        failed: Sequence[Object],
        active: Sequence[Object],
        news: Sequence[Object],
    ) -> None:
        now = stamp(self.clock.now())
        old = job.get("status", {})
        conditions = [c for c in old.get("conditions") or () if c["type"] != "Suspended" or job["spec"].get("suspend")]
        conditions += [{"lastProbeTime": now, "lastTransitionTime": now, **new} for new in news]
        status: Object = {
            "startTime": old.get("startTime") or (None if job["spec"].get("suspend") else now),
            "active": len(active) or None,
            "ready": sum(map(pod_ready, active)),
            "terminating": 0,
            "succeeded": len(succeeded) or None,
            "failed": len(failed) or None,
            "uncountedTerminatedPods": {},
            "conditions": conditions or None,
        }
        if any(new["type"] == "Complete" for new in news):
            status["completionTime"] = now
        await post_status(self, JOBS, job, status)

    async def _expire(self, job: Object) -> float | None:
        """The TTL of a finished Job."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ended = next(
            c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed")
        )
        left: float = ttl - seconds_since(self.clock, ended)
        if left > 0:
            return left + 0.1
        namespace, name = split_key(key_of(job))
        await self.port.delete(JOBS, name, namespace)
        return None


INDEX = "batch.kubernetes.io/job-completion-index"


def _indexed(job: ReadOnly) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def new_pod(job: ReadOnly, index: str | None) -> Object:
    """A pod of the Job; an Indexed one carries its index."""
    pod = pod_from_template(job["spec"]["template"], job)
    name = job["metadata"]["name"]
    pod["metadata"]["generateName"] = f"{name}-" if index is None else f"{name}-{index}-"
    if index is not None:
        pod["metadata"].setdefault("annotations", {})[INDEX] = index
        pod["metadata"]["labels"][INDEX] = index
        for container in pod["spec"]["containers"]:
            container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": index})
    return pod


def finished(job: ReadOnly) -> bool:
    """Complete or Failed."""
    return any(condition_status(job, kind) == "True" for kind in ("Complete", "Failed"))


def _ended(pod: ReadOnly) -> str:
    """When a failed pod ended."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        end = status.get("state", {}).get("terminated", {}).get("finishedAt")
        if end:
            return str(end)
    return str(pod["metadata"]["creationTimestamp"])


def _of_pod(pod: Object) -> Iterable[str]:
    owner = controller_of(pod)
    if owner is None or owner["kind"] != "Job":
        return ()
    return (f"{pod['metadata']['namespace']}/{owner['name']}",)


class CronJobs(Controller):
    """Keys are "namespace/name" of CronJobs."""

    name: ClassVar[str] = "cronjob"
    component: ClassVar[str] = "cronjob-controller"

    def watches(self) -> Mapping[str, Keys]:
        return {CRONJOBS: lambda obj: (key_of(obj),), JOBS: _of_job}

    async def reconcile(self, key: str) -> float | None:
        cron = self.informers.of(CRONJOBS).get(key)
        if cron is None or deleting(cron):
            return None
        jobs = self.informers.of(JOBS).find("owner", cron["metadata"]["uid"])
        await self._prune(cron, jobs)
        active = [job for job in jobs if not finished(job)]
        last = cron.get("status", {}).get("lastScheduleTime")
        status: Object = {"active": [_reference(job) for job in active] or None}
        done = [job["status"]["completionTime"] for job in jobs if job.get("status", {}).get("completionTime")]
        if done:
            status["lastSuccessfulTime"] = max([*done, cron.get("status", {}).get("lastSuccessfulTime") or ""])
        if cron["spec"].get("suspend"):
            await post_status(self, CRONJOBS, cron, status)
            return None
        now = self.clock.now()
        zone = ZoneInfo(cron["spec"].get("timeZone") or "UTC")
        due = latest(cron["spec"]["schedule"], moment_of(last or cron["metadata"]["creationTimestamp"]), now, zone)
        if due is not None:
            made = await self._run(cron, active, due)
            if made is not None:
                status["active"] = [_reference(job) for job in (*active, made)]
                status["lastScheduleTime"] = stamp(due)
        await post_status(self, CRONJOBS, cron, status)
        following = next_time(cron["spec"]["schedule"], now, zone)
        return (following - now).total_seconds() + 0.1 if following else None

    async def _run(self, cron: Object, active: Sequence[Object], due: datetime) -> Object | None:
        limit = cron["spec"].get("startingDeadlineSeconds")
        if limit is not None and (self.clock.now() - due).total_seconds() > limit:
            text = f"Missed scheduled time to start a job: {due:%a, %d %b %Y %H:%M:%S} +0000"
            self.events.emit(cron, "MissSchedule", text, "Warning")
            return None
        policy = cron["spec"].get("concurrencyPolicy", "Allow")
        if active and policy == "Forbid":
            self.events.emit(
                cron,
                "JobAlreadyActive",
                "Not starting job because prior execution is running and concurrency policy is Forbid",
            )
            return None
        for job in active if policy == "Replace" else ():
            namespace, name = split_key(key_of(job))
            await self.port.delete(JOBS, name, namespace)
            self.events.emit(cron, "SuccessfulDelete", f"Deleted job {name}")
        template = clone(cron["spec"]["jobTemplate"])
        meta = template.get("metadata") or {}
        namespace = cron["metadata"]["namespace"]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"{cron['metadata']['name']}-{int(due.timestamp()) // 60}",
                "namespace": namespace,
                "labels": meta.get("labels") or {},
                "annotations": {**(meta.get("annotations") or {}), SCHEDULED_AT: stamp(due)},
                "ownerReferences": [owner_reference(cron)],
            },
            "spec": template["spec"],
        }
        try:
            made = await self.port.create(JOBS, job, namespace)
        except KubeError as error:
            if error.status != 409:
                self.events.emit(cron, "FailedCreate", f"Error creating job: {error.message}", "Warning")
                raise
            return None
        self.informers.of(JOBS).note(made)
        self.events.emit(cron, "SuccessfulCreate", f"Created job {made['metadata']['name']}")
        return made

    async def _prune(self, cron: Object, jobs: Sequence[Object]) -> None:
        for kind, key, default in (
            ("Complete", "successfulJobsHistoryLimit", 3),
            ("Failed", "failedJobsHistoryLimit", 1),
        ):
            done = [job for job in jobs if condition_status(job, kind) == "True" and not deleting(job)]
            done.sort(key=lambda job: str(job.get("status", {}).get("startTime")))
            for job in done[: max(len(done) - cron["spec"].get(key, default), 0)]:
                namespace, name = split_key(key_of(job))
                await self.port.delete(JOBS, name, namespace)
                self.events.emit(cron, "SuccessfulDelete", f"Deleted job {name}")


def _of_job(job: Object) -> Iterable[str]:
    owner = controller_of(job)
    if owner is None or owner["kind"] != "CronJob":
        return ()
    return (f"{job['metadata']['namespace']}/{owner['name']}",)


def _reference(job: ReadOnly) -> Object:
    meta = job["metadata"]
    return {
        "kind": "Job",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": "batch/v1",
        "resourceVersion": meta["resourceVersion"],
    }


# -------------------------------------------------------------------------------------------------------- schedules

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
NAMES = {
    name: str(place)
    for names, first in (("sun mon tue wed thu fri sat", 0), ("jan feb mar apr may jun jul aug sep oct nov dec", 1))
    for place, name in enumerate(names.split(), first)
}
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def fields_of(schedule: str) -> tuple[frozenset[int], ...]:
    """The five sets of a cron expression. Raises ValueError."""
    parts = SHORTHANDS.get(schedule, schedule).split()
    if len(parts) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: {schedule}")
    sets = [_field(part, *limits) for part, limits in zip(parts, RANGES, strict=True)]
    sets[4] = frozenset(day % 7 for day in sets[4])
    return tuple(sets)


def _field(text: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = int(NAMES.get(first, first))
            end = int(NAMES.get(last, last)) if last else (high if step else begin)
        found.update(range(begin, end + 1, int(step or 1)))
    if not found <= set(range(low, high + 1)):
        raise ValueError(f"value out of range: {text}")
    return frozenset(found)


def next_time(schedule: str, moment: datetime, zone: ZoneInfo) -> datetime | None:
    """The first time of a schedule after `moment`, whole days skipped at once; None within a year and a day."""
    minutes, hours, days, months, weekdays = fields_of(schedule)
    parts = SHORTHANDS.get(schedule, schedule).split()
    either = parts[2] not in ("*", "?") and parts[4] not in ("*", "?")
    at = moment.astimezone(zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = at + timedelta(minutes=TOO_FAR)
    while at < end:
        weekday = at.isoweekday() % 7
        by_day, by_weekday = at.day in days, weekday in weekdays
        if at.month not in months or not ((by_day or by_weekday) if either else (by_day and by_weekday)):
            at = at.replace(hour=0, minute=0) + timedelta(days=1)
        elif at.hour not in hours:
            at = at.replace(minute=0) + timedelta(hours=1)
        elif at.minute not in minutes:
            at += timedelta(minutes=1)
        else:
            return at.astimezone(moment.tzinfo)
    return None


def latest(schedule: str, since: datetime, now: datetime, zone: ZoneInfo) -> datetime | None:
    """The last time of a schedule in (since, now], or None. Looks back a day at most, as only the last one is run."""
    due = None
    at = next_time(schedule, max(since, now - timedelta(days=1)), zone)
    if at is None or at > now:
        at = next_time(schedule, since, zone)
    while at is not None and at <= now:
        due, at = at, next_time(schedule, at, zone)
    return due
