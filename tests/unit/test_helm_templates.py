"""Go templates, values and schemas as Helm plays them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from lab.helm import goyaml
from lab.helm import values as val
from lab.helm.charts import Chart, ChartError, Context, capabilities, render
from lab.helm.functions import semver_matches
from lab.helm.objects import merge_patch, three_way
from lab.helm.release import Release, decode, encode, stamp

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def rendered(text: str, values: dict[str, Any] | None = None, helpers: str = "") -> str:
    """What one template of a chart renders to."""
    chart = Chart({"name": "t", "version": "1"}, templates=(("templates/_h.tpl", helpers), ("templates/NOTES.txt", text)))
    return asyncio.run(render(chart, Context("rel", "ns", 1, False, values or {}, capabilities(), NOW))).notes


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("{{ .Values.a | quote }}", {"a": 1}, '"1"'),
        ("{{- if and .Values.a (not .Values.b) }}yes{{ else if .Values.c }}c{{ else }}no{{ end -}}  ", {"a": 1}, "yes"),
        ("{{ range $i, $x := .Values.l }}{{ $i }}={{ $x }};{{ else }}none{{ end }}", {"l": ["a", "b"]}, "0=a;1=b;"),
        ("{{ range $k, $v := .Values.m }}{{ $k }}{{ $v }}{{ end }}", {"m": {"b": 2, "a": 1}}, "a1b2"),
        ("{{ with .Values.x }}{{ . }}{{ end }}{{ $.Release.Name }}", {"x": "y"}, "yrel"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", {}, "2"),
        ("{{ toYaml .Values.m | nindent 2 }}", {"m": {"a": [1, "true"]}}, '\n  a:\n  - 1\n  - "true"'),
        ("{{ default \"d\" .Values.none }}-{{ ternary 1 2 true }}-{{ printf \"%s:%d\" \"a\" 3 }}", {}, "d-1-a:3"),
        ("{{ include \"n\" (dict \"x\" 5) }}", {}, "<5>"),
        ("{{ tpl .Values.t . }}", {"t": "{{ .Release.Namespace }}"}, "ns"),
        ("a {{- /* gone */ -}} b", {}, "ab"),
        ("{{ .Values.n }}|{{ .Values.f }}|{{ .Values.l }}", {"n": 3, "f": 1.5, "l": [1, "a"]}, "3|1.5|[1 a]"),
    ],
)  # fmt: skip
def test_templates_render_as_in_go(text: str, values: dict[str, Any], wanted: str) -> None:
    assert rendered(text, values, '{{ define "n" }}<{{ .x }}>{{ end }}') == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ nope 1 }}", 'function "nope" not defined'),
        ("{{ .Values.a.b }}", "nil pointer evaluating interface {}.b"),
        ("{{ if }}", "missing value for command"),
        ("{{ fail \"stop\" }}", "execution error at (t/templates/NOTES.txt:1:3): stop"),
    ],
)  # fmt: skip
def test_broken_templates_say_where(text: str, message: str) -> None:
    with pytest.raises(ChartError, match=r".") as caught:
        rendered(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("constraint", "version", "fits"),
    [("1.18.x", "1.18.12", True), ("~1.18.2", "1.19.0", False), ("^1.2", "1.9.0", True), (">=1.18,<1.19", "1.18.3", True), (">=1.32.0-0", "1.33.13", True), ("1.18.2", "1.18.3", False), ("*", "1.0.0-rc1", False)],
)  # fmt: skip
def test_constraints_choose_versions(constraint: str, version: str, fits: bool) -> None:
    assert semver_matches(constraint, version) is fits


def test_set_expressions_build_values() -> None:
    out: dict[str, Any] = {}
    val.apply_set(out, r"a.b[1].c=3,l={x,y},k\.z=no,q=null,z=007")
    assert out == {"a": {"b": [None, {"c": 3}]}, "l": ["x", "y"], "k.z": "no", "q": None, "z": "007"}
    with pytest.raises(val.SetError, match="has no value"):
        val.apply_set(out, "novalue")


def test_a_null_removes_a_default() -> None:
    assert val.coalesce({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


@pytest.mark.parametrize("text", ["", "true", "12", "1e3", "null", "2026-01-02", "~", "0x1f"])
def test_strings_that_look_like_something_else_are_quoted(text: str) -> None:
    dumped = goyaml.dump({"a": text})
    assert dumped == f'a: "{text}"\n'
    assert goyaml.load(dumped) == {"a": text}


def test_a_merge_keeps_what_others_wrote_and_drops_what_the_chart_dropped() -> None:
    live = {"metadata": {"labels": {"mine": "1", "old": "2", "theirs": "3"}}, "spec": {"ports": [{"name": "a", "port": 1, "nodePort": 30000}]}}
    before = {"metadata": {"labels": {"mine": "1", "old": "2"}}}
    wanted = three_way(before, {"metadata": {"labels": {"mine": "9"}}, "spec": {"ports": [{"name": "a", "port": 1}]}}, live)
    assert wanted["metadata"]["labels"] == {"mine": "9", "theirs": "3"}
    assert merge_patch(live, wanted) == {"metadata": {"labels": {"mine": "9", "old": None}}}


def test_zero_values_are_no_difference() -> None:
    live = {"spec": {"a": 1}}
    assert merge_patch(live, three_way({}, {"spec": {"a": 1, "tolerations": [], "hostNetwork": False, "n": 0}}, live)) == {}


def test_a_release_survives_its_secret() -> None:
    release = Release("r", "n", 2, "deployed", "d", stamp(NOW), stamp(NOW), {"metadata": {"name": "c", "version": "1"}}, {"a": 1}, "---\n", "notes", ({"name": "h"},))
    assert decode(encode(release)) == release
