"""Grids and boxes in words: degrees, or km of a map."""

from benchmark.region import Region
from benchmark.task import Task
from leaderboard.render import MINUS, show


def resolution(task: Task) -> str:
    """The size of a task's fine cells: "0.25°", "5.5 km", or all where regions have several."""
    sizes = [
        f"{region.grid.spacing / 1000:g} km" if region.grid else f"{task.spacing_of(region):g}°"
        for region in task.regions
    ]
    return " or ".join(sorted(set(sizes)))


def whereabouts(region: Region) -> str:
    """Where a box is, as a sentence: its bounds, on a map with the place of its middle."""
    if region.lat and region.lon:
        (south, north), (west, east) = region.lat, region.lon
        return (
            f"Latitude {show(south)}° to {show(north)}°, longitude {show(west)}° to {show(east)}°."
        )
    latitude, longitude = region.centre
    vertical, horizontal = (f"{_km(low)} to {_km(high)} km" for low, high in region.bounds)
    name = region.grid.name if region.grid else ""
    return (
        f"A box of the map {name}, its middle at latitude {show(latitude)}° and longitude "
        f"{show(longitude)}°: y {vertical}, x {horizontal}."
    )


def _km(metres: float) -> str:
    return f"{metres / 1000:g}".replace("-", MINUS)
