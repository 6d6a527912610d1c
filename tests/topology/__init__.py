"""Three gateway machines behind two balancers, with Redis and Sentinel, in network namespaces (docs/topology.md)."""
