"""What the operator asks and orders: how the services are, what is parked, audits of storage; see `routes`."""
