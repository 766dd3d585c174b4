"""Tells of the pollers of several processes as of one."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from queue_runtime.observability import metrics
from queue_runtime.transports.base import Depth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Every process tells the same of these, which so must not be added up.
_LARGEST: Final = (metrics.DEPTH.name, metrics.OLDEST_SECONDS.name, metrics.BREAKER_STATE.name)
_OF_PROCESS: Final = "process_"
# Between the end of the process that asked for the depth and the first word of the next.
_KEEP_SECONDS: Final = 30.0
_DEPTH: Final = (*Depth._fields, "backlog", "total")


class Combined:
    """Health, numbers and metrics of several processes, by what each has reported last.

    Counters go on where a process is replaced: what it had counted is added to the others'.
    Written by one thread and read by another.
    """

    def __init__(self, count: int) -> None:
        self._reports: list[Mapping[str, Any] | None] = [None] * count
        self._starts = [0] * count
        self._lost: dict[int, str] = {}
        self._past = Sums()
        self._depths: dict[str, tuple[float, dict[str, Any]]] = {}

    def started(self, child: int) -> None:
        """Take note of a process that begins."""
        self._starts[child] += 1
        self._lost.pop(child, None)

    def reported(self, child: int, report: Mapping[str, Any]) -> None:
        """Take a process's newest report."""
        self._reports[child] = report
        for of_queue in report.get("stats", ()):
            if of_queue["visible"] is not None:
                known = {name: of_queue[name] for name in _DEPTH}
                self._depths[of_queue["queue"]] = (monotonic(), known)

    def lost(self, child: int, why: str) -> None:
        """Take note of a process that was to be replaced and could not be."""
        self._lost = {**self._lost, child: why}

    def ended(self, child: int) -> None:
        """Take note of a process that is over."""
        report, self._reports[child] = self._reports[child], None
        if report is not None and "metrics" in report:
            self._past.add(report["metrics"], gauges=False)

    async def live(self) -> dict[str, str]:
        """Give the processes that cannot be replaced; those that are stuck are being so."""
        problems = {_name(child): why for child, why in self._lost.items()}
        stuck = {_name(child): report["stuck"] for child, report in self._all() if report["stuck"]}
        return problems or (stuck if len(stuck) == len(self._reports) else {})

    async def ready(self) -> dict[str, str]:
        """Give why no process can take messages; nothing where one can."""
        problems = {}
        for child in range(len(self._reports)):
            report = self._reports[child]
            whys = {"": "starting"} if report is None else report.get("ready", {})
            if not whys:
                return {}
            problems[_name(child)] = "; ".join(f"{queue} {why}" for queue, why in whys.items())
        return problems

    async def stats(self) -> list[dict[str, Any]]:
        """Give the numbers of each queue, added up."""
        queues: dict[str, dict[str, Any]] = {}
        for _, report in self._all():
            for told in report.get("stats", ()):
                queue = told["queue"]
                known = queues.setdefault(queue, {**told, "here": Counter()})
                known["here"].update(told["here"])
                if told["state"] == "ready":
                    known["state"] = "ready"
        return [{**told, **self._depth(queue)} for queue, told in queues.items()]

    async def metrics(self) -> str:
        """Give all metrics: sums, and what the system tells of each process by its number."""
        sums = Sums(self._past)
        for _, report in self._all():
            sums.add(report.get("metrics", ""))
        return sums.text() + self._of_processes()

    def _all(self) -> list[tuple[int, Mapping[str, Any]]]:
        return [(child, report) for child, report in enumerate(self._reports) if report is not None]

    def _depth(self, queue: str) -> dict[str, Any]:
        at, known = self._depths.get(queue, (-_KEEP_SECONDS, {}))
        return known if monotonic() - at < _KEEP_SECONDS else dict.fromkeys(_DEPTH)

    def _of_processes(self) -> str:
        lines = _family("queue_runtime_process_up", "gauge", "Whether a process has reported.")
        up = (report is not None for report in self._reports)
        lines += [
            _numbered("queue_runtime_process_up", n, int(is_up)) for n, is_up in enumerate(up)
        ]
        starts = "queue_runtime_process_starts_total"
        lines += _family(starts, "counter", "How often a process was started.")
        lines += [_numbered(starts, n, count) for n, count in enumerate(self._starts)]
        done = "queue_runtime_process_messages_total"
        lines += _family(done, "counter", "Messages by process and by what became of them.")
        for child, report in self._all():
            for told in report.get("stats", ()):
                for what, count in told["here"].items():
                    if what != "held":
                        labels = f'queue="{_escaped(told["queue"])}",what="{what}"'
                        lines.append(_numbered(done, child, count, labels))
        return "\n".join([*lines, *self._of_system()]) + "\n"

    def _of_system(self) -> Iterable[str]:
        families: dict[str, list[str]] = {}
        for child, report in self._all():
            name = ""
            for line in report.get("metrics", "").splitlines():
                if line.startswith("#"):
                    name = line.split(" ")[2]
                    if name.startswith(_OF_PROCESS) and line not in families.setdefault(name, []):
                        families[name].append(line)
                elif name.startswith(_OF_PROCESS):
                    families[name].append(_numbered(name, child, line.rpartition(" ")[2]))
        return [line for lines in families.values() for line in lines]


class Sums:
    """Expositions in Prometheus's text format, added up series by series."""

    def __init__(self, other: Sums | None = None) -> None:
        self._heads: dict[str, list[str]] = dict(other._heads) if other else {}
        self._values: dict[str, dict[str, float]] = {
            name: dict(values) for name, values in (other._values if other else {}).items()
        }

    def add(self, text: str, *, gauges: bool = True) -> None:
        """Add one exposition, without its gauges if they are of the past."""
        name, kind = "", ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, kind = line.split(" ")[2], ""
                if not name.startswith(_OF_PROCESS):
                    self._heads.setdefault(name, [line])
            elif line.startswith("# TYPE "):
                kind = line.rpartition(" ")[2]
                if name in self._heads and len(self._heads[name]) == 1:
                    self._heads[name] = [*self._heads[name], line]
            elif not name.startswith(_OF_PROCESS) and (gauges or kind != "gauge"):
                self._add_sample(name, line)

    def _add_sample(self, name: str, line: str) -> None:
        series, _, number = line.rpartition(" ")
        values = self._values.setdefault(name, {})
        before = values.get(series, 0.0)
        values[series] = max(before, float(number)) if name in _LARGEST else before + float(number)

    def text(self) -> str:
        """Give the sums."""
        lines: list[str] = []
        for name, head in self._heads.items():
            lines += head
            lines += [f"{each} {value:.16g}" for each, value in self._values.get(name, {}).items()]
        return "\n".join(lines) + "\n" if lines else ""


def _name(child: int) -> str:
    return f"process {child + 1}"


def _family(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _numbered(name: str, child: int, value: object, labels: str = "") -> str:
    more = f",{labels}" if labels else ""
    return f'{name}{{process="{child + 1}"{more}}} {value}'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
