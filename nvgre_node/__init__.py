"""One endpoint: wire format, policy records, data planes, the Mininet node classes and the running network."""
