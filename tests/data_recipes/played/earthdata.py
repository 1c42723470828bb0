"""NASA's Earthdata on loopback, under its true names: login, catalogue and archive.

earthaccess asks https://urs.earthdata.nasa.gov, cmr.earthdata.nasa.gov and
data.gesdisc.earthdata.nasa.gov. It goes through a proxy where HTTPS_PROXY says so, and trusts the
authority of REQUESTS_CA_BUNDLE: `earthdata` sets both, plays the proxy, and answers for all three
hosts with certificates of its own. The client runs unmodified.
"""

import base64
import datetime
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from numpy.typing import NDArray

from played.http import LONGEST_S, Answer, PlayedServer, Request, json_answer

HOSTS = ("urs.earthdata.nasa.gov", "cmr.earthdata.nasa.gov", "data.gesdisc.earthdata.nasa.gov")
LOGIN, SEARCH = "/api/users/find_or_create_token", "/search/granules.umm_json"
USER, WORD, TOKEN = "walker", "secret", "token-of-walker"
STEP = 5.0
LATITUDE = np.arange(-87.5, 90, STEP, dtype=np.float32)
LONGITUDE = np.arange(-177.5, 180, STEP, dtype=np.float32)
FILL = np.float32(-9999.9)
_UNSET = (
    "EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "NO_PROXY", "no_proxy",
)  # fmt: skip


class Earthdata:
    """The answers of the three hosts; `granules`: path in the archive to content."""

    def __init__(self, granules: dict[str, bytes], *, checksums: dict[str, Any]) -> None:
        self.granules = granules
        self.checksums = checksums

    def __call__(self, request: Request) -> Answer | None:
        """The answer to one request of any host."""
        said = request.headers.get("authorization", "")
        if request.path == LOGIN:
            basic = base64.b64encode(f"{USER}:{WORD}".encode()).decode()
            if said != f"Basic {basic}":
                return json_answer({"error": "invalid_credentials"}, 401)
            return json_answer(
                {"access_token": TOKEN, "token_type": "Bearer", "expiration_date": "01/01/2099"}
            )
        if request.path == SEARCH:
            return self._found(request)
        if request.path in self.granules:
            if said != f"Bearer {TOKEN}":
                return Answer(b"HTTP Basic: Access denied.", 401)
            return Answer(self.granules[request.path])
        return None

    def _found(self, request: Request) -> Answer:
        names = request.query["short_name"] + request.query["version"]
        first, last = request.query["temporal[]"][0].split(",")
        items = [
            self._record(path)
            for path in sorted(self.granules)
            if names == ["GPM_3IMERGHH", "07"] and first <= _start(path) + "Z" <= last
        ]
        size = int(request.query.get("page_size", ["10"])[0])
        at = int(request.headers.get("cmr-search-after", "0"))
        page = items[at : at + size]
        answer = json_answer({"hits": len(items), "took": 1, "items": page})
        headers = {**answer.headers, "CMR-Hits": str(len(items))}
        if page:
            headers["CMR-Search-After"] = str(at + len(page))
        return Answer(answer.body, 200, headers)

    def _record(self, path: str) -> dict[str, Any]:
        start, name = _start(path), path.rsplit("/", 1)[-1]
        end = str(np.datetime64(start, "s") + np.timedelta64(1799, "s"))
        root = "https://data.gesdisc.earthdata.nasa.gov"
        file: dict[str, Any] = {
            "Name": name, "SizeInBytes": len(self.granules[path]), "Format": "HDF5",
        }  # fmt: skip
        if path in self.checksums:
            file["Checksum"] = self.checksums[path]
        return {
            "meta": {"concept-id": f"G{abs(hash(path))}-GES_DISC", "provider-id": "GES_DISC"},
            "umm": {
                "GranuleUR": f"GPM_3IMERGHH.07:{name}",
                "TemporalExtent": {
                    "RangeDateTime": {
                        "BeginningDateTime": f"{start}.000Z", "EndingDateTime": f"{end}.999Z",
                    }
                },
                "RelatedUrls": [
                    {"Type": "USE SERVICE API", "URL": f"https://gpm1.gesdisc.eosdis.nasa.gov/{name}"},
                    {"Type": "GET DATA", "URL": root + path},
                    {"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://gesdisc-protected{path}"},
                ],
                "DataGranule": {"ArchiveAndDistributionInformation": [file]},
            },
        }  # fmt: skip


def _start(path: str) -> str:
    """The start that a file name tells, "2020-01-01T00:30:00"."""
    day, time = path.split("3IMERG.")[1].split("-")[:2]
    hour = time.removeprefix("S")
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{hour[:2]}:{hour[2:4]}:{hour[4:]}"


