"""What three gateways share: limits, bans, and who the client is."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.faults.platform import bearer
from tests.integration.processes import wait_for
from tests.topology.case import TopologyCase
from tests.topology.platform import CLIENTS


class SharedTests(TopologyCase):
    """One client on three gateways."""

    def served(self) -> list[float]:
        """How many requests each gateway has answered."""
        return [gateway.metric("smartgate_requests_total") for gateway in self.platform.gateways]

    def test_limit(self) -> None:
        """Somebody who comes through all of them has the one limit."""
        before = self.served()
        statuses = Counter(self.platform.ask(bearer("dora", "user")) for _ in range(100))
        self.assertEqual(statuses, {200: 60, 429: 40})
        for early, late in zip(before, self.served(), strict=True):
            self.assertGreater(late - early, 15)

    def test_ban(self) -> None:
        """Refusals that no single gateway would ban for ban on all of them; behind a balancer that is a 403."""
        self.addCleanup(self.gateway(1).smartgate, "unban", CLIENTS[4])
        statuses = Counter(self.platform.ask("Authorization: Bearer x.y.z", source=CLIENTS[4]) for _ in range(330))
        self.assertLessEqual(set(statuses), {401, 403})
        self.assertGreaterEqual(statuses[401], 299)
        wait_for(lambda: self.platform.ask(bearer("eve"), source=CLIENTS[4]) == 403, "it is banned")
        answers = {self.platform.ask(bearer("eve"), source=CLIENTS[4]) for _ in range(9)}
        self.assertEqual(answers, {403})
        self.assertEqual(self.platform.ask(bearer("eve"), source=CLIENTS[5]), 200)

    def test_clients_behind_the_balancer(self) -> None:
        """Gateways know the client's address, by X-Forwarded-For or the PROXY protocol, whatever it says of itself."""
        forged = "X-Forwarded-For: 203.0.113.9"
        for port, source in ((80, CLIENTS[2]), (81, CLIENTS[3])):
            path = f"/api/users/{port}"
            self.assertEqual(self.platform.ask(bearer("ann"), forged, source=source, port=port, path=path), 200)
            wait_for(lambda: bool(self.logged(path)), "it is logged")  # noqa: B023
            self.assertEqual([line["client"] for line in self.logged(path)], [source])

    def logged(self, path: str) -> list[dict[str, Any]]:
        """The lines of all access logs about a path."""
        texts = [gateway.log.read_text().splitlines() for gateway in self.platform.gateways if gateway.log.exists()]
        lines = [json.loads(line) for text in texts for line in text if line.endswith("}")]
        return [line for line in lines if str(line.get("path", "")).startswith(path)]
