"""Launch extents: the bytes one launch may touch, so that a wrong mask is an error, not a crash.

A tensor's extent reaches from its first to its last element, whatever lies around it in the
storage. Extents that overlap (two views of one buffer) become one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch


class OutOfBounds(IndexError):
    """A kernel touched bytes that belong to none of its tensor arguments."""


@dataclass
class Extent:
    """Bytes ``start`` to ``stop`` (addresses) of the tensors called ``name``."""

    name: str
    start: int
    stop: int


class Extents:
    """The disjoint extents of a launch's tensors, in order of address."""

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.parts: list[Extent] = []
        extents = [_extent(name, tensor) for name, tensor in tensors if tensor.numel()]
        for extent in sorted(extents, key=lambda extent: extent.start):
            last = self.parts[-1] if self.parts else None
            if last is None or extent.start >= last.stop:
                self.parts.append(extent)
                continue
            last.stop = max(last.stop, extent.stop)
            last.name = f"{last.name}/{extent.name}"
        self.starts = np.array([part.start for part in self.parts], np.uint64)
        self.stops = np.array([part.stop for part in self.parts], np.uint64)

    def locate(self, addresses: np.ndarray) -> np.ndarray:
        """Index into ``parts`` of the last extent that starts at or below each address, else -1."""
        return np.searchsorted(self.starts, addresses, side="right") - 1

    def split(self, addresses: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Index of each extent that is hit, and the byte offsets into it; after ``check``."""
        places = self.locate(addresses)
        found = np.unique(places)
        for place in found:
            inside = addresses if len(found) == 1 else addresses[places == place]
            yield int(place), (inside - self.starts[place]).astype(np.int64)

    def check(self, kind: str, addresses: np.ndarray, itemsize: int) -> None:
        """Raises OutOfBounds unless every item lies whole in one extent."""
        ends = (int(addresses.min()), int(addresses.max()))
        # extents are contiguous: a block whose ends share one lies in it
        for part in self.parts:
            if part.start <= ends[0] and ends[1] + itemsize <= part.stop:
                return
        places = self.locate(addresses)
        outside = (places < 0) | (addresses + np.uint64(itemsize) > self._stops_of(places))
        if outside.any():
            raise OutOfBounds(self._describe(kind, int(addresses[outside][0]), int(outside.sum())))

    def _stops_of(self, places: np.ndarray) -> np.ndarray:
        if not self.parts:
            return np.zeros(places.shape, np.uint64)
        return self.stops[np.maximum(places, 0)]

    def _describe(self, kind: str, address: int, lanes: int) -> str:
        if not self.parts:
            return f"{kind} of {lanes} elements by a launch without tensors"

        def distance(part: Extent) -> int:
            return max(part.start - address, address - part.stop)

        near = min(self.parts, key=distance)
        return (
            f"{kind} of {lanes} elements outside every tensor argument, the first at byte "
            f"{address - near.start} of {near.name}, want 0 to {near.stop - near.start - 1}"
        )


def _extent(name: str, tensor: torch.Tensor) -> Extent:
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    start = tensor.data_ptr()
    return Extent(name, start, start + (last + 1) * tensor.element_size())
