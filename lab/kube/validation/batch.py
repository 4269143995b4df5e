"""Jobs and cron jobs. Source: k8s.io/kubernetes/pkg/apis/batch/validation validation.go (v1.33)."""

from __future__ import annotations

import re
import zoneinfo
from typing import Any, Final

from lab.kube import errors, names
from lab.kube.errors import Raw
from lab.kube.plain import clone
from lab.kube.validation import common, pods, workloads
from lab.kube.validation.common import STRUCT, Errors, each

Json = dict[str, Any]
INDEXED_ONLY: Final = "requires indexed completion mode"
UID_LABELS: Final = ("controller-uid", "batch.kubernetes.io/controller-uid")
NAME_LABELS: Final = ("job-name", "batch.kubernetes.io/job-name")


def prepare_job(new: Json, old: Json | None) -> None:
    """Generate the selector and the labels of the template. Source: registry/batch/job/strategy.go generateSelector."""
    spec = new["spec"]
    if old is not None or spec.get("manualSelector"):
        return
    template = spec.setdefault("template", {})
    inner = template.setdefault("metadata", {})
    labels = inner.get("labels") or {}
    name, uid = new["metadata"].get("name", ""), new["metadata"].get("uid", "")
    for key, value in ((UID_LABELS, uid), (NAME_LABELS, name)):
        for label in key:
            labels.setdefault(label, value)
    inner["labels"] = labels
    selector = spec.get("selector") or {}
    chosen = selector.get("matchLabels") or {}
    chosen.setdefault("batch.kubernetes.io/controller-uid", uid)
    selector["matchLabels"] = chosen
    spec["selector"] = selector


def job(new: Json, old: Json | None) -> Errors:
    """Creation and update."""
    spec = new["spec"]
    if old is not None:
        return _spec_with_selector(spec, "spec") + _job_update(spec, old["spec"])
    result = _generated(new) + _spec_with_selector(spec, "spec")
    if spec.get("completionMode") == "Indexed" and (spec.get("completions") or 0) > 0:
        name = new["metadata"].get("name", "")
        last = f"{name}-{spec['completions'] - 1}"
        if names.dns1123_label(last):
            text = f"will not able to create pod with invalid DNS label: {last}"
            result.append(errors.wrong("metadata.name", name, text))
    return result


