"""Precipitation products that differ only in names: a row each, read by `products.py`.

Amounts are over an interval that `covers_h` places against the time stamp; no row changes a stamp.
In a recipe's field (-1, 0) is `stamp = "end"`, (0, 24) "start", and (-12, 12) "middle", which goes
with `offset_hours = 12`.
Rows were put together from the providers' own pages and from code that reads the products; what is
only recalled says so in `note`.
"""

from dataclasses import dataclass
from typing import Literal

Period = Literal["hour", "day", "month", "year"]
Format = Literal["netcdf", "grib2.gz", "zip"]

_NOAA = "United States government work, public domain"


@dataclass(frozen=True)
class Product:
    """One product as its provider serves it.

    base, path: the file of a stamp is `base/path`, with strftime's fields. period: what one file
    holds. step_h: hours between stamps. first, last: the first stamp, and the last of a
    product that has ended. covers_h: begin and end of the
    interval that a value sums up, hours from its stamp. variable: its name for a `Window`; in_file:
    its name in the file, "" where it is the file's only field. missing: values that mean none.
    longitudes: as stored. gaps: whether single files were never published, so that a 404 is a
    missing interval. bytes_a_file: about. at_once, pause_s: politeness, where more of it is asked
    for than elsewhere. box: south, north, west, east, outer edges of the cells.
    """

    name: str
    version: str
    base: str
    path: str
    period: Period
    format: Format
    variable: str
    in_file: str
    units: str
    step_h: int
    covers_h: tuple[int, int]
    first: str
    missing: tuple[float, ...]
    cell: float
    box: tuple[float, float, float, float]
    longitudes: Literal["0-360", "-180-180"]
    gaps: bool
    bytes_a_file: int
    licence: str
    attribution: str
    citation: str
    last: str = ""
    at_once: int = 4
    pause_s: float = 0.0
    note: str = ""

    @property
    def cell_method(self) -> str:
        """The interval in words, for an attribute."""
        begin, end = self.covers_h
        return f"sum from {begin:+d} h to {end:+d} h of the time stamp"


_MRMS = {
    "period": "hour",
    "format": "grib2.gz",
    "in_file": "",
    "units": "mm",
    "step_h": 1,
    "covers_h": (-1, 0),
    "missing": (-1.0, -3.0),
    "cell": 0.01,
    "box": (20.0, 55.0, -130.0, -60.0),
    "longitudes": "0-360",
    "gaps": True,
    "bytes_a_file": 1_000_000,
    "licence": _NOAA,
    "attribution": "NOAA/NSSL Multi-Radar/Multi-Sensor System (MRMS)",
    "citation": "Zhang et al. (2016), Bull. Amer. Meteor. Soc. 97, 621-638, "
    "doi:10.1175/BAMS-D-14-00174.1",
}
_MRMS_BUCKET = {
    **_MRMS,
    "base": "https://noaa-mrms-pds.s3.amazonaws.com",
    "first": "2020-10-15T00",
}
_CPC_US = {
    "base": "https://downloads.psl.noaa.gov/Datasets/cpc_us_precip",
    "version": "V1.0",
    "period": "year",
    "format": "netcdf",
    "variable": "precip",
    "in_file": "precip",
    "units": "mm",
    "step_h": 24,
    "covers_h": (-12, 12),
    "missing": (-9.96921e36,),
    "cell": 0.25,
    "box": (20.0, 50.0, -130.0, -55.0),
    "longitudes": "0-360",
    "gaps": False,
    "bytes_a_file": 25_000_000,
    "licence": _NOAA,
    "attribution": "CPC Unified Gauge-Based Analysis of Daily Precipitation over CONUS, provided "
    "by NOAA PSL, Boulder, Colorado, USA, https://psl.noaa.gov",
    "citation": "Xie et al. (2007), J. Hydrometeor. 8, 607-626, doi:10.1175/JHM583.1; Chen et al. "
    "(2008), J. Geophys. Res. 113, D04110, doi:10.1029/2007JD009132",
    "note": "The day ends at 12 UTC of its date.",
}
_CHIRPS = {
    "period": "year",
    "format": "netcdf",
    "variable": "precip",
    "in_file": "precip",
    "units": "mm",
    "step_h": 24,
    "covers_h": (0, 24),
    "first": "1981-01-01T00",
    "missing": (-9999.0,),
    "cell": 0.05,
    "longitudes": "-180-180",
    "gaps": False,
    "attribution": "Climate Hazards Center, University of California, Santa Barbara",
}

