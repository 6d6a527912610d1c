"""What every store must answer, as tests to be mixed into the TestCase of each."""

from __future__ import annotations

from typing import Any

from gateway.interfaces import IStore, Verdict


class StoreAnswers:
    """Each TestCase says how they are asked.

    ``of(go, window)`` runs a coroutine function with a store, ``revoke(name, seconds)`` writes that a token is revoked
    and ``wait(seconds)`` lets the store's time pass.
    """

    of: Any
    revoke: Any
    wait: Any
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any

    def test_counts_from_the_first_hit(self) -> Any:
        """Hits count up in a window that is whole at the first of them, each bucket for itself."""

        async def go(store: IStore) -> None:
            self.assertEqual(await store.ask("", "a"), Verdict(False, 1, 60.0))
            self.assertEqual([(await store.ask("", "a")).hits for _ in range(3)], [2, 3, 4])
            self.assertEqual(await store.ask("", "b"), Verdict(False, 1, 60.0))

        return self.of(go, 60)

    def test_counts_anew_when_the_window_ends(self) -> Any:
        """A hit after the window's end is the first of a new one, and hits do not prolong it."""

        async def go(store: IStore) -> None:
            await store.ask("", "a")
            await self.wait(0.1)
            second = await store.ask("", "a")
            self.assertEqual(second.hits, 2)
            self.assertTrue(0 < second.reset < 1)
            await self.wait(1.0)
            self.assertEqual(await store.ask("", "a"), Verdict(False, 1, 1.0))

        return self.of(go, 1.0)

    def test_one_turn_counts_every_question(self) -> Any:
        """Questions asked together about one bucket are counted one by one, in their order."""

        async def go(store: IStore) -> None:
            asked = [store.ask("", "a") for _ in range(5)]
            self.assertEqual([(await answer).hits for answer in asked], [1, 2, 3, 4, 5])

        return self.of(go, 60)

    def test_revoked_tokens_are_not_counted(self) -> Any:
        """A revoked token is told so, and its client's bucket stays as it was."""

        async def go(store: IStore) -> None:
            await self.revoke("gone", 60)
            self.assertEqual(await store.ask("gone", "a"), Verdict(True, 0, 0.0))
            self.assertEqual(await store.ask("kept", "a"), Verdict(False, 1, 60.0))

        return self.of(go, 60)

    def test_asks_about_a_token_alone(self) -> Any:
        """Without a bucket nobody is counted."""

        async def go(store: IStore) -> None:
            self.assertEqual(await store.ask("kept", ""), Verdict(False, 0, 0.0))

        return self.of(go, 60)

    def test_revocation_ends(self) -> Any:
        """A token is on the blacklist for as long as its record is there."""

        async def go(store: IStore) -> None:
            await self.revoke("soon", 0.5)
            self.assertTrue((await store.ask("soon", "")).revoked)
            await self.wait(0.6)
            self.assertFalse((await store.ask("soon", "")).revoked)

        return self.of(go, 60)

    def test_any_text_is_a_name(self) -> Any:
        """NUL, line breaks, other alphabets and half a surrogate pair name different clients and tokens."""

        async def go(store: IStore) -> None:
            names = ["a\0b", "a", "a\r\nGET x\r\n", "\u00e4\u4e2d\U0001f600", "\ud800", "\x00", " "]
            for name in names:
                await self.revoke(name, 60)
                self.assertTrue((await store.ask(name, "")).revoked)
                self.assertEqual((await store.ask("", name)).hits, 1)

        return self.of(go, 60)

    def test_answers_a_ping(self) -> Any:
        """A store that works says so."""

        async def go(store: IStore) -> None:
            self.assertTrue(await store.ping())

        return self.of(go, 60)
