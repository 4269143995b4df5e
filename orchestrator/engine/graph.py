"""The phases as a graph, compiled once, and what a choice selects of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from difflib import get_close_matches
from types import MappingProxyType

from orchestrator.engine.terms import Choice
from orchestrator.model.check import Check
from orchestrator.model.data import dataclass
from orchestrator.model.errors import BootstrapError, NeedsError, UsageError
from orchestrator.model.phase import Phase, Step


@dataclass(frozen=True, slots=True)
class Graph:
    """Phase instances by id; `order` is one in which every phase stands behind its needs, else as declared."""

    phases: Mapping[str, Phase]
    order: tuple[str, ...]
    steps: Mapping[str, Step]
    dependents: Mapping[str, tuple[str, ...]]

    def needs_of(self, phase: str) -> frozenset[str]:
        """All phases that must be done before this one, near and far."""
        found: set[str] = set()
        left = list(self.phases[phase].needs)
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left.extend(self.phases[one].needs)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be done: phases in order, of each the steps. A phase is `whole` when none of its steps was left out by the
    choice: only then its gates are asked and it can be done. `skipped` are phases and steps that a person left out."""

    phases: tuple[str, ...]
    steps: Mapping[str, tuple[Step, ...]]
    whole: frozenset[str]
    skipped: frozenset[str] = frozenset()
    choice: Choice = field(default_factory=Choice)

    def all_steps(self) -> tuple[Step, ...]:
        """Every selected step, in order."""
        return tuple(step for phase in self.phases for step in self.steps[phase])


def compile_graph(phases: Sequence[Phase]) -> Graph:
    """The graph of these phases. Raises BootstrapError that names every unknown need, duplicate id and cycle."""
    faults = [*_duplicates(phases), *_unknown_needs(phases), *_misplaced(phases)]
    order, cycle = ((), ()) if faults else _sorted(phases)
    if cycle:
        faults.append(f"phases need each other in a circle: {' -> '.join(cycle)}")
    if faults:
        raise BootstrapError("the phases do not fit together: " + "; ".join(faults), hint="phases/__init__.py")
    by_id = {phase.id: phase for phase in phases}
    dependents = {name: tuple(p.id for p in phases if name in p.needs) for name in by_id}
    steps = {step.id: step for name in order for step in by_id[name].steps}
    return Graph(MappingProxyType(by_id), order, MappingProxyType(steps), MappingProxyType(dependents))


def _duplicates(phases: Sequence[Phase]) -> list[str]:
    faults = [f"phase {name} is there twice" for name in _twice(phase.id for phase in phases)]
    faults += [f"step {name} is there twice" for name in _twice(step.id for phase in phases for step in phase.steps)]
    for phase in phases:
        checks = (*phase.preconditions, *phase.identity, *phase.gates, *(step.goal for step in phase.steps))
        by_id: dict[str, Check] = {}
        faults += [f"two checks of {phase.id} are called {one.id}" for one in checks if by_id.setdefault(one.id, one) != one]
    return faults


def _twice(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]  # add() is the memory of the filter


def _unknown_needs(phases: Sequence[Phase]) -> list[str]:
    known = {phase.id for phase in phases}
    return [f"{phase.id} needs {need}, which is not there{_nearest(need, known)}" for phase in phases for need in phase.needs if need not in known]


def _misplaced(phases: Sequence[Phase]) -> list[str]:
    """Steps whose id names another phase, and compensations of steps that are not there or stand before."""
    faults = []
    for phase in phases:
        ids = [step.id for step in phase.steps]
        faults += [f"step {one} stands in phase {phase.id}" for one in ids if one.partition("/")[0] != phase.id]
        places = {one: index for index, one in enumerate(ids)}
        for step in phase.steps:
            late = (one for one in step.compensate_on if places.get(one, -1) <= places[step.id])
            faults += [f"step {step.id} compensates {one}, which is no later step" for one in late]
        faults += [f"step {step.id} fans out {step.fan.width} wide" for step in phase.steps if step.fan and step.fan.width < 1]
    return faults


