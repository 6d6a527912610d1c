"""Tells twistd of ``twistd smartgate``; only names, so that listing plugins imports nothing of the gateway."""

from twisted.application.service import ServiceMaker

smartgate = ServiceMaker("smartgate", "gateway.tap", "The API gateway of an AI platform.", "smartgate")
