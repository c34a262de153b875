"""A tuple whose versions share their memory, so that one more or one less costs the same however long it is.

With thousands of workers, a state that is a plain value would be copied whole for each that stops, joins or dies. Here the versions of a
tuple look at one growing list and each knows how much of it it may see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar, overload

T = TypeVar("T")
_NEVER = 1 << 62
_SLACK = 64  # so many dead items are carried along before the list is written anew


class _Line(Generic[T]):
    """What the versions share: every item ever added, in order, and when it was taken out; nothing in it is ever overwritten twice."""

    __slots__ = ("gone_at", "items", "places", "removals", "unique")

    def __init__(self, items: Iterable[T]) -> None:
        self.items = list(items)
        self.places = {_name(item): place for place, item in enumerate(self.items)}
        self.gone_at: dict[int, int] = {}  # place -> number of the removal that took it out
        self.removals = 0
        self.unique = len(self.places) == len(self.items)


class SharedTuple(Sequence[T]):
    """An immutable sequence: equal to the plain tuple of its items, printed and hashed as it, pickled as it.

    An item is found by its name: its `worker` where it has one, else itself. Asking for a name, adding at the end and taking out are O(1)
    on the newest version (on an older one the rest of the line is copied first); so is the length. Iterating is as for a tuple.

    Example:
        >>> four = SharedTuple(("w0", "w1", "w2", "w3"))
        >>> three = four.without("w1")
        >>> three, three.has("w1"), four.has("w1"), three.plus("w4") == ("w0", "w2", "w3", "w4")
        (('w0', 'w2', 'w3'), False, True, True)
    """

    __slots__ = ("_first", "_length", "_line", "_plain", "_removals", "_stop")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._line: _Line[T] = _Line(items)
        self._first, self._stop, self._removals = 0, len(self._line.items), 0  # places seen, and removals heard of
        self._length = self._stop
        self._plain: tuple[T, ...] | None = None  # once it was asked for

    @staticmethod
    def of(items: Iterable[T]) -> SharedTuple[T]:
        """`items`, as they are if they are one already."""
        return items if isinstance(items, SharedTuple) else SharedTuple(items)

    # -- one name -------------------------------------------------------------------------------------------------------------------

    def named(self, name: object) -> T | None:
        """The item of that name."""
        place = self._place(name)
        return None if place is None else self._line.items[place]

    def has(self, name: object) -> bool:
        """Is there an item of that name?"""
        return self._place(name) is not None

    def plus(self, item: T) -> SharedTuple[T]:
        """With `item` at the end."""
        if not self._length:
            return SharedTuple((item,))  # else whoever keeps an empty one, a default say, would keep all that came after it
        line, name = self._line, _name(item)
        if self._stop != len(line.items) or self._removals != line.removals or (name in line.places and not self.has(name)):
            return SharedTuple((*self, item))
        if name in line.places:
            line.unique = False
        else:
            line.places[name] = self._stop
        line.items.append(item)
        return self._version(self._first, self._stop + 1, self._removals, self._length + 1)

    def plus_all(self, items: Iterable[T]) -> SharedTuple[T]:
        """With `items` at the end, in their order."""
        after = self
        for item in items:
            after = after.plus(item)
        return after

    def without(self, name: object) -> SharedTuple[T]:
        """Without the items of that name."""
        place, line = self._place(name), self._line
        if place is None:
            return self
        stale = self._removals != line.removals or self._stop != len(line.items)
        if stale or not line.unique or self._stop - self._length > self._length + _SLACK:
            return SharedTuple(item for item in self if _name(item) != name)
        line.removals += 1
        line.gone_at[place] = line.removals
        first = self._first
        while first < self._stop and line.gone_at.get(first, _NEVER) <= line.removals:
            first += 1
        return self._version(first, self._stop, line.removals, self._length - 1)

    def _place(self, name: object) -> int | None:
        place = self._line.places.get(name)
        if place is None or place >= self._stop or (self._removals and self._line.gone_at.get(place, _NEVER) <= self._removals):
            return None
        return place

    def _version(self, first: int, stop: int, removals: int, length: int) -> SharedTuple[T]:
        made: SharedTuple[T] = SharedTuple.__new__(SharedTuple)
        made._line, made._first, made._stop, made._removals, made._length, made._plain = self._line, first, stop, removals, length, None
        return made

    # -- as a tuple -----------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        if self._plain is not None:
            return iter(self._plain)
        seen = islice(self._line.items, self._first, self._stop)
        if not self._removals:
            return seen
        gone_at, removals = self._line.gone_at, self._removals
        return (item for place, item in enumerate(seen, self._first) if gone_at.get(place, _NEVER) > removals)

    def plain(self) -> tuple[T, ...]:
        """The plain tuple."""
        if self._plain is None:
            self._plain = tuple(self)
        return self._plain

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if index == 0 and self._length:
            return self._line.items[self._first]
        return self.plain()[index]

    def __contains__(self, item: object) -> bool:
        if not self._line.unique:
            return item in self.plain()
        place = self._place(_name(item))
        return place is not None and self._line.items[place] == item

    def __add__(self, other: Iterable[T]) -> tuple[T, ...]:
        return self.plain() + tuple(other)

    def __radd__(self, other: Iterable[T]) -> tuple[T, ...]:
        return tuple(other) + self.plain()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, SharedTuple):
            return self._length == other._length and self.plain() == other.plain()
        return self.plain() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.plain())

    def __repr__(self) -> str:
        return repr(self.plain())

    def __reduce__(self) -> tuple[type[SharedTuple[T]], tuple[tuple[T, ...]]]:
        return SharedTuple, (self.plain(),)


def _name(item: object) -> object:
    return item if type(item) is str else getattr(item, "worker", item)
