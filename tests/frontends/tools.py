"""A pipeline that works without models, for tests of what is around it."""

from __future__ import annotations

import contextlib
import threading

from autofix.pipeline.pipeline import Pipeline
from tests.pipeline.fakes import Boxes, Painter, pipeline
from tests.waiting import until


def fake_pipeline(engine=None, detector=None, **changes) -> Pipeline:
    """Finds a box in every picture and paints it grey, as the recipe says."""
    return pipeline(
        detector or Boxes((60, 40, 90, 76)),
        engine or Painter(),
        **{"check__enabled": False, **changes},
    )


@contextlib.contextmanager
def served(app):
    """The address at which an application is served over a real socket."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server does not stop"
