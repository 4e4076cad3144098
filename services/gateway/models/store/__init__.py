"""All SQL of the registry: models, their files, the objects that hold them."""