_ROWS = (
    Product(
        name="mrms-multisensor-pass2",
        version="Pass2",
        path="CONUS/MultiSensor_QPE_01H_Pass2_00.00/%Y%m%d/"
        "MRMS_MultiSensor_QPE_01H_Pass2_00.00_%Y%m%d-%H0000.grib2.gz",
        variable="MultiSensor_QPE_01H_Pass2",
        note="-3: no coverage, -1: missing. The stamp is that of the file's name. The bucket's "
        "first day is recalled, not read.",
        **_MRMS_BUCKET,  # type: ignore[arg-type]
    ),
    Product(
        name="mrms-multisensor-pass1",
        version="Pass1",
        path="CONUS/MultiSensor_QPE_01H_Pass1_00.00/%Y%m%d/"
        "MRMS_MultiSensor_QPE_01H_Pass1_00.00_%Y%m%d-%H0000.grib2.gz",
        variable="MultiSensor_QPE_01H_Pass1",
        note="As Pass2, an hour after the stamp and with fewer gauges.",
        **_MRMS_BUCKET,  # type: ignore[arg-type]
    ),
    Product(
        name="mrms-radar-only",
        version="RadarOnly",
        path="CONUS/RadarOnly_QPE_01H_00.00/%Y%m%d/"
        "MRMS_RadarOnly_QPE_01H_00.00_%Y%m%d-%H0000.grib2.gz",
        variable="RadarOnly_QPE_01H",
        note="No gauges. Of the files between full hours none is used.",
        **_MRMS_BUCKET,  # type: ignore[arg-type]
    ),
    Product(
        name="mrms-gauge-corrected",
        version="GaugeCorr",
        base="https://mtarchive.geol.iastate.edu",
        path="%Y/%m/%d/mrms/ncep/GaugeCorr_QPE_01H/GaugeCorr_QPE_01H_00.00_%Y%m%d-%H0000.grib2.gz",
        variable="GaugeCorr_QPE_01H",
        first="2015-01-01T00",
        last="2020-10-13T00",
        note="Followed by MultiSensor. From the archive of Iowa State University, the first and "
        "last days approximate.",
        **_MRMS,  # type: ignore[arg-type]
    ),
    Product(
        name="cpc-global-daily",
        version="V1.0/RT",
        base="https://downloads.psl.noaa.gov/Datasets/cpc_global_precip",
        path="precip.%Y.nc",
        period="year",
        format="netcdf",
        variable="precip",
        in_file="precip",
        units="mm",
        step_h=24,
        covers_h=(0, 24),
        first="1979-01-01T00",
        missing=(-9.96921e36,),
        cell=0.5,
        box=(-90.0, 90.0, 0.0, 360.0),
        longitudes="0-360",
        gaps=False,
        bytes_a_file=60_000_000,
        licence=_NOAA,
        attribution="CPC Global Unified Gauge-Based Analysis of Daily Precipitation, provided by "
        "NOAA PSL, Boulder, Colorado, USA, https://psl.noaa.gov",
        citation="Xie et al. (2007), J. Hydrometeor. 8, 607-626, doi:10.1175/JHM583.1; Chen et al. "
        "(2008), J. Geophys. Res. 113, D04110, doi:10.1029/2007JD009132",
        note="The day ends when each country's gauges are read (12 UTC over the USA), so that "
        "0 to 24 h is nominal. Land only.",
    ),
    Product(
        name="cpc-us-daily",
        path="precip.V1.0.%Y.nc",
        first="1948-01-01T00",
        last="2006-12-31T00",
        **_CPC_US,  # type: ignore[arg-type]
    ),
    Product(
        name="cpc-us-rt-daily",
        path="RT/precip.V1.0.%Y.nc",
        first="2007-01-01T00",
        **_CPC_US,  # type: ignore[arg-type]
    ),
    Product(
        name="chirps-v2-daily",
        version="2.0",
        base="https://data.chc.ucsb.edu/products/CHIRPS-2.0/global_daily/netcdf/p05",
        path="chirps-v2.0.%Y.days_p05.nc",
        box=(-50.0, 50.0, -180.0, 180.0),
        bytes_a_file=1_100_000_000,
        licence="public domain (CC0)",
        citation="Funk et al. (2015), Scientific Data 2, 150066, doi:10.1038/sdata.2015.66",
        note="Land only. The licence is recalled, not read.",
        **_CHIRPS,  # type: ignore[arg-type]
    ),
    Product(
        name="chirps-v3-daily-rnl",
        version="3.0 rnl",
        base="https://data.chc.ucsb.edu/products/CHIRPS/v3.0/daily/final/rnl/netcdf/byYear",
        path="chirps-v3.0.rnl.%Y.days_p05.nc",
        box=(-60.0, 60.0, -180.0, 180.0),
        bytes_a_file=1_300_000_000,
        licence="unknown",
        citation="CHIRPS3, Climate Hazards Center, doi:10.15780/G2JQ0P",
        note="Split into days with ERA5 (rnl), so not independent of it. Land only. The DOI is "
        "recalled, not read.",
        **_CHIRPS,  # type: ignore[arg-type]
    ),
    Product(
        name="prism-daily",
        version="AN",
        base="https://services.nacse.org/prism/data/get/us/4km/ppt",
        path="%Y%m%d?format=nc",
        period="day",
        format="zip",
        variable="ppt",
        in_file="",
        units="mm",
        step_h=24,
        covers_h=(-12, 12),
        first="1981-01-01T00",
        missing=(-9999.0,),
        cell=1.0 / 24.0,
        box=(24.0625, 49.9375, -125.0 - 1.0 / 48.0, -66.5 + 1.0 / 48.0),
        longitudes="-180-180",
        gaps=False,
        bytes_a_file=1_500_000,
        licence="free use with attribution",
        attribution="PRISM Climate Group, Oregon State University, https://prism.oregonstate.edu",
        citation="Daly et al. (2008), Int. J. Climatol. 28, 2031-2064, doi:10.1002/joc.1688",
        at_once=1,
        pause_s=2.0,
        note="The day ends at 12 UTC of its date. A grid is revised for about six months, and "
        "given to one address twice a day at most.",
    ),
)

PRODUCTS: dict[str, Product] = {row.name: row for row in _ROWS}
