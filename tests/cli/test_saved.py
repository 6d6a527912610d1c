"""The document that saved records are in, and what is merged into what."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.saved import Record, counted, dump, load, merged
from gateway.core.api_keys import ApiKey

NOW = 1_000_000_000.0
KEY = "apikey:" + "0f" * 32
VALUE = ApiKey("a1", "nightly", "key:a1", "batch").dump()
ALL = [
    Record(KEY, VALUE, None),
    Record("ban:192.0.2.0/24", '{"why": "scraper"}', NOW + 60),
    Record("blacklist:\ud800\u00e9", "1", NOW + 0.25),
    Record("revoked:key:kid", "1", None),
    Record("revoked:user:ann", "999999999.5", NOW + 3600),
]


class DocumentTests(SynchronousTestCase):
    """What is written is read again, and nothing else is."""

    def changed(self, **members: Any) -> str:
        """Why the document is refused when its first record has other members."""
        document = json.loads(dump(ALL, NOW))
        document["records"][0] |= members
        return self.refused(json.dumps(document))

    def refused(self, text: str) -> str:
        return str(self.assertRaises(ValueError, load, text))

    def test_round_trip(self) -> None:
        """Records are the same afterwards, whatever is in their names."""
        self.assertEqual(load(dump(ALL, NOW)), ALL)
        self.assertEqual(load(dump([], NOW)), [])

    def test_lines(self) -> None:
        """Each record has a line, in an order that does not depend on Redis."""
        lines = dump(reversed(ALL), NOW).splitlines()
        self.assertEqual(lines[0], '{"format": "smartgate state", "version": 1, "exported": 1000000000.0, "records": [')
        self.assertEqual([json.loads(line.rstrip(","))["key"] for line in lines[1:-1]], [each.key for each in ALL])

    def test_cut(self) -> None:
        """A document that is not whole is none, wherever it was cut."""
        whole = dump(ALL, NOW)
        for end in range(0, len(whole), 7):
            self.assertIn("is no whole JSON document", self.refused(whole[:end]))
        self.assertIn("is no whole JSON document", self.refused("[" * 100_000))

    def test_another_document(self) -> None:
        """What is no state, of another version, or without a list is said to be so."""
        self.assertIn("is not what smartgate state export writes", self.refused("[]"))
        self.assertIn("is not what smartgate state export writes", self.refused("{}"))
        self.assertIn("is of version 2", self.refused('{"format": "smartgate state", "version": 2}'))
        self.assertIn("has no list", self.refused('{"format": "smartgate state", "version": 1}'))

    def test_records_that_no_gateway_heeds(self) -> None:
        """The first one is named, with what would be right."""
        self.assertIn('records[0]: must have "key", "value" and "until"', self.changed(more=1))
        for key in (1, "rl:user:ann", "ban:"):
            self.assertIn("records[0]: key: must begin with one of ban:, blacklist:", self.changed(key=key))
        self.assertIn("value: must be text", self.changed(value=1))
        for until in ("soon", True, 0, -1, 10**400, float("nan"), float("inf")):
            self.assertIn("until: must be seconds since 1970, or null", self.changed(until=until))
        self.assertIn("ban:everybody: 'everybody' does not appear to be", self.changed(key="ban:everybody"))
        self.assertIn("must end with a SHA-256 in hex", self.changed(key="apikey:x"))
        self.assertIn("value: is no API key: id", self.changed(value="{}"))
        self.assertIn("records[1]: is there twice", self.changed(key=ALL[1].key))

    def test_counted(self) -> None:
        """How many there are of each kind."""
        self.assertEqual(counted([ALL[1], ALL[0], ALL[1]]), "2 bans, 1 API key")
        self.assertEqual(counted([]), "nothing")


class MergedTests(SynchronousTestCase):
    """What is saved, merged into what is there."""

    def merge(self, there: float | None, saved: float | None, key: str = "ban:192.0.2.1") -> Record | None:
        return merged(Record(key, "there", there), Record(key, "saved", saved))

    def test_missing(self) -> None:
        """What is not there is written as it was saved."""
        self.assertEqual(merged(None, ALL[0]), ALL[0])

    def test_later_end_wins(self) -> None:
        """Nothing is shortened, and what ends later says why."""
        self.assertIsNone(self.merge(NOW, NOW))
        self.assertIsNone(self.merge(NOW + 9, NOW))
        self.assertIsNone(self.merge(None, NOW))
        self.assertIsNone(self.merge(None, None))
        self.assertEqual(self.merge(NOW, NOW + 9), Record("ban:192.0.2.1", "saved", NOW + 9))
        self.assertEqual(self.merge(NOW, None), Record("ban:192.0.2.1", "saved", None))

    def test_same_end(self) -> None:
        """Ends that differ by less than reading them takes are the same."""
        self.assertIsNone(self.merge(NOW, NOW + 0.9))

    def test_users(self) -> None:
        """Of a user, what was issued before the later of both times stays revoked, for the longer of both."""
        key = "revoked:user:ann"
        there = Record(key, "200", NOW)
        self.assertEqual(merged(there, Record(key, "100", NOW + 9)), Record(key, "200", NOW + 9))
        self.assertEqual(merged(there, Record(key, "300", NOW - 9)), Record(key, "300", NOW))
        self.assertEqual(merged(there, Record(key, "whatever", None)), Record(key, "whatever", None))
        self.assertIsNone(merged(there, Record(key, "100", NOW)))

    def test_api_keys(self) -> None:
        """One that is there was changed after it was saved, if at all: it stays."""
        self.assertIsNone(merged(Record(KEY, "less", NOW), Record(KEY, "more", None)))
