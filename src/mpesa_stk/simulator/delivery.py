"""Send the simulator's answers: broken, slow, byte by byte, or as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus

import attrs

from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.simulator.faults import DeliveryFault
from mpesa_stk.web.answers import Delivery, Wire


@attrs.frozen(kw_only=True)
class FaultyDelivery(Delivery):
    """An answer with a fault in its delivery.

    Attributes:
        response: The answer.
        fault: The fault.
        drip_pause: Seconds before each byte of an answer that is sent byte by byte.
    """

    response: HttpResponse
    fault: DeliveryFault
    drip_pause: float

    def send(self, wire: Wire, /) -> None:
        """Send as much as the fault lets through, and close the connection."""
        wire.end()
        if self.fault is DeliveryFault.NOTHING:
            return
        message = wire.head(self.response) + self.response.body
        if self.fault is DeliveryFault.HALF:
            message = message[: len(message) - (len(self.response.body) + 1) // 2]
        if self.fault is not DeliveryFault.DRIP:
            wire.send_now(message)
            if self.fault is DeliveryFault.RESET:
                wire.end(reset=True)
            return
        for number in range(len(message)):
            if wire.is_over(self.drip_pause):
                return
            wire.send_now(message[number : number + 1])


@attrs.frozen(kw_only=True)
class Stream(Delivery):
    """An answer with status 200 that is sent in parts, until it ends or the client hangs up.

    Attributes:
        headers: Header fields.
        chunks: The parts. A stream that waits must yield an empty part every second or so: only then
            is it noticed that the client hung up, or that the server closes.
    """

    headers: Mapping[str, str]
    chunks: Iterator[bytes] = attrs.field(repr=False)

    def send(self, wire: Wire, /) -> None:
        """Send the parts. There is no length: the end of the connection ends the stream."""
        wire.end()
        head = HttpResponse(status=HTTPStatus.OK, headers=self.headers, body=b"")
        wire.send_now(wire.head(head, has_length=False))
        for chunk in self.chunks:
            if wire.is_over():
                return
            wire.send_now(chunk)
