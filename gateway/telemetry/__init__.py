"""What is told about requests: the access log, the metrics and the application log."""