def archive_path(time: np.datetime64) -> str:
    """Where the archive keeps the granule that starts at `time`."""
    start = time.astype("datetime64[s]").item()
    end = start + datetime.timedelta(seconds=1799)
    minute = start.hour * 60 + start.minute
    return (
        f"/data/GPM_L3/GPM_3IMERGHH.07/{start:%Y}/{start:%j}/3B-HHR.MS.MRG.3IMERG."
        f"{start:%Y%m%d}-S{start:%H%M%S}-E{end:%H%M%S}.{minute:04d}.V07B.HDF5"
    )


def granule(time: np.datetime64, rain: NDArray[np.float32]) -> bytes:
    """A V07 granule with groups, names, dims, attributes and fill of the true ones, on 5 degrees.

    rain: (lat, lon) [mm/h], NaN where there is none.
    """
    content = io.BytesIO()
    seconds = (time - np.datetime64("1980-01-06T00:00:00", "s")) / np.timedelta64(1, "s")
    with h5py.File(content, "w") as file:
        file.attrs["FileHeader"] = b"DOI=10.5067/GPM/IMERG/3B-HH/07;\nTimeInterval=HALF_HOUR;\n"
        grid = file.create_group("Grid")
        grid.attrs["GridHeader"] = b"Registration=CENTER;\nOrigin=SOUTHWEST;\n"
        units = b"seconds since 1980-01-06 00:00:00 UTC"
        for name, values, attributes in (
            ("time", np.array([seconds], np.int32), {"units": units, "calendar": b"julian"}),
            ("lon", LONGITUDE, {"units": b"degrees_east"}),
            ("lat", LATITUDE, {"units": b"degrees_north"}),
        ):
            axis = grid.create_dataset(name, data=values)
            axis.make_scale(name)
            axis.attrs.update(attributes)
        stored = np.where(np.isnan(rain), FILL, rain).astype(np.float32).T[None]
        data = grid.create_dataset(
            "precipitation", data=stored, chunks=(1, 9, len(LATITUDE)), compression="gzip"
        )
        data.attrs.update(
            {
                "DimensionNames": b"time,lon,lat", "Units": b"mm/hr", "units": b"mm/hr",
                "coordinates": b"time lon lat", "_FillValue": FILL, "CodeMissingValue": b"-9999.9",
            }
        )  # fmt: skip
        for position, name in enumerate(("time", "lon", "lat")):
            data.dims[position].attach_scale(grid[name])
    return content.getvalue()


@contextmanager
def earthdata(answers: Earthdata, folder: Path, environment: Any) -> Iterator[PlayedServer]:
    """Play the three hosts; environment: a `pytest.MonkeyPatch` that gets the variables."""
    authority, chain = _certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with PlayedServer(answer=answers) as server, socket.create_server(("127.0.0.1", 0)) as door:
        for name in _UNSET:
            environment.delenv(name, raising=False)
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{door.getsockname()[1]}")
        environment.setenv("https_proxy", f"http://127.0.0.1:{door.getsockname()[1]}")
        environment.setenv("REQUESTS_CA_BUNDLE", str(authority))
        environment.setenv("NETRC", str(folder / "netrc"))
        threading.Thread(target=_doorman, args=(door, context, server.url), daemon=True).start()
        try:
            yield server
        finally:
            door.shutdown(socket.SHUT_RDWR)  # to close it does not wake who waits at it


def _doorman(door: socket.socket, context: ssl.SSLContext, url: str) -> None:
    while True:
        try:
            client, _ = door.accept()
        except OSError:
            return  # closed: the play is over
        threading.Thread(target=_tunnel, args=(client, context, url), daemon=True).start()


def _tunnel(client: socket.socket, context: ssl.SSLContext, url: str) -> None:
    """What a proxy does for CONNECT, with the far end's TLS ended here."""
    client.settimeout(LONGEST_S)
    port = int(url.rpartition(":")[2])
    try:
        with client:
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (more := client.recv(4096)):
                    return
                asked += more
            host = asked.split()[1].decode().partition(":")[0]
            if host not in HOSTS:
                client.sendall(b"HTTP/1.1 502 no such host in this play\r\n\r\n")
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with (
                context.wrap_socket(client, server_side=True) as near,
                socket.create_connection(("127.0.0.1", port), LONGEST_S) as far,
            ):
                back = threading.Thread(target=_pour, args=(far, near), daemon=True)
                back.start()
                _pour(near, far)
                back.join(LONGEST_S)
    except OSError:
        return  # a client that hangs up, or says nothing, is no news


def _pour(source: socket.socket, into: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            into.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, into):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already closed from the other side


def _certificates(folder: Path) -> tuple[Path, Path]:
    """(the authority's certificate, the hosts' key and certificate), as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Elsewhere's tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in HOSTS]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    authority, chain = folder / "authority.pem", folder / "hosts.pem"
    authority.write_bytes(pem)
    chain.write_bytes(private + pem)
    return authority, chain
