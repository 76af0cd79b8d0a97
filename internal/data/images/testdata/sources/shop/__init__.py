"""A package that an image brings along."""

PRICE = 7
