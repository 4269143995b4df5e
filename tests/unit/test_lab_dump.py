"""A dump shows an object as it did before only where that is what it would show now."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from lab import dump

WORDS = st.sampled_from(["10.244.0.7", "web-7d4b9-x2x5z", "uid-1", "uid-2", "plain", "-----BEGIN KEY-----\nAA==\n-----END KEY-----\n"])
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" at ".join)
OBJECTS = [
    {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": f"it-{number}", "namespace": "here", "resourceVersion": "7"},
        field: {"a": text, "b": ["uid-1", text]},
    }
    for number, (kind, field, text) in enumerate(
        [("ConfigMap", "data", "10.244.0.7 is web-7d4b9-x2x5z"), ("Thing", "spec", "uid-1"), ("Thing", "status", "-----BEGIN KEY-----\nAA==\n-----END KEY-----\n")]
    )
]


def named(given_names: list[tuple[str, str, bool]]) -> dump.Names:
    names = dump.Names()
    for value, hint, within in given_names:
        names.name(value, hint, within=within)
    return names


@given(st.lists(st.lists(st.tuples(WORDS, st.sampled_from(["pod", "uid", "pem"]), st.booleans()), max_size=4), min_size=1, max_size=5))
def test_what_an_earlier_dump_has_shown_changes_nothing(dumps: list[list[tuple[str, str, bool]]]) -> None:
    for given_names in dumps:
        shared, fresh = named(given_names), named(given_names)
        for obj in OBJECTS:
            assert shared.object(obj) == dump._object(copy.deepcopy(obj), fresh)


@given(TEXTS)
def test_a_text_is_shown_with_the_names_of_its_own_dump(text: str) -> None:
    one, other = named([("uid-1", "uid", True)]), named([("10.244.0.7", "pod-ip", True)])
    assert one.in_text(text) == text.replace("uid-1", "<uid>")
    assert other.in_text(text) == text.replace("10.244.0.7", "<pod-ip>")
    assert one.in_text(text) == text.replace("uid-1", "<uid>")


def test_a_node_port_is_shown_where_somebody_asked_for_it() -> None:
    def shown(fields: object) -> object:
        meta = {"name": "web", "namespace": "here", "managedFields": [{"manager": "m", "fieldsV1": fields}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80, "nodePort": 31543}, {"port": 81}]}}
        return dump._object(service, dump.Names())["spec"]["ports"]

    assert shown({"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:port": {}, "f:nodePort": {}}}}}) == [{"port": 80, "nodePort": 31543}, {"port": 81}]
    assert shown({"f:spec": {"f:type": {}}}) == [{"port": 80, "nodePort": "<node-port>"}, {"port": 81}]
