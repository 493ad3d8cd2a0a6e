"""The packets of a file on one line of time, even where its clock jumps or goes back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

BACK = Fraction(1, 2)
"""Seconds that a clock may go back: some demuxers count frames in the order they are stored."""
LOOK_AHEAD = 3
"""Seconds to read on after a jump, to see whether the other tracks jump, too."""
GOES_ON = Fraction(1, 2), 3
"""Seconds and packets of another track, read meanwhile, that show that it does not."""
MAX_HELD = 1_000
"""Packets held meanwhile."""


class Timeline:
    """Moves the times of packets so that each part of a file begins where the one before ends.

    Recordings that were joined byte by byte begin anew in the middle. All tracks are moved by the
    same time there, so that sound and image stay together.
    """

    def __init__(self, tracks: Collection[int], ahead: float) -> None:
        """Watch the clocks of some tracks; forward jumps of up to `ahead` seconds are meant."""
        self._tracks, self._ahead = tracks, ahead
        # By track, in laid out seconds: the last decoding time, and the end of that packet.
        self._last: dict[int, Fraction] = {}
        self._ends: dict[int, Fraction] = {}
        self._shifts: dict[int, Fraction] = {}
        self._latest = Fraction(0)
        # After a jump: the packets since and whether they have their place, where each track
        # jumped to, and `_last` before it.
        self._held: list[tuple[Packet[Any], bool]] = []
        self._begins: dict[int, Fraction] = {}
        self._before: dict[int, Fraction] = {}

    def lay_out(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Yield the packets in their order, with new times."""
        for packet in packets:
            if packet.dts is None or packet.stream_index not in self._tracks:
                # Packets without any time flush the decoders, at the end.
                if packet.pts is None:
                    yield from self._release()
                _move(packet, self._shift(packet))
                yield packet
            elif not self._begins and self._fits(packet):
                yield packet
            else:
                self._hold(packet)
                if self._is_clear():
                    yield from self._release()
        yield from self._release()

    def _shift(self, packet: Packet[Any]) -> Fraction:
        return self._shifts.get(packet.stream_index, self._latest)

    def _fits(self, packet: Packet[Any]) -> bool:
        """Place a packet, if it goes on from the last one of its track."""
        last = self._last.get(packet.stream_index)
        for shift in (self._shift(packet), self._latest):
            if last is None or -BACK <= _seconds(packet) + shift - last <= self._ahead:
                self._place(packet, shift)
                return True
        return False

    def _hold(self, packet: Packet[Any]) -> None:
        """Keep a packet until it is known what became of the other tracks."""
        track = packet.stream_index
        if not self._begins:
            self._before = dict(self._last)
        # The last packets from before a jump may come after the first ones of other tracks.
        placed = track not in self._begins and bool(self._begins) and self._fits(packet)
        if not placed:
            self._begins.setdefault(track, _seconds(packet))
        self._held.append((packet, placed))

    def _is_clear(self) -> bool:
        """Whether enough packets are held."""
        packet, placed = self._held[-1]
        if placed:
            # Those from before a jump are few.
            return self._goes_on(packet.stream_index) or len(self._held) > MAX_HELD
        length = _seconds(packet) - self._begins[packet.stream_index]
        all_jumped = self._begins.keys() >= self._last.keys()
        return all_jumped or length > LOOK_AHEAD or len(self._held) > MAX_HELD

    def _goes_on(self, track: int) -> bool:
        """Whether a track did not jump, but goes on where it was."""
        seconds, packets = GOES_ON
        count = sum(placed and packet.stream_index == track for packet, placed in self._held)
        last = self._last[track]
        return count >= packets and last - self._before.get(track, last) > seconds

    def _release(self) -> Iterator[Packet[Any]]:
        """Yield what is held: moved together, or as it is if the other tracks go on."""
        begins, self._begins = self._begins, {}
        if begins and not any(map(self._goes_on, self._before.keys() - begins.keys())):
            self._latest = max(
                (self._ends[one] - begin for one, begin in begins.items() if one in self._ends),
                default=self._latest,
            )
            self._shifts |= dict.fromkeys(begins, self._latest)
        held, self._held = self._held, []
        for packet, placed in held:
            if not placed:
                self._place(packet, self._shift(packet))
            yield packet

    def _place(self, packet: Packet[Any], shift: Fraction) -> None:
        """Move a packet, and remember where its track is now."""
        _move(packet, shift)
        track = packet.stream_index
        self._shifts[track] = shift
        self._last[track] = _seconds(packet)
        self._ends[track] = self._last[track] + (packet.duration or 0) * packet.time_base


def _move(packet: Packet[Any], shift: Fraction) -> None:
    ticks = round(shift / packet.time_base) if shift else 0
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _seconds(packet: Packet[Any]) -> Fraction:
    """The decoding time of a packet that has one."""
    return (packet.dts or 0) * packet.time_base
