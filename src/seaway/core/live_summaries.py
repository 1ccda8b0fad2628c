"""A revision's summary as it grows: fed with the tensors of many requests at once, in memory that does not grow.

Used by `monitor.summaries.sink`, one for each revision and window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

import numpy as np

from seaway.core.answers import AnswerSpec
from seaway.core.live_columns import CategoryColumns, LiveColumns, NumberColumns, PooledValues, TextColumns
from seaway.core.live_numbers import LiveNumbers
from seaway.core.summaries import ColumnSummary, Summary
from seaway.core.tensors import Array, DType, Meaning, Signature, Tensors, TensorSpec

MOST_COLUMNS: Final = 64
"""A tensor with more values in a row is summarised as a whole."""
_VALUES_AT_ONCE: Final = 256 * 1024


class LiveSummary:
    """Counts inputs, outputs and confidences of one model. Not thread-safe.

    Of columns (or tensors) named in `hidden`, such as `age` or `input.age`, no value is kept: neither categories nor the
    lowest, the highest, a centroid. Other texts are kept as `mask` leaves them. `language` tells the language of a text.
    """

    def __init__(
        self,
        signature: Signature,
        answer: AnswerSpec | None,
        hidden: Container[str] = (),
        mask: Callable[[str], str] | None = None,
        language: Callable[[str], str] | None = None,
    ) -> None:
        made = functools.partial(
            _Tensor, batched=signature.batched, hidden=hidden, mask=mask, language=language
        )
        self._inputs = [made(spec, output=False) for spec in signature.inputs]
        self._outputs = [made(spec, output=True) for spec in signature.outputs]
        sure = None if answer is None else answer.confidence
        self._confidence = None if sure is None else LiveNumbers(1, count_distinct=False)
        self._confident = next((one for one in self._outputs if one.name == sure), None)
        self._rows = 0

    @property
    def values_per_row(self) -> int:
        """About how many values a row has, to decide how many rows to feed at once."""
        return sum(one.width or _VALUES_AT_ONCE for one in (*self._inputs, *self._outputs))

    def add(self, inputs: Sequence[Tensors], outputs: Sequence[Tensors], rows: Sequence[int]) -> None:
        """Count the inputs and outputs of requests: tensors that fit the Signature, the rows of each request's inputs."""
        self._rows += sum(rows)
        for one in self._inputs:
            there = [tensors[one.name] for tensors in inputs if one.name in tensors]
            for block in one.blocks(there):
                one.live.add(block)
            if len(there) < len(inputs):
                gone = (n for tensors, n in zip(inputs, rows, strict=True) if one.name not in tensors)
                one.live.add_missing(sum(gone))
        for one in self._outputs:
            for block in one.blocks([tensors[one.name] for tensors in outputs]):
                one.live.add(block)
                if one is self._confident and self._confidence is not None:
                    self._confidence.add(block.max(axis=1, keepdims=True))

    def summary(self) -> Summary:
        """What was counted so far."""
        confidence = None if self._confidence is None else self._confidence.summary(0)
        return Summary(self._rows, _columns(self._inputs), _columns(self._outputs), confidence)


class _Tensor:
    """One tensor of the Signature: how its arrays become blocks of rows, and what counts them."""

    def __init__(
        self,
        spec: TensorSpec,
        *,
        output: bool,
        batched: bool,
        hidden: Container[str],
        mask: Callable[[str], str] | None,
        language: Callable[[str], str] | None,
    ) -> None:
        self.name = spec.name
        self._by_row = batched and spec.shape[:1] == (-1,)
        inner = spec.shape[1:] if self._by_row else spec.shape
        self.width = None if -1 in inner else int(np.prod(inner, dtype=np.int64))
        self._at_once = max(1, _VALUES_AT_ONCE // max(1, self.width or _VALUES_AT_ONCE))
        names = _names(spec, self.width, output=output)
        side = "output" if output else "input"
        kept_back = [
            any(word in hidden or f"{side}.{word}" in hidden for word in (spec.name, name)) for name in names
        ]
        self.live: LiveColumns
        label = (
            output and spec.meaning is Meaning.LABEL and self.width is not None and self.width <= MOST_COLUMNS
        )
        if label:
            self.live = CategoryColumns(names, kept_back, mask if spec.dtype is DType.BYTES else None)
        elif spec.dtype is DType.BYTES:
            self.live = TextColumns(names, kept_back, nullable=spec.nullable, mask=mask, language=language)
        elif self.width is None or self.width > MOST_COLUMNS:
            self.live = PooledValues(spec.name, self.width, hidden=kept_back[0])
        elif spec.dtype is DType.BOOL:
            self.live = CategoryColumns(names, kept_back)
        else:
            self.live = NumberColumns(names, kept_back)

    def blocks(self, arrays: Sequence[Array]) -> Iterator[Array]:
        """The arrays of several requests as blocks `(rows, values in a row)`; none is empty."""
        for start in range(0, len(arrays), self._at_once):
            several = arrays[start : start + self._at_once]
            if not self._by_row:
                several = [array[np.newaxis] for array in several]
            joined = several[0] if len(several) == 1 else np.concatenate(several)
            if joined.size:
                yield joined.reshape(len(joined), -1)


def _names(spec: TensorSpec, width: int | None, *, output: bool) -> tuple[str, ...]:
    """As the ReferenceProfile calls the columns; one for the whole where there are too many, or they are not fixed."""
    if width is None or not 1 < width <= MOST_COLUMNS:
        single = width == 1 and len(spec.columns) == 1 and not output
        return (spec.columns[0],) if single else (spec.name,)
    if len(spec.columns) == width and not output:
        return spec.columns
    return tuple(f"{spec.name}[{place}]" for place in range(width))


def _columns(tensors: Sequence[_Tensor]) -> dict[str, ColumnSummary]:
    """By name; a name that several tensors use is preceded by the tensor's from the second on."""
    found: dict[str, ColumnSummary] = {}
    for one in tensors:
        for name, column in one.live.columns().items():
            found[f"{one.name}.{name}" if name in found else name] = column
    return found
