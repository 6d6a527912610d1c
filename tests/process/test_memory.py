"""Tests of gateway.process.memory: what a process keeps."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from gateway.process import memory

FAULTS = """
import resource
from gateway.process.memory import settle
{settle}
def rounds(number):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(number):
        read = b'x' * (1 << 20)
        body = read[1:]
        del read, body
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
rounds(5)
print(rounds(50))
"""


class SettlingTests(SynchronousTestCase):
    """What is done when all is set up."""

    def _faults(self, settle: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(settle=settle)], capture_output=True, check=True, timeout=30
        )
        return int(done.stdout)

    def test_freed_memory_is_used_again(self) -> None:
        """The pages of one large read are there for the next."""
        self.assertLess(self._faults("settle()"), 50)

    def test_a_library_that_keeps_its_own_measure(self) -> None:
        """A C library without mallopt does as it likes, and nothing fails."""
        collector = Mock()
        self.patch(memory, "gc", collector)  # a collection takes longer than a test
        self.patch(ctypes, "CDLL", Mock(return_value=object()))
        memory.settle()
        self.assertEqual([call[0] for call in collector.method_calls], ["collect", "freeze", "set_threshold", "enable"])
