"""The Climate Data Store's retrieve API on loopback, as ecmwf-datastores-client speaks it.

    with PlayedCds(payload) as store:
        store.url   # for ECMWF_DATASTORES_URL, with KEY for ECMWF_DATASTORES_KEY

`payload(dataset, request)` makes the bytes of a result. A job goes through `life`, one status each
time it is looked at; results lie under /object-store, where `store.server.fault` can strike.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from played.http import Answer, PlayedServer, Request, json_answer

KEY = "00000000-1111-2222-3333-444444444444"
_API = "/api"
_RETRIEVE = f"{_API}/retrieve/v1"

Payload = Callable[[str, dict[str, Any]], bytes]


@dataclass
class Job:
    """What the store knows of one job."""

    id: str
    dataset: str
    request: dict[str, Any]
    life: list[str]
    status: str = "accepted"
    made: bool = False

    def look(self) -> str:
        """The status, one step on; the last one stays."""
        self.status = self.life.pop(0) if self.life else self.status
        return self.status


class PlayedCds:
    """A store with one user, whose key is KEY."""

    def __init__(
        self,
        payload: Payload,
        *,
        life: Sequence[str] = ("accepted", "running", "successful"),
        licensed: bool = True,
        failure: str = "MARS returned no data",
        checksums: bool = True,
    ) -> None:
        self.payload, self.life, self.licensed = payload, list(life), licensed
        self.failure, self.checksums = failure, checksums
        self.other_checksum = "12-3"
        self.jobs: dict[str, Job] = {}
        self.most_waiting = 0
        self.server = PlayedServer(answer=self._answer)

    def __enter__(self) -> Self:
        self.server.__enter__()
        self.url = f"{self.server.url}{_API}"
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    def expire(self) -> None:
        """Forget all results, as the store does after some days; jobs stay known."""
        self.server.files.clear()

    @property
    def submitted(self) -> list[dict[str, Any]]:
        """The requests of all jobs, in order."""
        return [job.request for job in self.jobs.values()]

    def result_path(self, job: str) -> str:
        """Where the result of a job lies."""
        return f"/object-store/{job}.bin"

    def _answer(self, request: Request) -> Answer | None:
        path = request.path
        if path == f"{_API}/catalogue/v1/messages":
            return json_answer({"messages": []})
        if not path.startswith(_API + "/"):
            return None
        if request.headers.get("private-token") != KEY:
            return _error(401, "authentication failed", "authentication failed: invalid token")
        if path == f"{_API}/profiles/v1/account/verification/pat":
            return json_answer({"id": 1, "role": "user"})
        if path.startswith(f"{_RETRIEVE}/processes/"):
            return self._process(request, path.removeprefix(f"{_RETRIEVE}/processes/"))
        if path.startswith(f"{_RETRIEVE}/jobs/"):
            return self._job(request, path.removeprefix(f"{_RETRIEVE}/jobs/"))
        return None

    def _process(self, request: Request, rest: str) -> Answer:
        dataset, _, execution = rest.partition("/")
        if not dataset.startswith(("reanalysis-", "derived-", "insitu-")):
            return _error(404, "process not found", f"dataset {dataset} not found")
        if not execution:
            link = {"rel": "execute", "href": f"{self._base(request)}/processes/{rest}/execution"}
            return json_answer({"id": dataset, "version": "1.0.0", "links": [link]})
        if not self.licensed:
            wanted = [{"id": "licence-to-use-copernicus-products", "revision": 12}]
            detail = f"please accept the following licences to proceed: {wanted}"
            return _error(403, "required licences not accepted", detail)
        inputs = request.json["inputs"]
        number = len(self.jobs) + 1
        job = Job(f"{number:08}-aaaa-bbbb-cccc-dddddddddddd", dataset, inputs, list(self.life))
        self.jobs[job.id] = job
        waiting = [j for j in self.jobs.values() if j.status in ("accepted", "running")]
        self.most_waiting = max(self.most_waiting, len(waiting))
        link = {"rel": "monitor", "href": f"{self._base(request)}/jobs/{job.id}"}
        return json_answer(self._state(job) | {"links": [link]}, 201)

    def _job(self, request: Request, rest: str) -> Answer:
        name, _, results = rest.partition("/")
        job = self.jobs.get(name)
        if job is None:
            return _error(404, "job not found", f"job {name} not found")
        here = f"{self._base(request)}/jobs/{name}"
        if not results:
            if "log" in request.query:
                job.look()
            links = [{"rel": "self", "href": here}]
            if job.status in ("successful", "failed", "rejected"):
                links.append({"rel": "results", "href": f"{here}/results"})
            return json_answer(self._state(job) | {"links": links})
        if job.status in ("failed", "rejected"):
            return json_answer(
                {"type": f"job results {job.status}", "title": f"The job has {job.status}",
                 "status": 400, "traceback": self.failure}, 400,
            )  # fmt: skip
        if job.status != "successful":
            return _error(404, "job results not ready", f"status of {name} is {job.status}")
        return json_answer({"asset": {"value": self._asset(job, request)}})

    def _asset(self, job: Job, request: Request) -> dict[str, Any]:
        path = self.result_path(job.id)
        body = self.payload(job.dataset, job.request)
        if not job.made:
            job.made = True
            self.server.files[path] = body
        return {
            "type": "application/octet-stream",
            "href": f"http://{request.headers['host']}{path}",
            "file:checksum": hashlib.md5(body).hexdigest()
            if self.checksums
            else self.other_checksum,
            "file:size": len(body),
            "file:local_path": f"s3:/{path}",
        }

    def _state(self, job: Job) -> dict[str, Any]:
        return {
            "processID": job.dataset, "type": "process", "jobID": job.id, "status": job.status,
            "created": "2025-01-01T00:00:00.000000", "updated": "2025-01-01T00:00:01.000000",
            "metadata": {"request": {"ids": job.request}, "log": []},
        }  # fmt: skip

    def _base(self, request: Request) -> str:
        return f"http://{request.headers['host']}{_RETRIEVE}"


def _error(status: int, title: str, detail: str) -> Answer:
    body = {"type": title, "title": title, "status": status, "detail": detail, "trace_id": "0"}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})
