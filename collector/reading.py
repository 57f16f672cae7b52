"""From a page to signals: what an engine's mapping finds, checked for being possible."""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import msgspec

from collector.engines import (
    Aggregate,
    Engine,
    Label,
    Product,
    Quotient,
    Rule,
    Sample,
    Signal,
    Source,
    Term,
)
from collector.errors import CollectorError
from collector.exposition import Family, parse_labels, scan

TOLERANCE = 1.0001
"""A ratio may be above its limit by rounding."""

MOST_BLOCKS_REMEMBERED = 4096


class Fault(Enum):
    """Why a signal is unknown; the value is the label of the metric."""

    MISSING = "missing"
    MALFORMED = "malformed"
    NOT_FINITE = "not finite"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    DISAGREES = "engines disagree"
    UNKNOWN = "no known series"


class Problem(msgspec.Struct, frozen=True):
    """One thing on a page that could not be believed."""

    subject: str
    """A signal's name, or `engine` for the whole page."""
    fault: Fault

    def __str__(self) -> str:
        return f"{self.subject}: {self.fault.value}"


NO_ENGINE = Problem("engine", Fault.UNKNOWN)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The signals of one page. A signal that is not in `values` is unknown."""

    engine: str | None
    """None: no series of a known engine, as with `--disable-log-stats`."""
    models: tuple[str, ...]
    values: Mapping[Signal, float]
    problems: tuple[Problem, ...]


class UnsoundError(CollectorError):
    """A source is there but cannot be believed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


Labels = Mapping[str, str]


class PageReader:
    """Reads pages by the mappings of the given engines; remembers parsed label blocks."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._plans = [
            (engine, prefix.encode(), _names(engine))
            for engine in engines
            for prefix in engine.prefixes
        ]
        self._labels: dict[bytes, Labels] = {}

    def read(self, page: bytes) -> Reading:
        """Return what the first mapping that fits the page finds on it."""
        for engine, prefix, names in self._plans:
            if b"\n" + prefix in page or page.startswith(prefix):
                families = scan(page, prefix, names)
                if families:
                    return self._interpret(engine, families)
        return Reading(engine=None, models=(), values={}, problems=(NO_ENGINE,))

    def _interpret(self, engine: Engine, families: Mapping[bytes, Family]) -> Reading:
        values: dict[Signal, float] = {}
        problems: list[Problem] = []
        for signal, rule in engine.rules.items():
            value, faults = self._resolve(rule, families)
            if value is not None:
                values[signal] = value
            problems += [Problem(signal.value, fault) for fault in faults]
        return Reading(
            engine=engine.name,
            models=self._models(engine, families.values()),
            values=values,
            problems=tuple(problems),
        )

    def _resolve(
        self, rule: Rule, families: Mapping[bytes, Family]
    ) -> tuple[float | None, list[Fault]]:
        faults: list[Fault] = []
        for source in rule.sources:
            try:
                found = self._evaluate(rule, source, families.get(source.series.encode()))
            except UnsoundError as error:
                faults.append(error.fault)
            else:
                if found is not None:
                    return found, faults
        if rule.required and not faults:
            faults.append(Fault.MISSING)
        return None, faults

    def _evaluate(self, rule: Rule, source: Source, family: Family | None) -> float | None:
        if family is None:
            return None
        # A sum without one engine's share would make a busy endpoint look idle.
        if family.rejected:
            raise UnsoundError(Fault.MALFORMED)
        values = [
            _plausible(rule, value)
            for block, sample in family.samples.items()
            if (value := self._term(source.term, block, sample)) is not None
        ]
        return _aggregate(rule.aggregate, values) if values else None

    def _term(self, term: Term, block: bytes, sample: float) -> float | None:
        match term:
            case Sample():
                return sample
            case Label(name):
                return _number(self._parsed(block), name)
            case Product(left, right):
                labels = self._parsed(block)
                factors = _number(labels, left), _number(labels, right)
                return None if None in factors else math.prod(f for f in factors if f is not None)
            case Quotient(dividend, divisor):
                labels = self._parsed(block)
                return _whole_quotient(_number(labels, dividend), _number(labels, divisor))

    def _parsed(self, block: bytes) -> Labels:
        labels = self._labels.get(block)
        if labels is None:
            if len(self._labels) >= MOST_BLOCKS_REMEMBERED:
                self._labels.clear()
            labels = self._labels[block] = parse_labels(block)
        return labels

    def _models(self, engine: Engine, families: Iterable[Family]) -> tuple[str, ...]:
        blocks = dict.fromkeys(block for family in families for block in family.samples)
        names = (self._parsed(block).get(engine.model_label) for block in blocks)
        return tuple(dict.fromkeys(name for name in names if name))


def _names(engine: Engine) -> frozenset[bytes]:
    return frozenset(
        source.series.encode() for rule in engine.rules.values() for source in rule.sources
    )


def _number(labels: Labels, name: str) -> float | None:
    text = labels.get(name, "").strip()
    if text in {"", "None"}:
        return None
    try:
        return float(text)
    except ValueError:
        raise UnsoundError(Fault.MALFORMED) from None


def _whole_quotient(dividend: float | None, divisor: float | None) -> float | None:
    if dividend is None or not divisor:
        return None
    quotient = dividend / divisor
    return quotient if quotient.is_integer() else None


def _plausible(rule: Rule, value: float) -> float:
    if not math.isfinite(value):
        raise UnsoundError(Fault.NOT_FINITE)
    if value < rule.least:
        raise UnsoundError(Fault.TOO_SMALL)
    if value > rule.most * TOLERANCE:
        raise UnsoundError(Fault.TOO_LARGE)
    return min(value, rule.most)


def _aggregate(aggregate: Aggregate, values: Sequence[float]) -> float:
    match aggregate:
        case Aggregate.SUM:
            return math.fsum(values)
        case Aggregate.MEAN:
            return math.fsum(values) / len(values)
        case Aggregate.SAME:
            if len(set(values)) > 1:
                raise UnsoundError(Fault.DISAGREES)
            return values[0]
