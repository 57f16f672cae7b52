"""HTTP/2 receive windows: what a peer may send as long as it reads what it is sent."""

from contextlib import suppress

import ngh2

from picker.extproc.server import TransportLimits

STREAM_WINDOW_BYTES = 1 << 20
CONNECTION_WINDOW_BYTES = 16 << 20


class Windows:
    """Closes the window of a stream, or of the connection, while too many replies wait there.

    The library gives credit for all that was received. Giving it by hand, per event, loses the
    credit for a frame that is half here when its stream is reset, until the connection stands
    still; shrinking a window loses nothing.
    """

    def __init__(self, http2: ngh2.Connection, limits: TransportLimits) -> None:
        self._http2 = http2
        self._limits = limits
        self._closed: set[int] = set()
        self._connection_closed = False

    def sent(self, stream_id: int) -> None:
        """Replies were queued on a stream."""
        if self._http2.queued_body_size(stream_id) > self._limits.max_unsent_stream_bytes:
            self._closed.add(stream_id)
            self._http2.set_local_window_size(0, stream_id=stream_id)

    def forget(self, stream_id: int) -> None:
        """A stream is gone."""
        self._closed.discard(stream_id)

    def adjust(self) -> bool:
        """Act on what is queued after a write; True if that gave the peer credit to be written."""
        queued = self._http2.queued_body_size()
        opened = False
        if self._connection_closed != (queued > self._threshold()):
            self._connection_closed = not self._connection_closed
            opened = not self._connection_closed
            self._http2.set_local_window_size(CONNECTION_WINDOW_BYTES if opened else 0)
        return self._reopen_streams() or opened

    def _threshold(self) -> int:
        # Half as much for opening, so that a window does not flicker.
        return self._limits.max_unsent_bytes >> self._connection_closed

    def _reopen_streams(self) -> bool:
        most = self._limits.max_unsent_stream_bytes // 2
        drained = [each for each in self._closed if self._http2.queued_body_size(each) <= most]
        for stream_id in drained:
            self._closed.discard(stream_id)
            with suppress(ngh2.StreamUnavailableError):
                self._http2.set_local_window_size(STREAM_WINDOW_BYTES, stream_id=stream_id)
        return bool(drained)
