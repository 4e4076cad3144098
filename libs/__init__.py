"""Small libraries, each named for what it gives; none imports a service."""