def _generated(new: Json) -> Errors:
    spec, meta_ = new["spec"], new["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    wanted: list[tuple[str, str]] = []
    for place in (0, 1):
        wanted += [(UID_LABELS[place], meta_.get("uid", "")), (NAME_LABELS[place], meta_.get("name", ""))]
    result: Errors = []
    here = "spec.template.metadata.labels"
    for key, value in wanted:
        if key not in labels:
            result.append(errors.required(f"{here}[{key}]", f"must be '{value}'"))
        elif labels[key] != value:
            result.append(errors.wrong(f"{here}[{key}]", workloads.go_labels(labels), f"must be '{value}'"))
    if workloads.matches(spec["selector"], dict(wanted)) is False:
        result.append(errors.wrong("spec.selector", STRUCT, "`selector` not auto-generated"))
    return result


def _spec_with_selector(spec: Json, field: str) -> Errors:
    result = _job_spec(spec, field)
    selector = spec.get("selector")
    if selector is None:
        result.append(errors.required(f"{field}.selector"))
    else:
        result += common.selector(selector, f"{field}.selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if workloads.matches(selector, labels) is False:
        here = f"{field}.template.metadata.labels"
        result.append(errors.wrong(here, workloads.go_labels(labels), workloads.MISMATCH))
    return result


def _job_spec(spec: Json, field: str) -> Errors:
    """Source: validateJobSpec."""
    result: Errors = []
    for key in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ):
        result += common.non_negative(spec.get(key), f"{field}.{key}")
    failed = spec.get("maxFailedIndexes")
    if failed is not None:
        result += common.non_negative(failed, f"{field}.maxFailedIndexes")
        if spec.get("backoffLimitPerIndex") is None:
            result.append(errors.required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        result += domain_path(spec["managedBy"], f"{field}.managedBy")
        if len(spec["managedBy"]) > 63:
            result.append(errors.too_long(f"{field}.managedBy", 63))
    result += _completion_mode(spec, field)
    if spec.get("podFailurePolicy") is not None:
        result += _failure_policy(spec, f"{field}.podFailurePolicy")
    if spec.get("successPolicy") is not None:
        if spec.get("completionMode") != "Indexed":
            result.append(errors.wrong(f"{field}.successPolicy", STRUCT, INDEXED_ONLY))
        else:
            result += _success_policy(spec, f"{field}.successPolicy")
    result += _replacement(spec, f"{field}.podReplacementPolicy")
    result += pods.template(spec.get("template"), f"{field}.template")
    return result + _restart(spec, f"{field}.template.spec.restartPolicy")


def domain_path(value: str, field: str) -> Errors:
    """example.com/something. Source: IsDomainPrefixedPath."""
    if not value:
        return [errors.required(field)]
    host, slash, path = value.partition("/")
    if not slash or not host or not path:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [errors.wrong(field, value, text)]
    result: Errors = []
    for text in names.dns1123_subdomain(host):
        result.append(errors.wrong(field, host, text))
    if not re.fullmatch(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", path):
        text = names.regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
        result.append(errors.wrong(field, path, text))
    return result


def _completion_mode(spec: Json, field: str) -> Errors:
    mode, result = spec.get("completionMode"), []
    failed, completions, parallel = spec.get("maxFailedIndexes"), spec.get("completions"), spec.get("parallelism")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        result.append(errors.unsupported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        if completions is None:
            result.append(errors.required(f"{field}.completions", "when completion mode is Indexed"))
        if parallel is not None and parallel > 100000:
            text = "must be less than or equal to 100000 when completion mode is Indexed"
            result.append(errors.wrong(f"{field}.parallelism", parallel, text))
        if completions is not None and failed is not None and failed > completions:
            result.append(
                errors.wrong(f"{field}.maxFailedIndexes", failed, "must be less than or equal to completions")
            )
        if failed is not None and failed > 100000:
            result.append(errors.wrong(f"{field}.maxFailedIndexes", failed, "must be less than or equal to 100000"))
        if (completions or 0) > 100000 and spec.get("backoffLimitPerIndex") is not None:
            text = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"
            if failed is None:
                result.append(
                    errors.required(f"{field}.maxFailedIndexes", "must be specified when completions is above 100000")
                )
            if parallel is not None and parallel > 10000:
                result.append(errors.wrong(f"{field}.parallelism", parallel, text))
            if failed is not None and failed > 10000:
                result.append(errors.wrong(f"{field}.maxFailedIndexes", failed, text))
    if mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                result.append(errors.wrong(f"{field}.{key}", spec[key], INDEXED_ONLY))
    return result


def _failure_policy(spec: Json, field: str) -> Errors:
    rules, result = spec["podFailurePolicy"].get("rules") or [], []
    if len(rules) > 20:
        result.append(errors.too_many(f"{field}.rules", len(rules), 20))
    inner = (spec.get("template") or {}).get("spec") or {}
    known = {one.get("name") for key in ("containers", "initContainers") for one in inner.get(key) or ()}
    actions = ("Count", "FailIndex", "FailJob", "Ignore")
    for place, rule in enumerate(rules):
        here, action = f"{field}.rules[{place}]", rule.get("action", "")
        if not action:
            result.append(errors.required(f"{here}.action", 'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            result.append(errors.wrong(f"{here}.action", action, "requires the backoffLimitPerIndex to be set"))
        elif action not in actions:
            result.append(errors.unsupported(f"{here}.action", action, actions))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None:
            result += _exit_codes(codes, known, f"{here}.onExitCodes")
        for number, pattern in enumerate(conditions):
            spot, state = f"{here}.onPodConditions[{number}]", pattern.get("status", "")
            result += common.label_name(pattern.get("type", ""), f"{spot}.type")
            if not state:
                result.append(errors.required(f"{spot}.status", 'valid values: ["False" "True" "Unknown"]'))
            elif state not in ("False", "True", "Unknown"):
                result.append(errors.unsupported(f"{spot}.status", state, ("False", "True", "Unknown")))
        if codes is not None and conditions:
            text = "specifying both OnExitCodes and OnPodConditions is not supported"
            result.append(errors.wrong(here, STRUCT, text))
        if codes is None and not conditions:
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            result.append(errors.wrong(here, STRUCT, text))
    return result


def _exit_codes(found: Json, known: set[Any], field: str) -> Errors:
    operator, values, result = found.get("operator", ""), found.get("values") or [], []
    if not operator:
        result.append(errors.required(f"{field}.operator", 'valid values: ["In" "NotIn"]'))
    elif operator not in ("In", "NotIn"):
        result.append(errors.unsupported(f"{field}.operator", operator, ("In", "NotIn")))
    name = found.get("containerName")
    if name is not None and name not in known:
        text = "must be one of the container or initContainer names in the pod template"
        result.append(errors.wrong(f"{field}.containerName", name, text))
    shown = Raw("[]int32{" + ", ".join(map(str, values)) + "}")
    if not values:
        result.append(errors.wrong(f"{field}.values", shown, "at least one value is required"))
    elif len(values) > 255:
        result.append(errors.too_many(f"{field}.values", len(values), 255))
    for place, value in enumerate(values):
        if operator == "In" and value == 0:
            result.append(errors.wrong(f"{field}.values[{place}]", value, "must not be 0 for the In operator"))
        if value in values[:place]:
            result.append(errors.duplicate(f"{field}.values[{place}]", value))
    if values != sorted(values):
        result.append(errors.wrong(f"{field}.values", shown, "must be ordered"))
    return result


def _success_policy(spec: Json, field: str) -> Errors:
    rules, total = spec["successPolicy"].get("rules") or [], spec.get("completions") or 0
    result: Errors = []
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        result.append(errors.required(f"{field}.rules", text))
    if len(rules) > 20:
        result.append(errors.too_many(f"{field}.rules", len(rules), 20))
    for place, rule in enumerate(rules):
        here, count, indexes = f"{field}.rules[{place}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            text = "at least one of succeededCount or succeededIndexes must be specified"
            result.append(errors.required(here, text))
        if count is not None:
            result += common.non_negative(count, f"{here}.succeededCount")
            if count > total:
                text = f"must be less than or equal to {total} (the number of specified completions)"
                result.append(errors.wrong(f"{here}.succeededCount", count, text))
    return result


def _replacement(spec: Json, field: str) -> Errors:
    found = spec.get("podReplacementPolicy")
    if found is None:
        return []
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [] if found in allowed else [errors.unsupported(field, found, allowed)]


def _restart(spec: Json, field: str) -> Errors:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    if policy in ("", "Always"):
        return [errors.required(field, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [errors.unsupported(field, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [errors.wrong(field, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _job_update(fresh: Json, stale: Json) -> Errors:
    result: Errors = []
    if fresh.get("completionMode") != "Indexed":
        result += common.immutable(fresh.get("completions"), stale.get("completions"), "spec.completions")
    elif fresh.get("completions") not in (None, stale.get("completions")) and fresh["completions"] != fresh.get(
        "parallelism"
    ):
        text = "can only be modified in tandem with spec.parallelism"
        result.append(errors.wrong("spec.completions", fresh["completions"], text))
    result += common.immutable(fresh.get("selector"), stale.get("selector"), "spec.selector")
    result += common.immutable(*_templates(fresh, stale), "spec.template")
    for key in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        result += common.immutable(fresh.get(key), stale.get(key), f"spec.{key}")
    return result


def _templates(fresh: Json, stale: Json) -> tuple[Json, Json]:
    """Both templates; a suspended job that never started may change where its pods go."""
    mine, theirs = fresh.get("template") or {}, stale.get("template") or {}
    if not stale.get("suspend"):
        return mine, theirs
    theirs = clone(theirs)
    mine = clone(mine)
    for template in (mine, theirs):
        for key in ("nodeSelector", "tolerations", "schedulingGates"):
            template.get("spec", {}).pop(key, None)
        (template.get("spec", {}).get("affinity") or {}).pop("nodeAffinity", None)
        if template.get("spec", {}).get("affinity") == {}:
            del template["spec"]["affinity"]
        for key in ("labels", "annotations"):
            (template.get("metadata") or {}).pop(key, None)
    return mine, theirs


# ---------------------------------------------------------------------------------------------------------------- cron
BOUNDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("dom", 1, 31), ("month", 1, 12), ("dow", 0, 6))
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DESCRIPTORS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def schedule_complaint(text: str) -> str:
    """What robfig/cron has to say of a schedule; nothing where it is right."""
    if not text:
        return "empty spec string"
    found = text
    if found.startswith(("TZ=", "CRON_TZ=")):
        zone, _, found = found.partition(" ")
        name = zone.partition("=")[2]
        if not _known_zone(name):
            return f"provided bad location {name}: unknown time zone {name}"
        found = found.strip()
    if found.startswith("@"):
        if found in DESCRIPTORS:
            return ""
        if found.startswith("@every "):
            length = found.removeprefix("@every ")
            if re.fullmatch(
                r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*", length
            ):
                return ""
            return f'failed to parse duration {found}: time: invalid duration "{length}"'
        return f"unrecognized descriptor: {found}"
    parts = found.split()
    if len(parts) != 5:
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    for part, (name, low, high) in zip(parts, BOUNDS, strict=True):
        for one in part.split(","):
            complaint = _range_complaint(one, name, low, high) if one else ""
            if complaint:
                return complaint
    return ""


def _number(text: str, name: str) -> int | str:
    words = MONTHS if name == "month" else DAYS if name == "dow" else ()
    if text.lower() in words:
        return words.index(text.lower()) + (1 if name == "month" else 0)
    if not re.fullmatch(r"[+-]?\d+", text):
        return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    if int(text) < 0:
        return f"negative number ({int(text)}) not allowed: {text}"
    return int(text)


def _range_complaint(text: str, name: str, low: int, high: int) -> str:
    """Source: robfig/cron getRange."""
    ranges = text.split("/")
    start: int | str
    end: int | str
    ends = ranges[0].split("-")
    if ends[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(ends[0], name)
        if isinstance(start, str):
            return start
        if len(ends) > 2:
            return f"too many hyphens: {text}"
        end = _number(ends[1], name) if len(ends) == 2 else start
        if isinstance(end, str):
            return end
    if len(ranges) > 2:
        return f"too many slashes: {text}"
    step: int | str = 1
    if len(ranges) == 2:
        step = _number(ranges[1], "")
        if isinstance(step, str):
            return step
        if len(ends) == 1 and ends[0] not in ("*", "?"):
            end = high
    if isinstance(start, str) or isinstance(end, str):
        raise AssertionError("complaints were answered above")
    if start < low:
        return f"beginning of range ({start}) below minimum ({low}): {text}"
    if end > high:
        return f"end of range ({end}) above maximum ({high}): {text}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {text}"
    return f"step of range should be a positive number: {text}" if step == 0 else ""


def _known_zone(name: str) -> bool:
    return name in ("UTC", "") or name in zoneinfo.available_timezones()


def _zone(found: str | None, field: str) -> Errors:
    if found is None:
        return []
    if not found:
        return [errors.wrong(field, found, "timeZone must be nil or non-empty string")]
    parts = found.split("/")
    if any(
        part in (".", "..") or part.startswith("-") or not re.fullmatch(r"[A-Za-z\.\-_0-9+]{1,14}|.{15,}", part)
        for part in parts
    ):
        return [errors.wrong(field, found, f"unknown time zone {found}")]
    if found.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [errors.wrong(field, found, text)]
    return [] if _known_zone(found) else [errors.wrong(field, found, f"unknown time zone {found}")]


def cron_job(new: Json, old: Json | None) -> Errors:
    """Source: validateCronJobSpec."""
    spec, before = new["spec"], (old or {}).get("spec")
    result: Errors = []
    schedule, here = spec.get("schedule", ""), "spec.schedule"
    if not schedule:
        result.append(errors.required(here))
    else:
        complaint = schedule_complaint(schedule)
        if complaint:
            result.append(errors.wrong(here, schedule, complaint))
        tolerated = before is not None and "TZ" in before.get("schedule", "")
        if "TZ" in schedule and not tolerated:
            text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            result.append(errors.wrong(here, schedule, text))
        elif "TZ" in schedule and spec.get("timeZone") is not None:
            text = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            result.append(errors.wrong(here, schedule, text))
    result += common.non_negative(spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    if before is None or before.get("timeZone") != spec.get("timeZone"):
        result += _zone(spec.get("timeZone"), "spec.timeZone")
    policies = ("Allow", "Forbid", "Replace")
    result += common.one_of(spec.get("concurrencyPolicy", ""), policies, "spec.concurrencyPolicy")
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    here = "spec.jobTemplate.spec"
    result += _job_spec(inner, here)
    if inner.get("selector") is not None:
        result.append(errors.wrong(f"{here}.selector", STRUCT, "`selector` will be auto-generated"))
    if inner.get("manualSelector"):
        result.append(errors.unsupported(f"{here}.manualSelector", inner["manualSelector"], ("nil", "false")))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        result += common.non_negative(spec.get(key), f"spec.{key}")
    name = new["metadata"].get("name", "")
    if old is None and len(name) > 52:
        result += each("metadata.name", name, ["must be no more than 52 characters"])
    return result
