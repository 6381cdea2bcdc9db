"""A simulated Daraja whose customers pay late: ``waiting_daraja.py <callback address> <seconds>``.

It prints the settings' origin, and serves until it is killed.
"""

from __future__ import annotations

import sys
import time

from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.simulator.server import SimulatorServer
from support import loopback_config

if __name__ == "__main__":
    config = loopback_config("http://127.0.0.1:9", callback_url=sys.argv[1])
    with SimulatorServer(config, scenario=Scenario(answer_after=float(sys.argv[2]))) as server:
        print(server.origin, flush=True)
        time.sleep(600)
