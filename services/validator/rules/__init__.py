"""The rules: each module looks at an inspection and says what is wrong; none reads anything itself."""