def _sorted(phases: Sequence[Phase]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """-> (order, ()) or ((), a cycle). Of several possible orders the one that is nearest to the declared."""
    order: list[str] = []
    done: set[str] = set()
    left = list(phases)
    while left:
        ready = next((phase for phase in left if done.issuperset(phase.needs)), None)
        if ready is None:
            return (), _cycle({phase.id: phase.needs for phase in left})
        left.remove(ready)
        done.add(ready.id)
        order.append(ready.id)
    return tuple(order), ()


def _cycle(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One circle among phases of which each has an unfinished need."""
    path = [next(iter(needs))]
    while True:
        following = next(need for need in needs[path[-1]] if need in needs)
        if following in path:
            return (*path[path.index(following) :], following)
        path.append(following)


def select(graph: Graph, choice: Choice) -> Selection:
    """What `choice` selects. Raises UsageError for a name that is not there (with the nearest) or a skip without its reason."""
    if choice.skip and not choice.reason.strip():
        raise UsageError("--skip wants a reason", hint="bootstrap up --skip NAME --reason TEXT")
    wanted = {name: tuple(graph.phases[name].steps) for name in graph.order}
    wanted = _keep_named(graph, choice, wanted)
    wanted = _keep_span(graph, choice, wanted)
    wanted = _keep_cluster(graph, choice, wanted)
    whole = frozenset(name for name, steps in wanted.items() if len(steps) == len(graph.phases[name].steps))
    skipped = frozenset(one for name in choice.skip for one in _skip(graph, name))
    steps = {name: tuple(s for s in steps if s.id not in skipped) for name, steps in wanted.items() if name not in skipped}
    order = tuple(name for name in graph.order if name in steps)
    return Selection(order, MappingProxyType(steps), whole - skipped, skipped, choice)


Wanted = dict[str, tuple[Step, ...]]


def _keep_named(graph: Graph, choice: Choice, wanted: Wanted) -> Wanted:
    if not (choice.phases or choice.steps or choice.weeks):
        return wanted
    weeks = {phase.week for phase in graph.phases.values()}
    for week in choice.weeks:
        if week not in weeks:
            raise UsageError(f"no phase stands in week {week}", hint=f"weeks: {', '.join(str(w) for w in sorted(weeks))}")
    whole = {name for given in choice.phases for name in instances(graph, given)}
    whole |= {name for name in graph.order if graph.phases[name].week in choice.weeks}
    single = {step for given in choice.steps for step in matching_steps(graph, given)}
    kept = {name: steps if name in whole else tuple(s for s in steps if s.id in single) for name, steps in wanted.items()}
    return {name: steps for name, steps in kept.items() if steps or name in whole}


def _keep_span(graph: Graph, choice: Choice, wanted: Wanted) -> Wanted:
    """Both ends are inclusive, in the order of the graph; an end inside of a phase cuts that phase."""
    places = {name: index for index, name in enumerate(graph.order)}

    def cut(given: str, pick: Callable[[Iterable[int]], int], keep: Callable[[int, int], bool], last: bool) -> None:
        nonlocal wanted
        marks = _marks(graph, given)
        end = pick(places[name] for name in marks)
        wanted = {
            name: _part(steps, marks[name], last) if marks.get(name) else steps
            for name, steps in wanted.items()
            if name in marks or keep(places[name], end)
        }

    if choice.first is not None:
        cut(choice.first, min, lambda place, end: place > end, last=False)
    if choice.until is not None:
        cut(choice.until, max, lambda place, end: place < end, last=True)
    return wanted


def _marks(graph: Graph, given: str) -> dict[str, frozenset[str]]:
    """Phases that an end names -> the steps in them that it names (none: the whole phase)."""
    if "/" not in given:
        return {name: frozenset() for name in instances(graph, given)}
    marks: dict[str, frozenset[str]] = {}
    for step in matching_steps(graph, given):
        name = graph.steps[step].phase
        marks[name] = marks.get(name, frozenset()) | {step}
    return marks


def _part(steps: tuple[Step, ...], named: frozenset[str], last: bool) -> tuple[Step, ...]:
    hits = [index for index, step in enumerate(steps) if step.id in named]
    if not hits:
        return steps
    return steps[: hits[-1] + 1] if last else steps[hits[0] :]


def _keep_cluster(graph: Graph, choice: Choice, wanted: Wanted) -> Wanted:
    """The clusters' own instances, and of the site's phases those that these need."""
    if not choice.clusters:
        return wanted
    known = {phase.cluster for phase in graph.phases.values() if phase.cluster}
    for cluster in choice.clusters:
        if cluster not in known:
            raise UsageError(f"there is no cluster {cluster}{_nearest(cluster, known)}", hint=f"clusters: {', '.join(sorted(known))}")
    own = {name for name in wanted if graph.phases[name].cluster in choice.clusters}
    shared = {need for name in own for need in graph.needs_of(name) if graph.phases[need].cluster is None}
    return {name: steps for name, steps in wanted.items() if name in own or name in shared}


def instances(graph: Graph, given: str) -> tuple[str, ...]:
    """The phases that NAME or NAME@CLUSTER stands for. Raises UsageError naming the nearest."""
    found = tuple(name for name in graph.order if given in (name, graph.phases[name].name))
    if not found:
        names = {*graph.order, *(phase.name for phase in graph.phases.values())}
        raise UsageError(f"there is no phase {given}{_nearest(given, names)}", hint="bootstrap plan shows them all")
    return found


def matching_steps(graph: Graph, given: str) -> tuple[str, ...]:
    """The steps that PHASE/STEP[/NODE] stands for, in order. Raises UsageError naming the nearest."""
    if given in graph.steps:
        return (given,)
    phase, _, rest = given.partition("/")
    found = tuple(
        step.id
        for step in graph.steps.values()
        if phase in (step.phase, step.phase.partition("@")[0]) and (step.id.partition("/")[2] + "/").startswith(rest + "/")
    )
    if not found or not rest:
        names = {*graph.steps, *(_without_cluster(name) for name in graph.steps)}
        raise UsageError(f"there is no step {given}{_nearest(given, names)}", hint="bootstrap plan shows them all")
    return found


def _skip(graph: Graph, given: str) -> tuple[str, ...]:
    return matching_steps(graph, given) if "/" in given else instances(graph, given)


def _without_cluster(step: str) -> str:
    phase, _, rest = step.partition("/")
    return f"{phase.partition('@')[0]}/{rest}"


def _nearest(given: str, known: Iterable[str]) -> str:
    close = get_close_matches(given, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def refuse_unmet_needs(graph: Graph, selection: Selection, done: Callable[[str], bool]) -> None:
    """Raises NeedsError when a selected phase needs one that is neither selected whole nor done; it names what to run first.

    `done` may ask the platform: it is called at most once a phase, and only for phases that are not selected.
    """
    asked: dict[str, bool] = {}

    def stands(need: str) -> bool:
        if need not in asked:
            asked[need] = done(need)
        return asked[need]

    selected = {name for name in selection.phases if name in selection.whole}
    for name in selection.phases:
        lacking = tuple(need for need in graph.phases[name].needs if need not in selected and not stands(need))
        if not lacking:
            continue
        left_out = next((need for need in lacking if need in selection.skipped), None)
        if left_out is not None:
            raise NeedsError(
                f"{name} needs {left_out}, which is skipped: skip {name} too, or neither",
                hint=f"bootstrap up --skip {left_out} --skip {name} --reason TEXT",
            )
        behind = set(lacking).union(*(graph.needs_of(need) for need in lacking))
        first = next(one for one in graph.order if one in behind and one not in selected and not stands(one))
        verb = "is" if len(lacking) == 1 else "are"
        raise NeedsError(f"{name} needs {', '.join(lacking)}, which {verb} not done; run {first} first", hint=f"bootstrap up --phase {first}")
