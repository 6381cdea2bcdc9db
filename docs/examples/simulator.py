"""A simulated Daraja for the examples: ``python simulator.py`` and leave it running.

It plays a customer who pays after five seconds, and posts the callback to the shop on port 8000.
"""

from __future__ import annotations

import time

from mpesa_stk import StkConfig
from mpesa_stk.simulator import Scenario, SimulatorServer

PORT = 8999
SETTINGS = {
    "CONSUMER_KEY": "the-apps-consumer-key",
    "CONSUMER_SECRET": "the-apps-consumer-secret",
    "SHORTCODE": "600000",
    "PASS_KEY": "the-passkey-of-your-shortcode",
    "CALLBACK_SECRET": "at-least-16-characters-of-your-own",
    "C2B_CALLBACK": "http://127.0.0.1:8000/payments/callback",
    "ACCESS_TOKEN_URL": f"http://127.0.0.1:{PORT}/oauth/v1/generate?grant_type=client_credentials",
    "CHECKOUT_URL": f"http://127.0.0.1:{PORT}/mpesa/stkpush/v1/processrequest",
    "MPESA_QUERY_CHECK_URL": f"http://127.0.0.1:{PORT}/mpesa/stkpushquery/v1/query",
}


def main() -> None:
    """Print the shop's environment variables, and answer until Ctrl-C."""
    config = StkConfig.from_env(SETTINGS)
    with SimulatorServer(config, scenario=Scenario(answer_after=5.0), port=PORT):
        for name, value in SETTINGS.items():
            print(f"export {name}='{value}'", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
