"""A public S3 bucket (moto) behind a server that counts and breaks; and IMERG in it as Icechunk.

with public_bucket("dynamical-nasa-imerg") as (server, moto):
    snapshot = make_imerg(moto.url, ...)   # written with a key, straight to moto
    ...                                    # read without one, through `server`
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import boto3
import icechunk
import numpy as np
import requests
import xarray as xr
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from numpy.typing import NDArray
from werkzeug.serving import make_server

from played.http import LONGEST_S, Answer, PlayedServer, Request

REGION = "us-west-2"
STEP = 5.0
LATITUDE = np.arange(87.5, -90, -STEP)
LONGITUDE = np.arange(-177.5, 180, STEP)
FIRST = np.datetime64("2020-01-30T00:00", "s")
STEPS = 4 * 48


@contextmanager
def public_bucket(*names: str) -> Iterator[tuple[PlayedServer, str]]:
    """(the server to read from, moto's own URL to write to), with these buckets."""
    with _moto() as url:
        yield from _public(url, names)


@contextmanager
def _moto() -> Iterator[str]:
    """moto's URL. Not its own ThreadedMotoServer: where that cannot start, it is waited for."""
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(LONGEST_S)


def _public(url: str, names: Sequence[str]) -> Iterator[tuple[PlayedServer, str]]:
    requests.post(f"{url}/moto-api/reset", timeout=10)
    client = boto3.client(
        "s3", endpoint_url=url, region_name=REGION,
        aws_access_key_id="writer", aws_secret_access_key="writer",
    )  # fmt: skip
    for name in names:
        client.create_bucket(
            Bucket=name, ACL="public-read",
            CreateBucketConfiguration={"LocationConstraint": REGION},
        )  # fmt: skip

    def forward(request: Request) -> Answer:
        said = requests.request(
            request.method, url + request.path,
            params=[(name, value) for name, values in request.query.items() for value in values],
            headers={n: v for n, v in request.headers.items() if n in ("range", "if-match")},
            timeout=10,
        )  # fmt: skip
        kept = ("Content-Type", "ETag", "Last-Modified", "Content-Range", "Accept-Ranges")
        headers = {name: said.headers[name] for name in kept if name in said.headers}
        return Answer(said.content, said.status_code, headers)

    with PlayedServer(answer=forward, ranges=False) as server:
        yield server, url


def rain(
    times: NDArray[np.datetime64], lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Made-up rain [kg m-2 s-1], NaN on a patch of 30 by 30 degrees around (20 S, 180)."""
    hours = (times - FIRST) / np.timedelta64(1, "h")
    t, y, x = np.meshgrid(hours, lat, np.radians(lon), indexing="ij")
    values = (1e-4 * (1.5 + np.cos(x)) * (1 + np.abs(y)) + 1e-6 * t).astype(np.float32)
    gap = (np.abs(y + 20) < 15) & (np.cos(x) < np.cos(np.radians(165)))
    return np.where(gap, np.float32(np.nan), values)


def make_imerg(url: str, bucket: str, prefix: str) -> str:
    """Write the store in the layout of dynamical.org, on 5 degrees; its snapshot.

    One half hour (the fourth) was never written: NaN all over.
    """
    storage = icechunk.s3_storage(
        bucket=bucket, prefix=prefix, region=REGION, endpoint_url=url, allow_http=True,
        force_path_style=True, access_key_id="writer", secret_access_key="writer",
    )  # fmt: skip
    times = FIRST + np.arange(STEPS) * np.timedelta64(1800, "s")
    values = rain(times, LATITUDE, LONGITUDE)
    values[3] = np.nan
    dims = ("time", "latitude", "longitude")
    attributes = {"units": "kg m-2 s-1", "short_name": "prate", "step_type": "avg"}
    data = xr.Dataset(
        {"precipitation_surface": (dims, values, attributes)},
        {"time": times.astype("datetime64[ns]"), "latitude": LATITUDE, "longitude": LONGITUDE},
        {"dataset_id": "nasa-imerg-analysis-late", "dataset_version": "0.1.0"},
    )
    encoding = {
        "precipitation_surface": {"chunks": (48, 6, 6), "shards": (96, 18, 36)},
        "time": {"units": "seconds since 1970-01-01", "dtype": "int64"},
    }
    session = icechunk.Repository.create(storage).writable_session("main")
    data.to_zarr(session.store, zarr_format=3, consolidated=False, encoding=encoding)
    return str(session.commit("IMERG"))
