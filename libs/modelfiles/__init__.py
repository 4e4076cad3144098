"""Pure readers of the field's formats: bytes in, facts and findings out."""
