"""Clusters of instances: their connections, their balance and their health."""
