"""Statistic families: what one time step of one variable is reduced to, as sums and weights."""
