"""The file of expected exports: its models, and every problem of it at once.

docs/expectations.md explains the fields. Nothing here needs a stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Final

from export_jobs.contract.create import (
    EMPTY,
    Name,
    OptionalField,
    RequestPart,
    checked_name,
    describe_problems,
)
from export_jobs.contract.text import one_line
from export_jobs.model.expectations import MAX_SEGMENTS, Expectation
from export_jobs.model.names import MAX_NAME, Names
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
)

from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations import fields
from export_jobs_cli.expectations.yaml_text import Decoded, Place, YamlInvalid, decode_yaml
from export_jobs_cli.files import name_of, read_text

MAX_BYTES: Final = 512 * 1024
MAX_SHOWN: Final = 50
"""The most problems that are printed."""
OUTCOMES: Final = ("SUCCEEDED", "SUCCEEDED_WITH_ERRORS")
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
TIME_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
DURATION_PATTERN: Final = r"^[1-9][0-9]*[mhd]$"
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
SHARE_PATTERN: Final = r"^[1-9][0-9]?%$"
_DAY: Final = f"({'|'.join(fields.DAYS)})"
_DAY_OR_RANGE: Final = rf"{_DAY}(-{_DAY})?"
DAYS_PATTERN: Final = rf"^{_DAY_OR_RANGE}(, ?{_DAY_OR_RANGE})*$"
_MAX_GRACE: Final = 7 * 24 * 60
_MAX_PROFILES: Final = 10**12
_MAX_DATES: Final = 1_000


def _text(value: Any) -> Any:
    if isinstance(value, list | Mapping):
        raise ValueError("must be text")  # noqa: TRY004  pydantic reports only a ValueError
    return value


def _list(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("must be a list, such as [one, another]")  # noqa: TRY004  the same
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else _list(value)


def _checked_entry_name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(
            "must be 1 to 128 letters, digits, dots, underscores and hyphens, the first one a "
            "letter or a digit"
        )
    return value


def _checked_time(value: str) -> str:
    fields.minutes_of_day(value)
    return value


def _checked_window(value: str) -> str:
    fields.window_minutes(value)
    return value


def _checked_grace(value: str) -> str:
    if fields.minutes_of(value) > _MAX_GRACE:
        raise ValueError("is longer than 7d")
    return value


def _checked_date(value: str) -> str:
    fields.date_of(value)
    return value


def _checked_outcome(value: str) -> str:
    if value not in OUTCOMES:
        nearest = get_close_matches(value.upper()[:64], OUTCOMES, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(OUTCOMES)}"
        raise ValueError(f"{fields.quoted(value)} can't be accepted; {hint}")
    return value


def _share(value: Any) -> Any:
    """`30%` or `0.3` in percent."""
    text = str(_text(value)).strip()
    if found := re.fullmatch(r"([1-9]\d?)%", text, re.ASCII):
        return int(found[1])
    if found := re.fullmatch(r"0?\.(\d{1,2})0*", text, re.ASCII):
        percent = int(found[1].ljust(2, "0"))
        if percent:
            return percent
    meant = re.fullmatch(r"([1-9]\d?)(?:\.0*)?\s*%?", text, re.ASCII)
    hint = f"write {meant[1]}%" if meant else "write it as 30% or 0.3, from 1% to 99%"
    raise ValueError(f"{fields.quoted(text)} is not a share in whole percent; {hint}")


def _count(value: Any) -> Any:
    if not isinstance(value, str):
        return _text(value)
    if not re.fullmatch(r"\d{1,15}", value, re.ASCII):
        raise ValueError("must be a whole number, such as 1000")
    return int(value)


_Text = Annotated[str, BeforeValidator(_text)]
Id = Annotated[Name, BeforeValidator(_text)]
EntryName = Annotated[
    _Text, AfterValidator(_checked_entry_name), Field(json_schema_extra={"pattern": NAME_PATTERN})
]
TimeOfDay = Annotated[
    _Text, AfterValidator(_checked_time), Field(json_schema_extra={"pattern": TIME_PATTERN})
]
_DurationSchema = Field(json_schema_extra={"pattern": DURATION_PATTERN})
WindowLength = Annotated[_Text, AfterValidator(_checked_window), _DurationSchema]
Grace = Annotated[_Text, AfterValidator(_checked_grace), _DurationSchema]
Day = Annotated[
    _Text, AfterValidator(_checked_date), Field(json_schema_extra={"pattern": DATE_PATTERN})
]
Days = Annotated[
    list[_Text],
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": DAYS_PATTERN},
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": f"^{_DAY_OR_RANGE}$"},
                    "minItems": 1,
                },
            ]
        }
    ),
]
Outcome = Annotated[
    _Text, AfterValidator(_checked_outcome), Field(json_schema_extra={"enum": list(OUTCOMES)})
]
Share = Annotated[
    int,
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": SHARE_PATTERN},
                {"type": "number", "minimum": 0.01, "maximum": 0.99},
            ]
        }
    ),
]
Count = Annotated[int, Field(ge=0, le=_MAX_PROFILES), BeforeValidator(_count)]


def _either(has: str, *others: str) -> dict[str, Any]:
    return {
        "required": [has],
        "not": {"anyOf": [{"required": [other]} for other in others]},
    }


class Entry(RequestPart):
    """An export that should succeed in each of its windows."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [_either("due", "every", "grace"), _either("every", "due", "opens")]
        }
    )

    name: EntryName = Field(
        title="Name", description="A name of your choice, unique in its sandbox."
    )
    dataset_id: Id = Field(title="Dataset", description="The id of the dataset it exports to.")
    timezone: _Text = Field(
        title="Time zone",
        description="The zone of all its times, by its name in the IANA database.",
        examples=["Europe/Rome"],
    )
    sandbox_name: OptionalField[Id] = Field(
        None,
        title="Sandbox",
        description="The AEP sandbox; required where the stack watches several.",
    )
    segments: OptionalField[
        Annotated[list[Id], BeforeValidator(_list), Field(min_length=1, max_length=MAX_SEGMENTS)]
    ] = Field(
        None,
        title="Segments",
        description="Only a job that exports at least these segments counts. Default: any job.",
    )
    opens: OptionalField[TimeOfDay] = Field(
        None,
        title="Opens",
        description="Jobs created from this time on count. Default: the previous deadline.",
        examples=["00:00"],
    )
    due: OptionalField[TimeOfDay] = Field(
        None,
        title="Due",
        description="The deadline of each day; on the next day if it is not later than opens.",
        examples=["06:00"],
    )
    every: OptionalField[WindowLength] = Field(
        None,
        title="Every",
        description="The length of windows that begin at midnight; it must divide a day.",
        examples=["1h"],
    )
    grace: OptionalField[Grace] = Field(
        None,
        title="Grace",
        description="How long after the end of each window its deadline is. Default: none.",
        examples=["20m"],
    )
    days: OptionalField[Days] = Field(
        None,
        title="Days",
        description="The weekdays on which it is expected. Default: every day.",
        examples=["mon-fri"],
    )
    except_: OptionalField[
        Annotated[list[Day], BeforeValidator(_list), Field(min_length=1, max_length=_MAX_DATES)]
    ] = Field(
        None,
        alias="except",
        title="Except",
        description="Local dates on which it is not expected.",
        examples=[["2026-12-25"]],
    )
    min_profiles: Count = Field(
        1,
        title="Minimum number of profiles",
        description="A job that exports fewer profiles does not count. Default: 1.",
    )
    max_drop: OptionalField[Share] = Field(
        None,
        title="Maximum drop",
        description="A job that exports fewer profiles than usual, by more than this share, does "
        "not count. Default: any number counts.",
        examples=["30%"],
    )
    accept: OptionalField[Annotated[list[Outcome], BeforeValidator(_list), Field(min_length=1)]] = (
        Field(
            None,
            title="Accepted outcomes",
            description="The outcomes that count as success. Default: SUCCEEDED.",
        )
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        return fields.zone_of(value)

    @field_validator("days")
    @classmethod
    def _known_days(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not value:
            raise ValueError(EMPTY)
        fields.days_of(value or [])
        return value

    @field_validator("segments", "except_", "accept")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        for item in value or []:
            if (value or []).count(item) > 1:
                raise ValueError(f"names {fields.quoted(item)} twice")
        return value

    def expectation(self) -> Expectation:
        """The same as a value of the model."""
        return Expectation(
            name=self.name,
            dataset_id=self.dataset_id,
            timezone=self.timezone,
            due=None if self.due is None else fields.minutes_of_day(self.due),
            opens=None if self.opens is None else fields.minutes_of_day(self.opens),
            every=None if self.every is None else fields.window_minutes(self.every),
            grace=0 if self.grace is None else fields.minutes_of(self.grace),
            days=frozenset(range(7)) if self.days is None else fields.days_of(self.days),
            excepted=frozenset(map(fields.date_of, self.except_ or ())),
            segments=tuple(sorted(self.segments or ())),
            min_profiles=self.min_profiles,
            max_drop=self.max_drop,
            accept=frozenset(self.accept or ("SUCCEEDED",)),
        )


def written(expectation: Expectation, sandbox: str | None = None) -> dict[str, Any]:
    """An expectation as an entry of the file; fields with their defaults are left out."""
    every_day = len(expectation.days) == 7
    accepts = [outcome for outcome in OUTCOMES if outcome in expectation.accept]
    whole = {
        "name": expectation.name,
        "sandboxName": sandbox,
        "datasetId": expectation.dataset_id,
        "segments": list(expectation.segments) or None,
        "opens": _optional(fields.time_text, expectation.opens),
        "due": _optional(fields.time_text, expectation.due),
        "every": _optional(fields.duration_text, expectation.every),
        "grace": fields.duration_text(expectation.grace) if expectation.grace else None,
        "timezone": expectation.timezone,
        "days": None if every_day else fields.days_text(expectation.days),
        "except": [day.isoformat() for day in sorted(expectation.excepted)] or None,
        "minProfiles": None if expectation.min_profiles == 1 else expectation.min_profiles,
        "maxDrop": None if expectation.max_drop is None else f"{expectation.max_drop}%",
        "accept": None if accepts == ["SUCCEEDED"] else accepts,
    }
    return {name: value for name, value in whole.items() if value is not None}


def _optional(text_of: Any, value: int | None) -> str | None:
    return None if value is None else str(text_of(value))


@dataclass(frozen=True)
class WrittenEntry:
    """An entry and the line where it begins. `sandbox` is None if the entry names none."""

    expectation: Expectation
    sandbox: str | None
    line: int | None


@dataclass(frozen=True)
class ExpectationsFile:
    """A valid file. `entries` is None if it has only names, `names` if it has none."""

    entries: tuple[WrittenEntry, ...] | None = None
    names: Names | None = None


@dataclass(frozen=True)
class FileProblem:
    """What is wrong, and where: the line, the entry and its field, as far as they are known."""

    message: str
    line: int | None = None
    entry: str = ""
    field: str = ""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        where = ", ".join(filter(None, (line, self.entry)))
        return one_line(": ".join(filter(None, (where, self.field, self.message))))


class FileInvalid(ValueError):
    """The file is not valid. `problems` has every one, in the order of the file."""

    def __init__(self, problems: Sequence[FileProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


def load(file: str, *, now: int, watched: Sequence[str] | None = None) -> ExpectationsFile:
    """Reads a file, or standard input for `-`. Raises UserError, which names every problem."""
    text = read_text(file, at_most=MAX_BYTES)
    try:
        return parse(text, now=now, watched=watched)
    except FileInvalid as invalid:
        shown = [str(problem) for problem in invalid.problems[:MAX_SHOWN]]
        if left := len(invalid.problems) - len(shown):
            shown.append(f"and {left:,} more")
        wrong = "\n".join(f"  {problem}" for problem in shown)
        raise UserError(f"{name_of(file)} is not valid:\n{wrong}") from None


def parse(text: str, *, now: int, watched: Sequence[str] | None = None) -> ExpectationsFile:
    """Checks the text of a file. Raises FileInvalid with every problem.

    `watched`: the sandboxes of the stack, if the file is for one.
    """
    try:
        decoded = decode_yaml(text)
    except YamlInvalid as error:
        raise FileInvalid([FileProblem(str(error), error.line)]) from None
    checking = _Checking(decoded, now, watched)
    found = checking.whole(decoded.value)
    if checking.problems:
        raise FileInvalid(sorted(checking.problems, key=lambda problem: problem.line or 0))
    return found


_SHAPE: Final = "must be a list of entries, or have the fields expectations and names"
_TOP: Final = ("expectations", "names")
_NAMED: Final = ("datasets", "segments")


class _Checking:
    def __init__(self, decoded: Decoded, now: int, watched: Sequence[str] | None) -> None:
        self._decoded = decoded
        self._now = now
        self._watched = watched
        self._labels: dict[Place, str] = {}
        self.problems: list[FileProblem] = []

    def whole(self, value: Any) -> ExpectationsFile:
        if value is None:
            self._add((), "is empty; write [] if no export is expected")
            return ExpectationsFile()
        if isinstance(value, list):
            found = ExpectationsFile(self._entries(value, ()))
        elif isinstance(value, dict) and value:
            self._unknown(value, (), _TOP)
            entries = value.get("expectations")
            found = ExpectationsFile(
                self._entries(entries, ("expectations",)) if "expectations" in value else None,
                self._names(value["names"]) if "names" in value else None,
            )
        else:
            self._add((), _SHAPE)
            found = ExpectationsFile()
        for problem in self._decoded.problems:
            self._add(problem.place, problem.message, line=problem.line)
        return found

    # -- entries ---------------------------------------------------------------------------------

    def _entries(self, value: Any, place: Place) -> tuple[WrittenEntry, ...]:
        if not isinstance(value, list):
            self._add(place, "must be a list of entries; write [] if no export is expected")
            return ()
        entries = []
        seen: dict[tuple[str | None, str], int | None] = {}
        for number, raw in enumerate(value):
            here = (*place, number)
            self._labels[here] = f"entry {number + 1}"
            if not isinstance(raw, dict):
                self._add(here, "must have fields, such as name: nightly-newsletter")
                continue
            name = raw.get("name")
            if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name):
                self._labels[here] = name
                self._once(seen, raw, name, here)
            if entry := self._entry(raw, here):
                entries.append(entry)
        return tuple(entries)

    def _once(
        self,
        seen: dict[tuple[str | None, str], int | None],
        raw: Mapping[str, Any],
        name: str,
        here: Place,
    ) -> None:
        sandbox = raw.get("sandboxName")
        if sandbox is None and self._watched is not None and len(self._watched) == 1:
            sandbox = self._watched[0]
        key = (sandbox if isinstance(sandbox, str) else None, name)
        if key in seen:
            self._add((*here, "name"), f"is taken by the entry in line {seen[key]}")
        else:
            seen[key] = self._decoded.line_of(here)

    def _entry(self, raw: Mapping[str, Any], here: Place) -> WrittenEntry | None:
        before = len(self.problems)
        for name, wrong in _structure(raw):
            self._add((*here, name), wrong)
        sandbox = raw.get("sandboxName")
        if message := self._sandbox_problem(sandbox, named="sandboxName" in raw):
            self._add((*here, "sandboxName"), message)
        try:
            entry = Entry.model_validate(raw)
        except ValidationError as error:
            for found, problem in zip(
                error.errors(include_url=False),
                describe_problems(error, Entry, of="an expectation"),
                strict=True,
            ):
                self._add((*here, *found["loc"]), problem.message, field=problem.field)
            return None
        if len(self.problems) > before:
            return None
        expectation = entry.expectation()
        if expectation.next_window(self._now) is None:
            self._add((*here, "except"), "leaves no day for more than a year from now")
        return WrittenEntry(expectation, entry.sandbox_name, self._decoded.line_of(here))

    def _sandbox_problem(self, sandbox: Any, *, named: bool) -> str | None:
        if self._watched is None:
            return None
        watched = ", ".join(self._watched)
        if not named and len(self._watched) > 1:
            return f"is required, as the stack watches several: {watched}"
        if not isinstance(sandbox, str) or sandbox in self._watched:
            return None
        nearest = get_close_matches(sandbox[:64], self._watched, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        return f"{fields.quoted(sandbox)} is not watched; {hint}watched: {watched}"

    # -- names -----------------------------------------------------------------------------------

    def _names(self, value: Any) -> Names:
        place: Place = ("names",)
        if not isinstance(value, dict) or not value:
            self._add(place, "must have the fields datasets and segments")
            return Names()
        self._unknown(value, place, _NAMED)
        return Names(*(self._names_of(value, kind) for kind in _NAMED))

    def _names_of(self, value: Mapping[str, Any], kind: str) -> Mapping[str, str]:
        if kind not in value:
            return {}
        named = value[kind]
        if not isinstance(named, dict):
            self._add(("names", kind), "must have an id and a name on each line, such as 5bb4: VIP")
            return {}
        for key, name in named.items():
            if message := _id_problem(key) or _name_problem(name):
                self._add(("names", kind, key), message)
        return named

    # -- problems --------------------------------------------------------------------------------

    def _unknown(self, value: Mapping[str, Any], place: Place, known: Sequence[str]) -> None:
        for name in value.keys() - {*known}:
            nearest = get_close_matches(name[:64], known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
            self._add((*place, name), f"is not a field here; {hint}")

    def _add(
        self, place: Place, message: str, *, field: str | None = None, line: int | None = None
    ) -> None:
        entry = next((at for at in self._labels if place[: len(at)] == at), None)
        rest = place if entry is None else place[len(entry) :]
        problem = FileProblem(
            message,
            line or self._decoded.line_of(place),
            self._labels[entry] if entry is not None else "",
            ".".join(map(str, rest)) if field is None else field,
        )
        self.problems.append(problem)


def _structure(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What fields exclude or require each other."""
    if "due" in raw and "every" in raw:
        yield "every", "can't be combined with due; give one of them"
    elif "every" in raw and "opens" in raw:
        yield "opens", "can only be given with due; windows of every begin at midnight"
    elif "due" in raw and "grace" in raw:
        yield "grace", "can only be given with every; give a later due instead"
    elif "due" not in raw and "every" not in raw:
        yield "due", "is required, or every instead"


def _id_problem(key: str) -> str | None:
    try:
        checked_name(key)
    except ValueError as error:
        return f"its id {error}"
    return None if 0 < len(key) <= 256 else "its id must have 1 to 256 characters"


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        return f"must be a name of 1 to {MAX_NAME} characters"
    try:
        checked_name(name)
    except ValueError as error:
        return str(error)
    return None
