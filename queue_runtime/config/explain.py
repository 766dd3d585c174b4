"""Explains settings: values, sources, what they replaced, and where they have no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from queue_runtime.config.layers import display
from queue_runtime.config.names import ambiguous, table_name
from queue_runtime.config.table import SETTINGS, shown
from queue_runtime.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from queue_runtime.config.origin import Origin
    from queue_runtime.config.table import Setting

# A function's messages come from one service.
TRANSPORT_OF: Final = {"lambda": "sqs", "functions": "servicebus"}


class Settings(Protocol):
    """What is asked of settings here, so that they may know this module."""

    @property
    def queue(self) -> str | None:
        """The queue's name or URL."""

    def origin(self, name: str, /) -> Origin:
        """Tell where a value came from."""

    def shadowed(self, name: str, /) -> Sequence[tuple[Origin, Any]]:
        """Give what a value replaced, the latest first."""


class Explanation:
    """One setting as a process has it, every text fit to be shown.

    - `value`, `layer`, `source`: what it is, and where that was said; `reference` where a store has
      it.
    - `shadows`: what the value replaced: each source and value, the latest first.
    - `default`, `takes`, `meaning`, `variables`: from the table.
    - `no_effect`: by place (a host or a transport), why the value comes to nothing there.
    """

    __slots__ = (
        "default",
        "layer",
        "meaning",
        "name",
        "no_effect",
        "reference",
        "shadows",
        "source",
        "takes",
        "value",
        "variables",
    )

    def __init__(self, settings: Settings, setting: Setting) -> None:
        name, origin = setting.name, settings.origin(setting.name)
        self.name, self.layer, self.source = name, origin.layer, str(origin)
        self.reference = origin.reference
        self.value = shown_of(settings, name)
        self.shadows = [
            (str(before), display(setting, value, before))
            for before, value in settings.shadowed(name)
        ]
        self.default, self.takes = shown(setting.default), setting.takes()
        self.meaning, self.variables = setting.meaning, list(setting.environment)
        self.no_effect = no_effect(settings, setting)

    def __repr__(self) -> str:
        return f"<Explanation {self.name} = {self.value} ({self.source})>"

    def as_dict(self) -> dict[str, Any]:
        """Give all of it, for JSON."""
        rows: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return rows | {"shadows": [{"source": s, "value": v} for s, v in self.shadows]}


def explained(settings: Settings) -> list[Explanation]:
    """Explain every setting, in the table's order."""
    return [Explanation(settings, setting) for setting in SETTINGS.values()]


def shown_of(settings: Settings, name: str) -> str:
    """Write a setting's value for people, secrets hidden."""
    return display(SETTINGS[name], getattr(settings, name), settings.origin(name))


def no_effect(settings: Settings, setting: Setting) -> Mapping[str, str]:
    """Tell by place why the value that a setting has comes to nothing there."""
    if setting.unless and getattr(settings, setting.unless):
        return {}
    value = getattr(settings, setting.name)
    reasons = {place: setting.unusable_on(place, value) for place in setting.unusable}
    return {place: why for place, why in reasons.items() if why}


def without_effect(
    settings: Settings, host: str, transport: str, but: Collection[str] = ()
) -> list[str]:
    """Say, a sentence each, what was set and comes to nothing on a host and transport."""
    sentences = []
    for setting in [each for each in SETTINGS.values() if each.name not in but]:
        origin = settings.origin(setting.name)
        # A variable that other software reads too may well be there for that.
        if origin.layer == "default" or (setting.shared and origin.layer == "environment"):
            continue
        reasons = no_effect(settings, setting)
        for place in (host, transport or TRANSPORT_OF.get(host, "")):
            if place in reasons:
                value, where = shown_of(settings, setting.name), place if transport else host
                sentences.append(
                    f"{setting.name} = {value} ({origin}) has no effect on {where}: "
                    f"{reasons[place]}."
                )
                break
    return sentences


def rebound(named: Sequence[tuple[str, object, Settings]]) -> None:
    """See `refuse_rebinding`; queues whose variables cannot be told apart are refused too."""
    if len(named) < 2:  # one handler may be given another queue
        return
    wrong = [line for title, own, settings in named for line in _other_word(title, own, settings)]
    queues = [table_name(settings.queue) for _, _, settings in named if settings.queue]
    if wrong:
        raise SettingsError("\n  ".join(("several handlers would share one queue:", *wrong)))
    for part, both in ambiguous(queues).items():
        if any(f"QUEUE__{part}__" in str(s.origin(n)) for _, _, s in named for n in SETTINGS):
            raise SettingsError(
                f"variables QUEUE__{part}__… could mean {' and '.join(both)}: say it in the file"
            )


def _other_word(title: str, own: object, settings: Settings) -> list[str]:
    origin = settings.origin("queue")
    whole_process = (origin.layer == "environment" and origin.key == "QUEUE_NAME") or (
        origin.layer == "file" and "queue." not in origin.key
    )
    if not own or not settings.queue or not whole_process:
        return []
    if table_name(str(own)) == table_name(settings.queue):
        return []
    return [
        f"{title} names {shown(own)} in its decorator, and {origin} says "
        f"{shown_of(settings, 'queue')} for all; leave that out, or say it for each queue"
    ]
