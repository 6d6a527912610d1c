"""What gateways share: revoked tokens and request counts, in this process or in Redis."""
